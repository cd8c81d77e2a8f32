"""Logical rules, one a file, applied in order; the schema is verified after each.

What grants allow is checked between RULES and FURTHER: the latter compare other columns than the query's text does.
"""

from __future__ import annotations

from collections.abc import Callable

from sdh.errors import InternalError
from sdh.planners.drop_sorts import drop_sorts
from sdh.planners.equate_columns import equate_columns
from sdh.planners.expressions import references
from sdh.planners.extremes_by_key import extremes_by_key
from sdh.planners.factor_predicates import factor_predicates
from sdh.planners.logical import Node, Scan, expressions, fields, inputs, nodes
from sdh.planners.match_once import match_once
from sdh.planners.prune_columns import prune_columns
from sdh.planners.push_filters import push_filters
from sdh.planners.sink_joins import sink_joins

Rule = Callable[[Node], Node]

RULES: tuple[Rule, ...] = (drop_sorts, push_filters, match_once, prune_columns)
FURTHER: tuple[Rule, ...] = (
    factor_predicates,
    push_filters,
    equate_columns,
    push_filters,
    sink_joins,
    push_filters,
    extremes_by_key,
    match_once,
    prune_columns,
)


def rules_of(node: Node) -> tuple[Rule, ...]:
    """One owner's query stays as it is written: its DuckDB has rules of its own, and what may fail stays where it stands."""
    owners = {n.table.party for n in nodes(node) if isinstance(n, Scan)} - {""}
    return (*RULES, *FURTHER) if len(owners) > 1 else RULES


def optimize(node: Node, rules: tuple[Rule, ...] = RULES) -> Node:
    """The plan after the rules. Raises InternalError if a rule changed what the plan puts out."""
    for rule in rules:
        after = rule(node)
        verify(node, after, rule.__name__)
        node = after
    return node


def steps(node: Node) -> list[tuple[str, Node]]:
    """The bound plan, and the plan after each rule that changed it by the rule's name."""
    found = [("bind", node)]
    for rule in rules_of(node):
        after = optimize(node, (rule,))
        if after != node:
            found.append((rule.__name__, after))
        node = after
    return found


def verify(before: Node, after: Node, rule: str) -> None:
    """The root's fields are the same, and every expression reads fields that its inputs put out."""
    if [(f.number, f.type) for f in fields(before)] != [(f.number, f.type) for f in fields(after)]:
        raise InternalError(f"The rule {rule} changed the schema of the result.")
    for node in nodes(after):
        available = {f.number for part in inputs(node) for f in fields(part)}
        if not references(*expressions(node)) <= available:
            raise InternalError(f"The rule {rule} lost a column.")
