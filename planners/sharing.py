"""Equal nodes of a physical plan are one node: it runs once, for its first reader, and is kept till its last."""

from __future__ import annotations

from collections import Counter

from sdh.planners.physical import Node, inputs


def runs(node: Node) -> tuple[Node, ...]:
    """Every node once, in the order in which they run: inputs first, from left to right."""
    found: dict[Node, None] = {}
    _visit(node, found)
    return tuple(found)


def _visit(node: Node, found: dict[Node, None]) -> None:
    if node not in found:
        for part in inputs(node):
            _visit(part, found)
        found[node] = None


def readers(node: Node) -> Counter[Node]:
    """How often each node below is read."""
    return Counter(part for one in runs(node) for part in inputs(one))


def reread(node: Node) -> frozenset[Node]:
    """What is read more than once: it is there as a whole, not a slice at a time."""
    return frozenset(one for one, times in readers(node).items() if times > 1)
