"""Whether an operator on shares may fail as DuckDB's would, so that one bit is released in place of the rows."""

from __future__ import annotations

from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Expression, walk
from sdh.planners.intervals import Columns
from sdh.planners.overflow import overflows
from sdh.planners.physical import Expand, NestedLoop, Node, Release, Unique, expressions, inputs


def release_may_fail(root: Release) -> bool:
    columns = traits(root.input).ranges
    return any(_overflows(e, columns) for _, e in root.outputs) or node_may_fail(root.input)


def node_may_fail(node: Node) -> bool:
    below = [traits(part).ranges for part in inputs(node)]
    columns: Columns = {number: column for one in below for number, column in one.items()}
    own = any(_overflows(e, columns) for e in expressions(node)) or may_be_several(node)
    return own or any(node_may_fail(part) for part in inputs(node))


def may_be_several(node: Node) -> bool:
    """Whether two rows may meet one, or agree in a key, where only one is allowed: an error bit on shares."""
    if isinstance(node, Expand):
        return True   # there may be more pairs than places
    if isinstance(node, Unique):
        return traits(node).slots > 1
    return isinstance(node, NestedLoop) and node.kind == "SINGLE" and traits(node.right).slots > 1


def _overflows(e: Expression, columns: Columns) -> bool:
    return any(overflows(part, columns) for part in walk(e))
