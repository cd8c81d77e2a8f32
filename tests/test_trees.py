"""Comparison trees of every block width and arity against plain integers, and their cost against the planner's count."""

from __future__ import annotations

import pytest

from sdh.executors.products import plan
from sdh.planners.comparing import NODE, TREES, Network, Tree, choose, sign
from tests.parties import Pool

P = "tests.tree_programs:"
WIDTHS = [1, 2, 3, 4, 5, 6, 8, 9, 17, 24, 31, 32, 33, 40, 57, 63, 64]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_every_tree(two: Pool, three: Pool, tree: Tree) -> None:
    two.run(P + "trees", rows=128, widths=WIDTHS, block=tree.block, arity=tree.arity)
    three.run(P + "trees", rows=65, widths=[1, 4, 33, 64], block=tree.block, arity=tree.arity)


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_every_tree_of_five(five: Pool, tree: Tree) -> None:
    five.run(P + "trees", rows=64, widths=[2, 33, 64], block=tree.block, arity=tree.arity)


@pytest.mark.parametrize("delay", [0, 10**9])
@pytest.mark.parametrize("rows", [0, 1, 2, 100, 4097])
def test_rows_of_limbs(two: Pool, three: Pool, rows: int, delay: int) -> None:
    two.run(P + "rows_of_limbs", rows=rows, delay=delay)
    three.run(P + "rows_of_limbs", rows=rows, delay=delay)


def test_rows_of_limbs_of_five(five: Pool) -> None:
    five.run(P + "rows_of_limbs", rows=70, delay=0)


def test_rows_cost_what_is_counted(two: Pool) -> None:
    two.run(P + "compared_as_planned", rows=1 << 17)


def test_nodes_have_what_the_planner_counts() -> None:
    for (arity, outputs), cost in NODE.items():
        assert (plan(arity, outputs).variables, len(plan(arity, outputs).monomials)) == cost


def test_few_rows_and_slow_networks_take_few_rounds() -> None:
    assert sign(64, choose(1, 64)).rounds == 3
    assert choose(1 << 20, 33) == Tree(2, 2)
    assert choose(1 << 16, 33, Network(delay=20_000_000)) == Tree(4, 4)
