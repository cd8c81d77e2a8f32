"""Division on shares against Python's integers, with 2, 3 and 5 parties in processes of their own and a dealer."""

from __future__ import annotations

import pytest

from sdh.errors import WidthError
from sdh.executors import dealing, divide, runtime, tracing
from sdh.planners import dividing
from sdh.planners.comparing import choose
from sdh.planners.dividing import Operand
from tests.parties import Pool
from tests.test_protocols import WIDTHS

P = "tests.division_programs:"
BOTH, NEITHER = [True, True], [False, False]
DIVISORS = [1, -1, 2, 3, -7, 10, 1000, 1 << 20, -(1 << 31), (1 << 32) + 1, 1 << 60, (1 << 61) - 1, -(1 << 60) - 1]


@pytest.mark.parametrize("rows", [0, 1, 65])
def test_bits(two: Pool, three: Pool, rows: int) -> None:
    two.run(P + "bits", rows=rows, widths=WIDTHS)
    three.run(P + "bits", rows=rows, widths=[1, 33, 64])


@pytest.mark.parametrize("width", [3, 9, 33, 63, 64])
def test_shifts(two: Pool, three: Pool, width: int) -> None:
    two.run(P + "shifts", rows=65, width=width)
    three.run(P + "shifts", rows=7, width=width)


@pytest.mark.parametrize(("rows", "dividend_bits", "divisor_bits", "signed"), [
    (0, 8, 8, BOTH), (1, 63, 32, BOTH), (200, 63, 32, BOTH), (200, 63, 61, BOTH), (200, 63, 40, [False, True]),
    (200, 63, 41, [True, False]), (200, 63, 1, BOTH), (65, 1, 1, BOTH), (65, 1, 61, BOTH), (200, 31, 31, BOTH),
    (200, 21, 15, NEITHER), (200, 22, 31, BOTH), (200, 42, 8, NEITHER), (200, 7, 7, BOTH), (200, 15, 2, BOTH),
    (65, 1, 1, NEITHER), (200, 50, 50, BOTH)])
def test_division(two: Pool, rows: int, dividend_bits: int, divisor_bits: int, signed: list[bool]) -> None:
    two.run(P + "divisions", rows=rows, dividend_bits=dividend_bits, divisor_bits=divisor_bits, signed=signed)


@pytest.mark.parametrize("carry", [0, 1])
@pytest.mark.parametrize(("dividend_bits", "divisor_bits"), [(63, 32), (63, 61), (63, 1), (42, 40), (11, 9), (3, 3)])
def test_division_at_the_greatest_errors(two: Pool, dividend_bits: int, divisor_bits: int, carry: int) -> None:
    """Every shift errs the same way; two comparisons still put the quotient right."""
    two.run(P + "divisions", rows=2000, dividend_bits=dividend_bits, divisor_bits=divisor_bits, signed=BOTH, carry=carry)
    two.run(P + "significands", rows=500, dividend_bits=min(dividend_bits, 62), divisor_bits=divisor_bits, signed=BOTH,
            carry=carry)
    two.run(P + "public_divisions", rows=500, dividend_bits=dividend_bits, divisors=[3, -11, 1000, 1 << 31, (1 << 61) - 1],
            signed=True, carry=carry)


def test_division_of_many_rows(two: Pool) -> None:
    """Several slices, the last of an odd length."""
    two.run(P + "divisions", rows=2 * divide.ROWS + 3, dividend_bits=63, divisor_bits=32, signed=BOTH)


def test_division_of_more_parties(three: Pool, five: Pool) -> None:
    three.run(P + "divisions", rows=65, dividend_bits=63, divisor_bits=45, signed=BOTH)
    five.run(P + "divisions", rows=65, dividend_bits=40, divisor_bits=20, signed=BOTH)
    three.run(P + "public_divisions", rows=65, dividend_bits=63, divisors=[-10, 64], signed=True)
    five.run(P + "significands", rows=65, dividend_bits=62, divisor_bits=20, signed=BOTH)


@pytest.mark.parametrize(("dividend_bits", "signed"), [(1, True), (7, True), (30, False), (31, True), (40, True), (62, True),
                                                       (63, True), (63, False)])
def test_public_divisors(two: Pool, dividend_bits: int, signed: bool) -> None:
    two.run(P + "public_divisions", rows=65, dividend_bits=dividend_bits, divisors=DIVISORS, signed=signed)


@pytest.mark.parametrize(("rows", "dividend_bits", "divisor_bits", "signed"), [
    (0, 8, 8, BOTH), (1, 40, 20, [True, False]), (65, 1, 1, NEITHER), (300, 62, 61, BOTH),
    (300, 62, 10, [True, False]), (65, 1, 1, BOTH), (300, 31, 31, BOTH), (300, 53, 53, NEITHER)])
def test_quotients_of_doubles(two: Pool, rows: int, dividend_bits: int, divisor_bits: int, signed: list[bool]) -> None:
    two.run(P + "significands", rows=rows, dividend_bits=dividend_bits, divisor_bits=divisor_bits, signed=signed)


