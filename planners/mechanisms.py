"""Noise mechanisms on integers: scales, tails, variances, thresholds, exactly or rounded to the side of privacy.

DLap(s): P(x) = (1 - q) / (1 + q) * q^|x| with q = e^(-1/s) (Ghosh, Roughgarden, Sundararajan 2009). The discrete Gaussian:
P(x) ~ e^(-x^2 / 2 sigma^2) (Canonne, Kamath, Steinke 2020). A plan is the same at every node: Fractions and Decimals of 50
digits, no floating point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

from sdh.accounting import EXACT, decimal
from sdh.errors import Unsupported

LAPLACE, GAUSSIAN = "laplace", "gaussian"
JOINT, PARTIES, DEALER, OWNER = "joint", "parties", "dealer", "owner"
"""Who makes the noise: all on shares, and nobody knows any of it; every party a draw of its own; the dealer, on shares; the
owner of all that is under it, in the clear."""

CONFIDENCE = Fraction(95, 100)
BIAS_BITS = 96
"""Of the uniform words that biased bits are drawn by: each is off by 2^-96 at most."""
MOST_COINS = 1 << 34
"""Biased bits of a query's noise. With those left out, whose chance is below 2^-96, twice as many are off: by 2^-61 in all."""
OFF = Fraction(1, 1 << 60)
"""Total variation between all noise of a query that is made jointly and its law: coins', and too few accepted candidates'."""
MOST_SCALE = Fraction(1 << 100)
"""Beyond it noise may leave every type, and tails have few digits."""
SCALE_BITS = 30
"""Significant bits of a scale, rounded up: it is a number of these bits times a power of two."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """kind: 'laplace' (scale: s of DLap(s)) or 'gaussian' (scale: sigma^2), in units of the ring. way: who makes it."""

    kind: str
    scale: Fraction
    way: str

    def draws(self, parties: int) -> int:
        """How many independent draws are added up."""
        return parties if self.way == PARTIES else 1


# --- scales --------------------------------------------------------------------------------------


def rounded_up(scale: Fraction) -> Fraction:
    """The least fraction of SCALE_BITS significant bits that is not below: more noise, never less."""
    shift = SCALE_BITS - (math.ceil(scale).bit_length() if scale >= 1 else -(math.floor(1 / scale).bit_length() - 1))
    factor = Fraction(1 << shift) if shift >= 0 else Fraction(1, 1 << -shift)
    return math.ceil(scale * factor) / factor


def laplace_scale(sensitivity: int, epsilon: Fraction) -> Fraction:
    """s = sensitivity / epsilon: DLap(s) on an integer that one unit moves by at most `sensitivity` is epsilon-DP.

    Raises Unsupported.
    """
    return _fitting(rounded_up(Fraction(max(sensitivity, 1)) / epsilon), MOST_SCALE)


def gaussian_scale(squared: int, rho: Fraction) -> Fraction:
    """sigma^2 = D^2 / (2 rho) of a sensitivity D in the Euclidean norm, `squared` = D^2: rho-zCDP (theorem 4, CKS 2020).

    Raises Unsupported.
    """
    return _fitting(rounded_up(Fraction(max(squared, 1)) / (2 * rho)), MOST_SCALE**2)


def joint_slack(epsilon: Fraction) -> Fraction:
    """What OFF adds to delta: (1 + e^epsilon) OFF, rounded up. As either law is within OFF of the right one, so
    P(S) <= P'(S) + OFF <= e^epsilon Q'(S) + delta + OFF <= e^epsilon (Q(S) + OFF) + delta + OFF."""
    return min(Fraction(1), (1 + Fraction(3) ** math.ceil(min(epsilon, Fraction(64)))) * OFF)


def _fitting(scale: Fraction, most: Fraction) -> Fraction:
    if scale > most:
        raise Unsupported("Noise of more than 100 bits is not supported.", advice="Ask with more epsilon, or narrower bounds.")
    return scale


# --- tails ---------------------------------------------------------------------------------------


def ratio(scale: Fraction) -> Decimal:
    """q = e^(-1/s)."""
    return EXACT.exp(decimal(-1 / scale))


def tail(scale: Fraction, draws: int, least: int) -> Decimal:
    """P(X >= least), least >= 1, of the sum of `draws` independent DLap(s).

    X = A - B of two negative binomials; the sum over B of P(A >= b + least) P(B = b) is a polynomial in b times q^(2b), which
    its coefficients over the basis C(b + k, k) add up in closed form. With one draw it is q^least / (1 + q).
    """
    q, n = ratio(scale), draws
    p, square = EXACT.subtract(Decimal(1), q), EXACT.multiply(q, q)
    whole = Decimal(0)
    for i in range(n):
        factor = EXACT.multiply(EXACT.power(p, n + i), EXACT.power(q, least + n - 1 - i))
        for k, coefficient in enumerate(_coefficients(n, i, least)):
            term = EXACT.divide(decimal(coefficient), EXACT.power(EXACT.subtract(Decimal(1), square), k + 1))
            whole = EXACT.add(whole, EXACT.multiply(factor, term))
    return whole


def _coefficients(n: int, i: int, least: int) -> list[Fraction]:
    """C(b + n - 1, n - 1) C(b + least + n - 1, i) as a sum over k of c_k C(b + k, k): from its values at b = -1, -2, .."""
    degree = n - 1 + i
    values = [_choose(n - 2 - m, n - 1) * _choose(least + n - 2 - m, i) for m in range(degree + 1)]
    return [sum(((-1) ** m * math.comb(k, m) * values[m] for m in range(k + 1)), Fraction(0)) for k in range(degree + 1)]


def _choose(top: int, k: int) -> Fraction:
    """The binomial coefficient as a polynomial in `top`, which may be negative."""
    return Fraction(math.prod(top - j for j in range(k)), math.factorial(k))


# --- what people see -----------------------------------------------------------------------------


def variance(mechanism: Mechanism, parties: int) -> float:
    """Of the noise, in squared units of the ring."""
    if mechanism.kind == GAUSSIAN:
        return float(mechanism.scale) * mechanism.draws(parties)
    q = ratio(mechanism.scale)
    return mechanism.draws(parties) * float(2 * q / (1 - q) ** 2)


def interval(mechanism: Mechanism, parties: int) -> int:
    """The least m with P(|X| <= m) >= 95%, in units of the ring; of a Gaussian by the normal law, rounded up."""
    draws = mechanism.draws(parties)
    if mechanism.kind == GAUSSIAN:
        root = EXACT.sqrt(decimal(mechanism.scale * draws))
        return int(EXACT.multiply(root, Decimal("1.959964")).to_integral_value(ROUND_CEILING))
    outside = decimal((1 - CONFIDENCE) / 2)
    return least_of(lambda m: tail(mechanism.scale, draws, m + 1) <= outside, 0)


def threshold(epsilon: Fraction, delta: Fraction, groups: int, draws: int = 1, least_units: int = 1) -> int:
    """T: a group is kept where its noisy count of units is T or more; below `least_units` units it stays with chance d' at most.

    d' = 1 - (1 - delta)^(1 / groups) of the groups that one unit can bring about; DLap(groups / epsilon) noise.
    """
    chance = EXACT.subtract(Decimal(1), EXACT.power(decimal(1 - delta), decimal(Fraction(1, groups))))
    scale = laplace_scale(groups, epsilon)
    return least_units + least_of(lambda t: tail(scale, draws, t) <= chance, 1)


def magnitude_bits(scale: Fraction) -> int:
    """L: bits of a geometric variable of ratio q = e^(-1/s); higher ones are 1 with a chance below 2^-BIAS_BITS."""
    bits = 1
    while bias(scale, bits):
        bits += 1
    return bits


def bias(scale: Fraction, bit: int) -> int:
    """2^BIAS_BITS times the chance, rounded down, that a bit of a geometric variable is 1: q^(2^j) / (1 + q^(2^j)).

    The bits of a geometric variable are independent (Dwork et al. 2006, section 4.1).
    """
    power = EXACT.exp(decimal(-Fraction(1 << bit) / scale))
    return int(EXACT.multiply(EXACT.divide(power, EXACT.add(Decimal(1), power)), Decimal(1 << BIAS_BITS)))


def reach(mechanism: Mechanism, parties: int) -> int:
    """A bound that the noise passes with a chance below 2^-60: for the widths of what is computed with it, not for privacy."""
    if mechanism.kind == GAUSSIAN:
        root = EXACT.sqrt(decimal(mechanism.scale))
        return mechanism.draws(parties) * int(EXACT.multiply(root, Decimal(10)).to_integral_value(ROUND_CEILING)) + 1
    return mechanism.draws(parties) * (math.ceil(45 * mechanism.scale) + 1)


def least_of(holds: Callable[[int], bool], start: int) -> int:
    """The least integer from `start` on of which a rising condition holds."""
    low, step = start, 1
    while not holds(low + step - 1):
        low, step = low + step, step * 2
    high = low + step - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
