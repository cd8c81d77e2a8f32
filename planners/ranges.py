"""Ranges of values by interval arithmetic from published facts: which integers an expression may be, how long a text.

Widths on shares follow from ranges alone, so they are public and equal at every node.
"""

from __future__ import annotations

from typing import assert_never

from sdh.errors import Unsupported, WidthError
from sdh.planners.dividing import DIVISOR_BITS, Operand
from sdh.planners.expressions import Apply, Case, Cast, Constant, Expression, Field, Ref
from sdh.planners.functions import DIVISIONS, PREDICATES, QUOTIENTS, REMAINDERS
from sdh.planners.intervals import BIT, WORD, Columns, Range, type_range
from sdh.planners.render import expression_sql
from sdh.planners.rounding import Rounding, rounding_of
from sdh.schema import FLOATING, Kind, Type

MICROSECONDS_A_DAY = 86_400_000_000


def range_of(e: Expression, columns: Columns) -> Range:
    """Of an expression's ring integer: value times 10^scale. Raises Unsupported, WidthError."""
    found = _range(e, columns)
    if not found.within(WORD):
        raise WidthError(
            f"{shown(e, columns)} might not fit 63 bits on shares.",
            advice="Declare tighter bounds= for its columns, or grant facts='measured'.",
        )
    return found


def _range(e: Expression, columns: Columns) -> Range:
    match e:
        case Ref(field):
            return columns[field.number].range
        case Constant(_, value):
            return Range(int(value), int(value)) if isinstance(value, (bool, int)) else BIT if value is None else WORD
        case Apply("+" | "-" | "*" as operator, (left, right)):
            return _arithmetic(operator, e, left, right, columns)
        case Apply(function, (left, right)) if function in DIVISIONS:
            return _division(e, left, right, columns)
        case Apply("negate", (operand,)):
            return Range(0, 0) - range_of(operand, columns)
        case Apply("abs", (operand,)):
            inner = range_of(operand, columns)
            return Range(0, max(abs(inner.low), abs(inner.high)))
        case Apply(function) if function in PREDICATES:
            return BIT
        case Apply("coalesce", arguments):
            return _union([rescaled(a, e.type, columns) for a in arguments])
        case Apply("greatest" | "least", arguments):
            return _extreme(e, [(rescaled(a, e.type, columns), a.nullable) for a in arguments])
        case Apply("guarded" | "try_value", (inner, *_)):
            return range_of(inner, columns)
        case Apply("nullif", (left, _)):
            return rescaled(left, e.type, columns) | Range(0, 0)
        case Case(branches, default):
            values = [value for _, value in branches] + ([] if default is None else [default])
            return _union([rescaled(value, e.type, columns) for value in values]) | Range(0, 0)
        case Cast() | Apply() if (rounding := rounding_of(e)) is not None:
            return _rounded(rounding, e, columns)
        case Cast(operand, type_):
            return rescaled(operand, type_, columns)
        case Apply(function) if function in QUOTIENTS:
            raise Unsupported(
                "Arithmetic with a quotient or AVG of columns of several owners is not supported.",
                advice="Select the quotient itself; it may be compared, also times a constant.",
            )
        case Apply(function):
            raise Unsupported(
                f"{function} of columns of several owners is not supported.", advice="Compute it on one owner's columns."
            )
        case _:
            assert_never(e)


def _rounded(rounding: Rounding, e: Expression, columns: Columns) -> Range:
    x = range_of(rounding.operand, columns)
    if not rounding.dividend(x).within(WORD):
        raise WidthError(
            f"{shown(e, columns)} might need more than 63 bits on shares.",
            advice="Declare tighter bounds= for its columns, or grant facts='measured'.",
        )
    return rounding.result(x)


def choice_range(e: Apply, columns: Columns) -> Range:
    """Of all that COALESCE, GREATEST or LEAST chooses from: the widths of its comparisons."""
    return _union([rescaled(a, e.type, columns) for a in e.arguments]) | Range(0, 0)


def _extreme(e: Apply, found: list[tuple[Range, bool]]) -> Range:
    """The greatest is no less than what is surely there; NULLs are passed over."""
    whole, sure = _union([one for one, _ in found]), [one for one, absent in found if not absent]
    if not whole.within(WORD):
        return whole   # they could not be compared
    if e.function == "greatest":
        return Range(max([whole.low, *(one.low for one in sure)]), whole.high)
    return Range(whole.low, min([whole.high, *(one.high for one in sure)]))


def _require_exact(operator: str, e: Apply, left: Expression, right: Expression) -> None:
    if {left.type.kind, right.type.kind, e.type.kind} & (FLOATING | {Kind.OTHER, Kind.VARCHAR, Kind.BOOLEAN}):
        raise Unsupported(
            f"{operator} of {left.type} and {right.type} on shares is not supported.",
            advice="Cast to an integer or DECIMAL type at one owner.",
        )


def _arithmetic(operator: str, e: Apply, left: Expression, right: Expression, columns: Columns) -> Range:
    _require_exact(operator, e, left, right)
    if operator == "*":
        if scale_of(e.type) != scale_of(left.type) + scale_of(right.type):
            raise Unsupported(f"A product of {left.type} and {right.type} on shares is not supported.")
        return range_of(left, columns) * range_of(right, columns)
    a, b = rescaled(left, e.type, columns), rescaled(right, e.type, columns)
    return a + b if operator == "+" else a - b


