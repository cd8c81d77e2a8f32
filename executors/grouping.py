"""GROUP BY and aggregates on shares (protocols.md, section 5).

Rows are weighted by what is public or shared of them: a row counts in a cell (one combination of small-domain key
values) if it is valid and has those values. Keys that one owner knows cost two programmed permutations: its rows are
sorted, summed by prefix, the last row of each group kept, and neighbours subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product

import numpy as np
import torch
from torch import Tensor

from sdh.executors import bits
from sdh.executors.arithmetic import mux_many, to_arithmetic_many
from sdh.executors.bits import Bits
from sdh.executors.compare import is_zero_many
from sdh.executors.evaluate import Scope, as_number, evaluate, number, truth
from sdh.executors.inputs import shared_value
from sdh.executors.key_limbs import Coded, extreme_limbs, extreme_shape, extreme_text
from sdh.executors.permute import permute
from sdh.executors.runtime import Session
from sdh.executors.scan import same_segment, segmented_extreme, tournament
from sdh.executors.shares import Shared, raw
from sdh.executors.text_extremes import Candidates, best_of_all, best_of_groups
from sdh.executors.values import Clear, Number, Relation, Text, Truth, Value, false_of, joined, null_of
from sdh.planners.expressions import Expression
from sdh.planners.key_limbs import Limbs
from sdh.planners.logical import Call
from sdh.planners.physical import Aggregate, groups_bound
from sdh.planners.ranges import Range, range_of
from sdh.schema import Kind


@dataclass(frozen=True, slots=True)
class _Cell:
    """One combination of small-domain values: what the keys are, and the bit of the rows that have it (None: all)."""

    keys: tuple[int | None, ...]
    rows: Bits | None


@dataclass(slots=True)
class Weighed:
    """What is computed of every row of a cell: counts by weight bit, sums, extremes."""

    weights: list[Bits | None] = field(default_factory=list)
    sums: dict[int, Tensor] = field(default_factory=dict)
    extremes: dict[int, tuple[Tensor, Bits | None]] = field(default_factory=dict)
    texts: dict[int, Coded] = field(default_factory=dict)
    """Extremes of several limbs."""


@dataclass(frozen=True, slots=True)
class _Groups:
    """How the owner of the keys sorts its rows. All but `rows` are None elsewhere.

    order: where each row goes. segment: group of each sorted row. last: where each sorted row goes, group ends first.
    """

    order: Tensor | None
    segment: Tensor | None
    last: Tensor | None
    keys: dict[int, Clear] | None
    real: Tensor | None


@dataclass(frozen=True, slots=True)
class Partial:
    """What a slice of the input gives to one cell without owner's keys: one row each of counts by weight, sums, extremes."""

    cell: _Cell
    counts: list[Tensor]
    sums: dict[int, Tensor]
    extremes: dict[int, tuple[Tensor, Bits]]
    texts: dict[int, Candidates]


def aggregate_slice(node: Aggregate, scope: Scope) -> list[Partial]:
    """Of a slice of the input, by cell."""
    session, found = scope.session, []
    for cell in _cells(node, scope):
        columns = weigh(node.calls, cell.rows, scope)
        counts = [count.sum(0).reshape(1) for count in _counts(session, columns, scope)]
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
    return _together(node, [cell.cell for cell in cells], found, scope)


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
    cells = _cells(node, scope)
    weighed = [weigh(node.calls, cell.rows, scope) for cell in cells]
    counts = [_counts(session, columns, scope) for columns in weighed]
    owner = parties.index(node.party)
    slots = groups_bound(node)
    groups = _sorted(node, scope, owner, slots)
    exists = session.share_bits(owner, None if groups.real is None else groups.real, slots)
    keys = {
        new.number: shared_value(
            session, owner, None if groups.keys is None else groups.keys[new.number], slots, new, _words(scope, old.number)
        )
        for new, old in node.owner_keys
    }
    parts = [
        _grouped(node, columns, count, groups, exists, owner, slots, scope)
        for columns, count in zip(weighed, counts, strict=True)
    ]
    parts = [Relation(slots, part.valid, keys | part.columns) for part in parts]
    found = _together(node, cells, parts, scope)
    if node.domain_keys or groups.keys is None:
        return found
    return Relation(found.slots, found.valid, found.columns, groups.keys, groups.real)


def _words(scope: Scope, number_: int) -> int:
    """Words of a text column, as its value has them."""
    value = scope.relation.columns[number_]
    return len(value.words) if isinstance(value, Text) else 1


# --- cells ---------------------------------------------------------------------------------------


def _cells(node: Aggregate, scope: Scope) -> list[_Cell]:
    choices = [_choices(e, scope) for _, e in node.domain_keys]
    found = []
    for combination in product(*choices):
        rows = scope.relation.valid
        for _, bit in combination:
            rows = bit if rows is None else bits.and_(scope.session, rows, bit)
        found.append(_Cell(tuple(value for value, _ in combination), rows))
    return found


