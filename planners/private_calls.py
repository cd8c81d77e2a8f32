"""The aggregates of a private block as sums over units, with bounds of what one unit adds to a group.

COUNT: the unit's rows, at most C or the bound per group. SUM, AVG: its sum clamped per group, or C rows each clamped. VAR:
SUM and SUM of squares about the middle of the bounds, and COUNT; STDDEV its square root. AVG and VAR are put together from the
noisy sums, so that their quotients are post-processing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from sdh.errors import Unsupported
from sdh.planners.expressions import Apply, Case, Cast, Constant, Expression, Field, Ref, conjunction
from sdh.planners.intervals import type_range
from sdh.planners.logical import Call, Private, PrivateCall
from sdh.planners.private_conditions import with_filter
from sdh.planners.private_groups import origin
from sdh.planners.private_terms import Limits
from sdh.planners.ranges import scale_of
from sdh.planners.render import readable
from sdh.schema import BIGINT, BOOLEAN, DOUBLE, HUGEINT, Kind, Type

DEVIATIONS = frozenset({"stddev_pop", "stddev_samp", "stddev"})
VARIANCES = frozenset({"var_pop", "var_samp", "variance"}) | DEVIATIONS
WIDEST_SQUARE = 1 << 30


@dataclass(frozen=True, slots=True)
class Part:
    """A number of each group: the sum over units of `call` over the unit's rows, clamped to [low, high].

    low, high: in units of the ring (10^-scale). clamp: whether `call` may leave them; else C clamped rows keep within. single:
    what one row adds, already clamped where `call` is SUM, for units that have one row.
    """

    call: Call
    low: int
    high: int
    clamp: bool
    single: Call
    title: str

    @property
    def sensitivity(self) -> int:
        """The most that a unit moves a group by."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, slots=True)
class Released:
    """An aggregate of the block: its parts, and what its value is of their noisy sums."""

    call: Call
    parts: tuple[Part, ...]
    value: Callable[[tuple[Expression, ...]], Expression]
    per_row: bool
    """Whether the unit's rows must be cut to C before."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A block, with what its calls need: the owners' limits, C (None: nobody says), the unit's columns, new numbers."""

    block: Private
    limits: Limits
    rows: int | None
    alone: bool
    """A unit has one row at most: owners declared it."""
    numbers: Iterator[int]


def released(one: PrivateCall, asked: Asked) -> Released:
    """Raises Unsupported with the rule that a call breaks."""
    call = one.call
    if call.distinct:
        return _distinct(one, asked)
    match call.function:
        case "count" | "count_star":
            part = _count(one, asked)
            return Released(call, (part,), lambda found: _as(found[0], BIGINT), False)
        case "sum":
            total, per_row = _sum(one, asked)
            return Released(call, (total,), lambda found: _as(found[0], call.output.type), per_row)
        case "avg":
            total, per_row = _sum(one, asked)
            rows = _count(replace(one, bounds=None), asked)
            name = title(call)
            return Released(call, (replace(total, title=f"{name}, sum"), replace(rows, title=f"{name}, rows")), _mean, per_row)
        case function if function in VARIANCES:
            return _variance(one, asked)
        case "min" | "max" | "median" | "mode" | "quantile" | "quantile_cont" | "quantile_disc":
            raise _refused(one, "would show a single unit's value", "Count what lies in ranges of values.")
        case _:
            raise _refused(one, "is not supported", "COUNT, SUM, AVG, VAR and STDDEV are.")


def filtered(one: PrivateCall, asked: Asked) -> PrivateCall:
    """With its conditions on single rows as its FILTER. Raises Unsupported."""
    return replace(one, call=with_filter(one.call, zero=_may_be_zero(one, asked)))


def _may_be_zero(one: PrivateCall, asked: Asked) -> bool:
    if one.call.function != "sum" or one.call.distinct:
        return False
    _, low, high = _bounds(replace(one, call=with_filter(one.call, zero=True)), asked)
    return low <= 0 <= high


# --- calls ---------------------------------------------------------------------------------------


def _count(one: PrivateCall, asked: Asked) -> Part:
    most = _most_counted(one, asked)
    single = replace(one.call, function="count" if one.call.arguments else "count_star", output=_field(asked, BIGINT))
    return Part(replace(single, output=_field(asked, BIGINT)), 0, most, most > 0 and not asked.alone, single, title(one.call))


def _most_counted(one: PrivateCall, asked: Asked) -> int:
    bounds = one.bounds
    if bounds is not None and bounds.kind == "row":
        raise _refused(one, "has no bounds per row: a row counts once", "Write contribution_bounds_per_group => (0, 5).")
    if asked.alone:
        return 1
    if bounds is not None:
        if bounds.low not in (0, 1) or bounds.high.denominator != 1 or bounds.high < 1:
            raise _refused(one, "needs bounds from 0 to a whole number", "Write contribution_bounds_per_group => (0, 5).")
        return int(bounds.high)
    if asked.rows is None:
        raise _refused(one, "needs a bound of what a unit adds",
                       "Write contribution_bounds_per_group => (0, 5), or max_rows_contributed = 5 in OPTIONS.")
    return asked.rows


