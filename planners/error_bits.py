"""Whether an operator on shares may fail as DuckDB's would, so that one bit is released in place of the rows."""

from __future__ import annotations

from sdh.planners import physical
from sdh.planners.expressions import Expression, walk
from sdh.planners.ranges import Columns, overflows


def release_may_fail(root: physical.Release) -> bool:
    columns = physical.traits(root.input).ranges
    return any(_overflows(e, columns) for _, e in root.outputs) or node_may_fail(root.input)


def node_may_fail(node: physical.Node) -> bool:
    below = [physical.traits(part).ranges for part in physical.inputs(node)]
    columns: Columns = {number: column for one in below for number, column in one.items()}
    own = any(_overflows(e, columns) for e in physical.expressions(node)) or physical.may_be_several(node)
    return own or any(node_may_fail(part) for part in physical.inputs(node))


def _overflows(e: Expression, columns: Columns) -> bool:
    return any(overflows(part, columns) for part in walk(e))
