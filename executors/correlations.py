"""Kinds of correlated randomness: their public sizes, the shapes of their parts, and how the parts depend.

| kind | free | dependent (dealt bytes a row) |
|---|---|---|
| triple | a, b | a * b (8) |
| square | a | a * a (8) |
| and (rows = words) | a, b | a & b (8 a word) |
| node (rows = words), arity `width`, outputs `count` | masks of its variables | their products, as products.plan says |
| masked, width k, blocks of `count` = m bits | r | one-hot of each block of r's low k-1 bits without entry 0, top bit |
| equal, width k, blocks of `count` = m bits | r | the one-hots of all k bits ((2^m - 1) k / 8m) |
| bits, width k | r | its k bits (k / 8) |
| bit | XOR-shared bit r | r in the ring (8) |
| mux, of `count` values | XOR-shared bit r, a_1.. | r, r * a_1.. in the ring (8 + 8 count) |
| common (rows = words), of `count` values | a, b_1.. | a & b_1.. (8 count a word) |
| one_hot, of 2^count entries | r | the one-hot of r mod 2^count in the ring, without entry 0 (8 (2^count - 1)) |
| inner, of 2^count entries and `width` tables | o a row, tables t | the XOR of o's entries where t's bit is set (width / 8) |
| unit, of 2^count entries | r | the unit vector of r mod 2^count, packed (2^count / 8) |
| matrix, of `width` tables of `count` words | vectors o of as many words, tables t | o t over GF(2) (width / 8) |
| shift, width k, by f = `total` bits, `count` times | r | r >> f, r >> 2f, .. of r mod 2^k, its top bit (8 count + 8) |
| scale, width k, by f = `total` bits, of `count` values | r_1.., a | r_i >> f, top bits, both times a (32 count) |
| digit, of `count` bits | XOR-shared r, a_1 .. a_(D-1), D = 2^count | r's one-hot but entry 0, a_(r ^ v), v < D-1 (16 (D-1)) |
| noise, `width` 0: DLap(s), 1: discrete Gaussian of sigma^2 = s, s = `count` * 2^(`total` - 128) | none | draws (8) |
| permute | see dealing.PermutationShare | (8 count + octets) a row of `total` |

NumPy only. Source: protocols.md, sections 1-3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from sdh.errors import InternalError, ProtocolError
from sdh.executors.discrete_noise import GAUSSIAN, LAPLACE, draws
from sdh.executors.packing import low_bits, planes, unpack_bits, words_of
from sdh.executors.parities import add_parities, parity
from sdh.executors.products import plan as node_plan
from sdh.executors.products import products
from sdh.executors.streams import Words

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Correlation:
    """One kind of correlated randomness and its public sizes.

    `width`: bits k (masked, equal, bits, shift, scale); inputs of a node; tables (inner, matrix); bytes of XOR fields (permute).
    `count`: bits of a block (masked, equal); a node's outputs; values under one bit (mux, common); bits of an index (one_hot,
    inner, digit, unit); words of a vector (matrix); shifts; values that are scaled; ring words a row (permute). `owner` knows
    the permutation, of `total` positions, into which `rows` rows go.
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
        if (kind in _BLOCKS and not 1 <= count <= INDEX_BITS) or (kind == "node" and not (2 <= width <= 4 and 1 <= count <= 3)):
            raise malformed()
        if (kind == "inner" and not width) or (kind == "unit" and not 1 <= count <= 31):
            raise malformed()
        if kind in _SHIFTED and not (count and total * (count if kind == "shift" else 1) < width):
            raise malformed()
        if kind == "digit" and not 1 <= count <= 2:
            raise malformed()
        if kind == "noise" and not (count and width <= 1 and total <= 2 * NOISE_POINT):
            raise malformed()
        if (kind == "permute") != (owner >= 0) or (kind == "permute" and total < rows):
            raise malformed()
        return Correlation(kind, rows, width, count, owner, total)


NOISE_POINT = 128
"""What is added to the exponent of a scale of noise, so that it is not negative."""
INDEX_BITS = 8
"""Bits of an index into a dealt one-hot, and of a block, at most: 256 entries."""


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


