"""Programs of tests/test_division.py: division on shares against Python's integers, which have no width."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial

import torch
from torch import Tensor

from sdh.executors import divide, quotient, rounds
from sdh.executors.dealing import Correlation
from sdh.executors.jobs import Job
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.shares import bits_of, raw
from sdh.executors.values import Number, Relation
from sdh.planners.expressions import Apply, Field, Ref
from sdh.planners.intervals import Shared
from sdh.schema import DOUBLE, INTEGER
from tests.protocol_programs import HIGH, LOW, opened, same, share, share_bits, values


def truncated(x: int, d: int) -> tuple[int, int]:
    """Quotient toward zero, remainder with the dividend's sign."""
    quotient = abs(x) // abs(d) * (1 if (x < 0) == (d < 0) else -1)
    return quotient, x - quotient * d


def wrapped(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def operands(rows: int, bits: int, *, signed: bool, seed: int) -> Tensor:
    """Integers of every length up to `bits`, with the edges of the width among them."""
    low, high = -(1 << bits) if signed else 0, (1 << bits) - 1
    drawn = values(seed, rows, low, high).flip(0)
    lengths = values(seed + 1, rows, 0, bits - 1)
    return torch.where(torch.arange(rows) % 3 == 0, drawn, drawn >> lengths)


def bits(session: Session, rows: int, widths: list[int]) -> None:
    for width in widths:
        x = values(width, rows, LOW, HIGH)
        shared = raw(share(session, 0, x))
        [found] = session.interleave([Job(("bits", width), partial(rounds.bit_planes, session, shared, width))])
        assert len(found) == width
        for place, plane in enumerate(found):
            same(session, bits_of(plane, rows), (x >> place) & 1, f"bit {place} of {width}")


def shifts(session: Session, rows: int, width: int) -> None:
    """Every shift of a width: the floor or one more, the floor where nothing is cut off."""
    x = values(140, rows, -(1 << (width - 2)), (1 << (width - 2)) - 1)
    spots = sorted({1, 2, (width - 2) // 3, (width - 2) // 2, width - 2} - {0})
    for by in (by for by in spots if by < width - 1):
        times = (width - 2) // by
        one = rounds.Shift(raw(share(session, 0, x)), width, by, times)
        [[found]] = session.interleave([Job(("shifts", width, by), partial(rounds.shifts, session, [one]))])
        for index, part in enumerate(found):
            shift = by * (index + 1)
            got = opened(session, part)
            if not session.tracing:
                over = got - (x >> shift)
                assert bool(((over == 0) | ((over == 1) & (x & ((1 << shift) - 1) != 0))).all()), (width, shift)


def force(session: Session, carry: int) -> None:
    """Every shift from now on errs alike: by nothing (0), or by one more wherever it may (1); -1: as chance has it.

    The mask r's bits that are cut off become 0 or 1 everywhere: no longer uniform, so for this test alone.
    """
    honest = session.draw

    def draw(*group: Correlation) -> list[list[Tensor]]:
        found = honest(*group)
        for correlation, parts in zip(group, found, strict=True):
            if correlation.kind in ("shift", "scale"):
                tops = parts[1][0] if correlation.kind == "shift" else parts[2]
                low = carry * ((1 << correlation.total) - 1) if session.rank == 0 else 0
                parts[0] = (tops << correlation.total) + low
        return found

    if carry >= 0:
        session.draw = draw  # type: ignore[method-assign]


def divisions(session: Session, rows: int, dividend_bits: int, divisor_bits: int, signed: list[bool], carry: int = -1) -> None:
    force(session, carry)
    x = operands(rows, dividend_bits, signed=signed[0], seed=70)
    d = operands(rows, divisor_bits, signed=signed[1], seed=80).flip(0)
    d[d == 0] = 1
    if rows > 20:   # multiples, and their neighbours
        x[5:20] = (x[5:20] // d[5:20] * d[5:20] + torch.arange(-7, 8) // 5).clamp(0, (1 << dividend_bits) - 1)
    with session.operator("divide"):
        found = divide.divide(session, share(session, 0, x), dividend_bits, share(session, session.count - 1, d), divisor_bits,
                              dividend_signed=signed[0], divisor_signed=signed[1])
    _same(session, found, x, d)


def _same(session: Session, found: divide.Divided, x: Tensor, d: Tensor) -> None:
    quotient, rest = (opened(session, part).tolist() if not session.tracing else [] for part in found)
    for row in range(0 if session.tracing else len(x)):
        wanted = truncated(int(x[row]), int(d[row]))
        assert (quotient[row], rest[row]) == (wrapped(wanted[0]), wanted[1]), (int(x[row]), int(d[row]), quotient[row], rest[row])


def public_divisions(session: Session, rows: int, dividend_bits: int, divisors: list[int], signed: bool,
                     carry: int = -1) -> None:
    force(session, carry)
    for divisor in divisors:
        x = operands(rows, dividend_bits, signed=signed, seed=90)
        if rows > 20:
            x[5:20] = (x[5:20] // divisor * divisor + torch.arange(-7, 8) // 5).clamp(0, (1 << dividend_bits) - 1)
        found = divide.divide_by(session, share(session, 0, x), dividend_bits, divisor, dividend_signed=signed)
        _same(session, found, x, torch.full((rows,), divisor))


def significands(session: Session, rows: int, dividend_bits: int, divisor_bits: int, signed: list[bool],
                 carry: int = -1) -> None:
    force(session, carry)
    x = operands(rows, dividend_bits, signed=signed[0], seed=110)
    x[x == -(1 << dividend_bits)] = 1
    d = operands(rows, divisor_bits, signed=signed[1], seed=120).flip(0)
    if rows > 60:   # quotients without a rest
        least = d.abs().clamp(min=1)
        x[5:60] = torch.div(x, least, rounding_mode="trunc")[5:60] * least[5:60]
    found = divide.significand(session, share(session, 0, x), dividend_bits, share(session, session.count - 1, d), divisor_bits,
                               dividend_signed=signed[0], divisor_signed=signed[1])
    if session.tracing:
        [opened(session, part) for part in found]
        return
    mantissa, exponent, negative, no_dividend, no_divisor = (opened(session, part).tolist() for part in found)
    for row in range(rows):
        a, b = int(x[row]), int(d[row])
        assert (negative[row], no_dividend[row], no_divisor[row]) == ((a < 0) != (b < 0), a == 0, b == 0)
        if a and b:
            exact = Fraction(abs(a), abs(b)) / Fraction(2) ** exponent[row]
            assert 1 << 56 <= mantissa[row] < 1 << 57
            assert mantissa[row] in (_with_rest(exact, 2), _with_rest(exact, 4)), (a, b, mantissa[row], exponent[row])
            assert math.ldexp(float(mantissa[row]), exponent[row]) == abs(a) / abs(b), (a, b, mantissa[row], exponent[row])


def _with_rest(exact: Fraction, unit: int) -> int:
    """Rounded down to a multiple of `unit`, and 1 if that changed it."""
    whole = math.floor(exact / unit) * unit
    return whole + (whole != exact)


def released(session: Session) -> None:
    """A released quotient shows nothing of either side where the other is 0 or NULL."""
    x, d, null = torch.tensor([7, 0, -7, 7, 0, 9]), torch.tensor([2, 5, 0, -2, 0, 3]), torch.tensor([0, 0, 0, 0, 0, 1])
    fields = [Field(1, "x", INTEGER), Field(2, "d", INTEGER)]
    numbers = {1: Number(raw(share(session, 0, x)), share_bits(session, 0, null)), 2: Number(raw(share(session, 1, d)))}
    columns = {number: Shared(field, -100, 100) for number, field in enumerate(fields, 1)}
    e = Apply("/", (Ref(fields[0]), Ref(fields[1])), DOUBLE)
    words, flags = quotient.divided(e, Scope(session, Relation(len(x), None, dict(numbers)), columns))
    mantissa, exponent = (opened(session, word) for word in words)
    nulls, negative, no_divisor, no_dividend = (opened(session, flag) for flag in flags)
    if session.tracing:
        return
    assert ((mantissa == 0) == torch.tensor([0, 1, 1, 0, 1, 1]).bool()).all()
    assert (exponent[mantissa == 0] == 0).all()
    assert [math.ldexp(float(mantissa[row]), int(exponent[row])) for row in (0, 3)] == [3.5, 3.5]
    assert nulls.tolist() == null.tolist()
    assert negative.tolist() == [0, 0, 1, 1, 0, 0]
    assert no_divisor.tolist() == [0, 0, 1, 0, 1, 0]
    assert no_dividend.tolist() == [0, 1, 0, 0, 1, 0]


def zero_divisors(session: Session) -> None:
    """Garbage, no fault."""
    x, d = share(session, 0, torch.tensor([5, 0, -7])), share(session, 1, torch.tensor([0, 0, 0]))
    for part in (*divide.divide(session, x, 10, d, 8), *divide.significand(session, x, 10, d, 8)):
        opened(session, part)
