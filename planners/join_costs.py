"""What joins cost (executors/all_pairs.py, joining.py): all pairs, keys that owners know, sorted keys, tables."""

from __future__ import annotations

from functools import partial

from sdh.planners.columns import nullable
from sdh.planners.comparing import Network
from sdh.planners.derive_traits import carried, has_validity, traits
from sdh.planners.expression_costs import At, all_of, equality_bits, holds, number, record_of, value
from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.intervals import LENGTH_BITS, TEXT_BITS
from sdh.planners.key_limbs import joint_limbs
from sdh.planners.key_words import numbered, table_bits
from sdh.planners.physical import Align, ByKey, Expand, Lookup, NestedLoop, Node, SortMerge, inputs
from sdh.planners.protocol_costs import (
    CHUNK,
    NONE,
    SORTING,
    Cost,
    Steps,
    and_,
    any_of,
    beside,
    by_size,
    duplicated,
    less,
    multiply,
    mux,
    padded,
    passes,
    permuted,
    shared,
    sign,
    spans,
    to_ring,
    total,
    zeros,
)
from sdh.planners.ranges import scale_of
from sdh.planners.sorting import copies_cost, degrees_cost, paired_cost, sort_merge_cost, sorting_cost
from sdh.schema import Kind


def pairs_at(node: Node, network: Network) -> At:
    """Where a join's condition is evaluated: all pairs, or the probe's rows."""
    first, second = map(traits, inputs(node))
    rows = first.slots * second.slots if isinstance(node, NestedLoop) else traits(node).slots
    return At(rows, first.ranges | second.ranges, network)


# --- all pairs -----------------------------------------------------------------------------------


def nested_loop(node: NestedLoop, at: At) -> Steps:
    """Of so many pairs (`at`): copied, which is local, and the condition evaluated; of other kinds, what each left row has."""
    valid = [has_validity(part) for part in (node.left, node.right)]
    words = sum(record_of(traits(node.left).columns)) + sum(_brought(node))
    found = Steps(words=2 * at.rows * words) + (and_(at.rows) if all(valid) else NONE)
    few, many = _blocks(node, at)
    if node.mark is not None and node.mark.nullable and node.condition is not None:
        return found + value(node.condition, at) + (and_(at.rows, 2) if any(valid) else NONE) + total([_any(few, many)] * 2)
    found += holds(node.condition, at, valid=any(valid))
    match node.kind:
        case "INNER":
            return found
        case "SINGLE":
            return found + _single(node, at)
        case _:
            return found + _any(few, many)


def _blocks(node: NestedLoop, at: At) -> tuple[int, int]:
    """Rows of the left whose pairs these are, and pairs of each."""
    many = traits(node.right).slots
    return at.rows // max(many, 1), many


