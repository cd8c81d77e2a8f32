"""The traits of every node from those of its inputs: slots, ranges of columns, keys, who knows what in the clear."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from sdh.planners.columns import call_shared, nullable, shared_of
from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.intervals import BIT, Columns, Range, Shared, together
from sdh.planners.join_traits import brought, columns_of, expand_traits, keyed_traits, nested_loop_traits
from sdh.planners.logical import Noise
from sdh.planners.mechanisms import reach
from sdh.planners.physical import (
    ALONE,
    Aggregate,
    Align,
    ByKey,
    Concat,
    Cut,
    Expand,
    Fetch,
    Filter,
    GroupAggregate,
    Input,
    Lookup,
    MarkDistinct,
    NestedLoop,
    Node,
    Noised,
    Project,
    SortMerge,
    TopK,
    Unique,
    inputs,
)
from sdh.planners.ranges import range_of
from sdh.planners.remembering import remembering
from sdh.planners.repeats import Repeats, summed
from sdh.planners.traits import Traits
from sdh.schema import Kind

MOST_PARTIES = 16
"""Whose draws the widths of noised columns have room for."""


@remembering
def traits(node: Node) -> Traits:
    """Slots, columns with their ranges, who knows what, unique keys. Raises WidthError."""
    match node:
        case Input():
            return _input(node)
        case Fetch():
            return _fetch(traits(node.input), node)
        case Filter(input):
            return traits(input)
        case NestedLoop():
            return nested_loop_traits(traits(node.left), traits(node.right), node)
        case Align(probe, build):
            return keyed_traits(traits(probe), traits(build), node, node.pairs)
        case SortMerge(probe, build) | Lookup(probe, build):
            return keyed_traits(traits(probe), traits(build), node, columns_of(node.pairs))
        case Expand():
            return expand_traits(traits(node.left), traits(node.right), node)
        case Aggregate():
            return _aggregate(traits(node.input), node)
        case Concat():
            return _concat(node)
        case GroupAggregate():
            return _group_aggregate(traits(node.input), node)
        case MarkDistinct():
            return _mark_distinct(traits(node.input), node)
        case TopK():
            return _top_k(traits(node.input), node)
        case Cut():
            return _cut(traits(node.input), node)
        case Noised(input, noises):
            return _noised(traits(input), noises)
        case Unique(input, key):
            below = traits(input)
            return replace(below, keys=(*below.keys, frozenset(f.number for f in key)))
        case Project():
            return _project(traits(node.input), node)
        case _:
            assert_never(node)


def has_validity(node: Node) -> bool:
    """Whether a bit on shares says which slots hold rows; else all do."""
    match node:
        case Input():
            return not node.exact
        case NestedLoop(left, _, _, "MARK" | "SINGLE"):
            return has_validity(left)
        case NestedLoop(_, _, _, "SEMI" | "ANTI"):
            return True
        case NestedLoop(left, right, condition):
            return condition is not None or has_validity(left) or has_validity(right)
        case (Align(probe, kind="LEFT" | "MARK") | SortMerge(probe, kind="LEFT" | "MARK")
              | Lookup(probe, kind="LEFT" | "MARK")):
            return has_validity(probe)
        case Aggregate():
            return node.is_grouped
        case Cut() | Filter() | Align() | SortMerge() | Lookup() | Expand():
            return True
        case GroupAggregate(_, _, _, _, arrangement):
            return arrangement != ALONE or has_validity(node.input)
        case MarkDistinct(input) | TopK(input) | Unique(input) | Project(input) | Noised(input) | Fetch(input):
            return has_validity(input)
        case Concat(parts):
            return any(has_validity(part) for part in parts)
        case _:
            assert_never(node)


def _input(node: Input) -> Traits:
    known = frozenset(column.field.number for column in node.shared)
    keys = tuple(key for key in node.keys if key <= known)
    repeats = tuple(one for one in node.repeats if one[0] <= known)
    return Traits(node.slots, node.shared, ((node.party, known),), keys, node.single, keys, repeats, repeats)


def _fetch(input: Traits, node: Fetch) -> Traits:
    assert node.source.place is not None
    left = tuple(column for column in input.columns if column.field.number != node.source.place.number)
    return Traits(input.slots, left + tuple(column for column, _ in node.columns), (), input.keys, input.single)


def _aggregate(input: Traits, node: Aggregate) -> Traits:
    slots = groups_bound(node)
    by_number = input.ranges
    columns = [replace(by_number[old.number], field=owner_key(new, old, by_number)) for new, old in node.owner_keys]
    for field, expression in node.domain_keys:
        domain = domain_of(expression, by_number)
        slots *= domain.size + nullable(expression, by_number)
        columns.append(Shared(replace(field, nullable=nullable(expression, by_number)), domain.low, domain.high))
    columns += [call_shared(call, by_number, input.slots) for call in node.calls]
    key = frozenset(field.number for field, _ in (*node.owner_keys, *node.domain_keys))
    known_keys = frozenset(field.number for field, _ in node.owner_keys)
    known = ((node.party, known_keys),) if node.owner_keys and not node.domain_keys else ()
    return Traits(slots, tuple(columns), known, (key,) if key else (), frozenset(), (key,) if known else ())


def owner_key(new: Field, old: Field, columns: Columns) -> Field:
    """A group's key as what it is made of: with NULL where that may have it."""
    return replace(new, nullable=columns[old.number].field.nullable)


