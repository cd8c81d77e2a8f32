"""How a released row travels: which words and bits each output column has. Public, from the plan alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from sdh.executors.text import words_for
from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Expression
from sdh.planners.intervals import Columns
from sdh.planners.physical import Release
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import bytes_of
from sdh.schema import Kind, Type


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """One word, and a bit: is NULL."""

    type: Type


@dataclass(frozen=True, slots=True)
class TextColumn:
    """`words` words with the length last, and a bit: is NULL."""

    words: int


@dataclass(frozen=True, slots=True)
class TruthColumn:
    """Two bits: is TRUE, is FALSE."""


@dataclass(frozen=True, slots=True)
class QuotientColumn:
    """Words: mantissa, exponent (divide.Significand). Bits: is NULL, is negative, divisor is 0, dividend is 0."""


Column = NumberColumn | TextColumn | TruthColumn | QuotientColumn


def layout(root: Release) -> tuple[Column, ...]:
    """By output, the hidden sort keys too."""
    columns = traits(root.input).ranges
    return tuple(_column(e, columns) for _, e in root.outputs)


def _column(e: Expression, columns: Columns) -> Column:
    if is_quotient(e):
        return QuotientColumn()
    match e.type.kind:
        case Kind.VARCHAR:
            return TextColumn(words_for(bytes_of(e, columns)) + 1)
        case Kind.BOOLEAN:
            return TruthColumn()
        case _:
            return NumberColumn(e.type)


def word_count(column: Column) -> int:
    match column:
        case NumberColumn():
            return 1
        case TextColumn(words):
            return words
        case TruthColumn():
            return 0
        case QuotientColumn():
            return 2
        case _:
            assert_never(column)


def bit_count(column: Column) -> int:
    match column:
        case NumberColumn() | TextColumn():
            return 1
        case TruthColumn():
            return 2
        case QuotientColumn():
            return 4
        case _:
            assert_never(column)
