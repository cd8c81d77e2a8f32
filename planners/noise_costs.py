"""What noise on shares costs (executors/noising.py)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sdh.errors import Unsupported
from sdh.planners.derive_traits import traits
from sdh.planners.joint_gaussian import Slice, after_coins, coins_of, slices
from sdh.planners.logical import Noise
from sdh.planners.mechanisms import (
    BIAS_BITS,
    DEALER,
    GAUSSIAN,
    JOINT,
    LAPLACE,
    MOST_COINS,
    OWNER,
    PARTIES,
    Mechanism,
    magnitude_bits,
)
from sdh.planners.physical import Noised
from sdh.planners.protocol_costs import NONE, Steps, and_, by_size, to_ring, total

BITS = 1 << 20
"""Biased bits that are made at a time."""
WAYS = {
    JOINT: "jointly on shares, nobody knows any of it",
    PARTIES: "each party a draw of its own",
    DEALER: "drawn by the dealer, who must never see the answer",
    OWNER: "drawn by the owner",
}


def noise_text(noise: Noise) -> str:
    """A noised column, by which law and whom."""
    law = "DLap" if noise.mechanism.kind == LAPLACE else "discrete Gaussian of variance"
    return f"{noise.input.name or noise.input.sql} ({law} {float(noise.mechanism.scale):,.6g}, {WAYS[noise.mechanism.way]})"


def noised(node: Noised, parties: int) -> Steps:
    """Raises Unsupported."""
    slots, jointly = traits(node).slots, _jointly(node, LAPLACE)
    sizes = [magnitude_bits(one.scale) for one in jointly]
    dealt = sum(one.mechanism.way == DEALER for one in node.noises)
    found = by_size(noise_slices(slots, sizes), lambda rows: _laplace(2 * sum(sizes) * rows)) if sizes else NONE
    gaussian = _slices(node)
    if 2 * sum(sizes) * slots + sum(map(_coins, gaussian)) > MOST_COINS:
        raise Unsupported("So many noisy values are not made jointly.", advice="Write noise = PARTIES in OPTIONS.")
    found += total(_gaussian(one, parties) for one in gaussian)
    return found + Steps(dealt=64 * slots * dealt, words=slots * len(node.noises))


def noise_bytes(node: Noised) -> int:
    """Of memory: the planes of uniform words and the pairs that are merged, then the bits in the ring."""
    slots = traits(node).slots
    sizes = [magnitude_bits(one.scale) for one in _jointly(node, LAPLACE)]
    made = [2 * sum(sizes) * rows for rows in noise_slices(slots, sizes)] if sizes else []
    return max([*made, *map(_coins, _slices(node)), 0]) * (6 * BIAS_BITS // 8 + 40) + 16 * slots * len(node.noises)


def _jointly(node: Noised, kind: str) -> list[Mechanism]:
    return [one.mechanism for one in node.noises if (one.mechanism.kind, one.mechanism.way) == (kind, JOINT)]


def _slices(node: Noised) -> list[Slice]:
    variances = [one.scale for one in _jointly(node, GAUSSIAN)]
    return gaussian_slices(variances, traits(node).slots) if variances else []


def gaussian_slices(variances: Sequence[Fraction], slots: int) -> list[Slice]:
    """What is made at a time of Gaussian noise of these variances."""
    return slices(variances, slots, BITS)


def noise_slices(slots: int, sizes: Sequence[int]) -> list[int]:
    """Slots of the slices that are noised at a time. sizes: bits of each mechanism's two geometric variables."""
    step = max(64, BITS // (2 * sum(sizes)) // 64 * 64)
    return [min(step, slots - start) for start in range(0, max(slots, 1), step)]


def _laplace(bits: int) -> Steps:
    """So many biased bits, added up in the ring."""
    return _biased(bits) + to_ring(bits)


def _gaussian(one: Slice, parties: int) -> Steps:
    return _biased(_coins(one)) + Steps(words=one.rows // 64) + after_coins(one, parties)


def _coins(one: Slice) -> int:
    return coins_of(one.size) * one.rows


def _biased(bits: int) -> Steps:
    """So many biased bits, each by a comparison with a public number."""
    found, pairs = Steps(words=2 * BIAS_BITS * bits // 64), BIAS_BITS
    while pairs > 1:
        couples = pairs // 2
        found += and_(bits, 2 * couples - (pairs % 2 == 0))
        pairs -= couples
    return found