def _group_aggregate(input: Traits, node: GroupAggregate) -> Traits:
    """Which rows are which groups no owner knows. A key that an owner tried to compute may be NULL on shares."""
    columns = [shared_of(replace(f, nullable=nullable(e, input.ranges)), e, input.ranges) for f, e in (*node.keys, *node.carried)]
    columns += [call_shared(call, input.ranges, 1 if node.arrangement == ALONE else input.slots) for call in node.calls]
    key = frozenset(field.number for field, _ in node.keys)
    return Traits(group_slots(node), tuple(columns), (), (key,), frozenset())


def group_slots(node: GroupAggregate) -> int:
    """The most groups: as many as rows, or as the keys have values."""
    below, values = traits(node.input), 1
    for _, e in node.keys:
        values *= (1 << 62 if e.type.kind is Kind.VARCHAR else domain_of(e, below.ranges).size) + nullable(e, below.ranges)
    return below.slots if node.arrangement == ALONE else min(below.slots, values)


def groups_bound(node: Aggregate) -> int:
    """The most groups by the keys that one owner knows: as many as rows, or as the keys' ranges have values."""
    if not node.owner_keys:
        return 1
    below = traits(node.input)
    values = 1
    for _, old in node.owner_keys:
        column = below.ranges[old.number]
        values *= (1 << 62 if old.type.kind is Kind.VARCHAR else column.range.size) + column.field.nullable
    return min(below.slots, values)


def domain_of(key: Expression, columns: Columns) -> Range:
    """The values of a small-domain key: FALSE and TRUE, whichever were measured."""
    return BIT if key.type.kind is Kind.BOOLEAN else range_of(key, columns)


def _mark_distinct(input: Traits, node: MarkDistinct) -> Traits:
    columns = tuple(column for column in input.columns if column.field.number in node.kept)
    keys = tuple(key for key in input.keys if key <= node.kept)
    return Traits(input.slots, (*columns, Shared(node.mark, 0, 1)), (), keys, input.single)


def _cut(input: Traits, node: Cut) -> Traits:
    numbers = frozenset(e.field.number for e in node.keys if isinstance(e, Ref))
    cut = ((numbers, node.most),) if len(numbers) == len(node.keys) and numbers <= node.kept else ()
    columns = tuple(column for column in input.columns if column.field.number in node.kept)
    keys = tuple(key for key in (*input.keys, *(one for one, most in cut if most == 1)) if key <= node.kept)
    repeats = tuple((key, most) for key, most in (*input.repeats, *cut) if key <= node.kept and most > 1)
    return Traits(input.slots, columns, (), keys, input.single, repeats=repeats)


