"""Ranges of values: which integers an expression may be, by interval arithmetic from published facts.

Widths on shares follow from ranges alone, so they are public and equal at every node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from sdh.errors import Unsupported, WidthError
from sdh.planners.date_parts import part_of, part_range
from sdh.planners.dividing import DIVISOR_BITS, Operand
from sdh.planners.expressions import (
    COMPARISONS,
    CONNECTIVES,
    DISTINCTIONS,
    Apply,
    Case,
    Cast,
    Constant,
    Expression,
    Field,
    Ref,
    walk,
)
from sdh.planners.logical import Call
from sdh.planners.render import expression_sql
from sdh.schema import FLOATING, Kind, Type

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
MICROSECONDS_A_DAY = 86_400_000_000
PREDICATES = COMPARISONS | DISTINCTIONS | CONNECTIVES | {"IS NULL", "BETWEEN", "IN", "try_failed"}
QUOTIENTS = frozenset({"/", "average"})
"""'average' is SUM / COUNT of an AVG: NULL, not nan, over nothing."""
NEVER_FAIL = PREDICATES | {
    "LIKE",
    "ILIKE",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "lower",
    "upper",
    "length",
    "substring",
    "substr",
    "left",
    "right",
    "trim",
    "ltrim",
    "rtrim",
    "||",
    "concat",
    "year",
    "month",
    "day",
    "/",
    "starts_with",
    "ends_with",
    "contains",
    "prefix",
    "suffix",
    "strpos",
    "instr",
    "lcase",
    "ucase",
    "len",
    "strlen",
    "replace",
    "reverse",
}
"""Functions that give a value or NULL for any arguments."""
REMAINDERS = frozenset({"%", "mod"})
DIVISIONS = frozenset({"//", "divide"}) | REMAINDERS
"""Of integers, toward zero: the remainder, which DECIMAL has too, bears the dividend's sign. They fail on a divisor of 0."""
ARITHMETIC = frozenset({"+", "-", "*", "negate", "abs"}) | DIVISIONS


@dataclass(frozen=True, slots=True)
class Range:
    """Integers from `low` to `high`, both within."""

    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    @property
    def bits(self) -> int:
        """The least k with -2^(k-1) <= low and high < 2^(k-1)."""
        return max((-self.low - 1).bit_length() if self.low < 0 else 0, self.high.bit_length() if self.high > 0 else 0) + 1

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Range) -> Range:
        return Range(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Range) -> Range:
        corners = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(corners), max(corners))

    def __or__(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))

    def times(self, factor: int) -> Range:
        return self * Range(factor, factor)

    def within(self, other: Range) -> bool:
        return other.low <= self.low and self.high <= other.high


WORD = Range(LOWEST, HIGHEST)
BIT = Range(0, 1)


@dataclass(frozen=True, slots=True)
class Shared:
    """A column on shares: its ring integers lie in [low, high]; `bytes` is a VARCHAR's greatest UTF-8 length."""

    field: Field
    low: int
    high: int
    bytes: int = 0

    @property
    def range(self) -> Range:
        return Range(self.low, self.high)


def together(field: Field, columns: Sequence[Shared]) -> Shared:
    """A column that holds the values of all of `columns`."""
    low, high = min(column.low for column in columns), max(column.high for column in columns)
    return Shared(field, low, high, max(column.bytes for column in columns))


Columns = Mapping[int, Shared]


def type_range(type_: Type) -> Range:
    """Of any value of the type. DOUBLE travels as a 64-bit code in its order. Raises ValueError for VARCHAR, OTHER."""
    return WORD if type_.kind in FLOATING else Range(*type_.range())


def range_of(e: Expression, columns: Columns) -> Range:
    """Of an expression's ring integer: value times 10^scale. Raises Unsupported, WidthError."""
    found = _range(e, columns)
    if not found.within(WORD):
        raise WidthError(
            f"{_text(e, columns)} might not fit 63 bits on shares.",
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
            f"{_text(e, columns)} might need more than 63 bits for the dividend or {DIVISOR_BITS} for the divisor on shares.",
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
    if source.kind is target.kind or (source.kind in days and target.kind in days):
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
        case Constant() | Cast(Ref(Field(type=Type(text='"NULL"')))):
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
        case _:
            raise WidthError(
                f"No fact bounds the length of {_text(e, columns)}.",
                advice="Put it in substring(..., 1, n) of a column whose width is known.",
            )


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
                    f"SUM({_text(argument, columns)}) over {slots} rows might not fit 63 bits on shares.",
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


def overflows(e: Expression, columns: Columns) -> bool:
    """Whether DuckDB might raise for this node on shares: its value may lie outside its type, or it says so itself."""
    if isinstance(e, Apply) and e.function == "guarded":
        return True
    if not isinstance(e, (Apply, Cast)) or isinstance(e, Apply) and e.function not in ARITHMETIC:
        return False
    if not (e.type.is_exact or e.type.is_temporal):
        return False
    if isinstance(e, Apply) and e.function in DIVISIONS:
        return any(division_faults(e, columns))
    return not range_of(e, columns).within(type_range(e.type))


def may_fail(e: Expression, columns: Columns) -> bool:
    """Whether DuckDB might raise anywhere in an expression over one owner's columns."""
    return any(_may_fail(node, columns) for node in walk(e))


def _may_fail(e: Expression, columns: Columns) -> bool:
    match e:
        case Ref() | Constant() | Case():
            return False
        case Cast(_, _, attempt) if attempt:
            return False
        case Apply(function) if function in NEVER_FAIL or part_of(e) is not None:
            return False
        case Apply(function) if function not in ARITHMETIC:
            return True
        case _:
            try:
                return not (e.type.is_exact or e.type.is_temporal) or overflows(e, columns)
            except (Unsupported, WidthError, KeyError):
                return True


def exact_below_cast(e: Expression) -> Expression | None:
    """The exact operand of CAST(exact AS DOUBLE): where the other side is a quotient the cast is left out."""
    match e:
        case Cast(operand, type_) if type_.kind is Kind.DOUBLE and operand.type.is_exact:
            return operand
        case _:
            return None


def _text(e: Expression, columns: Columns) -> str:
    text = expression_sql(e)
    for number, column in sorted(columns.items(), reverse=True):
        text = text.replace(f"c{number}", column.field.name or f"c{number}")
    return text
