"""Noise: the exact samplers, the laws' tails and thresholds, and what is added on shares, each way, among real processes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from sdh.accounting import delta_of, rho_of
from sdh.errors import ProtocolError, Unsupported
from sdh.executors.correlations import NOISE_POINT, Correlation, noise_correlation
from sdh.executors.discrete_noise import draws
from sdh.planners import joint_gaussian, noise_costs
from sdh.planners.mechanisms import (
    BIAS_BITS,
    DEALER,
    GAUSSIAN,
    JOINT,
    LAPLACE,
    MOST_COINS,
    OFF,
    OWNER,
    PARTIES,
    Mechanism,
    bias,
    interval,
    laplace_scale,
    magnitude_bits,
    reach,
    rounded_up,
    tail,
    threshold,
    variance,
)
from tests.noise_programs import node
from tests.parties import Pool

P = "tests.noise_programs:"
DRAWS = 20_000
RARE = 1e-7
"""Of a test that fails although all is right."""


def law(mechanism: Mechanism, parties: int, most: int) -> list[float]:
    """P(X = x) for x = -most .. most, and in the last place all else: by convolution, in floats."""
    x = np.arange(-4000, 4001)
    scale = float(mechanism.scale)
    one = np.exp(-np.abs(x) / scale) if mechanism.kind == LAPLACE else np.exp(-(x.astype(float) ** 2) / (2 * scale))
    one /= one.sum()
    whole = one
    for _ in range(mechanism.draws(parties) - 1):
        whole = np.convolve(whole, one, "same")
    middle = whole[4000 - most : 4000 + most + 1].tolist()
    return [*middle, max(1 - sum(middle), 0.0)]


def chi_square(found: Sequence[int], mechanism: Mechanism, parties: int = 2) -> tuple[float, float]:
    """The statistic over cells of 10 expected or more, and the bound that it passes with a chance of RARE."""
    most = interval(mechanism, parties)
    expected = [chance * len(found) for chance in law(mechanism, parties, most)]
    counts = Counter(x if abs(x) <= most else most + 1 for x in found)
    seen = [counts[x] for x in (*range(-most, most + 1), most + 1)]
    cells = [(o, e) for o, e in zip(seen, expected, strict=True) if e >= 10]
    cells.append((sum(seen) - sum(o for o, _ in cells), max(sum(expected) - sum(e for _, e in cells), 1e-9)))
    cells = [cell for cell in cells if cell[1] >= 1]
    freedom = len(cells) - 1
    bound = freedom * (1 - 2 / (9 * freedom) + 5.2 * math.sqrt(2 / (9 * freedom))) ** 3   # Wilson and Hilferty
    return sum((o - e) ** 2 / e for o, e in cells), bound


def fits(found: Sequence[int], mechanism: Mechanism, parties: int = 2) -> None:
    statistic, bound = chi_square(found, mechanism, parties)
    assert statistic < bound
    wanted = variance(mechanism, parties)
    kurtosis = 6 / mechanism.draws(parties) + 1 / max(wanted, 1e-9)
    assert abs(np.var(found) / wanted - 1) < 5.4 * math.sqrt((kurtosis + 2) / len(found))


# --- laws ----------------------------------------------------------------------------------------


def test_thresholds_are_the_known_ones() -> None:
    assert [threshold(Fraction(1), Fraction(1, 10**6), 1, n) for n in (1, 2, 3)] == [15, 17, 19]
    assert threshold(Fraction(1), Fraction(1, 10**6), 1, 1, least_units=5) == 19


@pytest.mark.parametrize("scale", ["1/3", "2", "15/2", "40"])
@pytest.mark.parametrize("parties", [1, 2, 3])
def test_tails_are_those_of_the_convolution(scale: str, parties: int) -> None:
    mechanism = Mechanism(LAPLACE, Fraction(scale), PARTIES)
    for least in (1, 2, 7, 30):
        wanted = (1 - sum(law(mechanism, parties, least - 1)[:-1])) / 2
        assert float(tail(mechanism.scale, parties, least)) == pytest.approx(wanted, rel=1e-6, abs=1e-13)


def test_variances_and_intervals() -> None:
    ten = Fraction(10)
    assert variance(Mechanism(LAPLACE, ten, JOINT), 2) == pytest.approx(2 * 10**2, rel=0.001)
    assert variance(Mechanism(LAPLACE, ten, PARTIES), 3) == pytest.approx(3 * variance(Mechanism(LAPLACE, ten, JOINT), 3))
    for mechanism in (Mechanism(LAPLACE, ten, DEALER), Mechanism(LAPLACE, ten, PARTIES)):
        most = interval(mechanism, 2)
        assert 1 - law(mechanism, 2, most)[-1] >= 0.95 > 1 - law(mechanism, 2, most - 1)[-1]
    assert interval(Mechanism(GAUSSIAN, Fraction(100), DEALER), 2) == 20


def test_scales_are_rounded_to_the_side_of_privacy() -> None:
    for scale in (Fraction(1, 3), Fraction(7, 3), Fraction(10**15, 7), Fraction(5), Fraction(1, 1000)):
        rounded = rounded_up(scale)
        assert scale <= rounded <= scale * (1 + Fraction(1, 1 << 28))
        assert noise_correlation(1, gaussian=False, scale=rounded).count < 1 << 40
    assert laplace_scale(3, Fraction(1, 2)) == 6


def test_gaussian_scales_meet_their_delta() -> None:
    rho = rho_of(Fraction(1), Fraction(1, 10**6))
    assert delta_of(rho, Fraction(1)) <= Fraction(1, 10**6) < delta_of(rho * Fraction(101, 100), Fraction(1))
    # not worse than rho + 2 sqrt(rho ln(1 / delta)) (Bun and Steinke 2016)
    assert float(rho) >= (math.sqrt(1 + math.log(10**6)) - math.sqrt(math.log(10**6))) ** 2
    assert rho_of(Fraction(1), Fraction(0)) == 0


def test_biased_bits_make_the_geometric_law() -> None:
    """The product of the bits' chances is that of each value: q^x (1 - q)."""
    scale = Fraction(7, 2)
    chances = [bias(scale, j) / 2**96 for j in range(magnitude_bits(scale))]
    q = math.exp(-1 / 3.5)
    for x in (0, 1, 5, 12):
        product = math.prod(p if x >> j & 1 else 1 - p for j, p in enumerate(chances))
        assert product == pytest.approx((1 - q) * q**x, rel=1e-9)


