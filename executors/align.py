"""Joining by keys that their owners know: 3-hash cuckoo table, candidate bins, equality on shares.

Source: protocols.md section 6 (`align`), after Mohassel, Rindal and Rosulek (CCS 2020) and Pinkas et al. (circuit
PSI). Nothing but sizes is revealed: which bins are full, who matched and how often stays shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import cuckoo
from sdh.executors.arithmetic import mux_many
from sdh.executors.bits import Bits, all_of, and_many, slice_, xor
from sdh.executors.compare import is_zero_many
from sdh.executors.permute import CopyRoutes, Record, copied, copy_routes, permute
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, raw
from sdh.planners.protocol_costs import passes, spans

Columns = list[ArithmeticSharedTensor | Bits]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a join. `key` (int64 words) and `usable` (bool) are in the clear at `rank` and None elsewhere.

    A row that is not usable (padding, NULL key) equals nothing. `shared`: shares of the key words, or None to share
    them here (free).
    """

    rank: int
    rows: int
    key: Sequence[Tensor] | None
    usable: Tensor | None
    shared: Sequence[Shared] | None = None


def align(session: Session, probe: Side, build: Side, widths: Sequence[int],
          payload: Record) -> tuple[Bits, list[ArithmeticSharedTensor | Bits]]:
    """For every probe row: whether its key is one of the build side's, and that row's payload (0 if none).

    Keys are unique over the build side's usable rows; `widths` are bits of each key word (equality compares that
    many). Bits in the payload come back ANDed with the match, so the build side's validity among them is the match
    with valid rows.

    Candidate j lies in the table's third j, so that the three may come in one pass or, where they are many
    (protocol_costs.passes), one after the other: the same bytes, in more rounds and a third of the memory.

    Before anything is sent, the build owner places its rows into a table of max(1.27 n1, n1 + 512) bins (rows that
    are not usable into bins left free) and the probe owner computes its three candidate bins a row, under a hash
    key that only they have. Then
    1. the build owner shares the table's key words and which bins hold usable rows: free;
    2. the payload goes to the table by the build owner's permutation (`permute`, 1 round);
    3. the probe owner copies its 3 n0 candidates out of the table (permute.copied, 3 rounds a pass);
    4. 3 n0 equalities of key words, AND of the words and the bin's flag (about 8 rounds a pass);
    5. mux of the three candidates' payload by their outcome, added up: at most one is set (1 round for each 2^20 rows).

    Raises KeyViolated, DataError at the owner before any share leaves.
    """
    size = cuckoo.bins(build.rows)
    key = session.pair_key(probe.rank, build.rank)
    table = session.at(build.rank, lambda: _table(build, key, size, len(widths)))
    turns = passes(probe.rows, len(widths) + len(payload))
    routes = session.at(probe.rank, lambda: _routes(probe, key, size, turns))
    table_key = [session.share(build.rank, None if table is None else table.key[index], size)
                 for index in range(len(widths))]
    full = session.share_bits(build.rank, None if table is None else table.full, size)
    with session.operator("table"):
        placed = permute(session, build.rank, None if table is None else table.destination, payload, size,
                         keeps_all=True) if payload else []
    own, bins = _shared_key(session, probe, len(widths)), [*table_key, *placed, full]
    del table_key, placed, full, table
    matched: Bits | None = None
    found: Columns = []
    for place, thirds in enumerate(turns):
        with session.operator("fetch"):
            fetched = copied(session, probe.rank, None if routes is None else routes[place],
                             [_thirds(column, thirds, size // 3) for column in bins], len(thirds) * probe.rows)
        keys, values, flag = fetched[:len(widths)], fetched[len(widths):-1], fetched[-1]
        del fetched
        with session.operator("match"):
            match = _equal(session, own, keys, widths, flag, len(thirds))
        del keys
        with session.operator("select"):
            values = _selected(session, match, values, probe.rows)
        matched = _added(matched, _fold(match, probe.rows))
        found = [_added(column, more) for column, more in zip(found, values, strict=True)] if found else values
    assert matched is not None
    return matched, found


@dataclass(frozen=True, slots=True)
class _Table:
    key: list[Tensor]
    full: Tensor
    destination: Tensor


def _table(build: Side, key: bytes | None, size: int, words: int) -> _Table:
    """Where every row goes, and the key words and usable flags in table order."""
    columns, usable = _clear(build)
    if key is None or len(columns) != words:
        raise InternalError("align needs the key words of each side at its owner, two parties.")
    rows = np.flatnonzero(usable)
    kept = [column[rows] for column in columns]
    cuckoo.require_unique(kept)
    table = cuckoo.place(cuckoo.candidates(kept, key, size), size)
    full = table >= 0
    destination = np.empty(build.rows, dtype=np.int64)
    destination[rows[table[full]]] = np.flatnonzero(full)
    destination[~usable] = np.flatnonzero(~full)[:build.rows - len(rows)]
    placed = []
    for column in kept:
        values = np.zeros(size, dtype=np.int64)
        values[full] = column[table[full]]
        placed.append(torch.from_numpy(values))
    return _Table(placed, torch.from_numpy(full), torch.from_numpy(destination))


def _routes(probe: Side, key: bytes | None, size: int, turns: Sequence[Sequence[int]]) -> list[CopyRoutes]:
    """Of each pass: for every row its candidate bin in the first of the thirds, then in the next; none if it is not usable."""
    columns, usable = _clear(probe)
    if key is None:
        raise InternalError("align joins the keys of two parties.")
    chosen = np.where(usable, cuckoo.candidates(columns, key, size), -1)
    found = []
    for thirds in turns:
        part = chosen[list(thirds)]
        bins = np.where(part < 0, -1, part - thirds[0] * (size // 3)).reshape(-1)
        found.append(copy_routes(torch.from_numpy(bins), len(thirds) * (size // 3), len(bins)))
    return found


def _thirds(column: Shared | Bits, thirds: Sequence[int], size: int) -> Shared | Bits:
    """Some thirds of the table, which follow each other."""
    start, stop = thirds[0] * size, (thirds[-1] + 1) * size
    return slice_(column, start, stop) if isinstance(column, Bits) else raw(column)[start:stop]


def _clear(side: Side) -> tuple[list[np.ndarray], np.ndarray]:
    if side.key is None or side.usable is None:
        raise InternalError("The owner of a key gives it in the clear.")
    return [column.numpy() for column in side.key], side.usable.numpy()


def _shared_key(session: Session, side: Side, words: int) -> list[Tensor]:
    if side.shared is not None:
        return [raw(column) for column in side.shared]
    return [raw(session.share(side.rank, None if side.key is None else side.key[index], side.rows))
            for index in range(words)]


def _equal(session: Session, own: Sequence[Tensor], found: Sequence[Shared | Bits], widths: Sequence[int],
           full: Shared | Bits, times: int) -> Bits:
    """Of `times` candidates a row."""
    assert isinstance(full, Bits)
    differences = [(mine.repeat(times) - raw(theirs), width)
                   for mine, theirs, width in zip(own, found, widths, strict=True)]
    terms = [*is_zero_many(session, differences), full]
    return all_of(session, terms)


def _selected(session: Session, match: Bits, payload: Columns, rows: int) -> Columns:
    """Of the candidates, as many rows for each, the payload of what matches; a slice of candidates at a time."""
    flags = iter(and_many(session, [(match, column) for column in payload if isinstance(column, Bits)]))
    found = [_fold(next(flags), rows) if isinstance(column, Bits) else arithmetic(raw(column)) for column in payload]
    values = [raw(column) for column in found if not isinstance(column, Bits)]
    del payload
    if not values:
        return found
    start = 0
    for size in spans(match.rows):
        stop = start + size
        met = mux_many(session, [(slice_(match, start, stop), [value[start:stop] for value in values])])[0]
        for value, part in zip(values, met, strict=True):
            value[start:stop] = raw(part)   # in its place
        start = stop
    return [column if isinstance(column, Bits) else _summed(raw(column), rows) for column in found]


def _summed(values: Tensor, rows: int) -> ArithmeticSharedTensor:
    """The sum of the candidates: at most one is not 0."""
    return arithmetic(values if len(values) == rows else values.reshape(-1, rows).sum(0))


def _added(before: Any, more: Any) -> Any:
    """What an earlier pass found, and what this one did: at most one is not 0."""
    if before is None:
        return more
    return xor(before, more) if isinstance(before, Bits) else arithmetic(raw(before).add_(raw(more)))


def _fold(bits: Bits, rows: int) -> Bits:
    """XOR of the candidates: at most one holds a match."""
    found = slice_(bits, 0, rows)
    for start in range(rows, bits.rows, max(rows, 1)):
        found = xor(found, slice_(bits, start, start + rows))
    return found
