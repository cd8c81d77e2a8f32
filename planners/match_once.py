"""Rule: a SEMI join whose right has at most one row for each of the left is an INNER join, which joins in any order."""

from __future__ import annotations

from sdh.planners.expressions import Apply, Ref, conjuncts, references
from sdh.planners.facts import known
from sdh.planners.logical import Join, Node, bottom_up, fields


def match_once(node: Node) -> Node:
    """As in `o.k IN (SELECT k FROM t GROUP BY k)`: a unique key of the right equals what the left's row says."""
    return bottom_up(node, _matched)


def _matched(node: Node) -> Node:
    match node:
        case Join("SEMI", left, right, condition):
            equal = _equated(node)
            once = any(key <= equal for key in known(right).keys)
            return Join("INNER", left, right, condition) if once else node
        case _:
            return node


def _equated(join: Join) -> frozenset[int]:
    """The right's columns that equal an expression of the left."""
    own = frozenset(f.number for f in fields(join.right))
    found: set[int] = set()
    for c in conjuncts(join.condition):
        if isinstance(c, Apply) and c.function == "=":
            for a, b in (c.arguments, c.arguments[::-1]):
                if isinstance(a, Ref) and a.field.number in own and not references(b) & own:
                    found.add(a.field.number)
    return frozenset(found)
