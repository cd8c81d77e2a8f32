"""A node whose planner takes other plans than the cheapest, where the question says so: `SELECT ... -- plan: 7`, or
`-- plan: Align Lookup`. A number draws the price of each plan anew; names make joins by any other operator dear, and Fetch
plans without one.

Whoever conducts such nodes must `install` it too: all plan alike, or their digests would differ.
"""

from __future__ import annotations

import re
from typing import Any
from zlib import crc32

import sdh.node
from sdh.planners import choose, plan
from sdh.planners.costs import Cost, nanoseconds, tree_cost
from sdh.planners.physical import Concat, Fetch, Node, Release, inputs
from sdh.planners.plan import Placed, Question

_WANTED = re.compile(r"-- plan: (\w+(?: \w+)*)$")
_wanted = [""]
"""Of the question that was placed last: a node and a hub plan one at a time."""


def install() -> None:
    """In this process, from now on."""
    planner: Any = plan
    chooser: Any = choose
    if planner.nanoseconds is _price:
        return
    place = planner._place

    def placed(question: Question, catalog: Any) -> Placed:
        found = _WANTED.search(question.text)
        _wanted[0] = found[1] if found is not None else ""
        one: Placed = place(question, catalog)
        return one

    planner._place = placed
    for module in (planner, chooser):
        module.tree_cost, module.nanoseconds = _costed, _price


def _costed(node: Node | Release, parties: int, *network: Any) -> tuple[Cost, Node | Release]:
    return tree_cost(node, parties, *network), node


def _price(costed: tuple[Cost, Node | Release], network: Any) -> int:
    cost, node = costed
    time, wanted = nanoseconds(cost, network), _wanted[0]
    if wanted.isdigit():
        return time << 2 * (crc32(f"{wanted} {time}".encode()) % 5)
    return time << 10 * (_unwanted(node, wanted.split()) if wanted else 0)


def _unwanted(node: Node | Release, names: list[str]) -> int:
    """Joins by other operators; with Fetch among the names, that nothing is fetched late."""
    if isinstance(node, Release):
        return _unwanted(node.input, names) + ("Fetch" in names and not isinstance(node.input, Fetch))
    below = inputs(node)
    joins = len(below) == 2 and not isinstance(node, Concat)
    return int(joins and type(node).__name__ not in names) + sum(_unwanted(part, names) for part in below)


if __name__ == "__main__":
    install()
    sdh.node.main()
