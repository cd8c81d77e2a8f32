"""The discrete Gaussian made jointly on shares: a candidate's coins, how often one is accepted, how many are made.

A candidate is a sign and a magnitude y of independent bits, that at place j with odds e^(-4^j / 2 sigma^2). As
y^2 = sum of 4^j over its bits + 2 z, where z is the sum of 2^(i+j) over pairs i < j of its bits, a candidate that is accepted
with chance e^(-z / sigma^2) - a coin for each bit of z - and is not -0 has the law e^(-y^2 / 2 sigma^2) exactly. (Rejection as
in Canonne, Kamath, Steinke 2020, algorithm 3, from a law of independent bits in place of the Laplace one: no number that
depends on sigma is computed on shares.) Of candidates 0.68 to 0.75 are accepted from sigma = 1 on, half at least below.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from sdh.accounting import EXACT, decimal
from sdh.planners.mechanisms import BIAS_BITS, least_of
from sdh.planners.protocol_costs import Steps, and_, mux, padded, shuffled, to_ring, total
from sdh.planners.sorting import place_bits

SHORT_BITS = 61
"""Too few candidates are accepted with a chance of 2^-SHORT_BITS at most, over all pools and slices."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Draws of one variance: `wanted` accepted ones of `rows` candidates, for `columns` mechanisms."""

    variance: Fraction
    columns: int
    wanted: int
    rows: int


@dataclass(frozen=True, slots=True)
class Slice:
    """What is made at a time. size: bits of every magnitude. rows: candidates of all pools, a multiple of 64."""

    slots: int
    size: int
    pools: tuple[Pool, ...]

    @property
    def rows(self) -> int:
        return sum(pool.rows for pool in self.pools)


def coins_of(size: int) -> int:
    """Of a candidate: a coin for each bit of the magnitude, then one for each of z, from 2^1 to 2^(2 size - 2)."""
    return 3 * size - 2


