"""How shares are divided: digits and their width, limits, and what a division costs (executors/divide.py).

A quotient of `a` bits is found in n digits of g bits from an approximate reciprocal; g is at most 21, so that the
reciprocal's 26 exact bits leave each digit wrong by at most one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sdh.planners.comparing import EQ, LT, NODE, Compared, Tree, sign, zero

DIVIDEND_BITS, DIVISOR_BITS = 63, 61
"""Dividends are in [-2^63, 2^63), divisors in [-2^61, 2^61]."""
UNIT = 30
"""Bits behind the point of a reciprocal."""
TOP = 61
"""A normalised divisor is in [2^60, 2^61]."""
_WIDEST = 21


@dataclass(frozen=True, slots=True)
class Operand:
    """An integer in [-2^bits, 2^bits), or in [0, 2^bits) if it is not signed."""

    bits: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Digits:
    """`count` digits of `bits` each; a digit's estimate looks at the top `window` bits of the remainder."""

    count: int
    bits: int

    @property
    def window(self) -> int:
        return self.bits + 6

    @property
    def steps(self) -> int:
        """Squarings of the reciprocal's error: it is below 2^-7.6, 2^-15, 2^-26.5 after 1, 2, 3 of them."""
        return 1 if self.bits <= 3 else 2 if self.bits <= 11 else 3


