"""What the benchmarks time: from plaintext columns at their owners to the result's shares, then a check outside the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sdh.connectors.wire import Link
from sdh.executors import bits, permute, sort_merge, sorting
from sdh.executors.align import Side, align
from sdh.executors.arithmetic import multiply
from sdh.executors.bits import Bits
from sdh.executors.compare import is_zero, less, less_rows
from sdh.executors.divide import divide
from sdh.executors.messages import Masked
from sdh.executors.runtime import Session
from sdh.executors.shares import Shared, raw
from tests.bench import columns
from tests.bench.columns import SLICE, Column, sizes
from tests.parties import peak_rss

TOP = 100
"""Rows that `topk` asks for."""


@dataclass(frozen=True, slots=True)
class Owned:
    """What an owner has before the clock runs: x at party 0, y at party 1, None elsewhere and in a trace."""

    x: Tensor | None = None
    y: Tensor | None = None


NOTHING = Owned()


def ready(links: Mapping[int, Link]) -> float:
    """Wait until all parties are; the time at which the clock begins to run."""
    for link in links.values():
        link.send("ready", b"")
    for link in links.values():
        link.receive("ready", 0)
    return perf_counter()


def stop(session: Session, began: float) -> dict[str, Any]:
    """The result's shares are there: when, by the machine's clock, and what they cost this party."""
    if session.device.type == "cuda":
        torch.cuda.synchronize(session.device)
    ended, cost = perf_counter(), session.meter.total
    return {"began": began, "ended": ended, "online_bytes": cost.sent, "dealer_bytes": cost.dealt, "rounds": cost.rounds,
            "peak_rss_bytes": peak_rss()}


def start(rank: int, links: Mapping[int, Link], name: str, rows: int) -> dict[str, Any]:
    """The owners' columns, and the time at which all parties have them: before the dealer hears of anything."""
    owned = ROWWISE[name].owned(rank, name, rows) if name in ROWWISE else WHOLE[name].owned(rank, rows)
    return {"owned": owned, "began": ready(links)}


def operation(session: Session, name: str, rows: int, owned: Owned = NOTHING, began: float = 0.0) -> dict[str, Any]:
    """Run one operation, say what it cost this party, then check it."""
    work = ROWWISE[name] if name in ROWWISE else WHOLE[name]
    found = work.run(session, owned, rows)
    clocked = stop(session, began)
    work.check(session, name, found, rows)
    return clocked


# --- operations that go row by row: in slices ---


@dataclass(frozen=True, slots=True)
class Rowwise:
    """body(session, x, y, rows): the shares of a slice's result. plain(x, y): what they hold."""

    body: Callable[[Session, Tensor | None, Tensor | None, int], Shared | Bits]
    plain: Callable[[Column, Column], Any]
    narrow: bool = False
    """Values of 32 bits: their owner has them as such."""

    def owned(self, rank: int, name: str, rows: int) -> Owned:
        if rank > 1:
            return NOTHING
        column = np.empty(rows, dtype=np.int32 if self.narrow else np.int64)
        for index, size in enumerate(sizes(rows)):
            column[index * SLICE:index * SLICE + size] = columns.pairs(name, index, size)[rank]
        return Owned(x=torch.from_numpy(column)) if rank == 0 else Owned(y=torch.from_numpy(column))

    def run(self, session: Session, owned: Owned, rows: int) -> list[Shared | Bits]:
        def slice_(column: Tensor | None, index: int) -> Tensor | None:
            return None if column is None else column[index * SLICE:(index + 1) * SLICE].to(session.device).long()

        return [self.body(session, slice_(owned.x, index), slice_(owned.y, index), size)
                for index, size in enumerate(sizes(rows))]

    def check(self, session: Session, name: str, found: Sequence[Shared | Bits], rows: int) -> None:
        for index, (size, shared) in enumerate(zip(sizes(rows), found, strict=True)):
            opened = opened_value(session, shared)
            if opened is not None:
                same(opened, self.plain(*columns.pairs(name, index, size)))


