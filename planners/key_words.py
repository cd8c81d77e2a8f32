"""Words of keys that are matched, not sorted: Align's with the numbers of equal keys, and the columns of Lookup's table."""

from __future__ import annotations

from sdh.planners.intervals import TEXT_BITS, Shared
from sdh.schema import Kind

WIDEST = 62
"""Bits of a key word that is one number on shares."""


def numbered(widths: list[int], repeats: int) -> list[int]:
    """Bits of key words, of which the last also holds which of up to `repeats` equal keys it is, or one more word does."""
    more = (repeats - 1).bit_length()
    if not more:
        return widths
    return [*widths[:-1], widths[-1] + more] if widths[-1] + more < WIDEST else [*widths, more]


def table_bits(column: Shared) -> tuple[int, ...]:
    """Of a column in a table on shares: bits of its words as numbers; -1 for each bit that stays one (TRUE, FALSE, NULL)."""
    null = (-1,) if column.field.nullable else ()
    match column.field.type.kind:
        case Kind.BOOLEAN:
            return (-1, *null)
        case Kind.VARCHAR:
            return (TEXT_BITS,) * -(-column.bytes // 7) + (max(column.bytes.bit_length(), 1), *null)
        case _:
            return (max((column.high - column.low).bit_length(), 1), *null)
