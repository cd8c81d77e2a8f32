"""Expressions and aggregates as columns on shares: their ranges and lengths, or why they have none."""

from __future__ import annotations

from typing import assert_never

from sdh.errors import Unsupported, WidthError
from sdh.planners.date_parts import part_of, part_range
from sdh.planners.expressions import Apply, Case, Cast, Constant, Expression, Field, Ref
from sdh.planners.intervals import WORD, Columns, Range, Shared
from sdh.planners.logical import Call
from sdh.planners.overflow import is_lost
from sdh.planners.ranges import MICROSECONDS_A_DAY, bytes_of, range_of, shown
from sdh.schema import FLOATING, Kind


def shared_of(field: Field, e: Expression, columns: Columns) -> Shared:
    """An expression as a column. Raises Unsupported, WidthError."""
    if e.type.kind is Kind.VARCHAR:
        return Shared(field, 0, 0, bytes_of(e, columns))
    found = range_of(e, columns)
    return Shared(field, found.low, found.high)


def owned(field: Field, e: Expression, columns: Columns) -> Shared:
    """An expression that its owner computes in the clear as a column: parts of dates too. Raises Unsupported, WidthError."""
    found = part_of(e)
    if found is None:
        return shared_of(field, e, columns)
    part, operand = found
    moments, a_day = range_of(operand, columns), 1 if operand.type.kind is Kind.DATE else MICROSECONDS_A_DAY
    return Shared(field, *part_range(part, moments.low // a_day, moments.high // a_day))


def call_shared(call: Call, columns: Columns, slots: int) -> Shared:
    """An aggregate's result over `slots` rows as a column. Raises Unsupported, WidthError."""
    match call.function:
        case "count" | "count_star":
            return Shared(call.output, 0, slots)
        case "sum" | "sum_count":
            (argument,) = call.arguments
            if argument.type.kind in FLOATING:
                raise Unsupported("SUM of DOUBLE on shares is not supported.", advice="Cast to DECIMAL first.")
            total = (range_of(argument, columns) | Range(0, 0)).times(slots)
            if call.within is not None:
                total = Range(max(total.low, call.within[0]), min(total.high, call.within[1]))
            if not total.within(WORD):
                raise WidthError(
                    f"SUM({shown(argument, columns)}) over {slots} rows might not fit 63 bits on shares.",
                    advice="Declare tighter bounds= for its columns, or grant facts='measured'.",
                )
            return Shared(call.output, total.low, total.high)
        case "min" | "max":
            if call.arguments[0].type.kind is Kind.BOOLEAN:
                raise Unsupported(
                    f"{call.function.upper()} of {call.arguments[0].type} over columns of several owners is not supported.",
                    advice="Of numbers, texts, dates and timestamps it is.",
                )
            return shared_of(call.output, call.arguments[0], columns)
        case function:
            raise Unsupported(
                f"The aggregate {function} over columns of several owners is not supported.",
                advice="sum, count, avg, min and max are.",
            )


def nullable(e: Expression, columns: Columns) -> bool:
    """Whether a value has a bit on shares that says where it is NULL."""
    match e:
        case Ref(field):
            return columns[field.number].field.nullable
        case Constant(_, found):
            return found is None
        case Cast(operand):
            return nullable(operand, columns) or is_lost(e, columns)
        case Case(branches, default):
            return default is None or any(nullable(part, columns) for part in (default, *(then for _, then in branches)))
        case Apply("IS NULL" | "IS DISTINCT FROM" | "IS NOT DISTINCT FROM"):
            return False
        case Apply("nullif"):
            return True
        case Apply("coalesce" | "guarded", (first, *_)):
            return nullable(first, columns)
        case Apply(_, arguments):
            return any(nullable(argument, columns) for argument in arguments)
        case _:
            assert_never(e)
