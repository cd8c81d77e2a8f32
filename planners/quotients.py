"""Quotients as exact pairs: numerator and divisor as integers, for comparing by cross-multiplication and dividing."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isfinite

from sdh.errors import Unsupported, WidthError
from sdh.planners.dividing import DIVISOR_BITS, Operand
from sdh.planners.expressions import Apply, Cast, Constant, Expression, children, rebuild
from sdh.planners.functions import QUOTIENTS
from sdh.planners.intervals import WORD, Columns, Range
from sdh.planners.ranges import range_of, scale_of
from sdh.schema import FLOATING, HUGEINT, Kind, Type

_LONGEST = 18
"""Digits before or behind the point of a DOUBLE constant that is taken as a DECIMAL."""


@dataclass(frozen=True, slots=True)
class Pair:
    """numerator * up / (divisor * down); a numerator or divisor that is None is 1."""

    numerator: Expression | None
    up: int
    divisor: Expression | None
    down: int

    def top(self, columns: Columns) -> Range:
        return _range(self.numerator, self.up, columns)

    def bottom(self, columns: Columns) -> Range:
        return _range(self.divisor, self.down, columns)


def _range(e: Expression | None, factor: int, columns: Columns) -> Range:
    return (Range(1, 1) if e is None else range_of(e, columns)).times(factor)


def is_quotient(e: Expression) -> bool:
    return isinstance(e, Apply) and e.function in QUOTIENTS


def shortened(e: Expression) -> Expression:
    """100.00 * a / b as 100 * a / b: the same value at fewer decimals, so that it fits more often."""
    match e:
        case Apply(function, (numerator, divisor)) if function in QUOTIENTS:
            return rebuild(e, (_short_product(numerator), _short_product(divisor)))
        case _:
            return e


def _short_product(e: Expression) -> Expression:
    match e:
        case Apply("*", (Constant() as factor, other)) | Apply("*", (other, Constant() as factor)) if e.type.kind is Kind.DECIMAL:
            short = _without_zeros(factor)
            dropped = scale_of(factor.type) - scale_of(short.type)
            type_ = Type(Kind.DECIMAL, e.type.precision - dropped, e.type.scale - dropped)
            return Apply("*", (short, other), type_, e.nullable) if dropped else e
        case _:
            return e


def _without_zeros(constant: Constant) -> Constant:
    value, type_ = constant.value, constant.type
    if type_.kind is not Kind.DECIMAL or not isinstance(value, int):
        return constant
    while value and type_.scale and value % 10 == 0:
        value, type_ = value // 10, Type(Kind.DECIMAL, type_.precision - 1, type_.scale - 1)
    return constant if type_ == constant.type else _exact(value, type_)


def _exact(value: int, type_: Type) -> Constant:
    return Constant(type_, value, f"{Decimal(value).scaleb(-scale_of(type_)):f}")


def gathered(e: Expression) -> Expression:
    """c * (a / b) and (a / b) * c as (c * a) / b, (a / b) / c as a / (b * c) for c > 0: exactly the same value.

    For comparing only: a released DOUBLE is rounded in DuckDB's order.
    """
    match e:
        case Apply("*", (first, second)):
            quotient, factor = (second, exact_constant(first)) if is_quotient(second) else (first, exact_constant(second))
            return e if factor is None or not is_quotient(quotient) else _scaled(quotient, factor)
        case Apply("/", (quotient, divisor)) if is_quotient(quotient):
            factor = exact_constant(divisor)
            return e if factor is None or int(factor.value or 0) <= 0 else _divided(quotient, factor)
        case _:
            return shortened(e)


def _scaled(quotient: Expression, factor: Constant) -> Expression:
    numerator, divisor = children(shortened(quotient))
    return rebuild(quotient, (_times(numerator, factor), divisor))


def _divided(quotient: Expression, factor: Constant) -> Expression:
    numerator, divisor = children(shortened(quotient))
    return rebuild(quotient, (numerator, _times(divisor, factor)))


def exact_constant(e: Expression) -> Constant | None:
    """A number as an exact constant; None where it is no constant, or a long one."""
    match e:
        case Constant(type_, int()) if type_.is_exact:
            return _without_zeros(e)
        case Constant(_, float() as value) if isfinite(value):
            exact = Decimal(repr(value))
            scale = max(-int(exact.as_tuple().exponent), 0)
            short = abs(exact) < 10**_LONGEST and scale <= _LONGEST
            return _exact(int(exact.scaleb(scale)), Type(Kind.DECIMAL, 38, scale)) if short else None
        case _:
            return None


def _times(e: Expression, factor: Constant) -> Expression:
    scale = scale_of(e.type) + scale_of(factor.type)
    return Apply("*", (factor, e), Type(Kind.DECIMAL, 38, scale) if scale else HUGEINT, e.nullable)


def pair_of(e: Expression) -> Pair:
    """An expression as a pair of exact integers. Raises Unsupported for a DOUBLE that is no quotient."""
    match e:
        case Apply(function, (numerator, divisor)) if function in QUOTIENTS:
            if numerator.type.kind in FLOATING or divisor.type.kind in FLOATING:
                raise Unsupported("Dividing DOUBLE values on shares is not supported.", advice="Cast to DECIMAL first.")
            up, down = scale_of(divisor.type), scale_of(numerator.type)
            least = min(up, down)
            return Pair(numerator, 10 ** (up - least), divisor, 10 ** (down - least))
        case Constant(_, bool() | None):
            return Pair(None, 0, None, 1)
        case Constant(type_, int() as value) if type_.is_exact:
            exact = Fraction(value, 10 ** scale_of(type_))
            return Pair(None, exact.numerator, None, exact.denominator)
        case Constant(_, float() as value) if isfinite(value):
            exact = Fraction(Decimal(repr(value)))
            return Pair(None, exact.numerator, None, exact.denominator)
        case _ if e.type.is_exact:
            return Pair(e, 1, None, 10 ** scale_of(e.type))
        case _:
            raise Unsupported(
                f"Comparing a quotient with a {e.type} on shares is not supported.", advice="Compare with an integer or DECIMAL."
            )


def crossed(a: Pair, b: Pair, columns: Columns) -> tuple[Range, Range]:
    """The ranges of a.top * b.bottom and b.top * a.bottom. Raises WidthError."""
    left, right = a.top(columns) * b.bottom(columns), b.top(columns) * a.bottom(columns)
    if not (left.within(WORD) and right.within(WORD)):
        raise WidthError(
            "Comparing a quotient might not fit 63 bits on shares.",
            advice="Declare tighter bounds= for its columns, or compare with a shorter constant.",
        )
    return left, right


@dataclass(frozen=True, slots=True)
class Division:
    """How a released quotient is divided: bits of |top| and |bottom|, and whether they may be negative."""

    top: Operand
    bottom: Operand


def division_of(e: Expression, columns: Columns) -> Division:
    """Raises WidthError, Unsupported."""
    pair = pair_of(e)
    top, bottom = (Operand(max(max(abs(r.low), abs(r.high)).bit_length(), 1), r.low < 0)
                   for r in (pair.top(columns), pair.bottom(columns)))  # fmt: skip
    if top.bits > 62 or bottom.bits > DIVISOR_BITS:
        raise WidthError("A quotient might not fit 62 bits on shares.", advice="Declare tighter bounds= for its columns.")
    return Division(top, bottom)


def exact_below_cast(e: Expression) -> Expression | None:
    """The exact operand of CAST(exact AS DOUBLE): where the other side is a quotient the cast is left out."""
    match e:
        case Cast(operand, type_) if type_.kind is Kind.DOUBLE and operand.type.is_exact:
            return operand
        case _:
            return None
