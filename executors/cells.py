"""Cells: the combinations of values of small-domain keys, which are public; a row counts in the one whose values it has."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch

from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.compare import is_zero_many
from sdh.executors.evaluate import evaluate, number
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.values import Number, Relation, Truth, Value, false_of, joined, null_of
from sdh.planners.columns import nullable
from sdh.planners.expressions import Expression
from sdh.planners.intervals import Range
from sdh.planners.physical import Aggregate
from sdh.planners.ranges import range_of
from sdh.schema import Kind


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of small-domain values: what the keys are, and the bit of the rows that have it (None: all)."""

    keys: tuple[int | None, ...]
    rows: Bits | None


def cells_of(node: Aggregate, scope: Scope) -> list[Cell]:
    """All combinations of the small-domain keys' values; one cell where there are no such keys."""
    choices = [_choices(e, scope) for _, e in node.domain_keys]
    found = []
    for combination in product(*choices):
        rows = scope.relation.valid
        for _, bit in combination:
            rows = bit if rows is None else bits.and_(scope.session, rows, bit)
        found.append(Cell(tuple(value for value, _ in combination), rows))
    return found


def _choices(expression: Expression, scope: Scope) -> list[tuple[int | None, Bits]]:
    """The values that a small-domain key takes, NULL last, each with the bit of the rows that have it."""
    session = scope.session
    value = evaluate(expression, scope)
    if isinstance(value, Truth):
        found: list[tuple[int | None, Bits]] = [(0, false_of(value, session)), (1, value.true)]
    else:
        found = _equalities(number(expression, scope), range_of(expression, scope.columns), scope)
    if nullable(expression, scope.columns):
        null = null_of(value, session)
        found.append((None, scope.bit(False) if null is None else null))
    return found


def _equalities(value: Number, range_: Range, scope: Scope) -> list[tuple[int | None, Bits]]:
    session = scope.session
    values = range(range_.low, range_.high + 1)
    width = max(len(values), 2).bit_length()
    equal = is_zero_many(session, [(value.share - scope.constant(v), width) for v in values])
    if value.null is not None:
        known = bits.not_(session, value.null)
        equal = bits.and_many(session, [(bit, known) for bit in equal])
    return list(zip(values, equal, strict=True))


def together(node: Aggregate, cells: list[Cell], parts: list[Relation], scope: Scope) -> Relation:
    """The cells' rows one after the other, with the small-domain keys as columns."""
    session = scope.session
    for place, (new, e) in enumerate(node.domain_keys):
        null = nullable(e, scope.columns)
        for cell, part in zip(cells, parts, strict=True):
            part.columns[new.number] = _public(cell.keys[place], new.type.kind is Kind.BOOLEAN, null, part.slots, session)
    if len(parts) == 1:
        return parts[0]
    valid = bits.concat([part.valid for part in parts if part.valid is not None])
    columns = {n: joined([part.columns[n] for part in parts]) for n in parts[0].columns}
    return Relation(sum(part.slots for part in parts), valid, columns)


def _public(value: int | None, boolean: bool, has_null: bool, rows: int, session: Session) -> Value:
    null = bits.constant(session, rows, value is None) if has_null else None
    if boolean:
        return Truth(bits.constant(session, rows, value == 1), bits.constant(session, rows, value == 0) if has_null else None)
    own = (value or 0) if session.rank == 0 else 0
    return Number(torch.full((rows,), own, dtype=torch.int64, device=session.device), null)
