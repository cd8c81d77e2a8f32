"""Radix sort on shared bits: stable, from the lowest digit, two bits a pass (protocols.md section 4; Hamada et al. 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.compaction import Columns, apply_shared_permutation, columns_of, destinations, invert, row_numbers
from sdh.executors.jobs import CHUNK, Job
from sdh.executors.keys import Limb, falling
from sdh.executors.permute import Record
from sdh.executors.rounds import bit_planes
from sdh.executors.runtime import Session
from sdh.executors.shares import bits_of, raw
from sdh.planners.sorting import DIGIT, carried_along


def radix_sort(session: Session, keys: Sequence[Bits], record: Record) -> Columns:
    """The record in rising order of the key whose bits, from the lowest, are `keys`; rows of equal keys keep their order.

    For every digit: 1. Its destinations. 2. Apply them to the bits that are left and to what is carried: the record, or
    where that is wider, the rows' numbers, by which the record is moved once at the end: they say which row comes to a
    place, so 3. invert them, and 4. apply that to the record. With k = place_bits(rows), carrying u bytes, a pass costs two
    parties 8 + u + (2 + 4k) / 8 and 1/8 for every bit left, 64 + 2u dealt; 5 rounds.
    """
    if not keys:
        return columns_of(record)
    if any(bit.rows != keys[0].rows for bit in keys):
        raise InternalError("The bits of a key have one row count.")
    direct = carried_along(record_bytes(record), -(-len(keys) // DIGIT))
    carried: Record = record if direct else [row_numbers(session, keys[0].rows)]
    while keys:
        digit, left = keys[:DIGIT], keys[DIGIT:]
        moved = apply_shared_permutation(session, destinations(session, digit), [*left, *carried])
        keys, carried = [bit for bit in moved[:len(left)] if isinstance(bit, Bits)], moved[len(left):]
    if direct:
        return columns_of(carried)
    [source] = carried
    assert not isinstance(source, Bits)
    return apply_shared_permutation(session, invert(session, source), record)


def bits_of_key(session: Session, limbs: Sequence[Limb], descending: Sequence[bool] = ()) -> list[Bits]:
    """The bits of a key on shares, from the lowest, for `radix_sort`: those of each limb by a masked opening.

    About 1 + 2 log2(bits) bits of each bit sent, 1 + log2(bits) rounds. The first limb may be signed: it gets an offset.
    """
    found = []
    for place, ((x, width), falls) in reversed(list(enumerate(zip(limbs, falling(limbs, descending), strict=True)))):
        low = -1 << (width - 1) if place == 0 and session.rank == 0 else 0
        part = _bits(session, raw(x) + low, width if place == 0 else width - 1)
        found += [bits.not_(session, bit) for bit in part] if falls else part
    return found


def _bits(session: Session, x: Tensor, width: int) -> list[Bits]:
    parts = [x[start:start + CHUNK] for start in range(0, max(len(x), 1), CHUNK)]
    jobs = [Job(("bits", len(part), width), partial(bit_planes, session, part, width)) for part in parts]
    return [bits_of(plane, len(x)) for plane in torch.cat(session.interleave(jobs), dim=1).unbind()]


def share_bits_of_key(session: Session, owner: int, column: Tensor | None, rows: int, width: int, *,
                      signed: bool = False, descending: bool = False) -> list[Bits]:
    """The same of an int64 column that `owner` has in the clear: free. In [0, 2^width), or [-2^(width-1), 2^(width-1))."""
    flip = -int(descending) ^ (-1 << (width - 1) if signed else 0)
    return [session.share_bits(owner, None if column is None else (column ^ flip) >> place & 1, rows) for place in range(width)]


def record_bytes(record: Record) -> int:
    """Bytes of a row as it is moved."""
    flags = sum(isinstance(column, Bits) for column in record)
    return 8 * (len(record) - flags) + (flags + 7) // 8
