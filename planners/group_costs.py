"""What groups, distinct values and first rows by sorts on shares cost (executors/group_sorted.py, sorted_rows.py)."""

from __future__ import annotations

from sdh.planners.aggregate_costs import ALL, counted_by, extreme, is_text, record, text_ends, text_words, weight_of
from sdh.planners.columns import nullable
from sdh.planners.comparing import Compared
from sdh.planners.derive_traits import group_slots, has_validity
from sdh.planners.expression_costs import At, all_of, number, value, words_of
from sdh.planners.expressions import Expression
from sdh.planners.key_limbs import limbs_of
from sdh.planners.logical import Call
from sdh.planners.physical import ALONE, SORTED, Cut, GroupAggregate, MarkDistinct, TopK, Unique, expressions
from sdh.planners.protocol_costs import NONE, SORTING, Cost, Steps, and_, beside, mux, shuffled, sign, to_ring, total, zeros
from sdh.planners.quotient_costs import ordered
from sdh.planners.quotients import is_quotient
from sdh.planners.sorting import (
    compaction_cost,
    decomposing_cost,
    joined,
    key_widths,
    radix_bits,
    radix_cost,
    radix_is_sooner,
    sample_sort_cost,
    select_cost,
)
from sdh.schema import Kind


def group_aggregate(node: GroupAggregate, at: At, parties: int) -> Cost:
    """What rows weigh, the keys, a sort, neighbours, extremes, a compaction of the groups' last rows, what they give."""
    valid = has_validity(node.input)
    keys, carried = [e for _, e in node.keys], [e for _, e in node.carried]
    weighed, counts = _weighed(node, at, valid=valid)
    evaluated = weighed + total(value(e, at) for e in carried)
    if node.arrangement == ALONE:
        texts = [call for call in node.calls if is_text(call)]
        chosen = total(mux(at.rows, text_words((call,), at)) for call in texts if _is_weighed(call, at, valid=valid))
        return (evaluated + total(value(e, at) for e in keys) + chosen + text_ends(node.calls, at, at.rows)).among(parties)
    sums = [call for call in node.calls if call.function in ("sum", "sum_count")]
    extremes = [call for call in node.calls if call.function in ("min", "max")]
    numbers = [call for call in extremes if not is_text(call)]
    nulls = sum(_is_weighed(call, at, valid=valid) for call in numbers)
    words, bits = map(sum, zip(*(_coded(e, at) for e in keys), *(_carried(e, at) for e in carried), strict=True))
    added = len(counts) + len(sums) + text_words(node.calls, at)
    sizes = [size for e in keys for size in limbs_of(e, at.columns).bits]
    whole = (evaluated + _coding(tuple(keys), at, valid=valid) + _neighbours(at, sizes)).among(parties)
    if node.arrangement == SORTED:
        octets = _octets(words + added + len(numbers), bits + nulls + valid)
        whole += _sorted(at, sizes, octets, parties, valid=valid)
    last = total([and_(at.rows - 1), and_(at.rows)]) if valid and at.rows > 1 else NONE
    last += _doubling(at) if extremes else NONE
    last += total(_extreme(call, at, null=_is_weighed(call, at, valid=valid)) for call in extremes)
    whole += last.among(parties)
    octets = _octets(words + added + len(numbers), bits + len(numbers) + 1)
    whole += _cost(compaction_cost(at.rows, octets, parties), at.rows * (octets // 8 + 2 * SORTING))
    whole += text_ends(node.calls, at, group_slots(node)).among(parties)
    tested = {(call.filter, counted_by(call, at)) for call in sums if call.function == "sum"} - {ALL}
    return whole + zeros(group_slots(node), (max(at.rows, 1).bit_length(),) * len(tested), at.network).among(parties)


def mark_distinct(node: MarkDistinct, at: At, parties: int) -> Cost:
    valid = has_validity(node.input)
    null = nullable(node.argument, at.columns)
    counted = valid or node.filter is not None or null
    apart = node.filter is not None or null
    steps = value(node.argument, at) + weight_of(node.filter, node.argument if null else None, at, valid=valid)
    steps += _coding(node.keys, at, valid=valid) + _coding((node.argument,), at, valid=counted)
    by, argument = [size for e in node.keys for size in limbs_of(e, at.columns).bits], limbs_of(node.argument, at.columns).bits
    steps += _neighbours(at, [*by, *argument]) + (and_(at.rows) if counted and at.rows > 1 else NONE)
    kept_words, kept_bits = record(node)
    words, bits = map(sum, zip((kept_words, kept_bits - 1), *(_coded(e, at) for e in (*node.keys, node.argument)), strict=True))
    octets = _octets(words, bits + valid + counted)
    flags = to_ring(at.rows) if apart else NONE
    return (steps + flags).among(parties) + _sorted(at, [*by, *[1] * apart, *argument], octets, parties, valid=valid)


def cut(node: Cut, at: At, parties: int) -> Cost:
    """A shuffle, a sort, and whether each row's keys are those of the row `most` places before."""
    if at.rows <= node.most:
        return Cost()
    valid = has_validity(node.input)
    kept_words, kept_bits = record(node)
    words, bits = map(sum, zip((kept_words, kept_bits), *(_coded(e, at) for e in node.keys), strict=True))
    sizes = [size for e in node.keys for size in limbs_of(e, at.columns).bits]
    later = at.rows - node.most
    steps = _coding(node.keys, at, valid=valid) + shuffled(words, bits + valid, at.rows, parties)
    if sizes:
        widths = tuple(map(sum, joined(sizes)))
        steps += zeros(later, widths, at.network) + all_of(len(widths), later)
    steps += and_(at.rows) if valid else NONE
    return steps.among(parties) + _sorted(at, sizes, _octets(words, bits + valid), parties, valid=valid)


def first_rows(node: TopK, at: At, parties: int) -> Cost:
    valid = has_validity(node.input)
    words, bits = record(node)
    octets = _octets(words, bits + valid)
    if not node.keys:
        return _cost(compaction_cost(at.rows, octets, parties), at.rows * (octets // 8 + 2 * SORTING)) if valid else Cost()
    keys = tuple(key.expression for key in node.keys)
    sizes = [size for e in keys for size in limbs_of(e, at.columns).bits]
    made = _coding(keys, at, valid=valid).among(parties)
    rows = at.rows if node.limit is None else min(at.rows, node.offset + node.limit)
    if rows == at.rows:
        return made + _sorted(at, sizes, octets, parties, valid=valid)
    flag = to_ring(at.rows).among(parties) if valid else Cost()
    cost = select_cost(at.rows, rows, [*[1] * valid, *sizes], octets, parties, at.network)
    return made + flag + _cost(cost, at.rows * (octets // 8 + len(sizes) * 3 + parties * SORTING))


def unique(node: Unique, at: At, parties: int) -> Cost:
    """executors/uniqueness.py: the key's limbs, a sort of them alone, neighbours."""
    if at.rows < 2:
        return Cost()
    keys = expressions(node)
    nulls = sum(nullable(e, at.columns) for e in keys)
    counted = has_validity(node.input) or nulls > 0
    sizes = [size for e in keys for size in limbs_of(e, at.columns).bits]
    steps = total([and_(at.rows)] * max(nulls + has_validity(node.input) - 1, 0)) + _coding(keys, at, valid=counted)
    steps += _neighbours(at, sizes) + (and_(at.rows - 1) if counted else NONE)
    return steps.among(parties) + _sorted(at, sizes, _octets(len(sizes), counted), parties, valid=counted)


def _sorted(at: At, sizes: list[int], octets: int, parties: int, *, valid: bool) -> Cost:
    """A sort by (is not there, ...)."""
    bits = [*[1] * valid, *sizes]
    made = to_ring(at.rows).among(parties) if valid else Cost()
    rows = at.rows
    if radix_is_sooner(rows, bits, octets, parties, at.network):
        taken = radix_bits(bits)
        parts = [radix_cost(rows, sum(taken), octets, parties), *(decomposing_cost(rows, part, parties) for part in taken)]
        return sum((_cost(part, rows * SORTING) for part in parts), made)
    cost = sample_sort_cost(rows, bits, octets, parties, at.network)
    compared = len(key_widths(rows, bits)) * rows * max(rows, 2).bit_length()
    return made + _cost(cost, parties * rows * (octets // 8 + SORTING) + 3 * compared)


def _cost(one: Compared, words: int) -> Cost:
    return Cost(one.sent // 8, one.rounds, one.dealt // 8, words)


def _octets(words: int, bits: int) -> int:
    return 8 * words + -(-bits // 8)


def _coded(e: Expression, at: At) -> tuple[int, int]:
    """Words and bits of a key as it is sorted: its limbs; TRUE and FALSE, or NULL."""
    null = nullable(e, at.columns)
    return len(limbs_of(e, at.columns).tops), (1 if e.type.kind is Kind.BOOLEAN else 0) + null


def _carried(e: Expression, at: At) -> tuple[int, int]:
    return words_of(e, at.columns), (1 if e.type.kind is Kind.BOOLEAN else 0) + nullable(e, at.columns)


def _neighbours(at: At, sizes: list[int]) -> Steps:
    """Whether each row's keys equal the next one's."""
    if at.rows < 2:
        return NONE
    widths = tuple(map(sum, joined(sizes)))
    return zeros(at.rows - 1, widths, at.network) + all_of(len(widths), at.rows - 1)


def _doubling(at: At) -> Steps:
    """Whether rows 2, 4, ... apart are of one group."""
    found, step = NONE, 2
    while step < at.rows:
        found, step = found + and_(at.rows - step), 2 * step
    return found


def _extreme(call: Call, at: At, *, null: bool) -> Steps:
    return extreme(call, at, grouped=True, null=null)


def _is_weighed(call: Call, at: At, *, valid: bool) -> bool:
    return valid or (call.filter, counted_by(call, at)) != ALL


def _weighed(node: GroupAggregate, at: At, *, valid: bool) -> tuple[Steps, set[tuple[Expression | None, Expression | None]]]:
    """What calls read of each row; and the weights that are counted."""
    by_call = {call: (call.filter, counted_by(call, at)) for call in node.calls}
    weights = {weight for weight in by_call.values() if weight != ALL}
    sums = [call for call in node.calls if call.function in ("sum", "sum_count")]
    alone = node.arrangement == ALONE
    counts = {by_call[call] for call in node.calls if call.function in ("count", "count_star")
              or not alone and call.function == "sum" and by_call[call] != ALL}
    arguments = {argument for call in node.calls for argument in call.arguments}
    whole = total(value(argument, at) for argument in arguments)
    whole += total(weight_of(*weight, at, valid=valid) for weight in weights)
    whole += beside(mux(at.rows, 1) for call in sums if _is_weighed(call, at, valid=valid))
    return whole + to_ring(at.rows, len([weight for weight in counts if valid or weight != ALL])), counts


def _coding(keys: tuple[Expression, ...], at: At, *, valid: bool) -> Steps:
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
