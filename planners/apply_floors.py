"""Rule: a released aggregate has a least number of contributors behind it, before anything above it shows.

Where the rule applies each contributor has one row (`authorize` refuses the rest), so rows are counted. A group below
the floor is absent, an ungrouped aggregate NULL.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from sdh.planners.expressions import Apply, Case, Constant, Expression, Field, Ref
from sdh.planners.logical import Aggregate, Call, Filter, Node, Project, Scan, bottom_up, fields, nodes
from sdh.schema import BIGINT, BOOLEAN


def apply_floors(node: Node, floors: dict[str, int]) -> Node:
    """`floors`: least contributors by party; a party that is not named has none."""
    numbers = count(1 + max((f.number for n in nodes(node) for f in fields(n)), default=0))

    def change(one: Node) -> Node:
        if not isinstance(one, Aggregate):
            return one
        floor = max((floors.get(n.table.party, 1) for n in nodes(one) if isinstance(n, Scan)), default=1)
        return one if floor <= 1 else _floored(one, floor, numbers)

    return bottom_up(node, change)


def _floored(aggregate: Aggregate, floor: int, numbers: count[int]) -> Node:
    rows = Field(next(numbers), "contributors", BIGINT, nullable=False)
    enough = Apply(">=", (Ref(rows), Constant(BIGINT, floor, str(floor))), BOOLEAN, nullable=False)
    if aggregate.keys:
        counted = replace(aggregate, calls=(*aggregate.calls, Call(rows, "count_star", ())))
        return Project(Filter(counted, enough), tuple((f, Ref(f)) for f in fields(aggregate)))
    inner = [replace(call, output=replace(call.output, number=next(numbers))) for call in aggregate.calls]
    outputs: list[tuple[Field, Expression]] = [
        (replace(call.output, nullable=True), Case(((enough, Ref(one.output)),), None, call.output.type))
        for call, one in zip(aggregate.calls, inner, strict=True)
    ]
    return Project(replace(aggregate, calls=(*inner, Call(rows, "count_star", ()))), tuple(outputs))
