"""Equal nodes of a physical plan are one node: it runs once, for its first reader, and is kept till its last."""

from __future__ import annotations

from collections import Counter
from itertools import chain

from sdh.planners.physical import Node, inputs
from sdh.planners.remembering import remembering


@remembering
def runs(node: Node) -> tuple[Node, ...]:
    """Every node once, in the order in which they run: inputs first, from left to right."""
    below = chain.from_iterable(map(runs, inputs(node)))
    return (*dict.fromkeys(below), node)


def readers(node: Node) -> Counter[Node]:
    """How often each node below is read."""
    return Counter(chain.from_iterable(map(inputs, runs(node))))


def reread(node: Node) -> frozenset[Node]:
    """What is read more than once: it is there as a whole, not a slice at a time."""
    return frozenset(one for one, times in readers(node).items() if times > 1)
