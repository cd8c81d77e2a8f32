"""The expressions of a logical plan: change them all; the fields that none of its nodes puts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from sdh.planners.expressions import Expression, references
from sdh.planners.logical import (
    Aggregate,
    Call,
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
    SortKey,
    UnionAll,
    bottom_up,
    expressions,
    fields,
    nodes,
)


def free(plan: Node) -> frozenset[int]:
    """Numbers of the fields that a plan refers to and that none of its nodes puts out."""
    own = {f.number for n in nodes(plan) for f in fields(n)}
    return frozenset(number for n in nodes(plan) for number in references(*expressions(n))) - own


def rebased(plan: Node, change: Callable[[Expression], Expression]) -> Node:
    """The plan with every expression changed."""
    return bottom_up(plan, lambda node: changed(node, change))


def changed(node: Node, change: Callable[[Expression], Expression]) -> Node:
    """The node with the expressions changed that it evaluates itself."""
    match node:
        case Scan() | OneRow() | Limit() | UnionAll() | Reused() | Cut() | Noised() | Private():
            return node
        case Filter(input, predicate):
            return Filter(input, change(predicate))
        case Project(input, outputs):
            return Project(input, tuple((f, change(e)) for f, e in outputs))
        case Join():
            return node if node.condition is None else replace(node, condition=change(node.condition))
        case Aggregate(input, keys, calls):
            return Aggregate(input, tuple((f, change(e)) for f, e in keys), tuple(_changed_call(c, change) for c in calls))
        case Sort(input, sort_keys):
            return Sort(input, tuple(SortKey(change(k.expression), k.descending, k.nulls_first) for k in sort_keys))
        case _:
            assert_never(node)


def _changed_call(call: Call, change: Callable[[Expression], Expression]) -> Call:
    only = None if call.filter is None else change(call.filter)
    return replace(call, arguments=tuple(change(a) for a in call.arguments), filter=only)