def _sum(one: PrivateCall, asked: Asked) -> tuple[Part, bool]:
    """The part, and whether its bounds are per row."""
    kind, low, high = _bounds(one, asked)
    [argument] = one.call.arguments
    single = replace(one.call, function="sum", arguments=(clamped(argument, low, high),),
                     output=_field(asked, sum_type(argument.type)))  # fmt: skip
    if kind == "group" and not asked.alone:
        call = replace(single, arguments=one.call.arguments, output=_total(asked, argument.type))
        return Part(call, low, high, True, single, title(one.call)), False
    rows = _rows(one, asked)
    call = replace(single, output=_total(asked, argument.type))
    return Part(call, rows * min(low, 0), rows * max(high, 0), False, single, title(one.call)), not asked.alone


def _rows(one: PrivateCall, asked: Asked) -> int:
    if asked.alone:
        return 1
    if asked.rows is None:
        raise _refused(one, "has bounds per row and needs a bound of a unit's rows", "Write max_rows_contributed = 5 in OPTIONS.")
    return asked.rows


def _bounds(one: PrivateCall, asked: Asked) -> tuple[str, int, int]:
    """The kind, and the bounds in units of the ring."""
    [argument] = one.call.arguments
    if not argument.type.is_exact:
        raise _refused(one, f"of {argument.type} is not supported", "Cast it to DECIMAL or an integer.")
    declared = _of_owner(argument, asked)
    if one.bounds is None and declared is None:
        raise _refused(one, "needs a bound of what a unit adds", "Write contribution_bounds_per_group => (low, high).")
    kind = "row" if one.bounds is None else one.bounds.kind
    low, high = (one.bounds.low, one.bounds.high) if one.bounds is not None else declared or (Fraction(0), Fraction(0))
    if kind == "row" and declared is not None and not declared[0] <= low <= high <= declared[1]:
        raise _refused(one, f"has wider bounds per row than its owner allows: {declared[0]} to {declared[1]}", "Narrow them.")
    unit = 10 ** scale_of(argument.type)
    if (low * unit).denominator != 1 or (high * unit).denominator != 1:
        raise _refused(one, f"has bounds of more decimals than {argument.type}", "Round them.")
    return kind, int(low * unit), int(high * unit)


def _of_owner(argument: Expression, asked: Asked) -> tuple[Fraction, Fraction] | None:
    """What the owner of a column clamps it to where the question does not say."""
    found = origin(asked.block.input, argument.field.number) if isinstance(argument, Ref) else None
    policy = None if found is None else dict(asked.limits.policies).get(found[0].party)
    return None if policy is None or found is None else policy.bounds_of(found[0].name, found[1])


def _mean(found: tuple[Expression, ...]) -> Expression:
    total, rows = found
    return Apply("/", (total, _at_least(rows, 1)), DOUBLE)


def _variance(one: PrivateCall, asked: Asked) -> Released:
    """With y = 2 x - (low + high): 4 VAR(x) = (n SUM(y^2) - SUM(y)^2) / n^2, and n (n - 1) for a sample."""
    kind, low, high = _bounds(one, asked)
    [argument] = one.call.arguments
    if kind != "row" or not argument.type.is_integer or high - low >= WIDEST_SQUARE:
        raise _refused(one, "needs an integer with bounds per row", "Write contribution_bounds_per_row => (low, high).")
    present = Apply("NOT", (Apply("IS NULL", (argument,), BOOLEAN, nullable=False),), BOOLEAN, nullable=False)
    where = conjunction([e for e in (one.call.filter, present if argument.nullable else None) if e is not None])
    wide = _as(clamped(argument, low, high), BIGINT)
    y = Apply("-", (Apply("*", (constant(2, BIGINT), wide), BIGINT, False), constant(low + high, BIGINT)), BIGINT, False)
    squares = Apply("*", (y, y), BIGINT, False)
    rows, width = _rows(one, asked), high - low
    parts = (
        _part(one, asked, y, where, -rows * width, rows * width, "sum about the middle"),
        _part(one, asked, squares, where, 0, rows * width * width, "sum of squares"),
        replace(_count(replace(one, bounds=None), asked), title=f"{title(one.call)}, rows"),
    )
    sample = not one.call.function.endswith("_pop")

    def value(found: tuple[Expression, ...]) -> Expression:
        spread = _spread(found, sample=sample)
        return Apply("sqrt", (spread,), DOUBLE) if one.call.function in DEVIATIONS else spread

    return Released(one.call, parts, value, not asked.alone)


