"""Rows that are sorted on shares carry only the columns that are read above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from sdh.planners.derive_traits import traits
from sdh.planners.expressions import references
from sdh.planners.physical import (
    Aggregate,
    Align,
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
    Release,
    SortMerge,
    TopK,
    Unique,
    expressions,
)


def keep_read(node: Node, read: frozenset[int]) -> Node:
    """The node, of whose columns those in `read` are read; what several nodes read carries what any of them does."""
    reads: dict[Node, frozenset[int]] = {}
    _kept(node, read, reads)
    return _kept(node, read, reads)


def columns_read(root: Release) -> Mapping[Node, frozenset[int]]:
    """Of each node those columns that are read of it: all others are dropped as soon as it has run."""
    reads: dict[Node, frozenset[int]] = {}
    read = references(*(e for _, e in root.outputs))
    for _ in range(2):   # what is read of a node that several read is known when all were seen
        _kept(root.input, read, reads)
    for node in list(reads):
        if isinstance(node, Align | SortMerge | NestedLoop):   # they bring all that the other side has
            brought = node.right if isinstance(node, NestedLoop) else node.build
            reads[brought] = frozenset(traits(brought).ranges)
    return reads


def _kept(node: Node, read: frozenset[int], reads: dict[Node, frozenset[int]]) -> Node:
    """reads: what is read of every node so far; it is added to, and counts."""
    read = reads[node] = reads.get(node, frozenset()) | read
    own = read | references(*expressions(node))
    match node:
        case Input():
            return node
        case TopK(input):
            return replace(node, input=_kept(input, own, reads), kept=read & frozenset(traits(input).ranges))
        case Cut(input):
            return replace(node, input=_kept(input, own, reads), kept=read & frozenset(traits(input).ranges))
        case Noised(input, noises):
            old = {noise.output.number: noise.input.number for noise in noises}
            below = frozenset(old.get(number, number) for number in read) | frozenset(old.values())
            return replace(node, input=_kept(input, below, reads))
        case Filter(input) | Unique(input):
            return replace(node, input=_kept(input, own, reads))
        case MarkDistinct(input, kept=kept):
            return replace(node, input=_kept(input, kept | references(*expressions(node)), reads))
        case GroupAggregate(input):
            return replace(node, input=_kept(input, references(*expressions(node)), reads))
        case Aggregate(input, _, owner_keys):
            below = references(*expressions(node)) | {old.number for _, old in owner_keys}
            return replace(node, input=_kept(input, below, reads))
        case NestedLoop(left, right):
            return replace(node, left=_kept(left, own, reads), right=_kept(right, own, reads))
        case Align(probe, build, pairs):
            own |= {field.number for pair in pairs for field in pair}
            return replace(node, probe=_kept(probe, own, reads), build=_kept(build, own, reads))
        case SortMerge(probe, build):
            return replace(node, probe=_kept(probe, own, reads), build=_kept(build, own, reads))
        case Lookup(probe, build):
            return replace(node, probe=_kept(probe, own, reads), kept=read & frozenset(traits(build).ranges))
        case Expand(left, right):
            kept = read & frozenset((*traits(left).ranges, *traits(right).ranges))
            return replace(node, left=_kept(left, own, reads), right=_kept(right, own, reads), kept=kept)
        case Concat(parts, _, values):
            below_all = [_kept(part, references(*row), reads) for part, row in zip(parts, values, strict=True)]
            return replace(node, inputs=tuple(below_all))
        case Fetch(input, source):
            place = frozenset[int]() if source.place is None else frozenset({source.place.number})
            return replace(node, input=_kept(input, own | place, reads))
        case Project(input):
            return replace(node, input=_kept(input, references(*expressions(node)), reads))
        case _:
            assert_never(node)
