"""Trees of comparison nodes over packed bit planes: several side by side, a level in one round.

Which groups of nodes a level has, and what they cost: planners/comparing.py. What a node opens and computes: products.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sdh.executors.dealing import Correlation
from sdh.executors.devices import fused
from sdh.executors.jobs import Opening, Rounds
from sdh.executors.messages import Masked
from sdh.executors.products import evaluate, plan
from sdh.executors.runtime import Session
from sdh.planners.comparing import EQ, LT, Group, levels


class Nodes(NamedTuple):
    """Planes of a tree's nodes, [nodes, words], from the lowest up. Trees for lt alone have no eq of node 0; trees for
    eq alone have no lt."""

    lt: Tensor
    eq: Tensor
    outputs: int

    @property
    def size(self) -> int:
        return len(self.eq) + (self.outputs == LT)

    def equal(self, start: int, stop: int) -> Tensor:
        shift = self.outputs == LT
        return self.eq[start - shift:stop - shift]


Level = list[tuple[tuple[int, int], list[tuple[int, Group]]]]
"""By (arity, outputs): (tree, group of its nodes). One correlation each."""


def plan_levels(counts: Sequence[tuple[int, int]], arity: int) -> list[Level]:
    """The levels of several trees of (leaves, outputs) side by side."""
    trees = [levels(leaves, outputs, arity) for leaves, outputs in counts]
    found = []
    for depth in range(max((len(tree) for tree in trees), default=0)):
        level: dict[tuple[int, int], list[tuple[int, Group]]] = {}
        for index, tree in enumerate(trees):
            for group in tree[depth] if depth < len(tree) else ():
                level.setdefault((group.arity, group.outputs), []).append((index, group))
        found.append(sorted(level.items(), key=lambda item: item[0]))
    return found


def correlations(level: Level, words: int) -> list[Correlation]:
    return [Correlation("node", words * sum(group.nodes for _, group in groups), arity, outputs)
            for (arity, outputs), groups in level]


class _Met(NamedTuple):
    """What a group's nodes gave: for the inputs from `first` up to `stop`."""

    first: int
    stop: int
    lt: Tensor | None
    eq: Tensor | None


def combine(session: Session, level: Level, trees: list[Nodes], dealt: list[list[Tensor]]) -> Rounds[list[Nodes]]:
    """One level of all trees, one round."""
    inputs = [_variables(key, groups, trees) for key, groups in level]
    hidden = [values.bitwise_xor_(masks) for values, (masks, _) in zip(inputs, dealt, strict=True)]
    opened = yield Opening([Masked(values, xor=True) for values in hidden], "products of a comparison tree")
    met: list[list[_Met]] = [[] for _ in trees]
    for ((arity, outputs), groups), (masks, products), values in zip(level, dealt, opened, strict=True):
        outcomes = _evaluate(arity, outputs, masks, products, values, first=session.rank == 0)
        place = 0
        for index, group in groups:
            size = group.nodes * trees[index].eq.shape[1]
            parts = [outcome[place:place + size].reshape(group.nodes, -1) for outcome in outcomes]
            met[index].append(_outcome(trees[index], group, parts))
            place += size
    return [_next_level(tree, found) if found else tree for tree, found in zip(trees, met, strict=True)]


def _evaluate(arity: int, outputs: int, masks: Tensor, dealt: Tensor, opened: Tensor, *, first: bool) -> list[Tensor]:
    if not fused(opened):
        return evaluate(arity, outputs, masks, dealt, opened, first=first)
    from sdh.executors import kernels_tree

    return kernels_tree.evaluate(arity, outputs, masks, dealt, opened, first=first)


def _variables(key: tuple[int, int], groups: list[tuple[int, Group]], trees: list[Nodes]) -> Tensor:
    """The inputs of a level's nodes of one kind as [variables, nodes * words], in the order of products.plan."""
    arity, outputs = key
    table, columns = plan(arity, outputs), []
    for index, group in groups:
        tree, stop = trees[index], group.first + group.nodes * arity
        words = tree.eq.shape[1]
        lowest = outputs == LT   # the one node whose lowest eq is not there
        eq = tree.equal(group.first + lowest, stop).reshape(group.nodes, arity - lowest, words)
        lt = tree.lt[group.first:stop].reshape(group.nodes, arity, words)[:, :table.lts] if table.lts else eq[:, :0]
        columns.append(torch.cat([lt, eq], dim=1).transpose(0, 1).reshape(table.variables, group.nodes * words))
    return torch.cat(columns, dim=1)


def _outcome(tree: Nodes, group: Group, parts: list[Tensor]) -> _Met:
    """The outputs of a group's nodes; lt takes in the highest input's."""
    stop, lt, eq = group.first + group.nodes * group.arity, None, None
    if group.outputs & LT:
        lt = parts[0].bitwise_xor_(tree.lt[group.first + group.arity - 1:stop:group.arity])
    if group.outputs & EQ:
        eq = parts[-1]
    return _Met(group.first, stop, lt, eq)


def _next_level(tree: Nodes, met: list[_Met]) -> Nodes:
    """The nodes from the lowest up; a last input that met no other passes."""
    met = sorted(met, key=lambda part: part.first)
    alone = met[-1].stop < tree.size
    lt = [part.lt for part in met if part.lt is not None] + ([tree.lt[-1:]] if alone and len(tree.lt) else [])
    eq = [part.eq for part in met if part.eq is not None] + ([tree.eq[-1:]] if alone else [])
    return Nodes(torch.cat(lt) if lt else tree.lt, torch.cat(eq) if eq else tree.eq[:0], tree.outputs)