def hot_planes(width: int, block: int) -> tuple[int, int]:
    """Planes of the one-hots, without entry 0, of `width` bits in blocks of `block`: of whole blocks, of the rest."""
    whole, rest = divmod(width, block)
    return whole * ((1 << block) - 1), (1 << rest) - 1


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
        case "node":
            table = node_plan(width, count)
            return (_bits(table.variables, rows),), (_bits(len(table.monomials), rows),)
        case "masked":
            return (_ring(rows),), (_bits(sum(hot_planes(width - 1, count)) + 1, words),)
        case "equal":
            return (_ring(rows),), (_bits(sum(hot_planes(width, count)), words),)
        case "bits":
            return (_ring(rows),), (_bits(width, words),)
        case "bit":
            return (_bits(words),), (_ring(rows),)
        case "noise":
            return (), (_ring(rows),)
        case "mux":
            return (_bits(words), _ring(count, rows)), (_ring(rows), _ring(count, rows))
        case "common":
            return (_bits(rows), _bits(count, rows)), (_bits(count, rows),)
        case "one_hot":
            return (_ring(rows),), (_ring((1 << count) - 1, rows),)
        case "shift":
            return (_ring(rows),), (_ring(count, rows), _ring(rows))
        case "scale":
            return (_ring(count, rows), _ring(rows)), (_ring(count, rows),) * 4
        case "digit":
            entries = _ring((1 << count) - 1, rows)
            return (_bits(count, words), entries), (entries, entries)
        case "unit":
            return (_ring(rows),), (_bits(rows, words_of(1 << count)),)
        case "matrix":
            return (_bits(rows, count), _bits(count, width)), (_bits(width, words),)
        case "inner":
            return (_bits(1 << count, words), _bits(width, words_of(1 << count))), (_bits(width, words),)
        case _:
            raise InternalError(f"No layout for correlation {correlation.kind!r}.")


def _one_hot(bit_planes: Words, block: int) -> list[Words]:
    """Planes entry-major: entry 1 of every whole block, entry 2, ...; then the entries of the shorter top block."""
    words, (blocks, rest) = bit_planes.shape[1], divmod(len(bit_planes), block)
    parts = [bit_planes[:blocks * block].reshape(blocks, block, words).swapaxes(0, 1),
             bit_planes[blocks * block:].reshape(rest, 1, words)]
    return [entries for part in parts for entries in _entries(part)[1:]]


def _entries(bits: Words) -> list[Words]:
    """The one-hot of every block: bits [block, blocks, words], lowest first; entry i in place i."""
    found = [np.full(bits.shape[1:], -1, dtype="<i8")]
    for bit in bits:
        high = [entry & bit for entry in found]
        found = [entry ^ upper for entry, upper in zip(found, high, strict=True)] + high
    return found


def _masked(correlation: Correlation, free: list[Words]) -> list[Words]:
    bit_planes = planes(free[0], correlation.width)
    return [np.concatenate([*_one_hot(bit_planes[:-1], correlation.count), bit_planes[-1:]])]


def _equal(correlation: Correlation, free: list[Words]) -> list[Words]:
    return [np.concatenate(_one_hot(planes(free[0], correlation.width), correlation.count))]


def _node(correlation: Correlation, free: list[Words]) -> list[Words]:
    return [np.stack(products(correlation.width, correlation.count, list(free[0])))]


def _bit(correlation: Correlation, free: list[Words]) -> Words:
    return unpack_bits(free[0], correlation.rows).astype("<i8")


def _mux(correlation: Correlation, free: list[Words]) -> list[Words]:
    bit = _bit(correlation, free)
    return [bit, bit * free[1]]


def _one_hot_ring(correlation: Correlation, free: list[Words]) -> list[Words]:
    index = free[0] & ((1 << correlation.count) - 1)
    return [(index == np.arange(1, 1 << correlation.count)[:, None]).astype("<i8")]


def _inner(correlation: Correlation, free: list[Words]) -> list[Words]:
    entries, tables = free
    chosen = [unpack_bits(table, 1 << correlation.count).astype(bool) for table in tables]
    return [np.stack([np.bitwise_xor.reduce(entries[bits], axis=0) for bits in chosen])]


def _unit(correlation: Correlation, free: list[Words]) -> list[Words]:
    index = free[0] & ((1 << correlation.count) - 1)
    found = np.zeros((correlation.rows, words_of(1 << correlation.count)), dtype="<i8")
    found[np.arange(correlation.rows), index >> 6] = np.left_shift(1, index & 63)
    return [found]


