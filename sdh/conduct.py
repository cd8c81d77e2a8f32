"""One run of a placed question, as the hub conducts it: tell parties and dealer, check what they planned, open.

A prepared query has two exchanges: `prepare` ends when all is dealt to disk and nothing was shared, `run` does the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sdh.audit import reasons
from sdh.errors import DealerLost, PartyLost, PlanMismatch, ProtocolError
from sdh.exchange import Exchange, perform
from sdh.members import Members, known
from sdh.order import Order
from sdh.planners.costs import Spent, operator_costs
from sdh.planners.plan import Placed, Plan, finish
from sdh.processes import Event, Process
from sdh.session import Member, unseal

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: the plan that all agreed on and every party's payload, by rank.

    costs: what each party reports of its operators, in the order in which they are run (seconds: on shares alone).
    released: bytes of a payload. session: digest, hexadecimal.
    """

    plan: Plan
    payloads: list[bytes]
    costs: dict[str, list[Spent]]
    released: int
    session: str = ""


@dataclass(slots=True)
class Listener:
    """What nodes say on the way: their plans' digests, which must be the hub's own, and how far they are."""

    placed: Placed
    progress: Progress | None
    plan: Plan | None = None
    done: dict[str, tuple[int, int]] = field(default_factory=dict)

    def hear(self, process: Process, message: dict[str, Any]) -> None:
        match message.get("say"):
            case "planned":
                self._compare(process.name, tuple(int(count) for count in message["slots"]), str(message["digest"]))
            case "progress" if self.progress is not None:
                self.done[process.name] = int(message["done"]), int(message["planned"])
                done, planned = (sum(column) for column in zip(*self.done.values(), strict=True))
                self.progress(done, planned * len(self.placed.parties) // len(self.done), str(message["label"]))
            case _:
                pass

    def agreed(self) -> Plan:
        """Raises PlanMismatch."""
        if self.plan is None:
            raise PlanMismatch("No node told what it planned.")
        return self.plan

    def _compare(self, name: str, slots: tuple[int, ...], digest: str) -> None:
        if self.plan is None:
            self.plan = finish(self.placed, slots)
        if self.plan.slots != slots or self.plan.digest != digest:
            raise PlanMismatch(f"{name} planned something else than this hub.", advice="Nothing was released.")


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes of one question: its parties by rank, and the dealer where there are several."""

    parties: tuple[Process, ...]
    dealer: Process | None

    @property
    def all(self) -> list[Process]:
        return [*self.parties] if self.dealer is None else [self.dealer, *self.parties]


@dataclass(frozen=True, slots=True)
class Ready:
    """A prepared run: by what name its processes hold it, and the plan that all agreed on."""

    identifier: str
    crew: Crew
    plan: Plan


def conduct(members: Members, placed: Placed, seconds: float | None, progress: Progress | None) -> Outcome:
    """Run it. Raises the cause of whatever fails; afterwards no process is at work on it any more."""
    crew, listener = crew_for(members, placed), Listener(placed, progress)
    exchange = Exchange(crew.all, members.events, listener.hear)
    perform(exchange, orders(members, placed, crew, "query", "deal"), seconds, members.limits.stop)
    return _outcome(members, listener, [exchange.answers[process] for process in crew.parties], placed)


def prepare(members: Members, placed: Placed, seconds: float | None) -> Ready:
    """Have fragments counted and pinned, the plan agreed on, its stream dealt to disk. Raises as `conduct` does."""
    crew, listener = crew_for(members, placed), Listener(placed, None)
    exchange = Exchange(crew.all, members.events, listener.hear)
    try:
        perform(exchange, orders(members, placed, crew, "prepare", "deal ahead"), seconds, members.limits.stop)
        return Ready(exchange.identifier, crew, listener.agreed())
    except BaseException:
        drop(members, crew, exchange.identifier)
        raise


def run(members: Members, ready: Ready, seconds: float | None, progress: Progress | None) -> Outcome:
    """The run of what was prepared, once. Raises PartyLost or DealerLost for a process that has ended since."""
    try:
        return _run(members, ready, seconds, progress)
    except (PartyLost, DealerLost) as lost:
        lost.advice = "The prepared query ended with it: prepare it again."
        raise


def _run(members: Members, ready: Ready, seconds: float | None, progress: Progress | None) -> Outcome:
    crew, placed = ready.crew, ready.plan.placed
    for process in crew.all:
        if not process.alive:
            raise process.lost()
    listener = Listener(placed, progress, ready.plan)
    exchange = Exchange(crew.all, members.events, listener.hear)
    requests = [(process, {"do": "run", "prepared": ready.identifier}) for process in crew.all]
    perform(exchange, requests, seconds, members.limits.stop)
    return _outcome(members, listener, [exchange.answers[process] for process in crew.parties], placed)


def drop(members: Members, crew: Crew, identifier: str) -> None:
    """Have the processes that are left forget what they hold of a prepared query, if anything."""
    for process in crew.all:
        if not process.alive:
            members.end(process)   # its folder goes with it
            continue
        with contextlib.suppress(PartyLost, DealerLost):
            members.request(process, {"do": "drop", "prepared": identifier})


def crew_for(members: Members, placed: Placed) -> Crew:
    parties = tuple(members.process(name) for name in placed.parties)
    return Crew(parties, members.dealer() if len(parties) > 1 else None)


def orders(members: Members, placed: Placed, crew: Crew, to_party: str,
           to_dealer: str) -> list[tuple[Process, dict[str, Any]]]:
    """What to tell each of a question's processes: the parties who asks what of whom, the dealer who takes part."""
    receiver = Member(members.identity.name, members.identity.public)
    parties = tuple(known(process) for process in crew.parties)
    order = Order(placed.question, placed.catalog, parties, None if crew.dealer is None else known(crew.dealer), receiver)
    told = [(process, {"do": to_party} | order.to_message()) for process in crew.parties]
    if crew.dealer is not None:
        told.insert(0, (crew.dealer, {"do": to_dealer, "parties": [party.to_message() for party in parties]}))
    return told


def _outcome(members: Members, listener: Listener, answers: list[Event], placed: Placed) -> Outcome:
    plan = listener.agreed()
    messages = [answer.message or {} for answer in answers]
    sessions = {str(message["session"]) for message in messages}
    if len(sessions) != 1:
        raise ProtocolError("The parties' results are of different sessions.")
    session = sessions.pop()
    for name, message in zip(placed.parties, messages, strict=True):
        if message["revealed"] != reasons(plan.reveals):
            raise ProtocolError(f"{name} revealed something else than EXPLAIN lists.", advice="Nothing was released.")
    context = bytes.fromhex(session)
    payloads = [unseal(answer.pieces, name, members.identity.key, context)
                for name, answer in zip(placed.parties, answers, strict=True)]
    count = 0 if plan.root is None else len(operator_costs(plan.root, len(placed.parties)))
    costs = {name: _costs(message["cost"], count) for name, message in zip(placed.parties, messages, strict=True)}
    return Outcome(plan, payloads, costs, max(map(len, payloads)), session)


def _costs(told: dict[str, list[Any]], count: int) -> list[Spent]:
    """Of `count` operators, from {number: [bytes sent, rounds, bytes dealt, seconds]}; one that had nothing to do is free."""
    figures = [told.get(str(number), (0, 0, 0, 0)) for number in range(count)]
    return [Spent(int(sent), int(rounds), int(dealt), float(seconds)) for sent, rounds, dealt, seconds in figures]