def _noised(input: Traits, noises: tuple[Noise, ...]) -> Traits:
    """What is noised no owner knows, and it is no key."""
    by_number = {noise.input.number: noise for noise in noises}
    gone = frozenset(by_number)
    columns = tuple(_with_noise(column, by_number.get(column.field.number)) for column in input.columns)
    known = tuple((party, numbers - gone) for party, numbers in input.known)
    return replace(input, columns=columns, known=known, keys=tuple(key for key in input.keys if not key & gone),
                   placed_keys=tuple(key for key in input.placed_keys if not key & gone),
                   repeats=tuple(one for one in input.repeats if not one[0] & gone),
                   placed_repeats=tuple(one for one in input.placed_repeats if not one[0] & gone))


def _with_noise(column: Shared, noise: Noise | None) -> Shared:
    if noise is None:
        return column
    more = reach(noise.mechanism, MOST_PARTIES)
    return Shared(noise.output, column.low - more, column.high + more)


def _top_k(input: Traits, node: TopK) -> Traits:
    columns = tuple(column for column in input.columns if column.field.number in node.kept)
    keys = tuple(key for key in input.keys if key <= node.kept)
    return Traits(places(input.slots, node.limit, node.offset), columns, (), keys, input.single)


def places(slots: int, limit: int | None, offset: int) -> int:
    """Of so many slots, those that LIMIT and OFFSET leave."""
    last = slots if limit is None else min(slots, offset + limit)
    return last - min(last, offset)


def renamed(outputs: tuple[tuple[Field, Expression], ...]) -> dict[int, int]:
    """The outputs that are columns of the input: its numbers, and theirs."""
    return {e.field.number: field.number for field, e in outputs if isinstance(e, Ref)}


def _project(input: Traits, node: Project) -> Traits:
    ranges, new = input.ranges, renamed(node.outputs)
    columns = tuple(shared_of(replace(f, nullable=nullable(e, ranges)), e, ranges) for f, e in node.outputs)
    known = tuple((party, frozenset(new[n] for n in numbers & new.keys())) for party, numbers in input.known)
    keys, placed = (tuple(frozenset(new[n] for n in key) for key in some if key <= new.keys())
                    for some in (input.keys, input.placed_keys))
    repeats, placed_repeats = (tuple((frozenset(new[n] for n in key), times) for key, times in some if key <= new.keys())
                               for some in (input.repeats, input.placed_repeats))
    return Traits(input.slots, columns, known, keys, input.single, placed, repeats, placed_repeats)


def _concat(node: Concat) -> Traits:
    """No owner knows the rows of all."""
    below = [traits(part) for part in node.inputs]
    columns = []
    for place, field in enumerate(node.outputs):
        column = [row[place] for row in node.values]
        null = any(nullable(e, one.ranges) for e, one in zip(column, below, strict=True))
        output = replace(field, nullable=null)
        columns.append(together(output, [shared_of(output, e, one.ranges) for e, one in zip(column, below, strict=True)]))
    return Traits(sum(one.slots for one in below), tuple(columns), (), (), frozenset(), (), _in_all(node, below))


def _in_all(node: Concat, below: list[Traits]) -> Repeats:
    """Keys of the first input that are keys of all: they repeat as often as in all together."""
    sources = [{f.number: e.field.number for f, e in zip(node.outputs, row, strict=True)
                if isinstance(e, Ref) and e.type == f.type} for row in node.values]
    return summed([(source, one.keys, one.repeats) for source, one in zip(sources, below, strict=True)])


def carried(node: NestedLoop | ByKey) -> frozenset[int]:
    """The right (build) side's columns that its rows bring to the left's: all, or those that the condition reads."""
    return brought(node, traits(inputs(node)[1]))
