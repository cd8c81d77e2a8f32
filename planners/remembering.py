"""What was found of a node once is found at once for the same object: to hash a tree takes as long as to walk it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import TypeVar, TypeVarTuple

Node = TypeVar("Node")
Found = TypeVar("Found")
Rest = TypeVarTuple("Rest")

MOST = 1 << 15
"""Nodes that are remembered; they stay in memory."""


def remembering(function: Callable[[Node, *Rest], Found]) -> Callable[[Node, *Rest], Found]:
    """The function of an object that never changes, and of values that can be hashed; of equal ones it is worked out once."""
    known: dict[Hashable, tuple[Node, Found]] = {}
    cached: Callable[..., Found] = lru_cache(maxsize=4096)(function)

    def call(node: Node, *rest: *Rest) -> Found:
        key = (id(node), *rest)
        found = known.get(key)
        if found is None:   # the node is held, so that no other gets its id
            if len(known) >= MOST:
                known.clear()
            found = known[key] = (node, cached(node, *rest))
        return found[1]

    return call
