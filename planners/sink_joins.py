"""Rule: a SEMI, ANTI, MARK or LEFT join with an owner's rows goes below other joins, to that owner's own rows.

It looks at one row of its left at a time, so it may look before that row meets others. Where the other joins make
columns equal, it takes the one that its own owner has: `p.k = t.k` above a join on `l.k = p.k` is `l.k = t.k`.
"""

from __future__ import annotations

from dataclasses import replace

from sdh.planners.expressions import Expression, Ref, references, substitute
from sdh.planners.inner_trees import KEEPING, classes, equalities
from sdh.planners.logical import Filter, Join, Node, Scan, bottom_up, fields, nodes

SINKING = frozenset({"SEMI", "ANTI", "MARK", "LEFT"})


def sink_joins(node: Node) -> Node:
    """Applied from below, so that of several joins each finds the others in their places."""
    return bottom_up(node, _sunk)


def _sunk(node: Node) -> Node:
    if not isinstance(node, Join) or node.kind not in SINKING or _owners(node.left) == _owners(node.right):
        return node
    found = _below(node, node.left, [{f.number: Ref(f) for f in one} for one in classes(equalities(node.left))])
    return node if found is None else found


def _below(join: Join, left: Node, equal: list[dict[int, Ref]]) -> Node | None:
    """`left` with the join somewhere in it; None where its owner has no such part."""
    match left:
        case Filter(input, predicate):
            found = _below(join, input, equal)
            return None if found is None else Filter(found, predicate)
        case Join("INNER", first, second):
            for side in (first, second):
                found = _at(join, side, equal) or _below(join, side, equal)
                if found is not None:
                    return replace(left, left=found) if side is first else replace(left, right=found)
            return None
        case Join(kind, first) if kind in KEEPING:
            found = _at(join, first, equal) or _below(join, first, equal)
            return None if found is None else replace(left, left=found)
        case _:
            return None


def _at(join: Join, side: Node, equal: list[dict[int, Ref]]) -> Node | None:
    """The join over `side`, where that is all its owner's and has all that the condition reads."""
    owned = _owners(join.right)
    if len(owned) > 1 or _owners(side) != owned:
        return None
    own = {f.number for f in fields(side)}
    wanted = references(join.condition) - {f.number for f in fields(join.right)} - own
    values: dict[int, Expression] = {}
    for number in wanted:
        found = next((ref for one in equal if number in one for other, ref in one.items() if other in own), None)
        if found is None:
            return None
        values[number] = found
    condition = None if join.condition is None else substitute(join.condition, values)
    return replace(join, left=side, condition=condition)


def _owners(node: Node) -> frozenset[str]:
    return frozenset(n.table.party for n in nodes(node) if isinstance(n, Scan)) - {""}
