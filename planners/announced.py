"""How an owner announces the rows of its fragment, and what is counted there.

An exact count of what a filter keeps, or of groups, depends on values: an owner that publishes exact counts publishes
those too, EXPLAIN says so. Where a floor holds they are padded, or the count of a filter that one contributor meets would
tell of it.
"""

from __future__ import annotations

from sdh.planners.logical import Aggregate, Filter, Node, Project, Reused, Scan, Sort
from sdh.policy import Policy


def announced(node: Node, policy: Policy) -> str:
    """'exact', 'padded' or 'hidden'."""
    derived = counted(node) != "row count"
    return "padded" if policy.rows == "exact" and policy.floor > 1 and derived else policy.rows


def counted(node: Node) -> str:
    """What the count of a fragment's rows says: of a table, of groups, or of what its joins and filters leave."""
    match node:
        case Scan():
            return "row count"
        case Project(input) | Sort(input) | Reused(_, input):
            return counted(input)
        case Aggregate() | Filter(Aggregate()):
            return "number of groups"
        case _:
            return "count of joined or filtered rows"