def test_a_quotient_that_is_not_there_shows_nothing(two: Pool) -> None:
    two.run(P + "released")


def test_division_by_zero_does_not_fail(two: Pool) -> None:
    two.run(P + "zero_divisors")


@pytest.mark.parametrize(("dividend_bits", "divisor_bits"), [(64, 8), (0, 8), (8, 62), (8, 0)])
def test_widths_that_are_refused(dividend_bits: int, divisor_bits: int) -> None:
    session = tracing.TraceSession(["a", "b"])
    x = session.share(0, None, 8)
    with pytest.raises(WidthError):
        divide.divide(session, x, dividend_bits, x, divisor_bits)


# --- costs ---

ROWS = 1 << 15


def metered(program: str, *operands: int, **signs: bool) -> tuple[float, float, int]:
    """Bits sent and dealt a row, and rounds, as a trace of ROWS rows meters them."""

    def run(session: runtime.Session) -> None:
        x, d = session.share(0, None, ROWS), session.share(1, None, ROWS)
        match program, operands:
            case "divide", (a, b):
                divide.divide(session, x, a, d, b, **signs)
            case "divide_by", (a, c):
                divide.divide_by(session, x, a, c, **signs)
            case _, (a, b):
                divide.significand(session, x, a, d, b, **signs)

    found = tracing.trace(run, ["a", "b"], 0)[1].total
    return 8 * found.sent / ROWS, 8 * found.dealt / ROWS, found.rounds


@pytest.mark.parametrize(("a", "b", "x_signed", "d_signed"), [
    (63, 32, True, True), (63, 61, True, True), (31, 31, True, False), (7, 3, False, False), (20, 40, False, True),
    (1, 1, False, False)])
def test_costs_are_those_that_the_planner_counts(a: int, b: int, x_signed: bool, d_signed: bool) -> None:
    x, d = Operand(a, x_signed), Operand(b, d_signed)
    counted = dividing.shared_cost(x, d, choose(2 * ROWS, b + 2))
    signs = {"dividend_signed": x_signed, "divisor_signed": d_signed}
    assert metered("divide", a, b, **signs) == (counted.sent, counted.dealt, counted.rounds)
    if a < 63:
        counted = dividing.significand_cost(x, d, choose(2 * ROWS, dividing.TOP + 2))
        assert metered("significand", a, b, **signs) == (counted.sent, counted.dealt, counted.rounds)
    for c in (7, 1 << b - 1, -(1 << b) + 1):
        counted = dividing.public_cost(x, c, choose(2 * ROWS, abs(c).bit_length() + 2))
        assert metered("divide_by", a, c, dividend_signed=x_signed) == (counted.sent, counted.dealt, counted.rounds)


def test_division_takes_few_rounds_and_bytes() -> None:
    """64-bit dividends by 32-bit divisors: a third of the bytes and a tenth of the rounds of one bit at a time."""
    sent, dealt, rounds = metered("divide", 63, 32)
    assert sent <= 8 * 425
    assert dealt <= 8 * 712
    assert rounds <= 38


@pytest.mark.parametrize(("dividend_bits", "divisors"), [(31, (512, 777, 1023)), (63, (1 << 40, (1 << 41) - 1)), (7, (64, 101))])
def test_the_dealer_does_not_learn_a_public_divisor(dividend_bits: int, divisors: tuple[int, ...]) -> None:
    """Divisors of one length: one dealing list."""

    def dealt(divisor: int) -> dealing.DealingList:
        return tracing.trace(lambda session: divide.divide_by(session, session.share(0, None, 100), dividend_bits, divisor),
                             ["a", "b"], 0)[0]

    assert all(dealt(divisor) == dealt(-divisors[0]) for divisor in divisors)


@pytest.mark.parametrize("bits", [1, 2, 3, 8, 21, 22, 31, 40, 58, 59, 62, 63])
@pytest.mark.parametrize("divisor_bits", [1, 2, 5, 31, 32, 59, 61])
def test_stages_keep_their_promises(bits: int, divisor_bits: int) -> None:
    """What a stage says of its products and of what it leaves, at the greatest values and the greatest errors of a shift."""
    for c in {(1 << divisor_bits) - 1, 1 << divisor_bits - 1, (1 << divisor_bits - 1) + 1}:
        greatest = 1 << bits
        for stage in dividing.stages(bits, c):
            assert stage.width <= 64
            assert greatest <= 1 << stage.bits
            for x in (greatest, -greatest, greatest - 1, c, 0):
                if abs(x) > greatest:
                    continue
                for carry in ((0, 1) if stage.cut else (0,)):
                    estimate = ((x >> stage.cut) + carry) * stage.factor
                    least = 1 << (stage.shift - 1) if not stage.place else 0
                    assert -(1 << (stage.width - 2)) <= estimate - least <= estimate + least < 1 << (stage.width - 2)
                    left = [x - ((estimate >> stage.shift) + more) * (c << stage.place) for more in (0, 1)]
                    assert all(abs(one) < 1.5 * (c << stage.place) for one in left)
            greatest = min(greatest, 3 * (c << stage.place) // 2)
