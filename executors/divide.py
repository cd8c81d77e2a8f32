"""Exact division of shared integers by shared integers, bit by bit (protocols.md section 2), and what AVG needs.

Long division in radix 2^g: R = 2^g R + next g bits of the dividend; t_i = (R >= i D) for i = 1 .. 2^g - 1, all in
one batch; the digit's bits are XORs of t_i (bit b flips at the multiples of 2^b); R = R - D * sum t_i by mux. g is 4
for few rows, where rounds count, and falls to 1 for many, where comparisons do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sdh.errors import WidthError
from sdh.executors.arithmetic import mux, to_arithmetic_many
from sdh.executors.bits import Bits, and_words, not_
from sdh.executors.compare import is_zero, msb
from sdh.executors.dealing import Correlation
from sdh.executors.runtime import CHUNK, Masked, Session
from sdh.executors.shares import Shared, bits_of, pack, planes, raw, unpack


def decompose(session: Session, x: Shared, width: int) -> list[Bits]:
    """The low `width` bits of x as shared bits, lowest first.

    1. Draw r mod 2^k and its bits; open c = x + r. 2. Bit i of x is c_i ^ r_i ^ borrow_i, borrow_i = (c mod 2^i <
    r mod 2^i), by a parallel prefix (Sklansky 1960) over lt_i = ~c_i & r_i, eq_i = ~(c_i ^ r_i).
    Rounds 1 + ceil(log2 (width - 1)); about k/8 + 3 k log2(k) / 16 bytes a row.
    """
    column = raw(x)
    rows, step, chunks = len(column), CHUNK // 8, []
    for start in range(0, max(rows, 1), step):
        part = column[start:start + step]
        chunks.append(session.once(("decompose", width, len(part)), partial(_decompose_chunk, session, part, width)))
    return [bits_of(torch.cat([chunk[index] for chunk in chunks]), rows) for index in range(width)]


def _decompose_chunk(session: Session, x: Tensor, width: int) -> Tensor:
    [[r, r_bits]] = session.draw(Correlation("bits", len(x), width))
    [c] = session.open_masked([Masked(x + r, width)], "masked decomposition")
    public = planes(c, width)
    lt, eq = ~public & r_bits, r_bits.clone()
    if session.rank == 0:
        eq ^= ~public
    lt, eq = lt[:-1], eq[:-1]
    step = 1
    while step < width - 1:
        low, high = _sklansky(width - 1, step)
        met = and_words(session, torch.cat([eq[high], eq[high]]), torch.cat([lt[low], eq[low]]))
        lt[high] ^= met[:len(high)]
        eq[high] = met[len(high):]
        step *= 2
    out = r_bits.clone()
    out[1:] ^= lt
    return out ^ public if session.rank == 0 else out


def _sklansky(count: int, step: int) -> tuple[list[int], list[int]]:
    """(low, high): at this level of a prefix network, position high takes in position low."""
    high = [index for index in range(count) if index & step]
    return [index // step * step - 1 for index in high], high


def digit_bits(rows: int, divisor_bits: int) -> int:
    """g: bits of quotient a step; public, by row count and width."""
    best = 4 if rows <= 1 << 10 else 2 if rows <= 1 << 15 else 1
    return max(1, min(best, 63 - divisor_bits))


def divide_bits(session: Session, dividend: Shared, dividend_bits: int, divisor: Shared, divisor_bits: int,
                fraction_bits: int) -> tuple[list[Bits], Bits]:
    """The bits of dividend / divisor from the top, `fraction_bits` of them behind the point, and 'a rest is left'.

    For 0 <= dividend < 2^dividend_bits <= 2^63 and 0 < divisor < 2^divisor_bits <= 2^62; a divisor of 0 gives
    garbage. dividend_bits + fraction_bits bits. Rounds: about 8 a digit of g bits. Raises WidthError.
    """
    if not 1 <= divisor_bits <= 62 or not 1 <= dividend_bits <= 63:
        raise WidthError("Division on shares takes dividends up to 63 bits and divisors up to 62.")
    d, total = raw(divisor), dividend_bits + fraction_bits
    rows, g = len(d), digit_bits(len(d), divisor_bits)
    digits = -(-total // g)
    inner = to_arithmetic_many(session, decompose(session, dividend, dividend_bits)[::-1])
    zero = torch.zeros(rows, dtype=torch.int64, device=session.device)
    bits = [zero] * (digits * g - total) + [raw(bit) for bit in inner] + [zero] * fraction_bits
    rest, quotient = zero, list[Bits]()
    for place in range(0, digits * g, g):
        for bit in bits[place:place + g]:
            rest = rest * 2 + bit
        rest, found = session.once(("divide", rows, g, divisor_bits),
                                   partial(_digit, session, rest, d, g, divisor_bits))
        quotient += found
    left = not_(session, is_zero(session, rest, divisor_bits))
    return quotient[digits * g - total:], left


def _digit(session: Session, rest: Tensor, d: Tensor, g: int, divisor_bits: int) -> tuple[Tensor, list[Bits]]:
    """One digit of the quotient: the rest R mod D, and the digit's bits from the top."""
    rows, width, count = len(d), divisor_bits + g + 1, (1 << g) - 1
    trials = torch.cat([rest - i * d for i in range(1, count + 1)])
    at_least = not_(session, msb(session, trials, width))
    taken = mux(session, at_least, d.repeat(count))
    rest = rest - raw(taken).reshape(count, rows).sum(0)
    outcome = unpack(at_least.share, count * rows).reshape(count, rows)
    found = []
    for bit in reversed(range(g)):
        share = outcome[(1 << bit) - 1]
        for i in range(2 << bit, count + 1, 1 << bit):
            share = share ^ outcome[i - 1]
        found.append(bits_of(pack(share), rows))
    return rest, found


def round_to_double(session: Session, quotient: Sequence[Bits], sticky: Bits) -> tuple[list[Bits], Bits]:
    """Clear every bit more than 55 places below the leading one; OR what was cleared into the sticky bit.

    `quotient` comes from the top. What is left, with the sticky bit, rounds to the same DOUBLE, and tells no more.
    P_i = OR of bits 0..i (parallel prefix); bit i goes if P_(i-56).
    """
    total, rows = len(quotient), sticky.rows
    if total <= 56:
        return list(quotient), sticky
    bits = torch.stack([bit.share for bit in quotient])
    none = ~bits[:total - 56] if session.rank == 0 else bits[:total - 56].clone()
    step = 1
    while step < len(none):
        low, high = _sklansky(len(none), step)
        none[high] = and_words(session, none[high], none[low])
        step *= 2
    kept = and_words(session, bits[56:], none)
    dropped = [*(bits[56:] ^ kept).unbind(), sticky.share]
    while len(dropped) > 1:
        half = len(dropped) // 2
        x, y = torch.stack(dropped[:half]), torch.stack(dropped[half:2 * half])
        dropped = [*(x ^ y ^ and_words(session, x, y)).unbind(), *dropped[2 * half:]]
    return [*quotient[:56], *(bits_of(row, rows) for row in kept.unbind())], bits_of(dropped[0], rows)


def quotient_value(session: Session, quotient: Sequence[Bits]) -> Tensor:
    """The ring value of up to 64 bits from the top: for `//`, whose quotient stays on shares. 1 round."""
    parts = [raw(part) for part in to_arithmetic_many(session, quotient)]
    total = parts[0]
    for part in parts[1:]:
        total = total * 2 + part
    return total
