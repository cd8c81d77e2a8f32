"""Aggregates as what shares compute of them: AVG is SUM and COUNT, BOOL_OR whether some of the counted values are TRUE."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from sdh.errors import Unsupported
from sdh.planners.expressions import Apply, Case, Constant, Expression, Field, Ref, conjunction
from sdh.planners.logical import Call
from sdh.schema import BIGINT, BOOLEAN, DOUBLE, HUGEINT, Kind, Type

SOME = frozenset({"bool_or", "max"})
EVERY = frozenset({"bool_and", "min"})
TRUES = frozenset({"count_if", "countif"})
"""SUM of a BOOLEAN, NULL over nothing like it."""


def parts_of(call: Call, numbers: count[int]) -> tuple[tuple[Call, ...], Expression]:
    """The calls to compute and the aggregate's value over their results. Raises Unsupported."""
    truth = bool(call.arguments) and call.arguments[0].type.kind is Kind.BOOLEAN
    match call.function:
        case "avg":
            total, rows = _average(call, next(numbers), next(numbers))
            return (total, rows), Apply("average", (Ref(total.output), Ref(rows.output)), DOUBLE)
        case function if function in TRUES:
            return (replace(call, function="sum"),), Ref(call.output)
        case function if function in SOME | EVERY and truth:
            return _truth(call, next(numbers), next(numbers))
        case _:
            return (call,), Ref(call.output)


def _average(call: Call, first: int, second: int) -> tuple[Call, Call]:
    argument = call.arguments[0]
    if not argument.type.is_exact or argument.type.kind is Kind.BOOLEAN:
        raise Unsupported(
            f"AVG of {argument.type} over columns of several owners is not supported.", advice="Cast to DECIMAL first."
        )
    total = Type(Kind.DECIMAL, 38, argument.type.scale) if argument.type.kind is Kind.DECIMAL else HUGEINT
    return (
        replace(call, function="sum", output=Field(first, "sum", total)),
        replace(call, function="count", output=Field(second, "count", BIGINT, nullable=False)),
    )


def _truth(call: Call, first: int, second: int) -> tuple[tuple[Call, ...], Expression]:
    """Of the values that are not NULL: BOOL_OR is whether any is TRUE, BOOL_AND whether none is FALSE; NULL of none."""
    [value] = call.arguments
    every = call.function in EVERY
    wanted = Apply("NOT", (value,), BOOLEAN, value.nullable) if every else value
    rows = Call(Field(first, "count", BIGINT, nullable=False), "count", (value,), filter=call.filter)
    met = Call(Field(second, "count", BIGINT, nullable=False), "count_star", (),
               filter=wanted if call.filter is None else conjunction((call.filter, wanted)))  # fmt: skip
    zero = Constant(BIGINT, 0, "CAST(0 AS BIGINT)")
    some, found = (Apply(operator, (Ref(one.output), zero), BOOLEAN, nullable=False)
                   for operator, one in ((">", rows), ("=" if every else ">", met)))  # fmt: skip
    return (rows, met), Case(((some, found),), None, BOOLEAN)