def _choices(expression: Expression, scope: Scope) -> list[tuple[int | None, Bits]]:
    """The values that a small-domain key takes, NULL last, each with the bit of the rows that have it."""
    session = scope.session
    value = evaluate(expression, scope)
    if isinstance(value, Truth):
        found: list[tuple[int | None, Bits]] = [(0, false_of(value, session)), (1, value.true)]
    else:
        found = _equalities(number(expression, scope), range_of(expression, scope.columns), scope)
    if expression.nullable:
        null = null_of(value, session)
        found.append((None, scope.bit(False) if null is None else null))
    return found


def _equalities(value: Number, range_: Range, scope: Scope) -> list[tuple[int | None, Bits]]:
    session = scope.session
    values = range(range_.low, range_.high + 1)
    width = max(len(values), 2).bit_length()
    equal = is_zero_many(session, [(value.share - scope.constant(v), width) for v in values])
    if value.null is not None:
        known = bits.not_(session, value.null)
        equal = bits.and_many(session, [(bit, known) for bit in equal])
    return list(zip(values, equal, strict=True))


# --- what each row weighs ------------------------------------------------------------------------


def weigh(calls: Sequence[Call], rows: Bits | None, scope: Scope) -> Weighed:
    """weights[0] is the rows; weights[1 + i] those that call i counts. Equal arguments are evaluated once."""
    columns = Weighed([rows])
    arguments = dict.fromkeys(argument for call in calls for argument in call.arguments)
    values = {argument: evaluate(argument, scope) for argument in arguments}
    weights: dict[tuple[Expression | None, Expression | None], Bits | None] = {}
    for call in calls:
        counted = next((a for a in call.arguments if null_of(values[a], scope.session) is not None), None)
        if (call.filter, counted) not in weights:
            weights[call.filter, counted] = weight_of(rows, call.filter, None if counted is None else values[counted], scope)
        columns.weights.append(weights[call.filter, counted])
    for i, (call, weight) in enumerate(zip(calls, columns.weights[1:], strict=True)):
        if call.function in ("sum", "sum_count"):
            columns.sums[i] = as_number(values[call.arguments[0]], scope).share
        elif call.function in ("min", "max") and call.output.type.kind is Kind.VARCHAR:
            columns.texts[i] = extreme_limbs(call.arguments[0], values[call.arguments[0]], scope, weight,
                                             call.function == "max")  # fmt: skip
        elif call.function in ("min", "max"):
            null = None if weight is None else bits.not_(scope.session, weight)
            columns.extremes[i] = (as_number(values[call.arguments[0]], scope).share, null)
    _weigh_sums(columns, scope.session)
    return columns


def weight_of(rows: Bits | None, condition: Expression | None, counted: Value | None, scope: Scope) -> Bits | None:
    weight = rows
    if condition is not None:
        weight = _both(weight, truth(condition, scope).true, scope)
    null = None if counted is None else null_of(counted, scope.session)
    return weight if null is None else _both(weight, bits.not_(scope.session, null), scope)


def _weigh_sums(columns: Weighed, session: Session) -> None:
    """What a row that does not count has to add becomes 0."""
    pairs = [(i, weight) for i in columns.sums if (weight := columns.weights[1 + i]) is not None]
    weighed = mux_many(session, [(weight, [columns.sums[i]]) for i, weight in pairs]) if pairs else []
    for (i, _), [share] in zip(pairs, weighed, strict=True):
        columns.sums[i] = raw(share)


def _both(a: Bits | None, b: Bits, scope: Scope) -> Bits:
    return b if a is None else bits.and_(scope.session, a, b)


def _counts(session: Session, columns: Weighed, scope: Scope) -> list[Tensor]:
    """Each weight as 0 or 1 in the ring; equal weights once."""
    distinct = {id(weight): weight for weight in columns.weights if weight is not None}
    ring = dict(zip(distinct, to_arithmetic_many(session, list(distinct.values())), strict=True)) if distinct else {}
    return [scope.constant(1) if weight is None else raw(ring[id(weight)]) for weight in columns.weights]


# --- results -------------------------------------------------------------------------------------


def _grouped(
    node: Aggregate, columns: Weighed, counts: list[Tensor], groups: _Groups, exists: Bits, owner: int, slots: int, scope: Scope
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
    sums = [differences(raw(part)) for part in ends[: len(added)] if not isinstance(part, Bits)]
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
    groups: _Groups,
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
    node: Aggregate, columns: Weighed, moved: Sequence[Shared | Bits], groups: _Groups, owner: int, scope: Scope
) -> list[Candidates]:
    if not columns.texts:
        return []
    same = same_segment(scope.session, owner, groups.segment, scope.rows)
    limbs = iter([raw(part) for part in moved if not isinstance(part, Bits)])
    return [best_of_groups(scope.session, candidates(node.calls[i], coded, [next(limbs) for _ in coded.shares]), same)
            for i, coded in columns.texts.items()]  # fmt: skip


