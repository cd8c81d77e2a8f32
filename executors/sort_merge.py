"""Joins of keys that nobody knows: both sides are sorted together on shares, and neighbours meet.

Source: protocols.md section 6 (`sort-merge`, `expand`); sizes of groups as in Krastnikov, Kerschbaum and Stebila (VLDB
2020). A row that is not `usable` (not valid, or a NULL in its key) equals nothing, whatever its key holds. Nothing but
sizes is revealed: all that opens is what the sort opens, and positions under a shuffle by all parties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sdh.executors import bits
from sdh.executors.arithmetic import mux_many, to_arithmetic, to_arithmetic_many
from sdh.executors.bits import Bits, all_of, and_many, not_
from sdh.executors.compaction import Columns, apply_shared_permutation, destinations, row_numbers
from sdh.executors.compare import is_zero_many
from sdh.executors.expand import (
    Pairs,
    Runs,
    arrange,
    backward,
    differences,
    expand,
    forward,
    padded,
    part,
    prefixes,
)
from sdh.executors.permute import Given, Record
from sdh.executors.runtime import Session
from sdh.executors.shares import Shared, arithmetic, raw
from sdh.executors.sorting import sort


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a join: limbs of its key, highest first, and the rows that can match (None: all)."""

    key: Sequence[Shared]
    usable: Bits | None = None

    @property
    def rows(self) -> int:
        return len(raw(self.key[0]))


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows of both sides in the order of their keys.

    `left`: which are the left side's; in these alone the record, the match and the payload (0 if none) say something.
    """

    left: Bits
    record: Columns
    match: Bits
    payload: Columns


def sort_merge(session: Session, left: Side, right: Side, widths: Sequence[int], payload: Record) -> tuple[Bits, Columns]:
    """For every left row: whether its key is one of the right side's, and that row's payload (0 if none), in left order.

    Keys are unique over the right side's usable rows; any number of left rows share one. `widths`: bits that hold the
    difference of two values of a limb (keys.Limb). 1. `_met`, every row with its place. 2. What came to a left row goes back
    to its place. 3. match = the key that came is its own AND there was one AND the row is usable. 4. mux of the payload.

    Two parties, bytes sent / dealt: the sort of all n0 + n1 rows with its place, flags, key and payload; for each of them,
    with w bytes of key, payload and a flag and k bits of a place, 28 + (3k + 1)/8 + 3w / 48 + 6w, 12 rounds; for each of
    the n0 an equality of the limbs, some ANDs and a mux of the payload.
    """
    numbers = row_numbers(session, left.rows + right.rows)
    places = arithmetic(torch.cat([numbers[left.rows:], numbers[:left.rows]]))
    with session.operator("merge"):
        found = _met(session, left, right, widths, [places], payload)
    [place], returning = _ring(found.along), Given([*found.came, found.exists])
    del found
    with session.operator("back"):
        back = apply_shared_permutation(session, place, returning)
    *came, exists = (part(column, 0, left.rows) for column in back)
    with session.operator("match"):
        match = _equal(session, left.key, came[:len(widths)], widths, [_bit(exists), left.usable])
        return match, _wiped(session, match, came[len(widths):])


def merge(session: Session, left: Side, right: Side, widths: Sequence[int], record: Record, payload: Record) -> Merged:
    """`sort_merge` that leaves all rows sorted by key, the left side's `record` with them: no way back.

    It saves 8 + w + k/8 / 16 + 2w bytes a row; but the sort moves the record, and the match is of all n0 + n1 rows.
    """
    marks = [bits.constant(session, left.rows, True), left.usable or bits.constant(session, left.rows, True)]
    along = _stacked([_zeros(session, column, right.rows) for column in [*record, *marks]], [*record, *marks])
    with session.operator("merge"):
        found = _met(session, left, right, widths, along, payload)
    *kept, is_left, usable = found.along
    with session.operator("match"):
        match = _equal(session, found.key, found.came[:len(widths)], widths, [found.exists, _bit(usable)])
        return Merged(_bit(is_left), kept, match, _wiped(session, match, found.came[len(widths):]))


def many_to_many(session: Session, left: Side, right: Side, widths: Sequence[int], left_record: Record,
                 right_record: Record, bound: int) -> Pairs:
    """All pairs of usable rows of equal keys, to a declared bound (expand.py): more set the error bit.

    1. Sort both sides together, right rows first within a key. 2. The last row of a key: its successor's differs (one
    equality a row). 3. With the prefix counts of usable rows at these, brought to the front (`arrange`), differences give
    every group's numbers of left and right rows; they go back, and up to all rows of the group by suffix sums.
    4. A row has as many copies as its group has usable rows of the other side: `expand`.
    Two parties, bytes sent / dealt beyond the sort and expand: for each of the n0 + n1 rows an equality of the limbs and
    92 + 5/8 + (2k + 1)/8 / 184 (k bits of a place), about 18 rounds.
    """
    rows = left.rows + right.rows
    usable = [side.usable or bits.constant(session, side.rows, True) for side in (right, left)]
    record, places = _overlaid(session, (right_record, right.rows), (left_record, left.rows))
    flags = [padded(session, usable[0], rows),
             bits.concat([bits.constant(session, right.rows, False), usable[1]])]
    with session.operator("sort"):
        keys = [*_ring(_stacked(right.key, left.key))]
        found = sort(session, list(zip(keys, widths, strict=True)), [*keys, *flags, *record])
    key, (is_right, is_left), moved = _ring(found[:len(keys)]), found[len(keys):len(keys) + 2], found[len(keys) + 2:]
    with session.operator("groups"):
        degrees, others, target, stride = _degrees(session, key, widths, _bit(is_right), _bit(is_left))
    return expand(session, Runs(degrees, [moved[place] for place in places[1]]),
                  Runs(others, [moved[place] for place in places[0]]), target, stride, bound)


# --- merging ---

@dataclass(frozen=True, slots=True)
class _Met:
    """Rows of both sides sorted: their keys, what went along, and what came from the last usable right row before or at
    each (key limbs, payload), if there was one."""

    key: list[Tensor]
    along: Columns
    came: Columns
    exists: Bits


def _met(session: Session, left: Side, right: Side, widths: Sequence[int], along: Record, payload: Record) -> _Met:
    """1. Sort right rows, then left rows, stably by key and 'of the left side, or usable': a usable right row lies right
    before the left rows of its key. 2. `_carried` from the right rows on. `along` has the right side's rows first."""
    rows, words = left.rows + right.rows, len(widths)
    keys = _ring(_stacked(right.key, left.key))
    usable = right.usable or bits.constant(session, right.rows, True)
    flags = [padded(session, column, rows) for column in (bits.constant(session, right.rows, True), usable)]
    limbs = list(zip(keys, widths, strict=True))
    if right.usable is not None:
        late = raw(to_arithmetic(session, usable))
        limbs.append((torch.cat([late, late.new_zeros(left.rows) + (1 if session.rank == 0 else 0)]), 2))
    record = Given([*along, *keys, *(padded(session, column, rows) for column in payload), *flags])
    count = len(along)
    del keys, flags
    with session.operator("sort"):
        found = sort(session, limbs, record)
    kept, key, is_right, record = found[:count], found[count:count + words], found[-2], Given([*found[count:-2], found[-1]])
    del found
    *came, exists = _carried(session, _bit(is_right), right.rows, record)
    return _Met(_ring(key), kept, came, _bit(exists))


