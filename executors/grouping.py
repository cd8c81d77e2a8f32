"""GROUP BY and aggregates on shares (protocols.md, section 5).

Rows are weighted by what is public or shared of them: a row counts in a cell (one combination of small-domain key
values) if it is valid and has those values. Keys that one owner knows cost two programmed permutations: its rows are
sorted, summed by prefix, the last row of each group kept, and neighbours subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.cells import Cell, cells_of, together
from sdh.executors.clear_groups import Groups, sorted_groups
from sdh.executors.compare import is_zero_many
from sdh.executors.inputs import shared_value
from sdh.executors.key_limbs import extreme_shape, extreme_text
from sdh.executors.permute import permute
from sdh.executors.scan import adjacent_differences, same_segment, segmented_extreme, tournament
from sdh.executors.scope import Scope
from sdh.executors.shares import Shared, raw
from sdh.executors.text_extremes import Candidates, best_of_all, best_of_groups
from sdh.executors.values import Number, Relation, Text, Value
from sdh.executors.weighing import Weighed, candidates, counts_of, extreme_width, some_row, weigh
from sdh.planners.derive_traits import groups_bound, owner_key
from sdh.planners.physical import Aggregate


@dataclass(frozen=True, slots=True)
class Partial:
    """What a slice of the input gives to one cell without owner's keys: one row each of counts by weight, sums, extremes."""

    cell: Cell
    counts: list[Tensor]
    sums: dict[int, Tensor]
    extremes: dict[int, tuple[Tensor, Bits]]
    texts: dict[int, Candidates]


def aggregate_slice(node: Aggregate, scope: Scope) -> list[Partial]:
    """Of a slice of the input, by cell."""
    session, found = scope.session, []
    for cell in cells_of(node, scope):
        columns = weigh(node.calls, cell.rows, scope)
        counts = [count.sum(0).reshape(1) for count in counts_of(session, columns, scope)]
        sums = {i: share.sum(0).reshape(1) for i, share in columns.sums.items()}
        extremes = {i: _extreme(node, i, share, null, scope) for i, (share, null) in columns.extremes.items()}
        texts = {i: best_of_all(session, some_row(candidates(node.calls[i], text), text.shape, scope))
                 for i, text in columns.texts.items()}  # fmt: skip
        found.append(Partial(replace(cell, rows=None), counts, sums, extremes, texts))
    return found


def aggregate_slices(node: Aggregate, parts: Sequence[Sequence[Partial]], scope: Scope) -> Relation:
    """One row per cell: keys, then calls. An ungrouped aggregate is always there. `scope` has no rows of its own."""
    cells = [_merged(node, list(partials), scope) for partials in zip(*parts, strict=True)]
    found = [_result(node, cell.counts, cell.sums, cell.extremes, cell.texts, None, scope) for cell in cells]
    return together(node, [cell.cell for cell in cells], found, scope)


def _merged(node: Aggregate, parts: list[Partial], scope: Scope) -> Partial:
    if len(parts) == 1:
        return parts[0]
    counts = [torch.cat(column).sum(0).reshape(1) for column in zip(*(part.counts for part in parts), strict=True)]
    sums = {i: torch.cat([part.sums[i] for part in parts]).sum(0).reshape(1) for i in parts[0].sums}
    extremes = {i: _extreme(node, i, torch.cat([part.extremes[i][0] for part in parts]),
                            bits.concat([part.extremes[i][1] for part in parts]), scope) for i in parts[0].extremes}  # fmt: skip
    texts = {i: best_of_all(scope.session, reduce(Candidates.then, [part.texts[i] for part in parts])) for i in parts[0].texts}
    return Partial(parts[0].cell, counts, sums, extremes, texts)


def _extreme(node: Aggregate, i: int, share: Tensor, null: Bits | None, scope: Scope) -> tuple[Tensor, Bits]:
    call = node.calls[i]
    value, none = tournament(scope.session, share, null, extreme_width(call, scope), call.function == "max")
    return raw(value), none


def aggregate(node: Aggregate, scope: Scope, parties: tuple[str, ...]) -> Relation:
    """One row per group (and cell) where an owner knows keys: keys, then calls."""
    session = scope.session
    cells = cells_of(node, scope)
    weighed = [weigh(node.calls, cell.rows, scope) for cell in cells]
    counts = [counts_of(session, columns, scope) for columns in weighed]
    owner = parties.index(node.party)
    slots = groups_bound(node)
    groups = sorted_groups(node, scope, owner, slots)
    exists = session.share_bits(owner, None if groups.real is None else groups.real, slots)
    keys = {
        new.number: shared_value(
            session, owner, None if groups.keys is None else groups.keys[new.number], slots,
            owner_key(new, old, scope.columns), _words(scope, old.number),
        )
        for new, old in node.owner_keys
    }
    parts = [
        _grouped(node, columns, count, groups, exists, owner, slots, scope)
        for columns, count in zip(weighed, counts, strict=True)
    ]
    parts = [Relation(slots, part.valid, keys | part.columns) for part in parts]
    found = together(node, cells, parts, scope)
    if node.domain_keys or groups.keys is None:
        return found
    return Relation(found.slots, found.valid, found.columns, groups.keys, groups.real)