def slices(variances: Sequence[Fraction], slots: int, most_coins: int) -> list[Slice]:
    """Draws for so many slots of each variance, about `most_coins` coins at a time."""
    columns, size = Counter(variances), max(len(magnitude(one)) for one in variances)
    step = max(64, most_coins // (2 * coins_of(size) * len(variances)) // 64 * 64)
    sizes = [min(step, slots - start) for start in range(0, max(slots, 1), step)]
    bits = SHORT_BITS + (len(sizes) * len(columns)).bit_length()
    return [Slice(rows, size, _pools(columns, rows, bits)) for rows in sizes]


def _pools(columns: Counter[Fraction], slots: int, bits: int) -> tuple[Pool, ...]:
    """The last one has what fills the last word of 64."""
    wanted = [max(1, count * slots) for count in columns.values()]
    rows = [candidates(variance, one, bits) for variance, one in zip(columns, wanted, strict=True)]
    rows[-1] += padded(sum(rows)) - sum(rows)
    return tuple(map(Pool, columns, columns.values(), wanted, rows))


# --- chances -------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def magnitude(variance: Fraction) -> tuple[int, ...]:
    """2^BIAS_BITS times the chance, rounded down, of each bit, the lowest first; that of a higher one is 0. Two at least."""
    found: list[int] = []
    while len(found) < 2 or found[-1]:
        power = _exponential(Fraction(1 << 2 * len(found)) / (2 * variance))
        found.append(_in_coins(EXACT.divide(power, EXACT.add(Decimal(1), power))))
    return tuple(found if found[-1] else found[:-1] if len(found) > 2 else found)


@lru_cache(maxsize=4096)
def passing(variance: Fraction, size: int) -> tuple[int, ...]:
    """Those that a candidate is not refused by a bit of z: e^(-2^w / sigma^2), w = 1 .. 2 size - 2."""
    return tuple(_in_coins(_exponential(Fraction(1 << w) / variance)) for w in range(1, 2 * size - 1))


def _exponential(x: Fraction) -> Decimal:
    """e^-x; 0 where coins do not tell it from 0."""
    return EXACT.exp(decimal(-x)) if x < 128 else Decimal(0)


def _in_coins(chance: Decimal) -> int:
    return min(int(EXACT.multiply(chance, Decimal(1 << BIAS_BITS))), (1 << BIAS_BITS) - 1)


@lru_cache(maxsize=4096)
def acceptance(variance: Fraction) -> Decimal:
    """A lower bound: of sum over x of e^(-x^2 / 2 sigma^2) / (2 product over j of (1 + e^(-4^j / 2 sigma^2))).

    The sum is at least sigma sqrt(2 pi) (Poisson's summation formula), and at least its three middle terms.
    """
    one, product, j = Decimal(1), Decimal(2), 0
    while power := _exponential(Fraction(1 << 2 * j) / (2 * variance)):
        product, j = EXACT.multiply(product, EXACT.add(one, power)), j + 1
    middle = EXACT.add(one, EXACT.multiply(Decimal(2), _exponential(1 / (2 * variance))))
    wide = EXACT.sqrt(EXACT.multiply(decimal(variance), Decimal("6.28318530717958647692528676655900")))
    return EXACT.multiply(EXACT.divide(max(middle, wide), product), Decimal("0.99999999999999999999"))


@lru_cache(maxsize=4096)
def candidates(variance: Fraction, wanted: int, bits: int) -> int:
    """The least number of which fewer than `wanted` are accepted with a chance of 2^-bits at most, by Chernoff's bound."""
    chance, most = acceptance(variance), EXACT.multiply(Decimal(bits), EXACT.ln(Decimal(2)))
    return wanted + least_of(lambda more: _exponent(wanted - 1, wanted + more, chance) >= most, 0)


def _exponent(few: int, of: int, chance: Decimal) -> Decimal:
    """x of Chernoff's P(at most `few` of `of` are accepted) <= e^-x; 0 where more are not expected."""
    refused = EXACT.subtract(Decimal(1), chance)
    if few >= EXACT.multiply(Decimal(of), chance):
        return Decimal(0)
    return EXACT.add(_divergence(few, of, chance), _divergence(of - few, of, refused))


def _divergence(part: int, of: int, chance: Decimal) -> Decimal:
    if not part:
        return Decimal(0)
    return EXACT.multiply(Decimal(part), EXACT.ln(EXACT.divide(Decimal(part), EXACT.multiply(Decimal(of), chance))))


# --- costs ---------------------------------------------------------------------------------------


def pairs_at(size: int) -> list[list[tuple[int, int]]]:
    """The pairs i < j of places with i + j = 1, 2, .. 2 size - 2 (of which there is none)."""
    return [[(i, w - i) for i in range(max(0, w - size + 1), (w + 1) // 2)] for w in range(1, 2 * size - 1)]


def after_coins(shape: Slice, parties: int) -> Steps:
    """All that is done once coins are there (executors/joint_gaussian.py)."""
    rows, size = shape.rows, shape.size
    ands = [*_summing(size), 2 * size - 2, *_all(size + 1), *_all(2 * size - 1)]
    moving = shuffled(2, 0, rows, parties) + Steps(opened=place_bits(rows) * rows, rounds=1)
    return total(and_(rows, count) for count in ands) + to_ring(rows * (size + 2)) + mux(rows, 1) + moving


def _summing(size: int) -> list[int]:
    """ANDs of each round from the magnitude to z: pairs, full adders, then a parallel prefix adder."""
    heights = [len(pairs) for pairs in pairs_at(size)]
    found = [sum(heights)]
    while max(heights) > 2:
        adders = [height // 3 for height in heights]
        found.append(sum(adders))
        heights = [height - 2 * own + below for height, own, below in zip(heights, adders, [0, *adders[:-1]], strict=True)]
    width = len(heights)
    return [*found, width, *(2 * (width - (1 << k)) for k in range((width - 1).bit_length()))]


def _all(terms: int) -> list[int]:
    """ANDs of each round until one is left."""
    found = []
    while terms > 1:
        found.append(terms // 2)
        terms -= terms // 2
    return found
