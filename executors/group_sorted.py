"""GROUP BY of keys that no owner knows, by a sort on shares (protocols.md, section 5).

Rows that are not there sort last. Neighbours are compared, so that equal keys make a group; sums are differences of prefix
sums, which a stable compaction brings together for the last row of each group. How many groups there are never shows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sdh.executors import bits
from sdh.executors.arithmetic import to_arithmetic_many
from sdh.executors.bits import Bits
from sdh.executors.compaction import compact
from sdh.executors.compare import is_zero_many
from sdh.executors.key_limbs import Coded, coded, extreme_text, neighbours, value_in, value_of
from sdh.executors.permute import Given, Record
from sdh.executors.records import (
    Parts,
    as_bits,
    as_ring,
    bit_of,
    coded_shapes,
    flat,
    hollow,
    regrouped,
    row_limbs,
    rows_between,
    shapes,
    without_columns,
)
from sdh.executors.runtime import Session
from sdh.executors.scan import adjacent_differences, segmented_extreme
from sdh.executors.scope import Scope
from sdh.executors.shares import Shared, raw
from sdh.executors.sorting import sort
from sdh.executors.text_extremes import best_of_groups
from sdh.executors.values import Number, Relation, Value, columns_of, from_columns, optional
from sdh.executors.weighing import Weighed, candidates, extreme_width, weigh
from sdh.planners.derive_traits import group_slots
from sdh.planners.physical import ALONE, SORTED, GroupAggregate


def group_aggregate(node: GroupAggregate, scope: Scope) -> Relation:
    """One row per group: keys, carried columns, calls.

    1. Keys as limbs; what each row has to add. 2. Sort by (is not there, keys). 3. Compare neighbours. 4. Extremes within
    groups; prefix sums. 5. The last row of every group to the front, cut to the public bound. 6. Differences of sums.
    """
    session = scope.session
    found = weigh(node.calls, scope.relation.valid, scope)
    values = [value_in(e, scope) for _, e in node.carried]
    counts = _counts(session, found, node, scope)
    if node.arrangement == ALONE:
        return _alone(node, found, values, counts, scope)
    keys = coded([e for _, e in node.keys], scope, scope.relation.valid)
    extremes = [part for share, null in found.extremes.values() for part in (share, *optional(null))]
    texts = [limb for text in found.texts.values() for limb in text.shares]
    parts: list[Record] = [optional(scope.relation.valid), *(key.record for key in keys), *map(columns_of, values),
                           list(counts.values()), list(found.sums.values()), extremes, texts]
    weights = list(counts)
    del counts, extremes, texts
    if node.arrangement == SORTED:
        record, limbs = Given(flat(parts)), row_limbs(session, keys, scope.relation.valid)
        parts, keys, values, found = hollow(parts), coded_shapes(keys), shapes(values), _shape(found)
        scope = without_columns(scope)   # all that is needed of it is in the record
        parts = regrouped(parts, sort(session, limbs, record))
    return _grouped(node, parts, keys, values, found, weights, scope)


def _shape(found: Weighed) -> Weighed:
    """Which sums and extremes there are, and what counts, without the numbers."""
    sums = {i: share.new_empty(0) for i, share in found.sums.items()}
    extremes = {i: (share.new_empty(0), null) for i, (share, null) in found.extremes.items()}
    return Weighed(found.weights, sums, extremes, {i: text.of(hollow([text.record])[0]) for i, text in found.texts.items()})


def _grouped(node: GroupAggregate, parts: list[Record], keys: list[Coded], values: list[Value], found: Weighed,
             weights: list[int], scope: Scope) -> Relation:
    """`parts` is emptied: columns go as they are moved."""
    session, rows, slots = scope.session, scope.rows, group_slots(node)
    [valid, *rest], places = parts, len(keys)
    parts.clear()
    moved = [key.of(record) for key, record in zip(keys, rest, strict=False)]
    payload, (counts, sums, extremes, texts) = rest[:places + len(values)], rest[places + len(values):]
    same = neighbours(session, moved) if rows > 1 else None
    steps = _doubled(session, same) if found.extremes or found.texts else []
    best = _extremes(node, extremes, found, steps, scope) + _text_extremes(node, texts, found, steps, scope)
    added = [torch.cumsum(as_ring(column), 0) for column in (*counts, *sums)]
    last = _last(session, same, bit_of(valid), rows)
    front: Parts = [[last], *payload, added, best]
    given, front = Given(flat(front)), hollow(front)
    del rest, counts, sums, extremes, texts, payload, added, best, moved
    [[exists], *kept, added_up, found_best] = regrouped(front, _first(compact(session, last, given), slots))
    totals = [adjacent_differences(as_ring(column)) for column in added_up]
    by_weight = dict(zip(weights, totals, strict=False))
    by_call = dict(zip(found.sums, totals[len(weights):], strict=True))
    columns = {field.number: value_of(key.of(record), e, session)
               for (field, e), key, record in zip(node.keys, keys, kept, strict=False)}
    columns |= {field.number: from_columns(value, record)
                for (field, _), value, record in zip(node.carried, values, kept[places:], strict=True)}
    pairs = {i: (as_ring(found_best[2 * place]), as_bits(found_best[2 * place + 1])) for place, i in enumerate(found.extremes)}
    columns |= _calls(node, found, by_weight, by_call, pairs, slots, scope)
    columns |= _texts(node, found, [as_ring(column) for column in found_best[2 * len(pairs):]], scope)
    return Relation(slots, as_bits(exists), columns)


def _alone(node: GroupAggregate, found: Weighed, values: list[Value], counts: dict[int, Tensor], scope: Scope) -> Relation:
    """Every row is its group: its weights are its counts, its arguments its sums and extremes."""
    session = scope.session
    columns = {field.number: value_in(e, scope) for field, e in node.keys}
    columns |= {field.number: value for (field, _), value in zip(node.carried, values, strict=True)}
    pairs = {i: (share, scope.bit(False) if null is None else null) for i, (share, null) in found.extremes.items()}
    nothing = {i: _not(session, weight) for i, weight in enumerate(found.weights)}
    for i, call in enumerate(node.calls):
        if i in found.sums:
            columns[call.output.number] = Number(found.sums[i], _null_of(call.function, nothing[1 + i], found, i, scope))
        elif i in pairs:
            columns[call.output.number] = Number(*pairs[i])
        elif i not in found.texts:
            columns[call.output.number] = Number(counts[_weight(found, i)])
    columns |= _texts(node, found, [limb for text in found.texts.values() for limb in text.shares], scope)
    return Relation(scope.rows, scope.relation.valid, columns)


def _null_of(function: str, none: Bits | None, found: Weighed, i: int, scope: Scope) -> Bits | None:
    """Where a sum is NULL: nothing was counted. Where all rows of a group count it never is."""
    if function == "sum_count":
        return None
    return scope.bit(False) if none is None or found.weights[1 + i] is found.weights[0] else none


def _not(session: Session, weight: Bits | None) -> Bits | None:
    return None if weight is None else bits.not_(session, weight)


def _weight(found: Weighed, i: int) -> int:
    """Where call i's weight first stands: equal weights are counted once."""
    return next(place for place, weight in enumerate(found.weights) if weight is found.weights[1 + i])


