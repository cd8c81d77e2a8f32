"""Rows that are sorted on shares carry only the columns that are read above."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from sdh.planners.expressions import references
from sdh.planners.physical import (
    Aggregate,
    Align,
    Concat,
    Filter,
    GroupAggregate,
    Input,
    MarkDistinct,
    NestedLoop,
    Node,
    SortMerge,
    TopK,
    Unique,
    expressions,
    traits,
)


def keep_read(node: Node, read: frozenset[int]) -> Node:
    """The node, of whose columns those in `read` are read."""
    own = read | references(*expressions(node))
    match node:
        case Input():
            return node
        case TopK(input):
            return replace(node, input=keep_read(input, own), kept=read & frozenset(traits(input).ranges))
        case Filter(input) | Unique(input):
            return replace(node, input=keep_read(input, own))
        case MarkDistinct(input, kept=kept):
            return replace(node, input=keep_read(input, kept | references(*expressions(node))))
        case GroupAggregate(input):
            return replace(node, input=keep_read(input, references(*expressions(node))))
        case Aggregate(input, _, owner_keys):
            below = references(*expressions(node)) | {old.number for _, old in owner_keys}
            return replace(node, input=keep_read(input, below))
        case NestedLoop(left, right):
            return replace(node, left=keep_read(left, own), right=keep_read(right, own))
        case Align(probe, build, pairs):
            own |= {field.number for pair in pairs for field in pair}
            return replace(node, probe=keep_read(probe, own), build=keep_read(build, own))
        case SortMerge(probe, build):
            return replace(node, probe=keep_read(probe, own), build=keep_read(build, own))
        case Concat(parts, _, values):
            return replace(node, inputs=tuple(keep_read(part, references(*row)) for part, row in zip(parts, values, strict=True)))
        case _:
            assert_never(node)
