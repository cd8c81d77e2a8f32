"""ROUND, FLOOR, CEIL, TRUNC and CASTs that drop decimals on shares."""

from __future__ import annotations

from sdh.executors.arithmetic import to_arithmetic
from sdh.executors.compare import msb
from sdh.executors.divide import divide_by
from sdh.executors.scope import Scope
from sdh.executors.shares import raw
from sdh.executors.values import Number
from sdh.planners.intervals import Range
from sdh.planners.ranges import operand
from sdh.planners.rounding import Rounding


def rounded(rounding: Rounding, a: Number, x: Range, scope: Scope) -> Number:
    """`a`, which lies in `x`, rounded: below 0 it is moved the other way before it is divided toward 0."""
    if rounding.unit == 1:
        return Number(a.share * rounding.times, a.null)
    session = scope.session
    moved = a.share + scope.constant(rounding.step)
    if x.low < 0 and rounding.turn:
        negative = msb(session, a.share, min(x.bits, 64))
        moved = moved + rounding.turn * raw(to_arithmetic(session, negative))
    dividend = operand(rounding.dividend(x))
    quotient, _ = divide_by(session, moved, dividend.bits, rounding.unit, dividend_signed=dividend.signed)
    return Number(raw(quotient) * rounding.times, a.null)