def _matrix(correlation: Correlation, free: list[Words]) -> list[Words]:
    sums = np.zeros((correlation.rows, correlation.width), dtype="<i8")
    add_parities(sums, free[0], free[1])
    found = np.zeros((correlation.width, 8 * words_of(correlation.rows)), dtype=np.uint8)
    found[:, :(correlation.rows + 7) // 8] = np.packbits(parity(sums).astype(np.uint8).T, axis=1, bitorder="little")
    return [found.view("<i8")]


def _shift(correlation: Correlation, free: list[Words]) -> list[Words]:
    mask, width = low_bits(free[0], correlation.width).view("<u8"), correlation.width
    tops = [mask >> np.uint64(correlation.total * (index + 1)) for index in range(correlation.count)]
    return [np.stack(tops).view("<i8"), (mask >> np.uint64(width - 1)).view("<i8")]


def _scale(correlation: Correlation, free: list[Words]) -> list[Words]:
    masks, factor = low_bits(free[0], correlation.width).view("<u8"), free[1]
    tops = (masks >> np.uint64(correlation.total)).view("<i8")
    top_bits = (masks >> np.uint64(correlation.width - 1)).view("<i8")
    return [tops, top_bits, tops * factor, top_bits * factor]


def _digit(correlation: Correlation, free: list[Words]) -> list[Words]:
    planes, masks = free
    digit = np.zeros(correlation.rows, dtype="<i8")
    for place, plane in enumerate(planes):
        digit |= unpack_bits(plane, correlation.rows).astype("<i8") << place
    entries = np.arange(1 << correlation.count)[:, None]
    whole = np.concatenate([np.zeros_like(masks[:1]), masks])
    return [(digit == entries[1:]).astype("<i8"), np.take_along_axis(whole, digit ^ entries[:-1], axis=0)]


def noise_correlation(rows: int, gaussian: bool, scale: Fraction) -> Correlation:
    """Of `rows` draws; scale: a fraction whose denominator is a power of two, with 39 significant bits at most."""
    exponent = -(scale.denominator.bit_length() - 1)
    mantissa = scale.numerator
    while mantissa % 2 == 0:
        mantissa, exponent = mantissa // 2, exponent + 1
    return Correlation("noise", rows, int(gaussian), mantissa, -1, exponent + NOISE_POINT)


def _noise(correlation: Correlation, free: list[Words]) -> list[Words]:
    """Fresh from the operating system: no party's stream has a part in it."""
    del free
    scale = correlation.count * Fraction(2) ** (correlation.total - NOISE_POINT)
    return [ring_of(draws(GAUSSIAN if correlation.width else LAPLACE, scale, correlation.rows))]


def ring_of(values: Sequence[int]) -> Words:
    """Integers mod 2^64."""
    return np.array([value % (1 << 64) for value in values], dtype="<u8").view("<i8")


KINDS: dict[str, Callable[[Correlation, list[Words]], list[Words]]] = {
    "triple": lambda _, free: [free[0] * free[1]],
    "square": lambda _, free: [free[0] * free[0]],
    "and": lambda _, free: [free[0] & free[1]],
    "node": _node,
    "masked": _masked,
    "equal": _equal,
    "bits": lambda c, free: [planes(free[0], c.width)],
    "bit": lambda c, free: [_bit(c, free)],
    "mux": _mux,
    "common": lambda _, free: [free[0] & free[1]],
    "one_hot": _one_hot_ring,
    "inner": _inner,
    "unit": _unit,
    "matrix": _matrix,
    "shift": _shift,
    "scale": _scale,
    "digit": _digit,
    "noise": _noise,
    "permute": lambda c, free: [],
}
_WIDE = ("masked", "equal", "bits", "shift", "scale")
_SHIFTED = ("shift", "scale")
_BLOCKS = ("masked", "equal", "one_hot", "inner")


def correction_bytes(correlation: Correlation) -> int:
    """Bytes that the dealer sends for it."""
    if correlation.kind == "permute":
        return correlation.total * (8 * correlation.count + correlation.width)
    return 8 * sum(part.size for part in layout(correlation)[1])