def _any(rows: int, times: int) -> Steps:
    """The OR over blocks of rows."""
    found = NONE
    while times > 1:
        found, times = found + and_(times // 2 * rows), times - times // 2
    return found


def _single(node: NestedLoop, at: At) -> Steps:
    """Whether there is more than one, and the columns of the one."""
    few, many = _blocks(node, at)
    found = to_ring(at.rows) + less(few, many.bit_length() + 1, at.network) if many > 1 else NONE
    for column in traits(node.right).columns:
        words, bits = record_of([column])
        found += mux(at.rows, words) + (and_(at.rows) if bits else NONE) if words else and_(at.rows, 2)
    return found


# --- by key --------------------------------------------------------------------------------------


def _brought(node: NestedLoop | ByKey) -> tuple[int, int]:
    """Of what a row of the right (build) side brings to the left's."""
    _, build = inputs(node)
    return record_of(column for column in traits(build).columns if column.field.number in carried(node))


def _outcome(node: ByKey, network: Network) -> Steps:
    """A further condition, and what the kind of join makes of the match."""
    at = pairs_at(node, network)
    found = holds(node.condition, at, valid=True)
    match node.kind:
        case "LEFT":
            return found + and_(at.rows, _brought(node)[1])
        case "MARK" if node.mark is not None and node.mark.nullable:
            return found + _unknown(node, at)
        case _:
            return found


def _unknown(node: ByKey, at: At) -> Steps:
    """Where a mark is NULL: the key is and there is a row, or a row's key is."""
    build, (a, b) = traits(node.build), (_expression(side) for side in node.pairs[0])
    found = and_(at.rows)
    if nullable(a, at.columns):
        found += any_of(build.slots) + and_(at.rows)
    if nullable(b, at.columns):
        found += any_of(build.slots) + and_(at.rows) + (and_(build.slots) if has_validity(node.build) else NONE)
    return found


def _expression(side: Field | Expression) -> Expression:
    return Ref(side) if isinstance(side, Field) else side


def sort_merge(node: SortMerge, parties: int, network: Network) -> Cost:
    """executors/sort_merge.py: sort both sides, carry the build's rows on, take them back, compare."""
    keys, widths, usable = _keys_on_shares(node, network)
    (words, bits), (probe, build) = _brought(node), (traits(side).slots for side in inputs(node))
    late = [1] if usable[1] else []
    octets, kept = (8 * (len(widths) + words) + -(-(bits + more) // 8) for more in (2, 1))
    merged = sort_merge_cost(probe + build, (*widths, *late), octets + 8, kept, parties, network)
    matched = zeros(probe, tuple(widths), network) + all_of(len(widths) + 1 + bool(usable[0]), probe)
    rest = keys + (to_ring(build) if late else NONE) + matched + mux(probe, words) + and_(probe, bits) + _outcome(node, network)
    touched = (probe + build) * (40 * len(widths) + 8 * words)
    return Cost(merged.sent // 8, merged.rounds, merged.dealt // 8, touched) + rest.among(parties)


def _keys_on_shares(node: SortMerge | Expand, network: Network) -> tuple[Steps, list[int], list[int]]:
    """The limbs of both sides, 0 in rows that cannot match; their bits; how many columns of bits say of a side which can."""
    sides = inputs(node)
    ats = [At(traits(side).slots, traits(side).ranges, network) for side in sides]
    usable = [has_validity(side) + sum(nullable(pair[i], ats[i].columns) for pair in node.pairs) for i, side in enumerate(sides)]
    keys = total(number(pair[i], ats[i]) for pair in node.pairs for i in range(2))
    keys += total(and_(at.rows) for at, count in zip(ats, usable, strict=True) for _ in range(count - 1))
    widths = [bits for pair in node.pairs for bits in joint_limbs(pair, *map(traits, sides)).bits]
    return keys + total(mux(at.rows, len(widths)) for at, count in zip(ats, usable, strict=True) if count), widths, usable


def expand(node: Expand, parties: int, network: Network) -> Cost:
    """sort_merge.many_to_many: sort both sides, sizes of groups, copies of either side, and one side to the other's places."""
    steps, widths, _ = _keys_on_shares(node, network)
    sides, bound = [traits(side) for side in inputs(node)], node.slots
    rows = sum(side.slots for side in sides)
    records = [record_of(column for column in side.columns if column.field.number in node.kept) for side in sides]
    words, bits = map(max, zip(*records, strict=True))
    if rows > 1:
        steps += zeros(rows - 1, tuple(widths), network) + all_of(len(widths), rows - 1)
    if rows:
        steps += to_ring(rows, 2) + mux(rows, 2) + beside([mux(rows, 1)] * 2)
    steps += sign(1, 64, network) + beside([mux(rows, 1)] * 2) + multiply(rows)
    (first, marks), (second, flags) = records
    octets = [8 * first + -(-(marks + 1) // 8), 8 * (second + 2) + -(-flags // 8), 8 * second + -(-flags // 8)]
    moved = [sorting_cost(rows, widths, 8 * (len(widths) + words) + -(-(bits + 2) // 8), parties, network),
             degrees_cost(rows, parties), *(copies_cost(rows, bound, width, parties) for width in octets[:2]),
             paired_cost(bound, octets[2], parties)]
    touched = rows * (40 * len(widths) + 8 * words) + 4 * (rows + bound) * (parties * SORTING + words)
    return steps.among(parties) + Cost(sum(one.sent for one in moved) // 8, sum(one.rounds for one in moved),
                                       sum(one.dealt for one in moved) // 8, touched)


def lookup(node: Lookup, parties: int, network: Network) -> Cost:
    """executors/lookup.py: the key, a private table of flags and columns in chunks, bits to numbers."""
    [pair], at = node.pairs, At(traits(node.probe).slots, traits(node.probe).ranges, network)
    [index] = joint_limbs(pair, traits(node.probe), traits(node.build)).bits
    sizes = [size for column in traits(node.build).columns if column.field.number in carried(node)
             for size in table_bits(column)]
    outputs = 1 + sum(map(abs, sizes))
    rows = [min(CHUNK, at.rows - start) for start in range(0, max(at.rows, 1), CHUNK)]
    found = by_size(rows, lambda some: _looked_up(some, index, outputs))
    ands = has_validity(node.probe) + nullable(pair[0], at.columns)
    steps = number(pair[0], at) + found + total(to_ring(at.rows * size) for size in sizes if size > 0)
    return (steps + total([and_(at.rows)] * ands) + _outcome(node, network)).among(parties)


def _looked_up(rows: int, index: int, outputs: int) -> Steps:
    """A chunk: the masked index and table opened, masked one-hots to the table's owner."""
    entries = 1 << index
    return Steps(index * rows + outputs * padded(entries), 2, (entries - 1 + outputs) * padded(rows),
                 entries * outputs * padded(rows) // 32, entries * padded(rows))


def align(node: Align, parties: int, network: Network) -> Cost:
    """executors/align.py: the build side into the table, three candidates a probe row, equalities, selection."""
    probe, build = traits(node).slots, traits(node.build).slots
    words, bits = _brought(node)
    bits += has_validity(node.build)
    widths = numbered(_key_widths(node), node.repeats)
    table = -(-max(-(-build * 127 // 100), build + 512) // 3) * 3
    placed = permuted(words, bits, build, table, table) if words + bits else NONE
    turns = passes(probe, words + bits + len(widths))
    parts = [(len(thirds) * table // 3, len(thirds) * probe) for thirds in turns]
    fetched = total(duplicated(words + len(widths), bits + 1, bins, rows) for bins, rows in parts)
    matched = shared(table + probe, len(widths), 1)
    matched += total(zeros(rows, tuple(widths), network) + all_of(len(widths) + 1, rows) for _, rows in parts)
    selected = total(by_size(spans(rows), partial(mux, values=words)) + and_(rows, bits) for _, rows in parts)
    selected += and_(probe) if has_validity(node.probe) else NONE
    spread = Steps(words=probe * sum(record_of(traits(node.probe).columns)) if node.repeats > 1 else 0)
    rest = (matched + selected + spread + _outcome(node, network)).among(parties)
    others = parties - 1   # the build side's owner programs the first permutation, the probe side's the others
    sent = [others * placed.told + fetched.moved, placed.moved + others * fetched.told]
    sent += [placed.moved + fetched.moved] if parties > 2 else []
    routed = placed + fetched
    return rest + Cost(max(sent) // 8, routed.rounds, routed.dealt // 8, routed.words)


def _key_widths(node: Align) -> list[int]:
    a, b = traits(node.probe).ranges, traits(node.build).ranges
    found: list[int] = []
    for first, second in node.pairs:
        if first.type.kind is Kind.VARCHAR:
            found += [TEXT_BITS] * -(-max(a[first.number].bytes, b[second.number].bytes) // 7) + [LENGTH_BITS]
        else:
            scales = [scale_of(field.type) if field.type.is_exact else 0 for field in (first, second)]
            factors = [10 ** (max(scales) - scale) for scale in scales]
            found.append(equality_bits(a[first.number].range.times(factors[0]) - b[second.number].range.times(factors[1])))
    return found
