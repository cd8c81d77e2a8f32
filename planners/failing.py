"""Which operators may fail on some rows that the published facts allow: that a query failed is a bit about single rows."""

from __future__ import annotations

from typing import assert_never

from sdh.errors import Unsupported, WidthError
from sdh.planners.date_parts import part_of
from sdh.planners.expressions import Apply, Case, Cast, Constant, Expression, Ref, conjuncts, references, walk
from sdh.planners.facts import Known, known
from sdh.planners.functions import ARITHMETIC, NEVER_FAIL
from sdh.planners.intervals import Columns, Range, type_range
from sdh.planners.logical import Aggregate, Call, Join, Node, UnionAll, expressions, fields, inputs, nodes
from sdh.planners.overflow import overflows
from sdh.planners.ranges import range_of, scale_of
from sdh.schema import FLOATING, Kind, Type

TOTAL = NEVER_FAIL | {
    "ifnull", "if", "date_trunc", "datetrunc", "date_part", "datepart", "quarter", "week", "dayofweek", "dayofyear", "isnan",
    "isinf", "isfinite", "average", "round", "floor", "ceil", "ceiling", "trunc",
}  # fmt: skip
"""Functions that give a value, or NULL, whatever they are applied to."""
CALENDAR = frozenset({"date_trunc", "datetrunc", "date_part", "datepart", "week"})
"""Functions that work in a TIMESTAMP's years, of which a DATE has twenty times as many."""
YEARS = Range(-105_000_000, 105_000_000)
"""Days from 1970 that a TIMESTAMP has, and a thousand years less."""
PLACES = Range(-(1 << 31), 1 << 31)
"""Of SUBSTRING: DuckDB refuses others."""
ADDED = frozenset({"sum", "avg"})
BETWEEN = frozenset({"median", "quantile_cont", "quantile", "skewness"})
"""Aggregates that lie between two values, and the one of a DOUBLE that is refused where it is infinite."""
HUGE = Range(-(1 << 127) + 1, (1 << 127) - 1)
"""What DuckDB adds integers up in."""


def failing(node: Node) -> tuple[Expression, ...]:
    """Those of the expressions that the node evaluates that may fail: on some row, or as a total of several."""
    suspect = [e for e in expressions(node) if any(map(_suspect, walk(e)))]
    calls = [call for call in node.calls if call.function in ADDED | BETWEEN] if isinstance(node, Aggregate) else []
    if not suspect and not calls:
        return ()
    below = [known(part) for part in inputs(node)]
    columns: Columns = {number: column for one in below for number, column in one.columns.items()}
    found = [e for e in suspect if any(_fails(part, columns) for part in walk(e))]
    return (*found, *(a for call in calls if _call_fails(call, below[0]) for a in call.arguments))


def several(node: Node) -> bool:
    """Whether the node itself may fail on rows that it meets: a scalar subquery's second row, a key that only the client
    declared."""
    match node:
        case Join("SINGLE", _, right, condition):
            found = known(right)
            return found.rows > 1 and found.times(_equated(condition, frozenset(f.number for f in fields(right)))) != 1
        case Join():
            return any(isinstance(part, UnionAll) and part.keys for part in nodes(node))
        case _:
            return False


def _equated(condition: Expression | None, own: frozenset[int]) -> frozenset[int]:
    """Columns among `own` that equal what the other side says."""
    found: set[int] = set()
    for c in conjuncts(condition):
        match c:
            case Apply("=", (a, b)):
                for side, other in ((a, b), (b, a)):
                    if isinstance(side, Ref) and side.field.number in own and not references(other) & own:
                        found.add(side.field.number)
    return frozenset(found)


def widens(source: Type, target: Type) -> bool:
    """Whether a CAST keeps every value as it is: it tells none apart and never fails."""
    if source == target or target.kind is Kind.DOUBLE and source.kind is Kind.FLOAT:
        return True
    if source.kind is Kind.DATE:
        return target.kind is Kind.TIMESTAMP
    exact = source.is_exact or source.kind is Kind.BOOLEAN
    if not exact or not target.is_exact:
        return exact and target.kind is Kind.DOUBLE
    steps = scale_of(target) - scale_of(source)
    return steps >= 0 and type_range(source).times(10**steps).within(type_range(target))


def _suspect(e: Expression) -> bool:
    return bool(_limited(e)) or _is_partial(e)


def _is_partial(e: Expression) -> bool:
    match e:
        case Ref() | Constant() | Case():
            return False
        case Apply("LIKE" | "ILIKE", (_, pattern, escape)):   # a pattern may not end with its escape character
            both = [one.value if isinstance(one, Constant) else None for one in (pattern, escape)]
            return None in both or str(both[0]).endswith(str(both[1]))
        case Cast(operand, type_, attempt):
            return not (attempt or widens(operand.type, type_) or type_.kind is Kind.VARCHAR)
        case Apply(function) if function in {"+", "-", "*", "negate", "abs"} and e.type.kind in FLOATING:
            return False  # infinite
        case Apply(function):
            return function not in TOTAL and part_of(e) is None
        case _:
            assert_never(e)


def _fails(e: Expression, columns: Columns) -> bool:
    if any(not _within(argument, limits, columns) for argument, limits in _limited(e)):
        return True
    if not _is_partial(e):
        return False
    if isinstance(e, Apply) and e.function not in ARITHMETIC or not (e.type.is_exact or e.type.is_temporal):
        return True
    try:
        return overflows(e, columns)
    except (Unsupported, WidthError, KeyError):
        return True


def _limited(e: Expression) -> list[tuple[Expression, Range]]:
    """What is refused where it is beyond these limits, in the ring's units."""
    found: tuple[Expression, ...]
    match e:
        case Cast(operand, type_, attempt):
            found = () if attempt or type_.kind is not Kind.TIMESTAMP else (operand,)
        case Apply("substring" | "substr", (_, *places)):
            return [(one, PLACES) for one in places]
        case Apply(function, arguments):
            times = any(one.type.kind is Kind.TIMESTAMP for one in (e, *arguments))   # a DATE beside one becomes one
            found = arguments if times or function in CALENDAR and part_of(e) is None else ()
        case Case(branches, default) if e.type.kind is Kind.TIMESTAMP:
            found = (*(value for _, value in branches), *([] if default is None else [default]))
        case _:
            return []
    return [(one, YEARS) for one in found if one.type.kind is Kind.DATE]


def _within(e: Expression, limits: Range, columns: Columns) -> bool:
    try:
        return range_of(e, columns).within(limits)
    except (Unsupported, WidthError, KeyError):
        return type_range(e.type).within(limits)


def _call_fails(call: Call, inner: Known) -> bool:
    """Whether a total of rows that are each in range may leave it, or the distance of two."""
    argument = call.arguments[0]
    if not argument.type.is_exact:
        return call.function == "skewness"
    try:
        each = range_of(argument, inner.columns)
    except (Unsupported, WidthError, KeyError):
        each = type_range(argument.type)
    if call.function in ADDED:
        total = type_range(call.output.type) if call.output.type.is_exact else HUGE
        return not each.times(max(1, inner.rows)).within(total)
    return call.function != "skewness" and not (each - each).within(type_range(argument.type))