def _carried(session: Session, kept: Bits, count: int, record: Record) -> Columns:
    """Every row gets the record of the last of the `count` kept rows before or at it, or 0.

    1. The kept rows go to the front, in order. 2. Differences of neighbours there, 0 behind: local. 3. All go back.
    4. Prefix sums: local.
    """
    arrangement = arrange(session, destinations(session, [not_(session, kept)]))
    front, steps = forward(session, arrangement, record)[::-1], Given()
    while front:   # each goes as it is used
        steps.append(padded(session, differences(part(front.pop(), 0, count)), kept.rows))
    back = backward(session, arrangement, steps)[::-1]
    return [prefixes(back.pop()) for _ in range(len(back))]


def _equal(session: Session, own: Sequence[Shared], came: Record, widths: Sequence[int], also: Sequence[Bits | None]) -> Bits:
    pairs = zip(own, _ring(came), widths, strict=True)
    equal = is_zero_many(session, [(raw(mine) - theirs, max(1, width - 1)) for mine, theirs, width in pairs])
    terms = [*equal, *(bit for bit in also if bit is not None)]
    return all_of(session, terms)


def _wiped(session: Session, match: Bits, record: Record) -> Columns:
    """The record where there is a match, else 0."""
    values, flags = _ring([column for column in record if not isinstance(column, Bits)]), _flags(record)
    chosen = iter(mux_many(session, [(match, values)])[0] if values else [])
    flagged = iter(and_many(session, [(match, flag) for flag in flags]))
    return [next(flagged) if isinstance(column, Bits) else next(chosen) for column in record]