def _counts(session: Session, found: Weighed, node: GroupAggregate, scope: Scope) -> dict[int, Tensor]:
    """The weights that are counted, by place: of counts, and of sums that may be of nothing."""
    counted = [i for i, call in enumerate(node.calls) if i not in found.extremes and i not in found.texts and (
        i not in found.sums or node.arrangement != ALONE and call.function == "sum" and _weight(found, i))]
    wanted = {_weight(found, i): found.weights[1 + i] for i in counted}
    weights = {place: weight for place, weight in wanted.items() if weight is not None}
    ring = dict(zip(weights, to_arithmetic_many(session, list(weights.values())) if weights else [], strict=True))
    return {place: raw(ring[place]) if place in ring else scope.constant(1) for place in wanted}


def _calls(node: GroupAggregate, found: Weighed, counts: dict[int, Tensor], sums: dict[int, Tensor],
           extremes: dict[int, tuple[Tensor, Bits]], slots: int, scope: Scope) -> dict[int, Value]:
    """SUM is NULL where nothing was counted, MIN and MAX say so themselves."""
    session, width = scope.session, max(scope.rows, 1).bit_length()
    tested = {place: counts[place] for i in sums if node.calls[i].function == "sum" for place in [_weight(found, i)] if place}
    none = dict(zip(tested, is_zero_many(session, [(count, width) for count in tested.values()]), strict=True))
    columns: dict[int, Value] = {}
    for i, call in enumerate(node.calls):
        if i in extremes:
            columns[call.output.number] = Number(*extremes[i])
        elif i in sums:
            null = None if call.function == "sum_count" else none.get(_weight(found, i), bits.constant(session, slots, False))
            columns[call.output.number] = Number(sums[i], null)
        elif i not in found.texts:
            columns[call.output.number] = Number(counts[_weight(found, i)])
    return columns


