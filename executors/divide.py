"""Exact division of shared integers (protocols.md section 2): long division in digits of up to 21 bits.

|D| is scaled by a power of two v to D' = v |D| in [2^60, 2^61], 1 / D' is approximated (Goldschmidt 1964) to 2^-26.5, and
each digit q of the quotient is an estimate of z = 2^g S / D' from the top bits of S, the remainder with the next g bits
of the dividend: R = 2^g S - q D'. It is wrong by little more than one, which the next digit makes up for. Every product
has a factor that stays (1 / D', D', v): it is opened under a mask once, and a digit costs two openings (rounds.Factor).
Two comparisons put the last remainder right.

Errors. A shift gives a value in (y - 1, y + 1]. With the reciprocal's relative error e and w = g + 6 bits of S seen,
|q - z| <= 1 + |z| e + 2^(g+1-w) < 1.1, as |z| <= 2^g (|R| / D' + 1) <= 2.1 * 2^21; so |R| < 1.1 D', |S| < 2^62. The last
digit aims half a unit low, high for a negative dividend: then R + (|D| - 1 if the dividend is negative) is in
(-|D|, 2 |D|), and what it lacks of [0, |D|) is what the quotient and the remainder truncated toward zero lack.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from sdh.errors import InternalError, WidthError
from sdh.executors.arithmetic import plus
from sdh.executors.bits import Bits
from sdh.executors.compare import compare_chunk
from sdh.executors.jobs import CHUNK, Job, Opening, Rounds
from sdh.executors.products import EQ
from sdh.executors.rounds import (
    Factor,
    Product,
    Shift,
    bit_planes,
    prefix,
    products,
    rings,
    scaled,
    shifts,
    together,
)
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, bits_of, raw, words_of
from sdh.planners.comparing import Tree, choose
from sdh.planners.dividing import (
    DIVIDEND_BITS,
    DIVISOR_BITS,
    SIGNIFICANT,
    TOP,
    UNIT,
    Digits,
    Operand,
    digits,
    inverse_widths,
    stages,
)

Divided = tuple[ArithmeticSharedTensor, ArithmeticSharedTensor]
"""Quotient and remainder."""

ROWS = CHUNK // 4
"""Rows that are divided at a time: about a hundred words of each are held."""


def divide(session: Session, dividend: Shared, dividend_bits: int, divisor: Shared, divisor_bits: int, *,
           dividend_signed: bool = True, divisor_signed: bool = True) -> Divided:
    """Quotient truncated toward zero, and remainder with the dividend's sign: `//` and `%` of DuckDB.

    For x in [-2^a, 2^a), D in [-2^b, 2^b), or from 0 on where not signed; a <= 63, b <= 61 (WidthError). Where D is 0 both
    are garbage; -2^63 / -1 wraps. With n = ceil(a / 21) digits of g = ceil(a / n) bits:
    1. sign(x), x in n limbs of g bits (shifts of one opening). Beside it: the bits of D, its leading one, v |D| and v.
    2. 1 / D' (`_inverse`); limbs times v / 2^g. 3. n digits. 4. x - Q |D|, two signs of b + 2 bits, the corrections.
    63 by 32 bits, two parties: 425 / 712 bytes sent / dealt a row, 38 rounds (31 for few rows); 31 by 31 bits: 386 / 596, 35;
    63 by 61 bits: 535 / 914, 40. planners/dividing.py counts them: 64 + k bits and 32 bytes dealt for each digit's openings
    of k = 64 and g + 41 bits, 128 bits and 8 bytes a product, 8 a bit in the ring, two signs of b + 2 bits.
    """
    _check(dividend_bits, divisor_bits)
    x, d = Operand(dividend_bits, dividend_signed), Operand(divisor_bits, divisor_signed)
    tree = choose(2 * len(raw(dividend)), divisor_bits + 2, session.network)
    quotient, rest = _sliced(session, ("divide", x, d, tree), [raw(dividend), raw(divisor)],
                             partial(_divide_chunk, session, x, d, tree))
    return arithmetic(quotient), arithmetic(rest)


def divide_by(session: Session, dividend: Shared, dividend_bits: int, divisor: int, *, dividend_signed: bool = True) -> Divided:
    """The same by a public divisor that is not 0, of up to 61 bits.

    Multiplied by a rounded reciprocal and shifted, in stages so that no product has over 64 bits (dividing.stages); then two
    signs of b + 2 bits. 31 bits by 7: 22 / 92 bytes a row, 10 rounds; 63 bits by 10: 48 / 141, 14. Widths and shifts follow
    from a and b alone, so the dealer does not learn the divisor: for that a power of two has no way of its own.
    """
    _check(dividend_bits, abs(divisor).bit_length())
    if divisor == 0:
        raise InternalError("A public divisor is not 0.")
    if abs(divisor) == 1:
        return arithmetic(raw(dividend) * divisor), arithmetic(torch.zeros_like(raw(dividend)))
    x, rows = Operand(dividend_bits, dividend_signed), len(raw(dividend))
    tree = choose(2 * rows, abs(divisor).bit_length() + 2, session.network)
    quotient, rest = _sliced(session, ("divide_by", x, divisor, tree), [raw(dividend)],
                             partial(_divide_by_chunk, session, x, divisor, tree))
    return arithmetic(quotient), arithmetic(rest)


class Significand(NamedTuple):
    """|x / D| = mantissa * 2^exponent: mantissa (ring) in [2^56, 2^57), of which 55 or 56 bits are the quotient's and the
    last is set where more were cut off."""

    mantissa: Tensor
    exponent: Tensor
    negative: Bits
    no_dividend: Bits
    no_divisor: Bits


def significand(session: Session, dividend: Shared, dividend_bits: int, divisor: Shared, divisor_bits: int, *,
                dividend_signed: bool = True, divisor_signed: bool = True) -> Significand:
    """A quotient to 55 bits or 56 and one that says whether it is exact: it rounds to the same DOUBLE as x / D.

    For |x| < 2^a, a <= 62, D as in `divide` (WidthError). Where x or D is 0 the numbers are garbage.
    1. sign(x), |x|; x' = |x| shifted to [2^61, 2^62), D' to [2^60, 2^61], each by its leading one. 2. 1 / D'; three digits of
    18 bits of x' / D', which is in [1, 4); beside them, whether it is below 2. 3. Correct as in `divide`; nothing is cut off
    where the remainder is 0. 4. Double quotients below 2. 31 by 31 bits: 518 / 790 bytes a row, 38 rounds (31 for few rows).
    """
    _check(dividend_bits + 1, divisor_bits)
    x, d = Operand(dividend_bits, dividend_signed), Operand(divisor_bits, divisor_signed)
    tree, rows = choose(2 * len(raw(dividend)), TOP + 2, session.network), len(raw(dividend))
    found = _sliced(session, ("significand", x, d, tree), [raw(dividend), raw(divisor)],
                    partial(_significand_chunk, session, x, d, tree))
    return Significand(found[0], found[1], *(bits_of(plane, rows) for plane in found[2:]))


def _check(dividend_bits: int, divisor_bits: int) -> None:
    if not 1 <= dividend_bits <= DIVIDEND_BITS or not 1 <= divisor_bits <= DIVISOR_BITS:
        raise WidthError(f"Division on shares takes dividends up to {DIVIDEND_BITS} bits and divisors up to {DIVISOR_BITS}.")


def _sliced(session: Session, key: Hashable, columns: Sequence[Tensor],
            body: Callable[..., Rounds[list[Tensor]]]) -> list[Tensor]:
    """`body` on slices of ROWS rows side by side; its columns (or planes) put together."""
    jobs = []
    for start in range(0, max(len(columns[0]), 1), ROWS):
        part = [column[start:start + ROWS] for column in columns]
        jobs.append(Job((key, len(part[0])), partial(body, *part)))
    return [torch.cat(parts) for parts in zip(*session.interleave(jobs), strict=True)]


# --- shared divisors ---

def _divide_chunk(session: Session, x_width: Operand, d_width: Operand, tree: Tree, x: Tensor, d: Tensor) -> Rounds[list[Tensor]]:
    plan = digits(x_width.bits)
    (limbs, negative), normal = yield from together(_limbs(session, x, x_width, plan, tree),
                                                    _normal(session, d, d_width, tree.arity))
    scale = normal.scaled << (TOP - d_width.bits)
    inverse, feeds, [turn] = yield from together(
        _inverse(session, normal.scaled, d_width.bits, plan.steps), _feeds(session, limbs, normal.power, d_width.bits, plan),
        products(session, [Product(negative, normal.magnitude)]))
    half = plan.window + UNIT - plan.bits
    aim = plus(session, negative << half, -(1 << (half - 1)))
    quotient, _ = yield from _digits(session, plan, torch.zeros_like(x), feeds, scale, inverse, aim)
    [taken] = yield from products(session, [Product(quotient, normal.magnitude)])
    rest = x - taken
    lacks = yield from _lack(session, rest + turn - negative, normal.magnitude, d_width.bits + 2, tree)
    wanted, found = [Product(lacks, normal.magnitude)], quotient - lacks
    if normal.negative is not None:
        wanted.append(Product(found, plus(session, -2 * normal.negative, 1)))
    added, *turned = yield from products(session, wanted)
    return [*(turned or [found]), rest + added]


def _sign(session: Session, x: Tensor, width: Operand, tree: Tree) -> Rounds[tuple[Tensor, Tensor]]:
    """'x < 0' as a plane and in the ring; both 0 where x is not signed."""
    if not width.signed:
        return x.new_zeros(words_of(len(x))), torch.zeros_like(x)
    [sign] = yield from compare_chunk(session, "signs", [x], (width.bits + 1,), tree)
    [ring] = yield from rings(session, [sign.share], len(x))
    return sign.share, ring


def _negative(session: Session, x: Tensor, bits: int, tree: Tree) -> Rounds[Tensor]:
    """'x < 0' in the ring."""
    return (yield from _sign(session, x, Operand(bits - 1, True), tree))[1]


def _limbs(session: Session, x: Tensor, width: Operand, plan: Digits, tree: Tree) -> Rounds[tuple[list[Tensor], Tensor]]:
    """x as limbs in [-2^g, 2^g], highest first, and 'x < 0'. With it x + 2^a * negative - 2^(a-1) has a bits, one is spare."""
    _, negative = yield from _sign(session, x, width, tree)
    if plan.count == 1:
        return [x], negative
    centred = _centred(session, x, width.bits, negative)
    [parts] = yield from shifts(session, [Shift(centred, width.bits + 1, plan.bits, plan.count - 1)])
    above = [centred, *parts]
    limbs = [low - (high << plan.bits) for low, high in pairwise(above)]
    return [_uncentred(session, above[-1], width.bits, negative, plan.bits * (plan.count - 1)), *limbs[::-1]], negative


def _centred(session: Session, x: Tensor, bits: int, negative: Tensor) -> Tensor:
    """x + 2^a (x < 0) - 2^(a-1), in [-2^(a-1), 2^(a-1))."""
    return plus(session, x + (negative << bits), -(1 << (bits - 1)))


def _uncentred(session: Session, shifted: Tensor, bits: int, negative: Tensor, shift: int) -> Tensor:
    """A shift of `_centred` as one of x."""
    return plus(session, shifted - (negative << (bits - shift)), 1 << (bits - 1 - shift))


def _feeds(session: Session, limbs: Sequence[Tensor], power: Tensor, bits: int,
           plan: Digits) -> Rounds[list[tuple[Tensor, Tensor]]]:
    """For every limb: limb * v / 2^g, and limb * v. Where 2^g might not divide v, the former is wrong by 2^g of 2^60."""
    value, spare = power << (TOP - bits), TOP - bits - plan.bits
    if spare >= 0:
        coarse = yield from scaled(session, limbs, plan.bits + 3, power << spare)
        return [(part, part << plan.bits) for part in coarse]
    [[unit]] = yield from shifts(session, [Shift(value, TOP + 2, plan.bits)])
    coarse, fine = yield from together(scaled(session, limbs, plan.bits + 3, unit), scaled(session, limbs, plan.bits + 3, value))
    return list(zip(coarse, fine, strict=True))


class _Normal(NamedTuple):
    """|x| (an integer of b bits), v = 2^exponent, v |x| in [2^(b-1), 2^b], 'x < 0' as a plane and in the ring (None where x
    is not signed)."""

    magnitude: Tensor
    power: Tensor
    exponent: Tensor
    scaled: Tensor
    sign: Tensor
    negative: Tensor | None


def _normal(session: Session, x: Tensor, width: Operand, arity: int) -> Rounds[_Normal]:
    """1. The bits of x, for a negative x of -x - 1. 2. none_e = the top e bits are 0, by a parallel prefix AND. 3. The
    exponent e = 8 j + m is where none_e turns 0 (the lowest bit counts as set: 2^e x of x = -1, -2, -4, .. is 2^b or
    2^(b-1)): bits of j and of m are XORs of none's. 4. v = 2^(8j) 2^m. 5. v |x|.
    """
    bits, rows = width.bits, len(x)
    found = yield from bit_planes(session, x, bits + width.signed, arity)
    clear = found[1:bits].flip(0)
    if width.signed:
        clear ^= found[bits]
    if session.rank == 0:
        clear = ~clear
    _, clear = yield from prefix(session, clear, clear, arity, EQ)
    always = found.new_full((1, found.shape[1]), -1 if session.rank == 0 else 0)
    none = torch.cat([always, clear, torch.zeros_like(always)])
    starts, lows = range(8, bits, 8), range(1, min(8, bits))
    eights = [none[start] ^ none[min(start + 8, bits)] for start in starts]
    ones = [_xor([none[e] ^ none[e + 1] for e in range(low, bits, 8)]) for low in lows]
    met = yield from rings(session, [*eights, *ones, *([found[bits]] if width.signed else [])], rows)
    eights, ones, sign = met[:len(starts)], met[len(starts):len(starts) + len(lows)], met[len(starts) + len(lows):]
    zero = torch.zeros_like(x)
    big = plus(session, sum((bit * ((1 << start) - 1) for bit, start in zip(eights, starts, strict=True)), zero), 1)
    small = plus(session, sum((bit * ((1 << low) - 1) for bit, low in zip(ones, lows, strict=True)), zero), 1)
    exponent = sum((bit * place for bit, place in zip([*eights, *ones], [*starts, *lows], strict=True)), zero)
    turned = [Product(x, plus(session, -2 * bit, 1)) for bit in sign]
    power, *turned_x = yield from products(session, [Product(big, small), *turned])
    magnitude = turned_x[0] if turned_x else x
    [whole] = yield from products(session, [Product(magnitude, power)])
    plane = found[bits] if width.signed else torch.zeros_like(found[0])
    return _Normal(magnitude, power, exponent, whole, plane, sign[0] if sign else None)


def _xor(planes: Sequence[Tensor]) -> Tensor:
    total = planes[0]
    for plane in planes[1:]:
        total = total ^ plane
    return total


_LINE = round(2.9285 * (1 << UNIT))
"""1 / d is 2.9285 - 2 d for d in [1/2, 1], to 0.0733."""


def _inverse(session: Session, scaled_divisor: Tensor, bits: int, steps: int) -> Rounds[Tensor]:
    """2^(UNIT+b) / W for W in [2^(b-1), 2^b], to a relative error of 0.0733^(2^steps) + 10 * 2^-UNIT.

    d = W / 2^b, y = 2.9285 - 2 d, e = 1 - d y; then `steps` times y = y + y e, e = e^2: Goldschmidt's iteration, each
    product shifted back to UNIT bits.
    """
    if bits <= UNIT:
        d = scaled_divisor << (UNIT - bits)
    else:
        [[d]] = yield from shifts(session, [Shift(scaled_divisor, bits + 3, bits - UNIT)])
    y = plus(session, -2 * d, _LINE)
    [product] = yield from products(session, [Product(d, y)])
    [[near]] = yield from shifts(session, [Shift(product, 64, UNIT)])
    e = plus(session, -near, 1 << UNIT)
    for widths in inverse_widths(steps):
        found = yield from products(session, [Product(x, e, width) for x, width in zip((y, e), widths, strict=False)])
        (more,), *square = yield from shifts(session, [Shift(*part, UNIT) for part in zip(found, widths, strict=True)])
        y, e = y + more, square[0][0] if square else e
    return y


def _digits(session: Session, plan: Digits, rest: Tensor, feeds: Sequence[tuple[Tensor, Tensor]] | None, scale: Tensor,
            inverse: Tensor, aim: Tensor) -> Rounds[tuple[Tensor, Tensor]]:
    """The quotient of `plan.count` digits, and what remains in units of `scale`, D'.

    A digit: 1. open S = R + limb * v / 2^g to its top w bits, times 1 / D'. 2. Open the product to q, times D'.
    3. R = 2^g S - q D'. `aim` goes to the last product.
    """
    width = plan.window + UNIT
    by_inverse = Factor(session, inverse, 64, TOP - plan.window, plan.count)
    by_scale = Factor(session, scale, width + 5, width - plan.bits, plan.count)
    quotient = torch.zeros_like(rest)
    for place in range(plan.count):
        coarse, fine = feeds[place] if feeds else (0, 0)
        keys = [] if place else [by_inverse.key, by_scale.key]
        *opened, seen = yield Opening([*keys, by_inverse.masked(place, rest + coarse)], "masked remainder")
        if opened:
            by_inverse.unlock(opened[0])
            by_scale.unlock(opened[1])
        estimate = by_inverse.times(place, seen)[1]
        if place == plan.count - 1:
            estimate = estimate + aim
        [seen] = yield Opening([by_scale.masked(place, estimate)], "masked digit")
        digit, taken = by_scale.times(place, seen)
        rest = (rest << plan.bits) + fine - taken
        quotient = (quotient << plan.bits) + digit
    return quotient, rest


def _lack(session: Session, rest: Tensor, divisor: Tensor | int, width: int, tree: Tree) -> Rounds[Tensor]:
    """How often D > 0 is to be added to a rest in (-D, 2D) for one in [0, D): 1, 0 or -1. `width` bits hold (-2D, 2D)."""
    below = plus(session, rest, -divisor) if isinstance(divisor, int) else rest - divisor
    signs = yield from compare_chunk(session, "signs", [rest, below], (width, width), tree)
    one, other = yield from rings(session, [sign.share for sign in signs], len(rest))
    return plus(session, one + other, -1)


# --- public divisors ---

def _divide_by_chunk(session: Session, width: Operand, divisor: int, tree: Tree, x: Tensor) -> Rounds[list[Tensor]]:
    _, negative = yield from _sign(session, x, width, tree)
    c, bits = abs(divisor), width.bits
    quotient = yield from _public_quotient(session, x, bits, c, negative)
    rest = x - quotient * c
    lacks = yield from _lack(session, rest + negative * (c - 1), c, c.bit_length() + 2, tree)
    found = quotient - lacks
    return [-found if divisor < 0 else found, rest + lacks * c]


def _public_quotient(session: Session, x: Tensor, bits: int, c: int, negative: Tensor) -> Rounds[Tensor]:
    """x / c so that x - q c + (c - 1 if x is negative) is in (-c, 2c)."""
    quotient, rest = torch.zeros_like(x), x
    for index, stage in enumerate(stages(bits, c)):
        seen = rest
        if stage.cut and not index:
            [[seen]] = yield from shifts(session, [Shift(_centred(session, x, bits, negative), bits + 1, stage.cut)])
            seen = _uncentred(session, seen, bits, negative, stage.cut)
        elif stage.cut:
            [[seen]] = yield from shifts(session, [Shift(rest, stage.bits + 2, stage.cut)])
        estimate = seen * stage.factor
        if not stage.place:
            estimate = plus(session, estimate + (negative << stage.shift), -(1 << (stage.shift - 1)))
        [[digit]] = yield from shifts(session, [Shift(estimate, stage.width, stage.shift)])
        quotient = quotient + (digit << stage.place)
        rest = rest - ((digit * c) << stage.place)
    return quotient


# --- DOUBLE ---

def _significand_chunk(session: Session, x_width: Operand, d_width: Operand, tree: Tree, x: Tensor,
                       d: Tensor) -> Rounds[list[Tensor]]:
    plan, a, b = SIGNIFICANT, x_width.bits, d_width.bits
    (sign, top), (bottom, inverse), zeros = yield from together(
        _dividend(session, x, x_width, tree), _inverted(session, d, d_width, plan.steps, tree.arity),
        compare_chunk(session, "zeros", [x, d], (a + x_width.signed, b + d_width.signed), tree))
    scale, half = bottom.scaled << (TOP - b), plan.window + UNIT - plan.bits
    aim = plus(session, torch.zeros_like(x), -(1 << (half - 1)))
    start = top.scaled << (TOP + 1 - a)
    (quotient, rest), small = yield from together(_digits(session, plan, start, None, scale, inverse, aim),
                                                  _negative(session, start - 2 * scale, TOP + 1, tree))
    lacks, exact = yield from together(
        _lack(session, rest, scale, TOP + 2, tree),
        compare_chunk(session, "zeros", [rest, rest - scale], (TOP + 2, TOP + 2), tree))
    cut_off = exact[0].share ^ exact[1].share ^ (-1 if session.rank == 0 else 0)
    quotient = quotient - lacks
    [more], [doubled] = yield from together(rings(session, [cut_off], len(x)), products(session, [Product(quotient, small)]))
    exponent = plus(session, bottom.exponent - top.exponent - small, a - b - plan.count * plan.bits - 2)
    return [2 * (quotient + doubled) + more, exponent, sign ^ bottom.sign, *(zero.share for zero in zeros)]


def _dividend(session: Session, x: Tensor, width: Operand, tree: Tree) -> Rounds[tuple[Tensor, _Normal]]:
    """'x < 0', and |x| normalised: for x = -1, -2, -4, .. too below 2^a, which `_normal` of x itself is not."""
    sign, negative = yield from _sign(session, x, width, tree)
    if width.signed:
        [x] = yield from products(session, [Product(x, plus(session, -2 * negative, 1))])
    return sign, (yield from _normal(session, x, Operand(width.bits, False), tree.arity))


def _inverted(session: Session, d: Tensor, width: Operand, steps: int, arity: int) -> Rounds[tuple[_Normal, Tensor]]:
    normal = yield from _normal(session, d, width, arity)
    return normal, (yield from _inverse(session, normal.scaled, width.bits, steps))