@pytest.mark.parametrize("deviation", [Fraction(1, 10), Fraction(1), Fraction(5, 2), Fraction(7)])
def test_coins_make_the_gaussian_law(deviation: Fraction) -> None:
    """The chance that a candidate is x and accepted falls as e^(-x^2 / 2 sigma^2); of all it is the bound of acceptance."""
    square, whole = deviation**2, 2.0**BIAS_BITS
    bits = joint_gaussian.magnitude(square)
    passing = joint_gaussian.passing(square, len(bits))
    found = []
    for y in range(1 << len(bits)):
        places = [y >> j & 1 for j in range(len(bits))]
        z = sum(1 << i + j for j in range(len(bits)) for i in range(j) if places[i] and places[j])
        chance = math.prod(p / whole if bit else 1 - p / whole for bit, p in zip(places, bits, strict=True)) / 2
        found.append(chance * math.prod(c / whole for w, c in enumerate(passing, 1) if z >> w & 1))
        assert z < 1 << 2 * len(bits) - 1
        assert found[y] == pytest.approx(found[0] * math.exp(-y * y / float(2 * square)), rel=1e-9, abs=1e-25)
    accepted = found[0] + 2 * sum(found[1:])
    assert accepted * (1 - 1e-3) <= float(joint_gaussian.acceptance(square)) <= accepted * (1 + 1e-12)


@pytest.mark.parametrize("wanted", [1, 9, 300])
def test_enough_candidates_are_accepted(wanted: int) -> None:
    """By the exact tail of the binomial law; and not many more are made than it needs."""
    square = Fraction(100)
    chance = Fraction(float(joint_gaussian.acceptance(square)))

    def short(rows: int) -> Fraction:
        return sum((math.comb(rows, k) * chance**k * (1 - chance) ** (rows - k) for k in range(wanted)), Fraction(0))

    rows = joint_gaussian.candidates(square, wanted, 62)
    assert short(rows) <= Fraction(1, 1 << 62)
    assert short(rows - 2 - rows // 20) > Fraction(1, 1 << 62)


def test_joint_noise_is_almost_of_its_law() -> None:
    """All coins off, all bits that are left out, and too few accepted candidates come to OFF."""
    assert 2 * MOST_COINS * Fraction(1, 1 << BIAS_BITS) + Fraction(1, 1 << joint_gaussian.SHORT_BITS) <= OFF
    shapes = noise_costs.gaussian_slices([Fraction(100), Fraction(9)], 100_000)
    assert sum(shape.slots for shape in shapes) == 100_000
    pools = sum(len(shape.pools) for shape in shapes)
    short = Fraction(1, 1 << joint_gaussian.SHORT_BITS) / pools
    for pool in (pool for shape in shapes for pool in shape.pools):
        assert joint_gaussian.candidates(pool.variance, pool.wanted, math.ceil(-math.log2(short))) <= pool.rows
    for bits in (joint_gaussian.magnitude(Fraction(100)), joint_gaussian.magnitude(Fraction(1, 50))):
        assert len(bits) >= 2
        assert 0 <= min(bits) <= max(bits) < 1 << (BIAS_BITS - 1)
    with pytest.raises(Unsupported, match="PARTIES"):
        noise_costs.noised(node(1 << 30, [(GAUSSIAN, "100", JOINT)]), 2)


# --- samplers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "scale"), [(LAPLACE, "1/2"), (LAPLACE, "10"), (LAPLACE, "7/3"), (GAUSSIAN, "30"),
                                             (GAUSSIAN, "1/2")])
def test_samplers_are_exact(kind: str, scale: str) -> None:
    fits(draws(kind, Fraction(scale), DRAWS), Mechanism(kind, Fraction(scale), OWNER))


