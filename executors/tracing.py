"""Traces: a program's dealing list and cost from sizes alone, and its work on clear data ahead of the first frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, cast

import torch
from torch import Tensor

from sdh.executors import dealing
from sdh.executors.dealing import Correlation, DealingList, Item
from sdh.executors.jobs import Job, Opening, Rounds
from sdh.executors.messages import Masked, Posted
from sdh.executors.metering import Meter, Step
from sdh.executors.permutation import Permutation
from sdh.executors.runtime import Session
from sdh.executors.shapes import ShapesOnly
from sdh.planners.comparing import LOCAL, Network

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Script:
    """What a job did: its steps before each of its openings, those after the last, and what it gave."""

    rounds: list[tuple[list[Step], Opening]]
    last: list[Step]
    result: object


def _unlabelled(steps: Sequence[Step]) -> list[Step]:
    return [replace(step, label="") for step in steps]


class TraceSession(Session):
    """A session on device "meta": nothing is computed or sent, draws and costs are recorded."""

    tracing = True

    def __init__(self, parties: Sequence[str], rank: int = 0, network: Network = LOCAL) -> None:
        super().__init__(rank, parties, {}, None, b"", device="meta", network=network)
        self._steps: list[Step] = []
        self._done: dict[Hashable, tuple[list[Step], object]] = {}
        self._scripts: dict[Hashable, _Script] = {}

    def once(self, key: Hashable, body: Callable[[], T]) -> T:
        if key in self._done:
            steps, result = self._done[key]
            self._repeat(steps)
            return result  # type: ignore[return-value]
        start, outer = len(self._steps), len(self._label)
        result = body()
        self._done[key] = [replace(step, label=step.label[outer:]) for step in self._steps[start:]], result
        return result

    def interleave(self, jobs: Sequence[Job[T]]) -> list[T]:
        return super().interleave([Job(job.key, partial(self._again, job)) for job in jobs])

    def _again(self, job: Job[T]) -> Rounds[T]:
        """The body of a job, or the steps of an earlier one of its key: what it drew before each of its openings."""
        script = self._scripts.get(job.key)
        if script is None:
            script = self._scripts[job.key] = yield from self._record(job.body())
        else:
            for steps, opening in script.rounds:
                self._repeat(steps)
                yield opening
            self._repeat(script.last)
        return cast(T, script.result)

    def _record(self, body: Rounds[object]) -> Generator[Opening, list[Tensor], _Script]:
        rounds: list[tuple[list[Step], Opening]] = []
        opened: list[Tensor] | None = None
        while True:
            start = len(self._steps)
            try:
                opening = next(body) if opened is None else body.send(opened)
            except StopIteration as end:
                return _Script(rounds, _unlabelled(self._steps[start:]), end.value)
            rounds.append((_unlabelled(self._steps[start:]), opening))
            opened = yield opening

    def _repeat(self, steps: Sequence[Step]) -> None:
        outer = self._label
        for step in steps:
            self._label = outer + step.label if outer else step.label.removeprefix("/")
            if step.group:
                owner = step.group[0].owner
                self._item(step.group, owner if owner >= 0 else self._drawn % self.count)
            else:
                self._next(step)
        self._label = outer

    def _next(self, step: Step) -> str:
        self._steps.append(replace(step, label=self._label))
        return super()._next(step)

    def _shares(self, item: Item) -> list[list[Tensor]]:
        return [[self._blank(part.shape) for parts in dealing.layout(correlation) for part in parts]
                for correlation in item.group]

    def _permutation(self, item: Item) -> Permutation:
        def masks(group: Correlation) -> dealing.RowMasks:
            return dealing.RowMasks(self._blank((group.total, group.count)), self._blank((group.total, group.width), torch.uint8))

        return Permutation(item.group, None, None, masks)

    def _share(self, owner: int, values: Tensor | None, rows: int, *, xor: bool) -> Tensor:
        self._next(Step())
        return self._blank((rows,))

    def _pair_words(self, peer: int, address: str, rows: int) -> Tensor:
        return self._blank((rows,))

    def private_words(self, count: int) -> Tensor:
        self._next(Step())
        return self._blank((count,))

    def _send(self, address: str, values: Sequence[Masked]) -> Posted:
        return Posted(address, values, [], 0)

    def _receive(self, posted: Posted) -> list[Tensor]:
        return [self._blank(tuple(value.share.shape)) for value in posted.values]


class PreparingSession(TraceSession):
    """A trace at a party that has its inputs and its seeds: it does the work on clear data and keeps what that gives."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.parties, session.rank, session.network)
        self._session = session
        self.prepared: deque[object] = deque()

    def at(self, owner: int, work: Callable[[], T]) -> T | None:
        if self.rank != owner:
            return None
        found = work()
        self.prepared.append(found)
        return found

    def pair_key(self, first: int, second: int) -> bytes | None:
        address = self._next(Step()) + "/key"
        if self.rank not in (first, second) or first == second:
            return None
        key = self._session.pair_source(second if self.rank == first else first).key(address)
        self.prepared.append(key)
        return key


def prepare(session: Session, program: Callable[[Session], object]) -> None:
    """Do all of a program's work on clear data (`Session.at`) now, before its first frame. Raises what that work does."""
    preparing = PreparingSession(session)
    with ShapesOnly():
        program(preparing)
    session.keep(preparing.prepared)


def trace(program: Callable[[Session], object], parties: Sequence[str], rank: int = 0,
          network: Network = LOCAL) -> tuple[DealingList, Meter]:
    """The dealing list and cost (of the party `rank`) of a program that runs on a session."""
    session = TraceSession(parties, rank, network)
    with ShapesOnly():
        program(session)
    return session.items, session.meter
