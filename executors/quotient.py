"""A released quotient: divided on shares by long division, cut to what a DOUBLE shows."""

from __future__ import annotations

from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.arithmetic import mux_many
from sdh.executors.bits import Bits
from sdh.executors.compare import is_zero, msb
from sdh.executors.divide import divide_bits, round_to_double
from sdh.executors.evaluate import Scope, either_null, number
from sdh.executors.shares import raw
from sdh.planners.expressions import Expression
from sdh.planners.quotients import division_of, pair_of
from sdh.planners.ranges import Range


def divided(e: Expression, scope: Scope) -> list[Bits]:
    """Bits as layout.QuotientColumn has them: is NULL, is negative, divisor is 0, dividend is 0, a rest is left, then
    the quotient's bits from the top, of which no more than 56 from the leading one are kept. 0 under NULL.

    Where the divisor is 0 the quotient's bits are wiped: they would tell of the dividend more than a DOUBLE does.
    """
    session, pair, division = scope.session, pair_of(e), division_of(e, scope.columns)
    if pair.numerator is None or pair.divisor is None:
        raise InternalError("A quotient has two parts.")
    a, b = number(pair.numerator, scope), number(pair.divisor, scope)
    null = either_null(scope, a, b)
    top, top_sign = _magnitude(a.share * pair.up, pair.top(scope.columns), scope)
    bottom, bottom_sign = _magnitude(b.share * pair.down, pair.bottom(scope.columns), scope)
    no_divisor = is_zero(session, bottom, division.bottom)
    no_dividend = is_zero(session, top, division.top)
    found, rest = divide_bits(session, top, division.top, bottom, division.bottom, division.fraction)
    kept, sticky = round_to_double(session, found, rest)
    usable = bits.not_(session, no_divisor)
    negative = bits.xor(top_sign, bottom_sign)
    shown = [negative, no_divisor, no_dividend]
    digits = bits.and_many(session, [(bit, usable) for bit in (sticky, *kept)])
    shown += digits
    if null is None:
        return [scope.bit(False), *shown]
    present = bits.not_(session, null)
    return [null, *bits.and_many(session, [(bit, present) for bit in shown])]


def _magnitude(share: Tensor, range_: Range, scope: Scope) -> tuple[Tensor, Bits]:
    """|x| and 'x < 0'."""
    if range_.low >= 0:
        return share, scope.bit(False)
    sign = msb(scope.session, share, min(range_.bits, 64))
    [[part]] = mux_many(scope.session, [(sign, [share])])
    return share - 2 * raw(part), sign
