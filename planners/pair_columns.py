"""Quotients that meet other values of one column, in CASE, COALESCE or UNION ALL, stay pairs: two columns in place of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sdh.planners.expressions import Apply, Case, Cast, Constant, Expression, Field, Ref
from sdh.planners.quotients import exact_below_cast, exact_constant, is_quotient
from sdh.planners.ranges import scale_of
from sdh.schema import BOOLEAN, DOUBLE, HUGEINT, INTEGER, Kind, Type

_ONE = Constant(INTEGER, 1, "1")
_FIRST = 100_050
"""Fields of pairs are numbered from here on, a hundred apart for each column: below 50 are those of aggregates."""


def outward(e: Expression) -> Expression:
    """CASE and COALESCE that have quotients for values as one quotient of two CASEs; anything else as it is."""
    match e:
        case Apply("coalesce", (first, *rest)) if any(map(is_quotient, e.arguments)):
            return outward(_coalesced(first, rest))
        case Case(((condition, Apply("/" | "average" as function, (numerator, divisor))),), None, type_):
            return Apply(function, (Case(((condition, numerator),), None, numerator.type), divisor), type_)
        case Case(branches, default, _):
            values = [outward(value) for _, value in branches] + ([] if default is None else [outward(default)])
            pairs = _pairs(values) if any(map(is_quotient, values)) else None
            return e if pairs is None else Apply("/", tuple(_chosen(e, side) for side in zip(*pairs, strict=True)), DOUBLE)
        case _:
            return e


def _coalesced(first: Expression, rest: Sequence[Expression]) -> Expression:
    if not rest:
        return first
    null = Apply("IS NULL", (first,), BOOLEAN, nullable=False)
    return Case(((null, _coalesced(rest[0], rest[1:])),), first, DOUBLE)


def _chosen(e: Case, values: Sequence[Expression]) -> Case:
    default = None if e.default is None else values[-1]
    branches = tuple((when, value) for (when, _), value in zip(e.branches, values, strict=False))
    return Case(branches, default, values[0].type)


@dataclass(slots=True)
class Spread:
    """Columns of several inputs: `outputs` with two fields for each column of quotients, which `values` put together."""

    outputs: list[Field] = field(default_factory=list)
    rows: list[list[Expression]] = field(default_factory=list)
    values: dict[int, Expression] = field(default_factory=dict)


def spread(outputs: Sequence[Field], rows: Sequence[Sequence[Expression]]) -> Spread:
    """rows: for every input, its expressions for `outputs`."""
    found = Spread(rows=[[] for _ in rows])
    for f, column in zip(outputs, zip(*rows, strict=True), strict=True):
        pairs = _pairs(column) if any(map(is_quotient, column)) else None
        sides = [column] if pairs is None else list(zip(*pairs, strict=True))
        fields = [f] if pairs is None else _fields(f, sides)
        found.outputs += fields
        for row, values in zip(found.rows, zip(*sides, strict=True), strict=True):
            row += values
        if pairs is not None:
            found.values[f.number] = Apply("/", tuple(map(Ref, fields)), f.type)
    return found


def _fields(f: Field, sides: Sequence[Sequence[Expression]]) -> list[Field]:
    return [
        replace(f, number=_FIRST + 100 * f.number + i, type=side[0].type, nullable=any(value.nullable for value in side))
        for i, side in enumerate(sides)
    ]


def _pairs(values: Sequence[Expression]) -> list[tuple[Expression, Expression]] | None:
    """Numerators and divisors, each of one type; None where a value is a DOUBLE and no quotient."""
    found = [_pair(value) for value in values]
    whole = [one for one in found if one is not None]
    if len(whole) < len(found):
        return None
    tops, bottoms = (_alike(side) for side in zip(*whole, strict=True))
    return list(zip(tops, bottoms, strict=True))


def _pair(e: Expression) -> tuple[Expression, Expression] | None:
    exact = exact_below_cast(e) or exact_constant(e) or e
    match exact:
        case Apply("/" | "average", (numerator, divisor)):
            return (numerator, divisor) if numerator.type.is_exact and divisor.type.is_exact else None
        case Constant(_, None) | Cast(Constant(_, None)):
            return Constant(INTEGER, None, "CAST(NULL AS INTEGER)"), _ONE
        case _:
            return (exact, _ONE) if exact.type.is_exact else None


def _alike(values: Sequence[Expression]) -> list[Expression]:
    scale = max(scale_of(value.type) for value in values)
    type_ = Type(Kind.DECIMAL, 38, scale) if scale else HUGEINT
    return [value if value.type == type_ else Cast(value, type_) for value in values]
