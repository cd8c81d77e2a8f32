"""Joining by keys that their owners know: 3-hash cuckoo table, candidate bins, equality on shares.

Source: protocols.md section 6 (`align`), after Mohassel, Rindal and Rosulek (CCS 2020) and Pinkas et al. (circuit
PSI). Nothing but sizes is revealed: which bins are full, who matched and how often stays shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import cuckoo
from sdh.executors.arithmetic import mux_many
from sdh.executors.bits import Bits, and_many, slice_, xor
from sdh.executors.compare import is_zero_many
from sdh.executors.permute import Record, duplicate, permute
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, raw


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

    Before anything is sent, the build owner places its rows into a table of max(1.27 n1, n1 + 512) bins (rows that
    are not usable into bins left free) and the probe owner computes its three candidate bins a row, under a hash
    key that only they have. Then
    1. the build owner shares the table's key words and which bins hold usable rows: free;
    2. the payload goes to the table by the build owner's permutation (`permute`, 1 round);
    3. the probe owner copies its 3 n0 candidates out of the table (`duplicate`, 3 rounds);
    4. 3 n0 equalities of key words, AND of the words and the bin's flag (about 8 rounds);
    5. mux of the three candidates' payload by their outcome, added up: at most one is set (1 round).

    Raises KeyViolated, DataError at the owner before any share leaves.
    """
    size = cuckoo.bins(build.rows)
    key = session.pair_key(probe.rank, build.rank)
    table = session.at(build.rank, lambda: _table(build, key, size, len(widths)))
    chosen = session.at(probe.rank, lambda: _candidates(probe, key, size))
    table_key = [session.share(build.rank, None if table is None else table.key[index], size)
                 for index in range(len(widths))]
    full = session.share_bits(build.rank, None if table is None else table.full, size)
    with session.operator("table"):
        placed = permute(session, build.rank, None if table is None else table.destination, payload, size,
                         keeps_all=True) if payload else []
    with session.operator("fetch"):
        fetched = duplicate(session, probe.rank, chosen, [*table_key, *placed, full], 3 * probe.rows)
    with session.operator("match"):
        match = _equal(session, _shared_key(session, probe, len(widths)), fetched[:len(widths)], widths, fetched[-1])
    with session.operator("select"):
        return _select(session, match, fetched[len(widths):-1], probe.rows)


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


def _candidates(probe: Side, key: bytes | None, size: int) -> Tensor:
    """The candidate bin of every row in the first third, then the second, then the last; -1 if it is not usable."""
    columns, usable = _clear(probe)
    if key is None:
        raise InternalError("align joins the keys of two parties.")
    chosen = np.where(usable, cuckoo.candidates(columns, key, size), -1)
    return torch.from_numpy(chosen.reshape(-1))


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
           full: Shared | Bits) -> Bits:
    assert isinstance(full, Bits)
    differences = [(mine.repeat(3) - raw(theirs), width)
                   for mine, theirs, width in zip(own, found, widths, strict=True)]
    terms = [*is_zero_many(session, differences), full]
    while len(terms) > 1:
        met = and_many(session, list(zip(terms[0::2], terms[1::2], strict=False)))
        terms = met + terms[2 * len(met):]
    return terms[0]


def _select(session: Session, match: Bits, payload: Record,
            rows: int) -> tuple[Bits, list[ArithmeticSharedTensor | Bits]]:
    values = [column for column in payload if not isinstance(column, Bits)]
    flags = [column for column in payload if isinstance(column, Bits)]
    chosen = iter(mux_many(session, [(match, values)])[0] if values else [])
    flagged = iter(and_many(session, [(match, flag) for flag in flags]))
    found: list[ArithmeticSharedTensor | Bits] = []
    for column in payload:
        if isinstance(column, Bits):
            found.append(_fold(next(flagged), rows))
        else:
            found.append(arithmetic(raw(next(chosen)).reshape(3, rows).sum(0)))
    return _fold(match, rows), found


def _fold(bits: Bits, rows: int) -> Bits:
    """XOR of the three thirds: at most one holds a match."""
    first, second, third = (slice_(bits, part * rows, (part + 1) * rows) for part in range(3))
    return xor(xor(first, second), third)
