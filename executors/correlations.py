"""Kinds of correlated randomness: their public sizes, the shapes of their parts, and how the parts depend.

| kind | free | dependent (dealt bytes a row) |
|---|---|---|
| triple | a, b | a * b (8) |
| square | a | a * a (8) |
| and (rows = words) | a, b | a & b (8 a word) |
| common (rows = words) | a, b1, b2 | a & b1, a & b2 (16 a word) |
| masked, width k | r | one-hot of each 2-bit block of r's low k-1 bits without entry 0, top bit ((3(k-1)/2 + 1) / 8) |
| equal, width k | r | the one-hots of all k bits (1.5 k / 8) |
| bits, width k | r | its k bits (k / 8) |
| bit | XOR-shared bit r | r in the ring (8) |
| mux, of `count` values | XOR-shared bit r, a_1.. | r, r * a_1.. in the ring (8 + 8 count) |
| permute | see dealing.PermutationShare | (8 count + octets) a row of `total` |

NumPy only. Source: protocols.md, sections 1-3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdh.errors import InternalError, ProtocolError
from sdh.executors.packing import planes, unpack_bits, words_of
from sdh.executors.streams import Words

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Correlation:
    """One kind of correlated randomness and its public sizes.

    `width`: bits k (masked, equal, bits); bytes of XOR fields (permute). `count`: values under one bit (mux); ring
    words a row (permute). `owner` knows the permutation, of `total` positions, into which `rows` rows go.
    """

    kind: str
    rows: int
    width: int = 0
    count: int = 0
    owner: int = -1
    total: int = 0

    def to_json(self) -> list[Any]:
        return [self.kind, self.rows, self.width, self.count, self.owner, self.total]

    @staticmethod
    def from_json(values: Sequence[Any]) -> Correlation:
        """Raises ProtocolError for anything but a known kind with sizes in range."""
        try:
            kind, *sizes = values
            rows, width, count, owner, total = sizes
        except (TypeError, ValueError):
            raise malformed() from None
        if kind not in KINDS or any(type(size) is not int or not -1 <= size < 1 << 40 for size in sizes):
            raise malformed()
        if rows < 0 or width < 0 or count < 0 or total < 0 or (kind in _WIDE and not 1 <= width <= 64):
            raise malformed()
        if (kind == "permute") != (owner >= 0) or (kind == "permute" and total < rows):
            raise malformed()
        return Correlation(kind, rows, width, count, owner, total)

def malformed() -> ProtocolError:
    return ProtocolError("The dealing list is malformed.")


@dataclass(frozen=True, slots=True)
class Part:
    """One array of 64-bit words in a correlation; shares add up by XOR or mod 2^64."""

    shape: Shape
    xor: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)


Layout = tuple[tuple[Part, ...], tuple[Part, ...]]


def _ring(*shape: int) -> Part:
    return Part(shape, False)


def _bits(*shape: int) -> Part:
    return Part(shape, True)


def _hot_planes(width: int) -> int:
    """Planes of the one-hots, without entry 0, of the 2-bit blocks of `width` bits."""
    return width // 2 * 3 + width % 2


def layout(correlation: Correlation) -> Layout:
    """The (free, dependent) parts of a correlation, in the order in which a stream fills them."""
    rows, width, count = correlation.rows, correlation.width, correlation.count
    words = words_of(rows)
    match correlation.kind:
        case "triple":
            return (_ring(rows), _ring(rows)), (_ring(rows),)
        case "square":
            return (_ring(rows),), (_ring(rows),)
        case "and":
            return (_bits(rows), _bits(rows)), (_bits(rows),)
        case "common":
            return (_bits(rows), _bits(2, rows)), (_bits(2, rows),)
        case "masked":
            return (_ring(rows),), (_bits(_hot_planes(width - 1) + 1, words),)
        case "equal":
            return (_ring(rows),), (_bits(_hot_planes(width), words),)
        case "bits":
            return (_ring(rows),), (_bits(width, words),)
        case "bit":
            return (_bits(words),), (_ring(rows),)
        case "mux":
            return (_bits(words), _ring(count, rows)), (_ring(rows), _ring(count, rows))
        case _:
            raise InternalError(f"No layout for correlation {correlation.kind!r}.")


def _one_hot(bit_planes: Words) -> Words:
    """Planes e1 of every block, then e2 and e3 of every 2-bit block, of [width, words] bit planes."""
    blocks, whole = (len(bit_planes) + 1) // 2, len(bit_planes) // 2
    low, high = bit_planes[0::2], bit_planes[1::2]
    out = np.empty((blocks + 2 * whole, bit_planes.shape[1]), dtype="<i8")
    out[:blocks] = low
    out[:whole] &= ~high
    out[blocks:blocks + whole] = high & ~low[:whole]
    out[blocks + whole:] = high & low[:whole]
    return out


def _masked(correlation: Correlation, free: list[Words]) -> list[Words]:
    bit_planes = planes(free[0], correlation.width)
    return [np.concatenate([_one_hot(bit_planes[:-1]), bit_planes[-1:]])]


def _bit(correlation: Correlation, free: list[Words]) -> Words:
    return unpack_bits(free[0], correlation.rows).astype("<i8")


def _mux(correlation: Correlation, free: list[Words]) -> list[Words]:
    bit = _bit(correlation, free)
    return [bit, bit * free[1]]


KINDS: dict[str, Callable[[Correlation, list[Words]], list[Words]]] = {
    "triple": lambda _, free: [free[0] * free[1]],
    "square": lambda _, free: [free[0] * free[0]],
    "and": lambda _, free: [free[0] & free[1]],
    "common": lambda _, free: [free[0] & free[1]],
    "masked": _masked,
    "equal": lambda c, free: [_one_hot(planes(free[0], c.width))],
    "bits": lambda c, free: [planes(free[0], c.width)],
    "bit": lambda c, free: [_bit(c, free)],
    "mux": _mux,
    "permute": lambda c, free: [],
}
_WIDE = ("masked", "equal", "bits")


def correction_bytes(correlation: Correlation) -> int:
    """Bytes that the dealer sends for it."""
    if correlation.kind == "permute":
        return correlation.total * (8 * correlation.count + correlation.width)
    return 8 * sum(part.size for part in layout(correlation)[1])
