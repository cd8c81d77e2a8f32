"""How a block's epsilon and delta are divided: evenly over its aggregates, and as much to choose hidden groups by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sdh.accounting import rho_of
from sdh.planners.logical import Private
from sdh.planners.mechanisms import (
    GAUSSIAN,
    JOINT,
    LAPLACE,
    Mechanism,
    gaussian_scale,
    interval,
    joint_slack,
    laplace_scale,
    threshold,
)
from sdh.planners.private_terms import Limits, delta_of, epsilon_of, refused


@dataclass(frozen=True, slots=True)
class Wanted:
    """A noisy sum: what one unit moves a group by at most, and its share of the aggregates' epsilon."""

    most: int
    share: Fraction


@dataclass(frozen=True, slots=True)
class Terms:
    """Mechanisms of the sums and of hidden groups' count of units, and what they cost together.

    slack: the parts of delta for a group that shows though it has fewer than the least number of units, and for Gaussian
    noise that is made jointly and meets its law almost.
    """

    epsilon: Fraction
    delta: Fraction
    parts: tuple[Mechanism, ...]
    units: Mechanism | None = None
    threshold: int | None = None
    slack: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Moved:
    """groups: how many one unit moves. aggregates: how many there are. hidden: whether groups are chosen by their units."""

    groups: int
    aggregates: int
    hidden: bool


def terms_of(block: Private, limits: Limits, wanted: Sequence[Wanted], moved: Moved, way: str, parties: int) -> Terms:
    """way: who makes the noise; parties: of how many. Raises Unsupported, NotGranted."""
    epsilon, delta = epsilon_of(block, limits), delta_of(block, limits, wanted=moved.hidden)
    if moved.hidden and delta == 0:
        raise refused(block, "Groups that nobody named need a delta above 0", "Write delta = 1e-8, or PUBLIC_GROUPS.")
    own = epsilon * Fraction(moved.aggregates, moved.aggregates + moved.hidden)
    half = delta / 2 if moved.hidden else delta
    almost = joint_slack(epsilon) if way == JOINT else Fraction(0)
    laplace = tuple(Mechanism(LAPLACE, laplace_scale(moved.groups * one.most, own * one.share), way) for one in wanted)
    parts = _narrower(_gaussian(wanted, moved.groups, own, half - almost, way), laplace, parties)
    spent, slack, almost = (Fraction(0), delta, Fraction(0)) if parts is laplace else (delta, half, almost)
    if not moved.hidden:
        return Terms(epsilon, spent, parts, slack=almost)
    units = Mechanism(LAPLACE, laplace_scale(moved.groups, epsilon - own), way)
    least = threshold(epsilon - own, slack, moved.groups, units.draws(parties), limits.least_units())
    return Terms(epsilon, delta, parts, units, least, slack + almost)


def _narrower(gaussian: tuple[Mechanism, ...] | None, laplace: tuple[Mechanism, ...], parties: int) -> tuple[Mechanism, ...]:
    """Those of which 95% lie closer together: by how many integers that are, relative to each other, over all sums."""
    if gaussian is None:
        return laplace
    sizes = [[2 * interval(one, parties) + 1 for one in many] for many in (gaussian, laplace)]
    ratios = [Fraction(one, other) for one, other in zip(*sizes, strict=True)]
    return gaussian if sum(ratios) < len(ratios) else laplace


def _gaussian(
    wanted: Sequence[Wanted], groups: int, epsilon: Fraction, delta: Fraction, way: str
) -> tuple[Mechanism, ...] | None:
    """zCDP adds up: each sum has its share of the whole's rho. None where delta is too small for any."""
    rho = rho_of(epsilon, delta)
    if rho <= 0:
        return None
    return tuple(Mechanism(GAUSSIAN, gaussian_scale(groups * one.most**2, rho * one.share), way) for one in wanted)