# --- groups ---

def _degrees(session: Session, key: Sequence[Tensor], widths: Sequence[int], is_right: Bits,
             is_left: Bits) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of sorted rows: left rows' degrees, right rows' degrees, target and stride (expand.expand)."""
    rows = is_right.rows
    if not rows:
        return key[0], key[0], key[0], key[0]
    steps = [column[1:] - column[:-1] for column in key]
    same = _equal(session, steps, [arithmetic(step - step) for step in steps], widths, [])
    last = bits.concat([not_(session, same), bits.constant(session, 1, True)])
    counts = [torch.cumsum(raw(column), 0) for column in to_arithmetic_many(session, [is_right, is_left])]
    totals = [count[-1:] for count in counts]
    [ends] = mux_many(session, [(last, [count - total for count, total in zip(counts, totals, strict=True)])])
    ends = [raw(end) + total for end, total in zip(ends, totals, strict=True)]   # behind the last group: the totals
    arrangement = arrange(session, destinations(session, [not_(session, last)]))
    rights, lefts = _ring(forward(session, arrangement, ends))
    inside = [raw(differences(column)) for column in (rights, lefts)]
    groups, beyond = [*inside, rights - inside[0]], [totals[0] - totals[0], totals[1] - totals[1], totals[0]]
    drops = [torch.cat([column[:-1] - column[1:], column[-1:] - base]) for column, base in zip(groups, beyond, strict=True)]
    back = _ring(backward(session, arrangement, [arithmetic(column) for column in drops]))
    stride, lefts, before = (torch.cumsum(column.flip(0), 0).flip(0) + base for column, base in zip(back, beyond, strict=True))
    [[degrees], [others]] = mux_many(session, [(is_left, [stride]), (is_right, [lefts])])
    target = torch.cumsum(raw(degrees), 0) + counts[0] - before
    return raw(degrees), raw(others), target - 1 if session.rank == 0 else target, stride


# --- columns ---

def _ring(record: Record) -> list[Tensor]:
    found = []
    for column in record:
        assert not isinstance(column, Bits)
        found.append(raw(column))
    return found


def _flags(record: Record) -> list[Bits]:
    return [column for column in record if isinstance(column, Bits)]


def _bit(column: Shared | Bits) -> Bits:
    assert isinstance(column, Bits)
    return column


def _stacked(first: Record, second: Record) -> Columns:
    """The rows of the first, then those of the second."""
    found: Columns = []
    for a, b in zip(first, second, strict=True):
        if isinstance(a, Bits) or isinstance(b, Bits):
            found.append(bits.concat([_bit(a), _bit(b)]))
        else:
            found.append(arithmetic(torch.cat([raw(a), raw(b)])))
    return found


def _zeros(session: Session, like: Shared | Bits, rows: int) -> Shared | Bits:
    if isinstance(like, Bits):
        return bits.constant(session, rows, False)
    return raw(like).new_zeros(rows)


def _overlaid(session: Session, *sides: tuple[Record, int]) -> tuple[Columns, list[list[int]]]:
    """Two records under each other, ring columns first; where each column of either is."""
    rings = [[column for column in record if not isinstance(column, Bits)] for record, _ in sides]
    flags = [_flags(record) for record, _ in sides]
    width, height = (max(map(len, kind)) for kind in (rings, flags))
    filled = []
    for (_, rows), ring, flag in zip(sides, rings, flags, strict=True):
        zero, none = torch.zeros(rows, dtype=torch.int64, device=session.device), bits.constant(session, rows, False)
        filled.append([*ring, *[zero] * (width - len(ring)), *flag, *[none] * (height - len(flag))])
    places = []
    for record, _ in sides:
        numbers, marks = iter(range(width)), iter(range(width, width + height))
        places.append([next(marks) if isinstance(column, Bits) else next(numbers) for column in record])
    return _stacked(*filled), places
