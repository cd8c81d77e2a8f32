"""How a block's epsilon and delta are divided: evenly over its aggregates, and as much to choose hidden groups by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from sdh.accounting import rho_of
from sdh.planners.logical import Private
from sdh.planners.mechanisms import GAUSSIAN, JOINT, LAPLACE, Mechanism, gaussian_scale, laplace_scale, threshold
from sdh.planners.private_terms import Limits, delta_of, epsilon_of, refused

MOST_LAPLACE = 8
"""Noisy values of a group up to which Laplace noise is no worse than Gaussian."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A noisy sum: what one unit moves a group by at most, and its share of the aggregates' epsilon."""

    most: int
    share: Fraction


@dataclass(frozen=True, slots=True)
class Terms:
    """Mechanisms of the sums and of hidden groups' count of units, and what they cost together.

    slack: the part of delta for a group that shows though it has fewer than the least number of units.
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
    many = len(wanted) > MOST_LAPLACE and delta > 0 and way != JOINT   # jointly only Laplace noise is made
    parts = _gaussian(wanted, moved.groups, own, half, way) if many else None
    spent, slack = (delta, half) if parts is not None else (Fraction(0), delta)
    if parts is None:
        parts = tuple(Mechanism(LAPLACE, laplace_scale(moved.groups * one.most, own * one.share), way) for one in wanted)
    if not moved.hidden:
        return Terms(epsilon, spent, parts)
    units = Mechanism(LAPLACE, laplace_scale(moved.groups, epsilon - own), way)
    least = threshold(epsilon - own, slack, moved.groups, units.draws(parties), limits.least_units())
    return Terms(epsilon, delta, parts, units, least, slack)


def _gaussian(
    wanted: Sequence[Wanted], groups: int, epsilon: Fraction, delta: Fraction, way: str
) -> tuple[Mechanism, ...] | None:
    """zCDP adds up: each sum has its share of the whole's rho. None where delta is too small for any."""
    rho = rho_of(epsilon, delta)
    if rho <= 0:
        return None
    return tuple(Mechanism(GAUSSIAN, gaussian_scale(groups * one.most**2, rho * one.share), way) for one in wanted)