def _last(session: Session, same: Bits | None, valid: Bits | None, rows: int) -> Bits:
    """The last row of each group: there, and the next row is not, or has other keys."""
    if rows < 2 or same is None:
        return bits.constant(session, rows, True) if valid is None else valid
    if valid is not None:
        same = bits.and_(session, same, bits.slice_(valid, 1, rows))
    last = bits.concat([bits.not_(session, same), bits.constant(session, 1, True)])
    return last if valid is None else bits.and_(session, last, valid)


def _doubled(session: Session, same: Bits | None) -> list[Bits]:
    """For j = 0, 1, ...: bit i says that rows i and i + 2^j are of one group."""
    steps: list[Bits] = []
    while same is not None and same.rows > 0:
        steps.append(same)
        step = 1 << (len(steps) - 1)
        if same.rows <= step:
            break
        same = bits.and_(session, bits.slice_(same, step, same.rows), bits.slice_(same, 0, same.rows - step))
    return steps


def _extremes(node: GroupAggregate, record: Record, found: Weighed, steps: list[Bits], scope: Scope) -> list[Shared | Bits]:
    """Of each row's group up to it: the best value and whether there is none."""
    session, parts = scope.session, iter(record)
    result: list[Shared | Bits] = []
    for i, (_, null) in found.extremes.items():
        share, none = next(parts), None if null is None else as_bits(next(parts))
        call = node.calls[i]
        result += segmented_extreme(session, as_ring(share), none, steps, extreme_width(call, scope), call.function == "max")
    return result


def _text_extremes(node: GroupAggregate, record: Record, found: Weighed, steps: list[Bits], scope: Scope) -> list[Shared | Bits]:
    """Of each row's group up to it: the limbs of the best text."""
    limbs, result = iter(map(as_ring, record)), list[Shared | Bits]()
    for i, text in found.texts.items():
        one = candidates(node.calls[i], text, [next(limbs) for _ in text.shares])
        result += best_of_groups(scope.session, one, steps).limbs
    return result


def _texts(node: GroupAggregate, found: Weighed, limbs: list[Tensor], scope: Scope) -> dict[int, Value]:
    values, parts = dict[int, Value](), iter(limbs)
    for i, text in found.texts.items():
        call = node.calls[i]
        mine = [next(parts) for _ in text.shares]
        values[call.output.number] = extreme_text(text.shape, mine, call.function == "max", scope.session)
    return values


def _first(record: Record, rows: int) -> list[Shared | Bits]:
    return rows_between(record, 0, rows)