def _part(one: PrivateCall, asked: Asked, e: Expression, where: Expression | None, low: int, high: int, what: str) -> Part:
    single = Call(_field(asked, HUGEINT), "sum", (e,), filter=where)
    call = replace(single, output=replace(_field(asked, HUGEINT), nullable=True))
    return Part(call, low, high, False, single, f"{title(one.call)}, {what}")


def _spread(found: tuple[Expression, ...], *, sample: bool) -> Expression:
    total, squares, rows = found
    n = _at_least(rows, 2 if sample else 1)
    above = _apply("-", _apply("*", n, squares), _apply("*", total, total))
    less = _apply("-", n, constant(1, HUGEINT)) if sample else n
    below = _apply("*", constant(4, HUGEINT), _apply("*", n, less))
    return Apply("/", (_at_least(above, 0), below), DOUBLE)


def counts_values(one: PrivateCall, block: Private) -> bool:
    """COUNT(DISTINCT x) of values, not of units."""
    call = one.call
    return call.distinct and call.function == "count" and not _is_unit(call.arguments[0], block)


def _is_unit(e: Expression, block: Private) -> bool:
    return isinstance(e, Ref) and e.field.number in block.units


def _distinct(one: PrivateCall, asked: Asked) -> Released:
    """COUNT(DISTINCT unit): each unit adds 1."""
    call = one.call
    if call.function != "count":
        raise _refused(one, "of DISTINCT values is not supported", "COUNT(DISTINCT ...) is.")
    if not _is_unit(call.arguments[0], asked.block):
        raise _refused(one, "of DISTINCT values beside other aggregates is not supported", "Ask for it in a query of its own.")
    single = replace(call, function="count", distinct=False, output=_field(asked, BIGINT))
    part = Part(replace(single, output=_field(asked, BIGINT)), 0, 1, not asked.alone, single, title(call))
    return Released(call, (part,), lambda found: _as(found[0], BIGINT), False)


# --- expressions ---------------------------------------------------------------------------------


def clamped(e: Expression, low: int, high: int) -> Expression:
    """`e` brought into [low, high], in units of the ring; 0 where it is NULL: it adds nothing."""
    whole = type_range(e.type)
    least, most = (constant(min(max(bound, whole.low), whole.high), e.type) for bound in (low, high))
    if not e.nullable:
        return _between(e, least, most)
    if low <= 0 <= high:
        return _between(Apply("coalesce", (e, constant(0, e.type)), e.type, nullable=False), least, most)
    absent = Apply("IS NULL", (e,), BOOLEAN, nullable=False)
    return Case(((absent, constant(0, e.type)),), _between(e, least, most), e.type)


def _between(e: Expression, least: Constant, most: Constant) -> Expression:
    raised = Apply("greatest", (e, least), e.type, nullable=False)
    return Apply("least", (raised, most), e.type, nullable=False)


def _at_least(e: Expression, low: int) -> Expression:
    return Apply("greatest", (_as(e, HUGEINT), constant(low, HUGEINT)), HUGEINT, nullable=False)


def _apply(operator: str, left: Expression, right: Expression) -> Expression:
    return Apply(operator, (_as(left, HUGEINT), _as(right, HUGEINT)), HUGEINT, nullable=False)


def _as(e: Expression, type_: Type) -> Expression:
    return e if e.type == type_ else Cast(e, type_)


def constant(value: int, type_: Type) -> Constant:
    """A constant of an exact type by its integer in the ring."""
    scale = scale_of(type_)
    text = str(value) if not scale else f"{'-' if value < 0 else ''}{abs(value) // 10**scale}.{abs(value) % 10**scale:0{scale}d}"
    return Constant(type_, value, f"CAST('{text}' AS {type_})")


def sum_type(type_: Type) -> Type:
    """DuckDB's, of SUM."""
    return Type(Kind.DECIMAL, 38, type_.scale) if type_.kind is Kind.DECIMAL else HUGEINT


def _total(asked: Asked, type_: Type) -> Field:
    return replace(_field(asked, sum_type(type_)), nullable=True)


def _field(asked: Asked, type_: Type) -> Field:
    return Field(next(asked.numbers), "", type_, nullable=False)


def title(call: Call) -> str:
    """A call for people."""
    only = "" if call.filter is None else f" FILTER (WHERE {readable(call.filter)})"
    if call.function == "count_star":
        return f"count(*){only}"
    return f"{call.function}({'DISTINCT ' if call.distinct else ''}{', '.join(map(readable, call.arguments))}){only}"


def _refused(one: PrivateCall, what: str, advice: str) -> Unsupported:
    name = title(one.call).partition("(")[0].upper()
    return Unsupported(f"{name} WITH DIFFERENTIAL_PRIVACY {what}.", advice=advice, line=one.at.line, column=one.at.column)
