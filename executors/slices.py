"""Relations a slice of rows at a time: what needs no order of rows runs in memory that does not grow with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sdh.executors.all_pairs import nested_loop
from sdh.executors.bits import Bits, concat, slice_
from sdh.executors.runtime import Session
from sdh.executors.shares import Shared, raw
from sdh.executors.values import Relation, Value, columns_of, from_columns, joined
from sdh.planners.physical import NestedLoop

SLICE = 1 << 20
"""Rows of a slice: its border follows from slots alone. Part of the plan digest."""


@dataclass(frozen=True, slots=True)
class Slice:
    """`rows` rows, made when they are needed; errors found on the way are appended to the list that is given."""

    rows: int
    make: Callable[[list[Bits]], Relation]


def cut(relation: Relation) -> list[Slice]:
    """A relation that is there, in slices."""
    return [Slice(stop - start, partial(_part, relation, start, stop)) for start, stop in _borders(relation.slots, SLICE)]


def pairs(session: Session, node: NestedLoop, left: Relation, right: Relation) -> list[Slice]:
    """All pairs that meet the condition: some rows of the left with all of the right, or with some of it."""
    found = []
    for first, last in _borders(left.slots, max(1, SLICE // max(right.slots, 1))):
        for start, stop in _borders(right.slots, SLICE):
            make = partial(_pairs, session, node, _part(left, first, last, []), _part(right, start, stop, []))
            found.append(Slice((last - first) * (stop - start), make))
    return found


def by_left(session: Session, node: NestedLoop, left: Relation, right: Relation, errors: list[Bits]) -> Relation:
    """The left's rows by what all pairs of each say (kinds but INNER), some rows of the left at a time with all of the right."""
    borders = _borders(left.slots, max(1, SLICE // max(right.slots, 1)))
    if len(borders) == 1:
        return nested_loop(session, node, left, right, errors)

    def met(part: Relation) -> tuple[Relation, list[Bits]]:
        found: list[Bits] = []
        return nested_loop(session, node, part, right, found), found

    parts: list[Relation] = []
    for start, stop in borders:
        part, failed = session.once((node, stop - start), partial(met, _part(left, start, stop, [])))
        parts.append(part)
        errors += failed
    new = {n: joined([part.columns[n] for part in parts]) for n in parts[0].columns if n not in left.columns}
    valid = left.valid
    if node.kind in ("SEMI", "ANTI"):
        valid = concat([part.valid for part in parts if part.valid is not None])
    return Relation(left.slots, valid, left.columns | new, left.clear, left.real)


def _pairs(session: Session, node: NestedLoop, left: Relation, right: Relation, errors: list[Bits]) -> Relation:
    return nested_loop(session, node, left, right, errors)


def _borders(rows: int, step: int) -> list[tuple[int, int]]:
    return [(start, min(start + step, rows)) for start in range(0, max(rows, 1), step)]


def _part(relation: Relation, start: int, stop: int, errors: list[Bits]) -> Relation:
    """Some rows, without what this party knows of them."""
    del errors   # there are none: the rows are there
    if start == 0 and stop == relation.slots:
        return relation
    valid = None if relation.valid is None else slice_(relation.valid, start, stop)
    return Relation(stop - start, valid, {n: _rows(value, start, stop) for n, value in relation.columns.items()})


def _rows(value: Value, start: int, stop: int) -> Value:
    parts: list[Shared | Bits] = []
    for part in columns_of(value):
        parts.append(slice_(part, start, stop) if isinstance(part, Bits) else raw(part)[start:stop])
    return from_columns(value, parts)
