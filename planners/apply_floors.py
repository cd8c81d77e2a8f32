"""Rule: a released aggregate has a least number of contributors behind it, before anything above it shows.

Where the rule applies each contributor has one row (`authorize` refuses the rest), so rows are counted: every owner's
against its own floor, also where an owner has none of a union's (to show that would tell that it has none). A group below
a floor is absent, an aggregate of fewer rows NULL.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from sdh.planners.expressions import TRUE, Apply, Case, Constant, Expression, Field, Ref, conjunction
from sdh.planners.logical import Aggregate, Call, Filter, Node, Project, Scan, bottom_up, fields, nodes
from sdh.planners.presence import mark_presence
from sdh.schema import BIGINT, BOOLEAN

_Counted = tuple[Expression | None, Expression | None, Expression]
"""What decides which rows are counted: FILTER, an argument that may be NULL, where an owner's rows are."""


def apply_floors(node: Node, floors: dict[str, int]) -> Node:
    """`floors`: least contributors by party; a party that is not named has none."""
    numbers = count(1 + max((f.number for n in nodes(node) for f in fields(n)), default=0))

    def change(one: Node) -> Node:
        if not isinstance(one, Aggregate):
            return one
        owners = {n.table.party for n in nodes(one) if isinstance(n, Scan)}
        least = {party: floors[party] for party in sorted(owners) if floors.get(party, 1) > 1}
        return _floored(one, least, numbers) if least else one

    return bottom_up(node, change)


def _floored(aggregate: Aggregate, least: dict[str, int], numbers: count[int]) -> Node:
    """Each call counts the rows that it reads (FILTER, not NULL), the group all of its rows; each owner its own."""
    input, floors = aggregate.input, dict[Expression, int]()
    for party, floor in least.items():
        input, present = mark_presence(input, party, numbers)
        floors[present] = max(floor, floors.get(present, 1))
    counters: dict[_Counted, Field] = {}
    for reads in dict.fromkeys((*map(_reads, aggregate.calls), (None, None))):
        for present in floors:
            counters[*reads, present] = Field(next(numbers), "contributors", BIGINT, nullable=False)

    def enough(reads: tuple[Expression | None, Expression | None]) -> Expression:
        whole = conjunction([_enough(counters[*reads, present], floor) for present, floor in floors.items()])
        assert whole is not None
        return whole

    inner = [replace(call, output=replace(call.output, number=next(numbers))) for call in aggregate.calls]
    counting = tuple(_counter(field, *key) for key, field in counters.items())
    counted: Node = replace(aggregate, input=input, calls=(*inner, *counting))
    if aggregate.keys:
        counted = Filter(counted, enough((None, None)))
    outputs: list[tuple[Field, Expression]] = [(f, Ref(f)) for f, _ in aggregate.keys]
    for call, one in zip(aggregate.calls, inner, strict=True):
        shown = Case(((enough(_reads(call)), Ref(one.output)),), None, call.output.type)
        outputs.append((replace(call.output, nullable=True), shown))
    return Project(counted, tuple(outputs))


def _reads(call: Call) -> tuple[Expression | None, Expression | None]:
    """What decides which rows a call reads: its FILTER, and its argument where that may be NULL."""
    return call.filter, next((argument for argument in call.arguments if argument.nullable), None)


def _counter(output: Field, condition: Expression | None, argument: Expression | None, present: Expression) -> Call:
    condition = conjunction([one for one in (condition, present) if one is not None and one != TRUE])
    if argument is None:
        return Call(output, "count_star", (), filter=condition)
    return Call(output, "count", (argument,), filter=condition)


def _enough(rows: Field, floor: int) -> Expression:
    return Apply(">=", (Ref(rows), Constant(BIGINT, floor, str(floor))), BOOLEAN, nullable=False)
