"""Which tree compares at what cost: block width and arity of a masked comparison, chosen by rows and network.

Source: protocols.md section 2. The low bits of the mask come in blocks of m bits; blocks meet in nodes of arity r,
the lowest path of which needs no eq. executors/compare.py runs exactly what is counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

LT, EQ = 1, 2
"""Outputs of a node or tree: a sum of these."""
NODE = {(2, LT | EQ): (3, 2), (2, LT): (2, 1), (2, EQ): (2, 1), (3, LT | EQ): (5, 8), (3, LT): (4, 5), (3, EQ): (3, 4),
        (4, LT | EQ): (7, 22), (4, LT): (6, 15), (4, EQ): (4, 11)}  # fmt: skip
"""Bits opened and dealt by a node of (arity, outputs): executors/products.py."""


@dataclass(frozen=True, slots=True, order=True)
class Tree:
    """Bits of a block and inputs of a node."""

    block: int
    arity: int


TREES = (Tree(2, 2), Tree(1, 2), Tree(4, 2), Tree(4, 4))


@dataclass(frozen=True, slots=True)
class Network:
    """What links parties and dealer: bandwidth in bytes a second, delay of a message in nanoseconds, and what a bit of a
    comparison takes of the processors, in picoseconds: opened, dealt."""

    bandwidth: int = 400_000_000
    delay: int = 350_000
    opened: int = 250
    dealt: int = 350


LOCAL = Network()
"""Nodes on one machine."""


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one level of one tree: they take `nodes` times `arity` inputs from input `first` on."""

    first: int
    nodes: int
    arity: int
    outputs: int


@cache
def levels(leaves: int, outputs: int, arity: int) -> tuple[tuple[Group, ...], ...]:
    """The groups of every level of a tree with these leaves, from the lowest leaf up; a last lone input passes."""
    found = []
    while leaves > 1:
        found.append(tuple(_level(leaves, outputs, arity)))
        leaves = -(-leaves // arity)
    return tuple(found)


def _level(leaves: int, outputs: int, arity: int) -> list[Group]:
    whole, rest = divmod(leaves, arity)
    inner = outputs if outputs == EQ else LT | EQ
    groups = []
    if whole and outputs == LT:
        groups = [Group(0, 1, arity, LT), Group(arity, whole - 1, arity, inner)]
    elif whole:
        groups = [Group(0, whole, arity, inner)]
    if rest > 1:
        groups.append(Group(whole * arity, 1, rest, inner if whole else outputs))
    return [group for group in groups if group.nodes]


@dataclass(frozen=True, slots=True)
class Compared:
    """Bits of a row that a party sends (to each other party) and that the dealer sends; rounds. Of these bits, those
    that travel in planes: of few rows they take whole words."""

    sent: int
    dealt: int
    rounds: int
    planes_sent: int = 0
    planes_dealt: int = 0


def sign(width: int, tree: Tree) -> Compared:
    """The sign of a value of `width` bits."""
    return compared([width], LT, tree)


def zero(width: int, tree: Tree) -> Compared:
    """Whether a value of `width` bits is 0."""
    inner = _tree(-(-width // tree.block), EQ, tree.arity)
    dealt = _hot(width, tree.block) + inner.dealt
    return Compared(width + inner.sent, dealt, 1 + inner.rounds, inner.sent, dealt)


def compared(widths: Sequence[int], outputs: int, tree: Tree) -> Compared:
    """Signs of differences of several limbs, highest first, and the order of all: lt = lt_hi ^ eq_hi & lt_lo."""
    inner = [_tree(-(-(width - 1) // tree.block), outputs if place == len(widths) - 1 else LT | EQ, tree.arity)
             for place, width in enumerate(widths)]
    outer = _tree(len(widths), outputs, tree.arity)
    sent = sum(one.sent for one in inner) + outer.sent
    dealt = sum(_hot(width - 1, tree.block) + 1 for width in widths) + sum(one.dealt for one in inner) + outer.dealt
    return Compared(sum(widths) + sent, dealt, 1 + max(one.rounds for one in inner) + outer.rounds, sent, dealt)


def _hot(bits: int, block: int) -> int:
    """Bits of the one-hots without entry 0."""
    whole, rest = divmod(bits, block)
    return whole * ((1 << block) - 1) + (1 << rest) - 1


@cache
def _tree(leaves: int, outputs: int, arity: int) -> Compared:
    steps = levels(leaves, outputs, arity)
    costs = [(group.nodes, NODE[group.arity, group.outputs]) for step in steps for group in step]
    opened, dealt = (sum(nodes * cost[place] for nodes, cost in costs) for place in (0, 1))
    return Compared(opened, dealt, len(steps))


@cache
def choose(rows: int, width: int, network: Network = LOCAL) -> Tree:
    """The tree that compares `rows` values of `width` bits soonest."""
    return min(TREES, key=lambda tree: picoseconds(rows, sign(width, tree), network))


def picoseconds(rows: int, cost: Compared, network: Network) -> int:
    """The time that a cost a row takes over `rows` rows."""
    travel = (cost.sent + cost.dealt) * rows * 10**12 // (8 * network.bandwidth)
    return travel + rows * (cost.sent * network.opened + cost.dealt * network.dealt) + cost.rounds * network.delay * 1000
