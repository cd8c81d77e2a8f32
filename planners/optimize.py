"""Logical rules, one a file, applied in order; the schema is verified after each."""

from __future__ import annotations

from collections.abc import Callable

from sdh.errors import InternalError
from sdh.planners.drop_sorts import drop_sorts
from sdh.planners.expressions import references
from sdh.planners.logical import Node, expressions, fields, inputs, nodes
from sdh.planners.prune_columns import prune_columns
from sdh.planners.push_filters import push_filters

Rule = Callable[[Node], Node]

RULES: tuple[Rule, ...] = (drop_sorts, push_filters, prune_columns)


def optimize(node: Node) -> Node:
    """The plan after all rules. Raises InternalError if a rule changed what the plan puts out."""
    return steps(node)[-1][1]


def steps(node: Node) -> list[tuple[str, Node]]:
    """The bound plan and the plan after each rule, by the rule's name."""
    found = [("bind", node)]
    for rule in RULES:
        after = rule(node)
        verify(node, after, rule.__name__)
        node = after
        found.append((rule.__name__, node))
    return found


def verify(before: Node, after: Node, rule: str) -> None:
    """The root's fields are the same, and every expression reads fields that its inputs put out."""
    if [(f.number, f.type) for f in fields(before)] != [(f.number, f.type) for f in fields(after)]:
        raise InternalError(f"The rule {rule} changed the schema of the result.")
    for node in nodes(after):
        available = {f.number for part in inputs(node) for f in fields(part)}
        if not references(*expressions(node)) <= available:
            raise InternalError(f"The rule {rule} lost a column.")
