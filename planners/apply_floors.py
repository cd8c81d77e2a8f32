"""Rule: a released aggregate has a least number of contributors behind it, before anything above it shows.

Where the rule applies each contributor has one row (`authorize` refuses the rest), so rows are counted: every owner's
against its own floor, also where an owner has none of a union's (to show that would tell that it has none). A group below
a floor is absent, an aggregate of fewer rows NULL: a COUNT too, also one that would be 0, and one in a subquery, where no
group shows.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from sdh.planners.expressions import TRUE, Apply, Case, Constant, Expression, Field, Ref, conjunction, references, transform
from sdh.planners.logical import Aggregate, Call, Filter, Join, Node, Project, Scan, bottom_up, fields, nodes
from sdh.planners.plan_expressions import changed
from sdh.planners.presence import mark_presence
from sdh.schema import BIGINT, BOOLEAN

_Reads = tuple[Expression | None, tuple[Expression, ...]]
"""What decides which rows a call reads: FILTER, and the arguments that may be NULL."""


def apply_floors(node: Node, floors: dict[str, int]) -> Node:
    """`floors`: least contributors by party; a party that is not named has none."""
    numbers = count(1 + max((f.number for n in nodes(node) for f in fields(n)), default=0))
    zeros, now = _zeros(node), dict[int, Expression]()

    def change(one: Node) -> Node:
        one = _with_nulls(one, now, zeros)
        least = _least(one, floors) if isinstance(one, Aggregate) else {}
        if not isinstance(one, Aggregate) or not least:
            return one
        now.update({call.output.number: Ref(replace(call.output, nullable=True)) for call in one.calls})
        return _floored(one, least, numbers)

    return bottom_up(node, change)


def _least(aggregate: Aggregate, floors: dict[str, int]) -> dict[str, int]:
    """The floors, by party, that hold for an aggregate."""
    owners = {n.table.party for n in nodes(aggregate) if isinstance(n, Scan)}
    return {party: floors[party] for party in sorted(owners) if floors.get(party, 1) > 1}


def _zeros(node: Node) -> frozenset[int]:
    """Counts of correlated subqueries, which are 0 where there is no group (decorrelate)."""
    groups = [n.right for n in nodes(node) if isinstance(n, Join) and n.kind == "LEFT"]
    return frozenset(call.output.number for group in groups if isinstance(group, Aggregate) for call in group.calls)


def _with_nulls(node: Node, now: dict[int, Expression], zeros: frozenset[int]) -> Node:
    """The node over fields of which some may be NULL by a floor (`now`, by number), and its own that may be so by them."""

    def read(e: Expression) -> Expression | None:
        match e:
            case Apply("coalesce", (Ref(f), Constant(_, 0))) if f.number in zeros:
                return now.get(f.number)
            case Ref(f):
                return now.get(f.number)
            case _:
                return None

    node = changed(node, lambda e: transform(e, read)) if now else node
    if isinstance(node, Project):
        node = replace(node, outputs=tuple((replace(f, nullable=f.nullable or e.nullable), e) for f, e in node.outputs))
        now.update({f.number: Ref(f) for f, e in node.outputs if references(e) & now.keys() and f.nullable})
    return node


ALL: _Reads = (None, ())


def _floored(aggregate: Aggregate, least: dict[str, int], numbers: count[int]) -> Node:
    """Each call counts the rows that it reads (FILTER, not NULL), the group all of its rows; each owner its own."""
    input, floors = aggregate.input, dict[Expression, int]()
    for party, floor in least.items():
        input, present = mark_presence(input, party, numbers)
        floors[present] = max(floor, floors.get(present, 1))
    counters: dict[tuple[_Reads, Expression], Field] = {}
    for reads in dict.fromkeys((*map(_reads, aggregate.calls), ALL)):
        for present in floors:
            counters[reads, present] = Field(next(numbers), "contributors", BIGINT, nullable=False)

    def enough(reads: _Reads) -> Expression:
        whole = conjunction([_enough(counters[reads, present], floor) for present, floor in floors.items()])
        assert whole is not None
        return whole

    inner = [replace(call, output=replace(call.output, number=next(numbers))) for call in aggregate.calls]
    counting = tuple(_counter(field, reads, present) for (reads, present), field in counters.items())
    counted: Node = replace(aggregate, input=input, calls=(*inner, *counting))
    if aggregate.keys:
        counted = Filter(counted, enough(ALL))
    outputs: list[tuple[Field, Expression]] = [(f, Ref(f)) for f, _ in aggregate.keys]
    for call, one in zip(aggregate.calls, inner, strict=True):
        shown = Case(((enough(_reads(call)), Ref(one.output)),), None, call.output.type)
        outputs.append((replace(call.output, nullable=True), shown))
    return Project(counted, tuple(outputs))


def _reads(call: Call) -> _Reads:
    return call.filter, tuple(argument for argument in call.arguments if argument.nullable)


def _counter(output: Field, reads: _Reads, present: Expression) -> Call:
    """Rows that are present, that the filter keeps, and where no argument is NULL."""
    only, arguments = reads
    there = [Apply("NOT", (Apply("IS NULL", (one,), BOOLEAN, nullable=False),), BOOLEAN, nullable=False) for one in arguments[1:]]
    condition = conjunction([one for one in (only, present, *there) if one is not None and one != TRUE])
    if not arguments:
        return Call(output, "count_star", (), filter=condition)
    return Call(output, "count", arguments[:1], filter=condition)


def _enough(rows: Field, floor: int) -> Expression:
    return Apply(">=", (Ref(rows), Constant(BIGINT, floor, str(floor))), BOOLEAN, nullable=False)
