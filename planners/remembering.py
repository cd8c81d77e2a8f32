"""What was found of a node once is found at once for the same object: to hash a tree takes as long as to walk it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar, TypeVarTuple

Node = TypeVar("Node")
Found = TypeVar("Found")
Rest = TypeVarTuple("Rest")

MOST = 1 << 15
"""Nodes that are remembered; they stay in memory."""


def remembering(function: Callable[[Node, *Rest], Found]) -> Callable[[Node, *Rest], Found]:
    """The function of an object that never changes, and of values that can be hashed."""
    known: dict[Hashable, tuple[Node, Found]] = {}

    def call(node: Node, *rest: *Rest) -> Found:
        key = (id(node), *rest)
        found = known.get(key)
        if found is None:   # the node is held, so that no other gets its id
            if len(known) >= MOST:
                known.clear()
            found = known[key] = (node, function(node, *rest))
        return found[1]

    return call
