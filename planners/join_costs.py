"""What joins cost (executors/joining.py): all pairs, keys that owners know, keys that are sorted on shares."""

from __future__ import annotations

from sdh.planners.comparing import Network
from sdh.planners.expression_costs import (
    LENGTH_BITS,
    TEXT_BITS,
    At,
    all_of,
    equality_bits,
    holds,
    nullable,
    number,
    record_of,
    value,
)
from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.physical import Align, NestedLoop, Node, SortMerge, carried, has_validity, inputs, key_limbs, traits
from sdh.planners.protocol_costs import (
    NONE,
    Cost,
    Steps,
    and_,
    any_of,
    duplicated,
    less,
    mux,
    permuted,
    shared,
    to_ring,
    total,
    zeros,
)
from sdh.planners.ranges import scale_of
from sdh.planners.sorting import sort_merge_cost
from sdh.schema import Kind


def pairs_at(node: Node, network: Network) -> At:
    """Where a join's condition is evaluated: all pairs, or the probe's rows."""
    first, second = map(traits, inputs(node))
    rows = first.slots * second.slots if isinstance(node, NestedLoop) else first.slots
    return At(rows, first.ranges | second.ranges, network)


# --- all pairs -----------------------------------------------------------------------------------


def nested_loop(node: NestedLoop, at: At) -> Steps:
    """Of so many pairs (`at`): copied, which is local, and the condition evaluated; of other kinds, what each left row has."""
    valid = [has_validity(part) for part in (node.left, node.right)]
    words = sum(record_of(traits(node.left).columns)) + sum(_brought(node))
    found = Steps(words=2 * at.rows * words) + (and_(at.rows) if all(valid) else NONE)
    few, many = traits(node.left).slots, traits(node.right).slots
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


def _any(rows: int, times: int) -> Steps:
    """The OR over blocks of rows."""
    found = NONE
    while times > 1:
        found, times = found + and_(times // 2 * rows), times - times // 2
    return found


def _single(node: NestedLoop, at: At) -> Steps:
    """Whether there is more than one, and the columns of the one."""
    few, many = traits(node.left).slots, traits(node.right).slots
    found = to_ring(at.rows) + less(few, many.bit_length() + 1, at.network) if many > 1 else NONE
    for column in traits(node.right).columns:
        words, bits = record_of([column])
        found += mux(at.rows, words) + (and_(at.rows) if bits else NONE) if words else and_(at.rows, 2)
    return found


# --- by key --------------------------------------------------------------------------------------


def _brought(node: NestedLoop | Align | SortMerge) -> tuple[int, int]:
    """Of what a row of the right (build) side brings to the left's."""
    _, build = inputs(node)
    return record_of(column for column in traits(build).columns if column.field.number in carried(node))


def _outcome(node: Align | SortMerge, network: Network) -> Steps:
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


def _unknown(node: Align | SortMerge, at: At) -> Steps:
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
    ats = [At(traits(side).slots, traits(side).ranges, network) for side in (node.probe, node.build)]
    usable = [has_validity(side) + sum(nullable(pair[i], ats[i].columns) for pair in node.pairs)
              for i, side in enumerate((node.probe, node.build))]
    keys = total(number(pair[i], ats[i]) for pair in node.pairs for i in range(2))
    keys += total(and_(at.rows) for at, count in zip(ats, usable, strict=True) for _ in range(count - 1))
    widths = [width - 1 for pair in node.pairs for _, width in key_limbs(pair, traits(node.probe), traits(node.build))]
    (words, bits), (probe, build) = _brought(node), (at.rows for at in ats)
    keys += total(mux(at.rows, len(widths)) for at, count in zip(ats, usable, strict=True) if count)
    late = [1] if usable[1] else []
    octets, kept = (8 * (len(widths) + words) + -(-(bits + more) // 8) for more in (2, 1))
    merged = sort_merge_cost(probe + build, (*widths, *late), octets + 8, kept, parties, network)
    matched = zeros(probe, tuple(widths), network) + all_of(len(widths) + 1 + bool(usable[0]), probe)
    rest = keys + (to_ring(build) if late else NONE) + matched + mux(probe, words) + and_(probe, bits) + _outcome(node, network)
    touched = (probe + build) * (40 * len(widths) + 8 * words)
    return Cost(merged.sent // 8, merged.rounds, merged.dealt // 8, touched) + rest.among(parties)


def align(node: Align, parties: int, network: Network) -> Cost:
    """executors/align.py: the build side into the table, three candidates a probe row, equalities, selection."""
    probe, build = traits(node.probe).slots, traits(node.build).slots
    words, bits = _brought(node)
    bits += has_validity(node.build)
    widths = _key_widths(node)
    table = -(-max(-(-build * 127 // 100), build + 512) // 3) * 3
    rows = 3 * probe
    placed = permuted(words, bits, build, table, table) if words + bits else NONE
    fetched = duplicated(words + len(widths), bits + 1, table, rows)
    matched = shared(table + probe, len(widths), 1) + zeros(rows, tuple(widths), network) + all_of(len(widths) + 1, rows)
    selected = mux(rows, words) + and_(rows, bits) + (and_(probe) if has_validity(node.probe) else NONE)
    rest = (matched + selected + _outcome(node, network)).among(parties)
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
