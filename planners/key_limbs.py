"""Values as keys of a sort on shares: limbs of up to 63 bits, the highest first, each from 0 to a public top.

A number is its distance from the least value of its range; one of 63 or 64 bits is two limbs, 'is not negative' and the low
63 bits; a text is its words and its length; a quotient its sign and exponent, then its mantissa. NULL is one more value of
the first limb, before or after all others. The same limbs are made in executors/key_limbs.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdh.errors import Unsupported, WidthError
from sdh.planners.check import check_output
from sdh.planners.columns import nullable
from sdh.planners.expressions import Expression
from sdh.planners.intervals import TEXT_BITS, Columns, Range
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import bytes_of, range_of, scale_of
from sdh.planners.traits import Traits
from sdh.schema import Kind

LIMIT = "LIMIT after ORDER BY"
NARROW = 62
"""Bits of a number that is one limb, NULL with it."""


@dataclass(frozen=True, slots=True)
class Limbs:
    """tops: the greatest value of each limb, without NULL. low: what a one-limb number is counted from."""

    tops: tuple[int, ...]
    nullable: bool
    low: int = 0

    @property
    def bits(self) -> tuple[int, ...]:
        first, *rest = self.tops
        return tuple(max(1, top.bit_length()) for top in (first + self.nullable, *rest))

    @property
    def is_wide(self) -> bool:
        """A number whose sign is a limb of its own."""
        return self.tops == (1, (1 << 63) - 1)


def limbs_of(e: Expression, columns: Columns) -> Limbs:
    """The shape of a key. Raises Unsupported, WidthError."""
    null = nullable(e, columns)
    if is_quotient(e):
        return Limbs((256, (1 << 56) - 1), null)
    match e.type.kind:
        case Kind.BOOLEAN:
            return Limbs((1,), null)
        case Kind.VARCHAR:
            return _text(bytes_of(e, columns), null)
        case _:
            found = range_of(e, columns)
            return _number(found, null) if (found.size - 1).bit_length() <= NARROW else Limbs((1, (1 << 63) - 1), null)


def joint_limbs(pair: tuple[Expression, Expression], probe: Traits, build: Traits) -> Limbs:
    """The shape that both sides of a join's key have, to be sorted together; no NULL among them. Raises WidthError."""
    if pair[0].type.kind is Kind.VARCHAR:
        return _text(max(bytes_of(e, side.ranges) for e, side in zip(pair, (probe, build), strict=True)), null=False)
    finest = max(scale_of(e.type) for e in pair)
    a, b = (range_of(e, side.ranges).times(10 ** (finest - scale_of(e.type)))
            for e, side in zip(pair, (probe, build), strict=True))
    whole = a | b
    if (whole.size - 1).bit_length() > 63:
        raise WidthError("A join key of more than 63 bits cannot be sorted on shares.",
                         advice="Declare tighter bounds= for its columns, or grant facts='measured'.")
    return _number(whole, null=False)


def _text(size: int, null: bool) -> Limbs:
    return Limbs((*[(1 << TEXT_BITS) - 1] * -(-size // 7), size), null)


def _number(found: Range, null: bool) -> Limbs:
    return Limbs((found.size - 1,), null, found.low)


def check_key(e: Expression, columns: Columns, what: str) -> None:
    """`e` can be a key of `what`. Raises Unsupported, WidthError."""
    if is_quotient(e) and what != LIMIT:
        raise Unsupported(f"{what} a quotient or an AVG over columns of several owners is not supported.",
                          advice="Group by what it is made of.")
    if e.type.kind is Kind.OTHER:
        raise Unsupported(f"{what} a column of type {e.type} on shares is not supported.", advice="Cast it at its owner.")
    check_output(e, columns)
    limbs_of(e, columns)