def _both(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> tuple[Tensor, Tensor]:
    return raw(session.share(0, x, rows)), raw(session.share(1, y, rows))


def _less(width: int) -> Callable[..., Bits]:
    return lambda session, x, y, rows: less(session, *_both(session, x, y, rows), width)


def _less_limbs(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Bits:
    """Any two BIGINT: the owners cut them into a signed high and an unsigned low limb of 32 bits."""
    high = _both(session, None if x is None else x >> 32, None if y is None else y >> 32, rows)
    low = _both(session, None if x is None else x & 0xFFFF_FFFF, None if y is None else y & 0xFFFF_FFFF, rows)
    return less_rows(session, [(*high, 33), (*low, 33)])


def _equal(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Bits:
    a, b = _both(session, x, y, rows)
    return is_zero(session, a - b, 64)


def _product(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Shared:
    return multiply(session, *_both(session, x, y, rows))


def _quotient(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Shared:
    a, b = _both(session, x, y, rows)
    return divide(session, a, 63, b, 32, divisor_signed=False)[0]


def _truncated(x: Column, y: Column) -> Column:
    """x / y toward zero, y > 0."""
    quotient: Column = x // y
    quotient += (x < 0) & (quotient * y != x)
    return quotient


ROWWISE = {
    "lt32": Rowwise(_less(33), lambda x, y: x < y, narrow=True),
    "lt64": Rowwise(_less_limbs, lambda x, y: x < y),
    "lt64shares": Rowwise(_less(64), lambda x, y: x < y),
    "eq64": Rowwise(_equal, lambda x, y: x == y),
    "mul64": Rowwise(_product, lambda x, y: x * y),
    "div64": Rowwise(_quotient, _truncated),
}


# --- operations on whole columns ---


@dataclass(frozen=True, slots=True)
class Whole:
    """columns(rows): x and y. body(session, x, y, rows): the result's shares. plain(rows, opened): asserts that they are
    right."""

    columns: Callable[[int], tuple[Column, Column]]
    body: Callable[[Session, Tensor | None, Tensor | None, int], Sequence[Shared | Bits]]
    plain: Callable[[int, list[Column]], None]

    def owned(self, rank: int, rows: int) -> Owned:
        if rank > 1:
            return NOTHING
        column = torch.from_numpy(self.columns(rows)[rank])
        return Owned(x=column) if rank == 0 else Owned(y=column)

    def run(self, session: Session, owned: Owned, rows: int) -> Sequence[Shared | Bits]:
        return self.body(session, owned.x, owned.y, rows)

    def check(self, session: Session, name: str, found: Sequence[Shared | Bits], rows: int) -> None:
        opened = [opened_value(session, shared) for shared in found]
        if not session.tracing:
            self.plain(rows, cast(list[Column], opened))


def _two(rows: int) -> tuple[Column, Column]:
    return columns.words(0, 0, rows, 64), columns.words(1, 0, rows, 64)


def _shuffle(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Sequence[Shared | Bits]:
    """Rows of 32 bytes: two words of either owner."""
    record = [*_both(session, x, y, rows), *_both(session, None if x is None else ~x, None if y is None else ~y, rows)]
    return permute.shuffle(session, record)


def _shuffled(rows: int, opened: list[Column]) -> None:
    x, y = _two(rows)
    place, order = np.argsort(opened[0]), np.argsort(x)
    for found, wanted in zip(opened, (x, y, ~x, ~y), strict=True):
        same(found[place], wanted[order])
    assert rows < 20 or not np.array_equal(opened[0], x), "shuffled"


def _limbs(session: Session, x: Tensor | None, rows: int) -> tuple[list[sorting.Limb], list[Shared]]:
    """A BIGINT column of party 0 as a key that nobody knows any more, and as a record."""
    limbs = sorting.share_limbs(session, 0, x, rows)
    high, low = (raw(limb) for limb, _ in limbs)
    return limbs, [(high << 32) + low]


def _sort(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Sequence[Shared | Bits]:
    return sorting.sort(session, *_limbs(session, x, rows))


def _sorted(rows: int, opened: list[Column]) -> None:
    same(opened[0], np.sort(_two(rows)[0]))


def _narrow(rows: int) -> tuple[Column, Column]:
    return columns.words(0, 0, rows, 32), columns.words(1, 0, rows, 32)


def _sort_narrow(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Sequence[Shared | Bits]:
    key = session.share(0, x, rows)
    return sorting.sort(session, sorting.limbs_of(key, 32), [key])


def _sorted_narrow(rows: int, opened: list[Column]) -> None:
    same(opened[0], np.sort(_narrow(rows)[0]))


def _top(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Sequence[Shared | Bits]:
    return sorting.top_k(session, *_limbs(session, x, rows), TOP)


def _topped(rows: int, opened: list[Column]) -> None:
    same(opened[0], np.sort(_two(rows)[0])[:TOP])


def _keys(rows: int) -> tuple[Column, Column]:
    """The probing side's keys, a third of which meet one, and the other side's: unique."""
    return columns.distinct(0, rows) * 2, columns.distinct(1, rows) * 3


def _align(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Sequence[Shared | Bits]:
    usable = torch.ones(rows, dtype=torch.bool)
    probe = Side(0, rows, None if x is None else [x], None if x is None else usable)
    build = Side(1, rows, None if y is None else [y], None if y is None else usable)
    payload = session.share(1, None if y is None else y + 1, rows)
    match, found = align(session, probe, build, [32], [payload])
    return [match, *found]


def _joined(rows: int, opened: list[Column]) -> None:
    x, _ = _keys(rows)
    met = (x % 3 == 0) & (x < 3 * rows)
    same(opened[0], met)
    same(opened[1], np.where(met, x + 1, 0))


def _sort_merge(session: Session, x: Tensor | None, y: Tensor | None, rows: int) -> Sequence[Shared | Bits]:
    """The same join of keys that nobody knows any more."""
    a, b = _both(session, x, y, rows)
    payload = session.share(1, None if y is None else y + 1, rows)
    match, found = sort_merge.sort_merge(session, sort_merge.Side([a]), sort_merge.Side([b]), [33], [payload])
    return [match, *found]


WHOLE = {
    "shuffle": Whole(_two, _shuffle, _shuffled),
    "sort64": Whole(_two, _sort, _sorted),
    "sort32": Whole(_narrow, _sort_narrow, _sorted_narrow),
    "topk": Whole(_two, _top, _topped),
    "align": Whole(_keys, _align, _joined),
    "sortmerge": Whole(_keys, _sort_merge, _joined),
}

OPERATIONS = (*ROWWISE, *WHOLE)


# --- the check ---


def opened_value(session: Session, shared: Shared | Bits) -> Column | None:
    """What is behind shares, opened behind a fresh zero sharing: benchmarks alone do this. None in a trace."""
    xor = isinstance(shared, Bits)
    share = shared.share if isinstance(shared, Bits) else raw(shared)
    [found] = session.open_masked([Masked(session.rerandomize(share, xor=xor), xor=xor)], "a benchmark's own check")
    if session.tracing:
        return None
    found = found.cpu()
    value: Column = (bits.unpack(found, shared.rows) if isinstance(shared, Bits) else found).numpy()
    return value


def same(opened: Column, wanted: Any) -> None:
    assert np.array_equal(opened, wanted), (opened[:4].tolist(), wanted[:4].tolist())