def test_a_wrong_scale_is_caught() -> None:
    """Ten percent off: the check can fail."""
    statistic, bound = chi_square(draws(LAPLACE, Fraction(9), 2 * DRAWS), Mechanism(LAPLACE, Fraction(10), OWNER))
    assert statistic > bound


@pytest.mark.parametrize("sizes", [[0, 0, 128], [2, 5, 128], [0, 5, 1000], [0, 1, -1]])
def test_dealers_refuse_malformed_noise(sizes: list[int]) -> None:
    width, count, total = sizes
    with pytest.raises(ProtocolError):
        Correlation.from_json(["noise", 5, width, count, -1, total])
    assert Correlation.from_json(["noise", 5, 0, 5, -1, NOISE_POINT]).count == 5


# --- on shares -----------------------------------------------------------------------------------

TEN = [(LAPLACE, "10", JOINT), (LAPLACE, "5/2", JOINT), (LAPLACE, "10", PARTIES), (LAPLACE, "3", DEALER),
       (GAUSSIAN, "30", DEALER), (GAUSSIAN, "20", PARTIES), (GAUSSIAN, "30", JOINT), (GAUSSIAN, "1/2", JOINT),
       (GAUSSIAN, "30", JOINT)]


def test_noise_of_every_way_fits_its_law(two: Pool) -> None:
    told = two.run(P + "noises", rows=DRAWS, mechanisms=TEN)
    assert told[0]["left"] == told[1]["left"]
    for found, (kind, scale, way) in zip(told[0]["left"], TEN, strict=True):
        fits(found, Mechanism(kind, Fraction(scale), way))


def test_noise_among_three(three: Pool) -> None:
    some = [TEN[0], TEN[2], TEN[3], TEN[6]]
    told = three.run(P + "noises", rows=5_000, mechanisms=some)
    for found, (kind, scale, way) in zip(told[0]["left"], some, strict=True):
        fits(found, Mechanism(kind, Fraction(scale), way), 3)
    planned = noise_costs.noised(node(5_000, some), 3).among(3)
    assert all(one["cost"] == [planned.sent, planned.dealt, planned.rounds] for one in told)


@pytest.mark.parametrize("rows", [1, 70, 3_000])
def test_noise_costs_what_is_predicted(two: Pool, rows: int) -> None:
    for mechanisms in (TEN, TEN[:1], TEN[2:4], TEN[6:7]):
        planned = noise_costs.noised(node(rows, mechanisms), 2).among(2)
        told = two.run(P + "noises", rows=rows, mechanisms=mechanisms)
        for one in told:
            assert one["cost"] == [planned.sent, planned.dealt, planned.rounds]


def test_no_draw_passes_its_reach(two: Pool) -> None:
    mechanisms = [(LAPLACE, "1", JOINT), (LAPLACE, "1", PARTIES)]
    told = two.run(P + "noises", rows=2_000, mechanisms=mechanisms)
    for found, (kind, scale, way) in zip(told[0]["left"], mechanisms, strict=True):
        assert max(map(abs, found)) <= reach(Mechanism(kind, Fraction(scale), way), 2)


@pytest.mark.parametrize("size", [2, 5, 17])
def test_sums_over_pairs_of_bits(two: Pool, size: int) -> None:
    told = two.run(P + "pair_sums", size=size, rows=64)
    assert told[0]["made"] == told[1]["made"] == told[0]["wanted"]
    assert size == 2 or max(told[0]["wanted"]) > 1 << 2 * size - 3


def test_biased_coins(two: Pool) -> None:
    rows = 20_000
    [counts, _] = two.run(P + "coins", rows=rows, halves=[1, 2, 5, 0, 60])
    for count, chance in zip(counts, (0.5, 0.25, 1 / 32, 1, 0), strict=True):
        assert abs(count - rows * chance) <= 5.4 * math.sqrt(rows * chance * (1 - chance))


# --- cuts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 3, 400])
def test_cuts_leave_so_many_rows_of_each_key(two: Pool, most: int) -> None:
    told = two.run(P + "cuts", rows=300, most=most)
    assert told[0]["rows"] == told[1]["rows"]
    planned = told[0]["planned"]
    assert all(abs(one["cost"][i] - planned[i]) <= 0.1 * planned[i] for one in told for i in range(3))
    there = Counter((key, null) for key, null in zip(told[0]["keys"], told[0]["nulls"], strict=True))
    kept = Counter((told[0]["keys"][row], told[0]["nulls"][row]) for row in told[0]["rows"])
    valid = Counter((told[0]["keys"][row], told[0]["nulls"][row]) for row in range(300) if row % 7)
    assert there.keys() >= kept.keys() == valid.keys()
    assert all(row % 7 for row in told[0]["rows"]) and len(set(told[0]["rows"])) == len(told[0]["rows"])
    for key, count in kept.items():
        assert count == min(valid[key], most)


def test_cuts_are_random(two: Pool) -> None:
    """Of 20 rows of one key each is kept about as often."""
    kept = Counter(row for _ in range(40) for row in two.run(P + "cuts", rows=300, most=1)[0]["rows"])
    assert len(kept) > 150
