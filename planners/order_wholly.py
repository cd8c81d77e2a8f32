"""Rule: LIMIT above noise cuts by all columns, so that which of equal rows stay does not depend on where they stand.

Where rows stand follows from the data, and no noise is in it.
"""

from __future__ import annotations

from dataclasses import replace

from sdh.planners.expressions import Ref
from sdh.planners.logical import Limit, Node, Noised, Sort, SortKey, bottom_up, fields, nodes


def order_wholly(node: Node) -> Node:
    return bottom_up(node, _ordered)


def _ordered(node: Node) -> Node:
    match node:
        case Limit(Sort(input, keys)) if any(isinstance(one, Noised) for one in nodes(input)):
            known = {key.expression for key in keys}
            more = tuple(SortKey(Ref(f), descending=False, nulls_first=False) for f in fields(input) if Ref(f) not in known)
            return replace(node, input=Sort(input, (*keys, *more)))
        case _:
            return node
