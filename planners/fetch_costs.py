"""What fetching columns that stayed with their owner costs (executors/fetch.py), and how wide their rows are."""

from __future__ import annotations

from sdh.planners.derive_traits import traits
from sdh.planners.intervals import TEXT_BITS, Shared
from sdh.planners.physical import Fetch
from sdh.planners.protocol_costs import NONE, Cost, Steps, and_, padded, to_ring, total
from sdh.schema import FLOATING, Kind

SLICE = 1 << 16
"""Rows of a table that are opened at a time."""
DRAWN = 1 << 27
"""Bits of unit vectors that are dealt at a time."""
WORD_BITS = 64


def limbs_of(column: Shared) -> tuple[tuple[int, int], ...]:
    """Of each word of a column what is subtracted so that none is below 0, and the bits that it then has."""
    match column.field.type.kind:
        case Kind.VARCHAR:
            return ((0, TEXT_BITS),) * -(-column.bytes // 7) + ((0, max(1, column.bytes.bit_length())),)
        case kind if kind in FLOATING:
            return ((0, WORD_BITS),)
        case _:
            return ((column.low, max(1, (column.high - column.low).bit_length())),)


def number_bits(node: Fetch) -> int:
    """Bits of a row without those that say what is NULL."""
    return sum(width for _, column in node.columns for _, width in limbs_of(column))


def row_bits(node: Fetch) -> int:
    return number_bits(node) + sum(column.field.nullable for _, column in node.columns)


def index_bits(slots: int) -> int:
    """Of a place in a table, and at least those of a bit in a word."""
    return max(6, (slots - 1).bit_length())


def fetch(node: Fetch, parties: int) -> Cost:
    """Unit vectors by masked places; slice by slice the masked table, the masked vectors and their product; bits to words."""
    rows, slots, width = traits(node.input).slots, node.source.slots, row_bits(node)
    steps = _units(rows, index_bits(slots))
    steps += total(_met(rows, min(SLICE, slots - start), width) for start in range(0, slots, SLICE))
    return (steps + to_ring(rows * number_bits(node), 1) + _missing(node, rows)).among(parties)


def _units(rows: int, count: int) -> Steps:
    words = rows << (count - 6)
    return Steps(rows * count, -(-rows // max(1, DRAWN >> count)), rows << count, 4 * words)


def _met(rows: int, slots: int, width: int) -> Steps:
    """Two products at the owner, one at every other party, one at the dealer: a quarter of a word's time each, on two cores."""
    vector, table = padded(slots), padded(slots) * width
    work = rows * vector * width // 256 + 4 * table // 64
    return Steps(table, 2, width * padded(rows), work, moved=rows * vector)


def _missing(node: Fetch, rows: int) -> Steps:
    """NULL where there is no place."""
    assert node.source.place is not None
    if not traits(node.input).ranges[node.source.place.number].field.nullable:
        return NONE
    return and_(rows, sum(column.field.nullable for _, column in node.columns))


def fetching(rows: int, slots: int, width: int) -> int:
    """Bytes of memory at work: the packed table; of a slice also its mask, both opened; unit vectors; bits as words."""
    table, part = padded(slots) * width // 8, padded(min(slots, SLICE)) * width // 8
    vectors = rows << (index_bits(slots) - 3)
    return 2 * table + 4 * part + 6 * vectors + rows * width * 8 * 5
