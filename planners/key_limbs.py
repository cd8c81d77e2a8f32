"""Values as keys of a sort on shares: limbs of up to 63 bits, the highest first, each from 0 to a public top.

A number is its distance from the least value of its range; one of 63 or 64 bits is two limbs, 'is not negative' and the low
63 bits; a text is its words and its length; a quotient its sign and exponent, then its mantissa. NULL is one more value of
the first limb, before or after all others. The same limbs are made in executors/key_limbs.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from sdh.errors import Unsupported
from sdh.planners.check import check_output
from sdh.planners.expression_costs import TEXT_BITS, At, nullable, number, value
from sdh.planners.expressions import Expression
from sdh.planners.protocol_costs import NONE, Steps, and_, beside, mux, sign, to_ring, total
from sdh.planners.quotient_costs import ordered
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import Columns, bytes_of, range_of
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
            size = bytes_of(e, columns)
            return Limbs((*[(1 << TEXT_BITS) - 1] * -(-size // 7), size), null)
        case _:
            found = range_of(e, columns)
            if (found.size - 1).bit_length() <= NARROW:
                return Limbs((found.size - 1,), null, found.low)
            return Limbs((1, (1 << 63) - 1), null)


def check_key(e: Expression, columns: Columns, what: str) -> None:
    """`e` can be a key of `what`. Raises Unsupported, WidthError."""
    if is_quotient(e) and what != LIMIT:
        raise Unsupported(f"{what} a quotient or an AVG over columns of several owners is not supported.",
                          advice="Group by what it is made of.")
    if e.type.kind is Kind.OTHER:
        raise Unsupported(f"{what} a column of type {e.type} on shares is not supported.", advice="Cast it at its owner.")
    check_output(e, columns)
    limbs_of(e, columns)


def coding(keys: tuple[Expression, ...], at: At, *, valid: bool) -> Steps:
    """What it costs to make the limbs: 0 under NULL and in rows that are not there."""
    shapes = [limbs_of(e, at.columns) for e in keys]
    whole = total(_evaluated(e, at) for e in keys)
    whole += total(sign(at.rows, 64, at.network) + to_ring(at.rows) for shape in shapes if shape.is_wide)
    if valid:
        whole += and_(at.rows, sum(shape.nullable for shape in shapes))
    return whole + beside(mux(at.rows, len(shape.tops)) for shape in shapes if valid or shape.nullable) if shapes else NONE


def _evaluated(e: Expression, at: At) -> Steps:
    if is_quotient(e):
        return ordered(e, at)
    return value(e, at) if e.type.kind is Kind.VARCHAR else number(e, at)
