"""A released quotient: divided on shares to what a DOUBLE shows."""

from __future__ import annotations

from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.arithmetic import mux_many, to_arithmetic_many
from sdh.executors.bits import Bits
from sdh.executors.divide import significand
from sdh.executors.evaluate import number
from sdh.executors.scope import Scope, either_null
from sdh.executors.shares import raw
from sdh.planners.expressions import Expression
from sdh.planners.quotients import division_of, pair_of


def divided(e: Expression, scope: Scope) -> tuple[list[Tensor], list[Bits]]:
    """Words and bits as layout.QuotientColumn has them, 0 under NULL.

    Where dividend or divisor is 0 mantissa and exponent are wiped: they would tell of the other more than a DOUBLE does.
    """
    session, pair, division = scope.session, pair_of(e), division_of(e, scope.columns)
    if pair.numerator is None or pair.divisor is None:
        raise InternalError("A quotient has two parts.")
    a, b = number(pair.numerator, scope), number(pair.divisor, scope)
    null = either_null(scope, a, b)
    found = significand(session, a.share * pair.up, division.top.bits, b.share * pair.down, division.bottom.bits,
                        dividend_signed=division.top.signed, divisor_signed=division.bottom.signed)
    flags = [found.negative, found.no_divisor, found.no_dividend]
    usable = bits.and_(session, *(bits.not_(session, zero) for zero in flags[1:]))
    if null is not None:
        present = bits.not_(session, null)
        usable, *flags = bits.and_many(session, [(bit, present) for bit in (usable, *flags)])
    [words] = mux_many(session, [(usable, [found.mantissa, found.exponent])])
    return [raw(one) for one in words], [scope.bit(False) if null is None else null, *flags]


def ordered(e: Expression, scope: Scope) -> tuple[tuple[Tensor, Tensor], Bits]:
    """Two limbs in DuckDB's order of DOUBLE, -inf .. inf, nan, and where it is NULL (there anything stands under it).

    The first is 128 for 0, 128 +- (exponent + 120) for others, 1 and 255 for infinities, 256 for nan; the second is the
    mantissa without its leading one, counted down where negative. Quotients that round to one DOUBLE are told apart.
    """
    session = scope.session
    [mantissa, exponent], [null, negative, no_divisor, no_dividend] = divided(e, scope)
    nan = bits.and_(session, no_divisor, no_dividend)
    infinite = bits.xor(no_divisor, nan)
    usable = bits.not_(session, bits.xor(bits.xor(no_divisor, no_dividend), nan))
    below = bits.and_(session, infinite, negative)
    real, inf, lowest, none = (raw(one) for one in to_arithmetic_many(session, [usable, infinite, below, nan]))
    size, rest = exponent + 120 * real, mantissa - (real << 56)
    [twice, mirrored] = mux_many(session, [(negative, [2 * size, 2 * rest - ((1 << 56) - 1) * real])])[0]
    first = scope.constant(128) + size - raw(twice) + 127 * inf - 254 * lowest + 128 * none
    return (first, rest - raw(mirrored)), null