def _division(e: Apply, left: Expression, right: Expression, columns: Columns) -> Range:
    """Of a quotient or remainder toward zero, where DuckDB gives one."""
    _require_exact(e.function, e, left, right)
    x, d = rescaled(left, e.type, columns), rescaled(right, e.type, columns)
    if not x.within(WORD) or operand(d).bits > DIVISOR_BITS:
        raise WidthError(
            f"{shown(e, columns)} might need more than 63 bits for the dividend or {DIVISOR_BITS} for the divisor on shares.",
            advice="Declare tighter bounds= for its columns, or grant facts='measured'.",
        )
    if e.function in REMAINDERS:
        most = max(abs(d.low), abs(d.high), 1) - 1
        return Range(max(min(x.low, 0), -most), min(max(x.high, 0), most))
    divisors = [one for one in (d.low, d.high, -1, 1) if one and d.low <= one <= d.high] or [1]
    corners = [abs(top) // abs(one) * (1 if (top < 0) == (one < 0) else -1) for top in (x.low, x.high) for one in divisors]
    allowed = type_range(e.type)
    return Range(max(min(corners), allowed.low), min(max(corners), allowed.high))


def division_faults(e: Apply, columns: Columns) -> tuple[bool, bool]:
    """Whether the divisor of a division may be 0, and whether it may be -1 where the dividend is the type's least value."""
    x, d = (rescaled(side, e.type, columns) for side in e.arguments)
    lowest = e.type.kind is not Kind.DECIMAL and x.low <= type_range(e.type).low
    return d.low <= 0 <= d.high, lowest and d.low <= -1 <= d.high


def operand(range_: Range) -> Operand:
    """A range as the width of what divides or is divided."""
    return Operand(max(range_.bits - 1, 1), range_.low < 0)


def _union(ranges: list[Range]) -> Range:
    whole = ranges[0]
    for one in ranges[1:]:
        whole |= one
    return whole


def scale_of(type_: Type) -> int:
    return type_.scale if type_.kind is Kind.DECIMAL else 0


def factor_to(source: Type, target: Type) -> int:
    """What a ring integer of type `source` is multiplied by to be one of type `target`. Raises Unsupported."""
    if source == target or source.kind is Kind.OTHER:
        return 1
    if source.kind is Kind.DATE and target.kind is Kind.TIMESTAMP:
        return MICROSECONDS_A_DAY
    numbers = source.is_exact or source.kind is Kind.BOOLEAN
    if numbers and target.is_exact and scale_of(target) >= scale_of(source):
        return int(10 ** (scale_of(target) - scale_of(source)))
    # DATE - DATE is a BIGINT and DATE + 1 a DATE: both count days
    days = {Kind.DATE, Kind.BIGINT, Kind.INTEGER, Kind.SMALLINT, Kind.TINYINT}
    if source.kind is target.kind and not source.is_exact or (source.kind in days and target.kind in days):
        return 1
    raise Unsupported(
        f"A cast from {source} to {target} on shares is not supported.",
        advice="Cast at one owner, before columns of several owners meet.",
    )


def rescaled(e: Expression, target: Type, columns: Columns) -> Range:
    """The range of `e` as a ring integer of type `target`."""
    if isinstance(e, Constant) and e.value is None:
        return Range(0, 0)
    return range_of(e, columns).times(factor_to(e.type, target))


def bytes_of(e: Expression, columns: Columns) -> int:
    """The greatest UTF-8 length of a VARCHAR expression. Raises WidthError where no fact bounds it."""
    match e:
        case Ref(field):
            return columns[field.number].bytes
        case Constant(_, str() as value):
            return len(value.encode())
        case Constant() | Cast(Constant(_, None)) | Cast(Ref(Field(type=Type(text='"NULL"')))):
            return 0
        case Case(branches, default):
            values = [value for _, value in branches] + ([] if default is None else [default])
            return max(bytes_of(value, columns) for value in values)
        case Apply("guarded" | "try_value", (inner, *_)):
            return bytes_of(inner, columns)
        case Apply("substring" | "substr", (operand, _, Constant(_, int() as length))):
            return min(bytes_of(operand, columns), 4 * abs(length))  # UTF-8 has at most 4 bytes a sign
        case Apply(
            "substring" | "substr" | "left" | "right" | "trim" | "ltrim" | "rtrim" | "coalesce" | "nullif" | "greatest" | "least"
            | "reverse",
            arguments,
        ):
            return max(bytes_of(a, columns) for a in arguments if a.type.kind is Kind.VARCHAR)
        case Apply("||" | "concat", arguments) if all(a.type.kind is Kind.VARCHAR for a in arguments):
            return sum(bytes_of(a, columns) for a in arguments)
        case Apply("replace", (operand, Constant(_, str() as old), Constant(_, str() as new))):
            return bytes_of(operand, columns) * max(1, -(-len(new.encode()) // max(len(old.encode()), 1)))
        case Apply("lower" | "upper" | "lcase" | "ucase", (operand,)):
            return 3 * bytes_of(operand, columns)  # 'ɐ' grows from 2 to 3 bytes in upper case
        case Apply("dayname" | "monthname"):
            return len("Wednesday")
        case Apply("strftime", (_, Constant(_, str() as form)) | (Constant(_, str() as form), _)):
            long = sum(form.count(mark) for mark in ("%c", "%x", "%Z"))  # others are no longer than a year of 7 digits BC
            return max(len(form.encode()) + 12 * form.count("%") + 60 * long, len("-infinity"))
        case _:
            raise WidthError(
                f"No fact bounds the length of {shown(e, columns)}.",
                advice="Put it in substring(..., 1, n) of a column whose width is known.",
            )


def shown(e: Expression, columns: Columns) -> str:
    text = expression_sql(e)
    for number, column in sorted(columns.items(), reverse=True):
        text = text.replace(f"c{number}", column.field.name or f"c{number}")
    return text
