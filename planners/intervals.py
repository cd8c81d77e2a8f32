"""Intervals of integers, and columns on shares, whose values lie in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sdh.planners.expressions import Field
from sdh.schema import FLOATING, Type

LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
TEXT_BITS, LENGTH_BITS = 56, 32
"""Of a word of a text and of its length (executors/text.py)."""


@dataclass(frozen=True, slots=True)
class Range:
    """Integers from `low` to `high`, both within."""

    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    @property
    def bits(self) -> int:
        """The least k with -2^(k-1) <= low and high < 2^(k-1)."""
        return max((-self.low - 1).bit_length() if self.low < 0 else 0, self.high.bit_length() if self.high > 0 else 0) + 1

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Range) -> Range:
        return Range(self.low - other.high, self.high - other.low)

    def __mul__(self, other: Range) -> Range:
        corners = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(corners), max(corners))

    def __or__(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))

    def times(self, factor: int) -> Range:
        return self * Range(factor, factor)

    def within(self, other: Range) -> bool:
        return other.low <= self.low and self.high <= other.high


WORD = Range(LOWEST, HIGHEST)
BIT = Range(0, 1)


@dataclass(frozen=True, slots=True)
class Shared:
    """A column on shares: its ring integers lie in [low, high]; `bytes` is a VARCHAR's greatest UTF-8 length."""

    field: Field
    low: int
    high: int
    bytes: int = 0

    @property
    def range(self) -> Range:
        return Range(self.low, self.high)


Columns = Mapping[int, Shared]


def together(field: Field, columns: Sequence[Shared]) -> Shared:
    """A column that holds the values of all of `columns`."""
    low, high = min(column.low for column in columns), max(column.high for column in columns)
    return Shared(field, low, high, max(column.bytes for column in columns))


def type_range(type_: Type) -> Range:
    """Of any value of the type. DOUBLE travels as a 64-bit code in its order. Raises ValueError for VARCHAR, OTHER."""
    return WORD if type_.kind in FLOATING else Range(*type_.range())
