"""Rule: an order that no LIMIT and no reader sees is no order."""

from __future__ import annotations

from sdh.planners.logical import Limit, Node, Project, Sort, bottom_up, inputs, with_inputs


def drop_sorts(node: Node) -> Node:
    """Remove every Sort but the result's own and those right below a LIMIT."""
    match node:
        case Project() | Limit() | Sort():
            return with_inputs(node, (drop_sorts(inputs(node)[0]),))
        case _:
            return bottom_up(node, _without)


def _without(node: Node) -> Node:
    if isinstance(node, Limit):
        return node
    parts = tuple(part.input if isinstance(part, Sort) else part for part in inputs(node))
    return node if parts == inputs(node) else with_inputs(node, parts)
