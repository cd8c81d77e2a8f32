"""Rule: no node carries a column that nothing above it reads."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from sdh.planners.expressions import Ref, references
from sdh.planners.logical import (
    Aggregate,
    Cut,
    Filter,
    Join,
    Limit,
    Node,
    Noised,
    OneRow,
    Private,
    Project,
    Reused,
    Scan,
    Sort,
    UnionAll,
    bottom_up,
    expressions,
    fields,
    nodes,
    with_inputs,
)


def prune_columns(node: Node) -> Node:
    """Drop unread columns of scans and projections and unread calls of aggregates; the root's columns all stay.

    What several uses share keeps what any of them reads: the outermost first, since it may be a use of others itself.
    """
    pruned = _prune(node, frozenset(f.number for f in fields(node)))
    for number in reversed(dict.fromkeys(one.number for one in _uses(node))):
        pruned = _prune_shared(pruned, number)
    return pruned


def _uses(node: Node) -> list[Reused]:
    """All uses, each after those below it."""
    return [one for one in nodes(node) if isinstance(one, Reused)]


def _prune_shared(node: Node, number: int) -> Node:
    uses = [one for one in _uses(node) if one.number == number]
    if not uses:
        return node
    slim = _prune(uses[0].input, frozenset(its.number for one in uses for _, its in one.outputs))
    return bottom_up(node, lambda one: replace(one, input=slim) if isinstance(one, Reused) and one.number == number else one)


def _prune(node: Node, read: frozenset[int]) -> Node:
    match node:
        case Scan(table, columns):
            return Scan(table, tuple(pair for pair in columns if pair[1].number in read))
        case OneRow():
            return node
        case Project(input, outputs):
            kept = tuple(pair for pair in outputs if pair[0].number in read)
            return Project(_prune(input, references(*(e for _, e in kept))), kept)
        case Aggregate(input, keys, calls):
            used = tuple(call for call in calls if call.output.number in read)
            slim = Aggregate(input, keys, used if used or keys else calls[:1])
            return with_inputs(slim, (_prune(input, references(*expressions(slim))),))
        case Filter() | Sort():
            return with_inputs(node, (_prune(node.input, read | references(*expressions(node))),))
        case Limit(input):
            return with_inputs(node, (_prune(input, read),))
        case Cut(input):
            return with_inputs(node, (_prune(input, read | references(*expressions(node))),))
        case Noised(input, noises):
            return with_inputs(node, (_prune(input, read | {noise.input.number for noise in noises}),))
        case Private(input, keys, calls):
            asked = tuple(one for one in calls if one.call.output.number in read) or calls[:1]
            slim_block = replace(node, calls=asked)
            return with_inputs(slim_block, (_prune(input, references(*expressions(slim_block))),))
        case Join(_, left, right):
            wanted = read | references(*expressions(node))
            return with_inputs(node, (_prune(left, wanted), _prune(right, wanted)))
        case UnionAll():
            return _prune_union(node, read)
        case Reused(outputs=renamed):
            return replace(node, outputs=tuple(pair for pair in renamed if pair[0].number in read))
        case _:
            assert_never(node)


def _prune_union(union: UnionAll, read: frozenset[int]) -> UnionAll:
    """Outputs go with inputs' fields by place, so an input puts out what is read and nothing else."""
    places = [place for place, field in enumerate(union.outputs) if field.number in read]
    parts: list[Node] = []
    for part in union.inputs:
        wanted = tuple(fields(part)[place] for place in places)
        slim = _prune(part, frozenset(field.number for field in wanted))
        same = [field.number for field in fields(slim)] == [field.number for field in wanted]
        parts.append(slim if same else Project(slim, tuple((field, Ref(field)) for field in wanted)))
    outputs = tuple(union.outputs[place] for place in places)
    return UnionAll(tuple(parts), outputs, tuple(key for key in union.keys if key <= read))
