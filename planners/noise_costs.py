"""What noise on shares costs (executors/noising.py)."""

from __future__ import annotations

from collections.abc import Sequence

from sdh.planners.logical import Noise
from sdh.planners.mechanisms import BIAS_BITS, DEALER, JOINT, LAPLACE, OWNER, PARTIES, magnitude_bits
from sdh.planners.physical import Noised, traits
from sdh.planners.protocol_costs import NONE, Steps, and_, by_size, to_ring

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


def noised(node: Noised) -> Steps:
    slots = traits(node).slots
    sizes = [magnitude_bits(one.mechanism.scale) for one in node.noises if one.mechanism.way == JOINT]
    dealt = sum(one.mechanism.way == DEALER for one in node.noises)
    found = by_size(noise_slices(slots, sizes), lambda rows: _joint(2 * sum(sizes) * rows)) if sizes else NONE
    return found + Steps(dealt=64 * slots * dealt, words=slots * len(node.noises))


def noise_bytes(node: Noised) -> int:
    """Of memory: the planes of uniform words and the pairs that are merged, then the bits in the ring."""
    slots = traits(node).slots
    sizes = [magnitude_bits(one.mechanism.scale) for one in node.noises if one.mechanism.way == JOINT]
    made = max(2 * sum(sizes) * rows for rows in noise_slices(slots, sizes)) if sizes else 0
    return made * (6 * BIAS_BITS // 8 + 40) + 16 * slots * len(node.noises)


def noise_slices(slots: int, sizes: Sequence[int]) -> list[int]:
    """Slots of the slices that are noised at a time. sizes: bits of each mechanism's two geometric variables."""
    step = max(64, BITS // (2 * sum(sizes)) // 64 * 64)
    return [min(step, slots - start) for start in range(0, max(slots, 1), step)]


def _joint(bits: int) -> Steps:
    """So many biased bits, each by a comparison with a public number."""
    found, pairs = Steps(words=2 * BIAS_BITS * bits // 64), BIAS_BITS
    while pairs > 1:
        couples = pairs // 2
        found += and_(bits, 2 * couples - (pairs % 2 == 0))
        pairs -= couples
    return found + to_ring(bits)
