"""Rule: a released aggregate has a least number of contributors behind it, before anything above it shows.

Where the rule applies each contributor has one row (`authorize` refuses the rest), so rows are counted. A group below
the floor is absent, an aggregate of fewer rows NULL.
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
    """Each call counts the rows that it reads (FILTER, not NULL), the group all of its rows."""
    counters = {key: Field(next(numbers), "contributors", BIGINT, nullable=False) for key in map(_reads, aggregate.calls)}
    rows = counters.setdefault((None, None), Field(next(numbers), "contributors", BIGINT, nullable=False))
    inner = [replace(call, output=replace(call.output, number=next(numbers))) for call in aggregate.calls]
    counting = tuple(_counter(field, *key) for key, field in counters.items())
    counted: Node = replace(aggregate, calls=(*inner, *counting))
    if aggregate.keys:
        counted = Filter(counted, _enough(rows, floor))
    outputs: list[tuple[Field, Expression]] = [(f, Ref(f)) for f, _ in aggregate.keys]
    for call, one in zip(aggregate.calls, inner, strict=True):
        shown = Case(((_enough(counters[_reads(call)], floor), Ref(one.output)),), None, call.output.type)
        outputs.append((replace(call.output, nullable=True), shown))
    return Project(counted, tuple(outputs))


def _reads(call: Call) -> tuple[Expression | None, Expression | None]:
    """What decides which rows a call reads: its FILTER, and its argument where that may be NULL."""
    return call.filter, next((argument for argument in call.arguments if argument.nullable), None)


def _counter(output: Field, condition: Expression | None, argument: Expression | None) -> Call:
    if argument is None:
        return Call(output, "count_star", (), filter=condition)
    return Call(output, "count", (argument,), filter=condition)


def _enough(rows: Field, floor: int) -> Expression:
    return Apply(">=", (Ref(rows), Constant(BIGINT, floor, str(floor))), BOOLEAN, nullable=False)