def _words(scope: Scope, number_: int) -> int:
    """Words of a text column, as its value has them."""
    value = scope.relation.columns[number_]
    return len(value.words) if isinstance(value, Text) else 1


def _grouped(
    node: Aggregate, columns: Weighed, counts: list[Tensor], groups: Groups, exists: Bits, owner: int, slots: int, scope: Scope
) -> Relation:
    """1. Sort by the owner's permutation. 2. Prefix sums; extremes by segment. 3. Group ends to the front. 4. Subtract."""
    session = scope.session
    distinct = list({id(count): count for count in counts}.values())
    place = {id(count): i for i, count in enumerate(distinct)}
    texts = [share for coded in columns.texts.values() for share in coded.shares]
    ring = [*distinct, *columns.sums.values(), *(share for share, _ in columns.extremes.values()), *texts]
    flags = [null for _, null in columns.extremes.values() if null is not None]
    record: list[Shared | Bits] = [*ring, *flags]
    moved = permute(session, owner, groups.order, record, scope.rows, keeps_all=True)
    added = [torch.cumsum(raw(part), 0) for part in moved[: len(distinct) + len(columns.sums)] if not isinstance(part, Bits)]
    best = _segmented(node, columns, moved, len(added), len(ring), groups, owner, scope)
    found = _segmented_texts(node, columns, moved[len(ring) - len(texts) : len(ring)], groups, owner, scope)
    ends = permute(session, owner, groups.last, [*added, *best, *(limb for one in found for limb in one.limbs)], slots)
    sums = [adjacent_differences(raw(part)) for part in ends[: len(added)] if not isinstance(part, Bits)]
    counted = [sums[place[id(count)]] for count in counts]
    by_call = dict(zip(columns.sums, sums[len(distinct) :], strict=True))
    extremes: dict[int, tuple[Tensor, Bits]] = {}
    rest = ends[len(added) :]
    for position, i in enumerate(columns.extremes):
        value, none = rest[2 * position], rest[2 * position + 1]
        assert isinstance(none, Bits)
        extremes[i] = (raw(value), none)
    limbs = iter([raw(part) for part in rest[2 * len(extremes) :] if not isinstance(part, Bits)])
    placed = [replace(one, limbs=tuple(next(limbs) for _ in one.limbs)) for one in found]
    return _result(node, counted, by_call, extremes, dict(zip(columns.texts, placed, strict=True)), exists, scope)


def _segmented(
    node: Aggregate,
    columns: Weighed,
    moved: Sequence[Shared | Bits],
    first: int,
    flags: int,
    groups: Groups,
    owner: int,
    scope: Scope,
) -> list[Shared | Bits]:
    if not columns.extremes:
        return []
    same = same_segment(scope.session, owner, groups.segment, scope.rows)
    found: list[Shared | Bits] = []
    for i, (_, null) in columns.extremes.items():
        share, first = moved[first], first + 1
        none = None
        if null is not None:
            none, flags = moved[flags], flags + 1
            assert isinstance(none, Bits)
        assert not isinstance(share, Bits)
        call = node.calls[i]
        found += segmented_extreme(scope.session, share, none, same, extreme_width(call, scope), call.function == "max")
    return found


def _segmented_texts(
    node: Aggregate, columns: Weighed, moved: Sequence[Shared | Bits], groups: Groups, owner: int, scope: Scope
) -> list[Candidates]:
    if not columns.texts:
        return []
    same = same_segment(scope.session, owner, groups.segment, scope.rows)
    limbs = iter([raw(part) for part in moved if not isinstance(part, Bits)])
    return [best_of_groups(scope.session, candidates(node.calls[i], coded, [next(limbs) for _ in coded.shares]), same)
            for i, coded in columns.texts.items()]  # fmt: skip


def _result(
    node: Aggregate,
    counts: list[Tensor],
    sums: dict[int, Tensor],
    extremes: dict[int, tuple[Tensor, Bits]],
    texts: dict[int, Candidates],
    exists: Bits | None,
    scope: Scope,
) -> Relation:
    """Calls as columns; SUM, MIN and MAX are NULL where nothing was counted; a group is there if it has rows."""
    session = scope.session
    width = max(scope.rows, 1).bit_length()
    wanted = [0, *(1 + i for i in sums)] if node.is_grouped else [1 + i for i in sums]
    none = dict(zip(wanted, is_zero_many(session, [(counts[i], width) for i in wanted]), strict=True))
    found: dict[int, Value] = {}
    for i, call in enumerate(node.calls):
        if i in sums:
            found[call.output.number] = Number(sums[i], None if call.function == "sum_count" else none[1 + i])
        elif i in extremes:
            found[call.output.number] = Number(*extremes[i])
        elif i in texts:
            shape = extreme_shape(call.arguments[0], scope)
            found[call.output.number] = extreme_text(shape, texts[i].limbs, texts[i].greatest, session)
        else:
            found[call.output.number] = Number(counts[1 + i])
    valid = None
    if node.is_grouped:
        valid = bits.not_(session, none[0])
        valid = valid if exists is None else bits.and_(session, valid, exists)
    return Relation(len(counts[0]), valid, found)
