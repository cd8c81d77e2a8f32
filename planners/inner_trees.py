"""Trees of INNER joins: their leaves, all their conjuncts, and which columns those make equal."""

from __future__ import annotations

from collections.abc import Iterable

from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts
from sdh.planners.logical import Filter, Join, Node
from sdh.schema import FLOATING

KEEPING = frozenset({"SEMI", "ANTI", "MARK", "LEFT", "SINGLE"})
"""Joins whose output rows each have one row of their left, unchanged."""


def parts(node: Node) -> tuple[list[Node], list[Expression]]:
    """(leaves, conjuncts) of the INNER joins and filters at the top of a plan."""
    match node:
        case Filter(input, predicate):
            leaves, found = parts(input)
            return leaves, [*found, *conjuncts(predicate)]
        case Join("INNER", left, right, condition):
            (first, above), (second, beside) = parts(left), parts(right)
            return [*first, *second], [*above, *beside, *conjuncts(condition)]
        case _:
            return [node], []


def equalities(node: Node) -> list[tuple[Field, Field]]:
    """Columns that are equal, and not NULL, in every row of the plan."""
    leaves, wanted = parts(node)
    found = [pair for c in wanted for pair in equal_columns(c)]
    for leaf in leaves:
        if isinstance(leaf, Join) and leaf.kind in KEEPING:
            found += equalities(leaf.left)
    return found


def equal_columns(c: Expression) -> list[tuple[Field, Field]]:
    """The two columns of an equality of one type: a DOUBLE may equal another and not be the same."""
    match c:
        case Apply("=", (Ref(a), Ref(b))) if a.type == b.type and a.type.kind not in FLOATING:
            return [(a, b)]
        case _:
            return []


def classes(pairs: Iterable[tuple[Field, Field]]) -> list[list[Field]]:
    """Columns in classes of equal ones, each class in the order in which its columns appear."""
    found: list[list[Field]] = []
    for a, b in pairs:
        touched = [one for one in found if any(f.number in (a.number, b.number) for f in one)]
        merged = list({f.number: f for one in [*touched, [a, b]] for f in one}.values())
        found = [one for one in found if one not in touched] + [merged]
    return found
