"""Rule: no node carries a column that nothing above it reads."""

from __future__ import annotations

from typing import assert_never

from sdh.planners.expressions import references
from sdh.planners.logical import (
    Aggregate,
    Filter,
    Join,
    Limit,
    Node,
    OneRow,
    Project,
    Scan,
    Sort,
    expressions,
    fields,
    with_inputs,
)


def prune_columns(node: Node) -> Node:
    """Drop unread columns of scans and projections and unread calls of aggregates; the root's columns all stay."""
    return _prune(node, frozenset(f.number for f in fields(node)))


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
        case Join(_, left, right):
            wanted = read | references(*expressions(node))
            return with_inputs(node, (_prune(left, wanted), _prune(right, wanted)))
        case _:
            assert_never(node)