def digits(bits: int) -> Digits:
    """The digits of a quotient of `bits` bits."""
    count = -(-bits // _WIDEST)
    return Digits(count, -(-bits // count))


def inverse_widths(steps: int) -> list[tuple[int, ...]]:
    """Bits that hold the products y e and e e of every step of a reciprocal; |e| < 2^(UNIT-3) at first. The last has no e e."""
    found: list[tuple[int, ...]] = []
    size = UNIT - 3
    for _ in range(steps):
        found.append((UNIT + size + 3, 2 * size + 2))
        size = 2 * size - UNIT
    return [*found[:-1], found[-1][:1]]


SIGNIFICANT = Digits(3, 18)
"""Of a quotient that becomes a DOUBLE: 54 bits behind the leading one's place."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One estimate of a quotient by a public divisor c: ((x >> cut) * factor) >> shift, times 2^place.

    x is in [-2^bits, 2^bits), the product in [-2^(width-2), 2^(width-2)).
    """

    bits: int
    cut: int
    factor: int
    width: int
    shift: int
    place: int


def stages(bits: int, divisor: int) -> list[Stage]:
    """The stages of dividing x in [-2^bits, 2^bits) by `divisor` of b > 0 bits.

    With |x| <= 2^a a stage at place p errs by 2^f / (c 2^p) <= 1/4 for the cut (f = b + p - 3), by 2^(a-f) / 2^s
    = 1/8 for the factor floor(2^(s+f-p) / c), s = a - f + 3, and by one for the shift; what is left is below 1.5 c 2^p, so
    that a falls to b + p + 1. p is the least at which the product has 64 bits.
    """
    found, b = [], divisor.bit_length()
    while True:
        direct = max(2 * bits + 7 - b, bits + 6) <= 64
        place = 0 if direct else max(0, bits - b - 27)
        cut = 0 if direct else min(b + place - 3, bits - 1)
        shift = bits - cut + 3
        width = max(2 * bits + 7 - b - place - cut, shift + 3)
        found.append(Stage(bits, cut, (1 << (bits + 3 - place)) // divisor, width, shift, place))
        if not place:
            return found
        bits = b + place + 1


# --- costs: bits of a row, for two parties -------------------------------------------------------


def shared_cost(dividend: Operand, divisor: Operand, tree: Tree) -> Compared:
    """Of divide.divide."""
    plan, signs = digits(dividend.bits), divisor.signed
    return _then([
        _beside([_limbs(dividend, plan, tree), _normal(divisor, tree)]),
        _beside([_inverse(divisor.bits, plan.steps), _feeds(divisor.bits, plan), _products([64])]),
        _digits(plan), _products([64]), _lack(divisor.bits + 2, tree), _products([64] * (1 + signs))])  # fmt: skip


def public_cost(dividend: Operand, divisor: int, tree: Tree) -> Compared:
    """Of divide.divide_by."""
    size = abs(divisor)
    if size <= 1:
        return Compared(0, 0, 0)
    found = [_sign(dividend, tree), _lack(size.bit_length() + 2, tree)]
    for index, stage in enumerate(stages(dividend.bits, size)):
        found += [_shifts([stage.bits + (2 if index else 1)])] if stage.cut else []
        found.append(_shifts([stage.width]))
    return _then(found)


def significand_cost(dividend: Operand, divisor: Operand, tree: Tree) -> Compared:
    """Of divide.significand."""
    a, b, plan = dividend.bits, divisor.bits, SIGNIFICANT
    top = _then([_sign(dividend, tree), _products([64] * dividend.signed), _normal(Operand(a, False), tree)])
    bottom = _then([_normal(divisor, tree), _inverse(b, plan.steps)])
    return _then([
        _beside([top, bottom, zero(a + dividend.signed, tree), zero(b + divisor.signed, tree)]),
        _beside([_digits(plan), _sign(Operand(TOP, True), tree)]),
        _beside([_lack(TOP + 2, tree), zero(TOP + 2, tree), zero(TOP + 2, tree)]),
        _beside([_rings(1), _products([64])])])  # fmt: skip


def _then(parts: Sequence[Compared]) -> Compared:
    return Compared(sum(part.sent for part in parts), sum(part.dealt for part in parts), sum(part.rounds for part in parts),
                    sum(part.planes_sent for part in parts), sum(part.planes_dealt for part in parts))


def _beside(parts: Sequence[Compared]) -> Compared:
    return replace(_then(parts), rounds=max(part.rounds for part in parts))


def _rings(count: int) -> Compared:
    return Compared(count, 64 * count, int(count > 0), count)


def _products(widths: Sequence[int]) -> Compared:
    return Compared(2 * sum(widths), 64 * len(widths), int(bool(widths)))


def _shifts(widths: Sequence[int], count: int = 1) -> Compared:
    return Compared(sum(widths), 64 * (count + 1) * len(widths), 1)


def _scaled(width: int, count: int) -> Compared:
    return Compared(64 + width * count, 256 * count, 1)


def _prefix(count: int, arity: int, outputs: int) -> Compared:
    """A parallel prefix over `count` positions in nodes of up to `arity` inputs."""
    sent = dealt = levels = 0
    span = 1
    while span < count:
        for place in (index // span % arity for index in range(count)):
            one = NODE[place + 1, outputs] if place else (0, 0)
            sent, dealt = sent + one[0], dealt + one[1]
        span, levels = span * arity, levels + 1
    return Compared(sent, dealt, levels, sent, dealt)


def _sign(operand: Operand, tree: Tree) -> Compared:
    return _then([sign(operand.bits + 1, tree), _rings(1)]) if operand.signed else Compared(0, 0, 0)


def _limbs(dividend: Operand, plan: Digits, tree: Tree) -> Compared:
    cut = [_shifts([dividend.bits + 1], plan.count - 1)] if plan.count > 1 else []
    return _then([_sign(dividend, tree), *cut])


def _normal(operand: Operand, tree: Tree) -> Compared:
    bits, width = operand.bits, operand.bits + operand.signed
    picked = (bits - 1) // 8 + min(7, bits - 1) + operand.signed
    return _then([Compared(width, width, 1, 0, width), _prefix(width - 1, tree.arity, LT | EQ), _prefix(bits - 1, tree.arity, EQ),
                  _rings(picked), _products([64] * (1 + operand.signed)), _products([64])])  # fmt: skip


def _feeds(bits: int, plan: Digits) -> Compared:
    one = _scaled(plan.bits + 3, plan.count)
    return one if bits + plan.bits <= TOP else _then([_shifts([TOP + 2]), _beside([one, one])])


def _inverse(bits: int, steps: int) -> Compared:
    found = [_shifts([bits + 3])] if bits > UNIT else []
    found += [_products([64]), _shifts([64])]
    for widths in inverse_widths(steps):
        found += [_products(widths), _shifts(widths)]
    return _then(found)


def _digits(plan: Digits) -> Compared:
    one = _scaled(64, plan.count), _scaled(plan.window + UNIT + 5, plan.count)
    return Compared(sum(part.sent for part in one), sum(part.dealt for part in one), 2 * plan.count)


def _lack(width: int, tree: Tree) -> Compared:
    one = sign(width, tree)
    return _then([_beside([one, one]), _rings(2)])