def candidates(call: Call, coded: Coded, limbs: Sequence[Tensor] = ()) -> Candidates:
    """The rows of a text's extreme, or others of its shape."""
    return Candidates(tuple(limbs) or coded.shares, tuple(width for _, width in coded.limbs), call.function == "max")


def some_row(found: Candidates, shape: Limbs, scope: Scope) -> Candidates:
    """The candidates, or of no rows one that is no value."""
    if found.rows:
        return found
    blank = 0 if found.greatest else shape.tops[0] + 1
    first = torch.full((1,), blank if scope.session.rank == 0 else 0, dtype=torch.int64, device=scope.session.device)
    return replace(found, limbs=(first, *(torch.zeros_like(first) for _ in found.limbs[1:])))


def differences(share: Tensor) -> Tensor:
    out = share.clone()
    out[1:] -= share[:-1]
    return out


def extreme_width(call: Call, scope: Scope) -> int:
    return min(64, range_of(call.arguments[0], scope.columns).bits)


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


def _together(node: Aggregate, cells: list[_Cell], parts: list[Relation], scope: Scope) -> Relation:
    """The cells' rows one after the other, with the small-domain keys as columns."""
    session = scope.session
    for place, (new, e) in enumerate(node.domain_keys):
        for cell, part in zip(cells, parts, strict=True):
            part.columns[new.number] = _public(cell.keys[place], new.type.kind is Kind.BOOLEAN, e.nullable, part.slots, session)
    if len(parts) == 1:
        return parts[0]
    valid = bits.concat([part.valid for part in parts if part.valid is not None])
    columns = {n: joined([part.columns[n] for part in parts]) for n in parts[0].columns}
    return Relation(sum(part.slots for part in parts), valid, columns)


def _public(value: int | None, boolean: bool, nullable: bool, rows: int, session: Session) -> Value:
    null = bits.constant(session, rows, value is None) if nullable else None
    if boolean:
        return Truth(bits.constant(session, rows, value == 1), bits.constant(session, rows, value == 0))
    own = (value or 0) if session.rank == 0 else 0
    return Number(torch.full((rows,), own, dtype=torch.int64, device=session.device), null)


# --- at the owner of the keys --------------------------------------------------------------------


def _sorted(node: Aggregate, scope: Scope, owner: int, slots: int) -> _Groups:
    found = scope.session.at(owner, lambda: _group_in_the_clear(node, scope.relation, slots))
    return _Groups(None, None, None, None, None) if found is None else found


def _group_in_the_clear(node: Aggregate, relation: Relation, slots: int) -> _Groups:
    assert relation.real is not None
    real = relation.real.numpy()
    columns = [relation.clear[old.number] for _, old in node.owner_keys]
    words = [word.numpy() for clear in columns for word in _key_words(clear)]
    order = np.lexsort([*reversed(words), ~real])
    starts = np.zeros(len(real), dtype=bool)
    if len(real):
        starts[0] = True
    for word in words:
        starts[1:] |= word[order][1:] != word[order][:-1]
    in_order = real[order]
    starts &= in_order
    count = int(starts.sum())
    group = np.cumsum(starts) - 1
    segment = np.where(in_order, group, count + np.arange(len(real)))
    ends = np.zeros(len(real), dtype=bool)
    ends[:-1] = segment[1:] != segment[:-1]
    if len(real):
        ends[-1] = True
    ends &= in_order
    destination = np.empty(len(real), dtype=np.int64)
    destination[order] = np.arange(len(real))
    last = np.where(ends, group, -1)
    rows = order[ends]
    keys = {new.number: _picked(relation.clear[old.number], rows, slots) for new, old in node.owner_keys}
    exists = torch.zeros(slots, dtype=torch.bool)
    exists[:count] = True
    return _Groups(torch.from_numpy(destination), torch.from_numpy(segment), torch.from_numpy(last), keys, exists)


def _key_words(clear: Clear) -> list[Tensor]:
    """NULL is a key of its own: its flag is part of the key, with 0 under it."""
    return [*clear.words, *(() if clear.null is None else (clear.null.long(),))]


def _picked(clear: Clear, rows: np.ndarray, slots: int) -> Clear:
    def pick(values: Tensor) -> Tensor:
        out = values.new_zeros(slots)
        out[: len(rows)] = values[torch.from_numpy(rows)]
        return out

    return Clear(tuple(pick(word) for word in clear.words), None if clear.null is None else pick(clear.null))
