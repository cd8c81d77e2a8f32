"""What becomes of the owners' columns on their way to a result: the uses they pass, and what decides which rows are in it.

A column that reaches the result by no use shows its values; one that was compared, grouped or aggregated shows what that
tells. WHERE, ON and HAVING count for the whole result, and so does what may fail: that it failed shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from sdh.planners.expressions import (
    COMPARISONS,
    CONNECTIVES,
    DISTINCTIONS,
    FALSE,
    Apply,
    Case,
    Cast,
    Expression,
    Ref,
    children,
    conjuncts,
)
from sdh.planners.failing import failing, widens
from sdh.planners.grants import ANY_COLUMN
from sdh.planners.logical import (
    Aggregate,
    Call,
    Cut,
    Filter,
    Join,
    Limit,
    Node,
    Noised,
    OneRow,
    Private,
    Project,
    Reused,
    Scan,
    Sort,
    UnionAll,
    fields,
    nodes,
)
from sdh.policy import Use

SUMMARIES = frozenset(
    {"sum", "count", "count_star", "avg", "variance", "var_samp", "var_pop", "stddev", "stddev_samp", "stddev_pop"}
)
"""Aggregates of all values, of distinct ones too: no single one shows. Any other may show one contributor's (EXTREMES)."""
ARITHMETIC = frozenset({"+", "-", "*", "/", "negate", "coalesce"})
"""Other functions tell values apart, so besides what becomes of their value they need COMPARE."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A base column on its way to the result, with the uses it has passed and the operator that used it last."""

    table: str
    column: str
    uses: frozenset[Use]
    operator: str = ""

    def then(self, use: Use, operator: str) -> Flow:
        return Flow(self.table, self.column, self.uses | {use}, operator)


Flows = frozenset[Flow]
TOGETHER = frozenset({Use.AGGREGATE, Use.EXTREMES, Use.GROUP})
"""What has passed one of these is no single row's."""


@dataclass(slots=True)
class Walk:
    """influences: what decides which rows are in the result. failures: what decides whether there is one."""

    receiver: str
    influences: set[Flow] = field(default_factory=set)
    failures: set[Flow] = field(default_factory=set)


def flows_of(node: Node, walk: Walk) -> dict[int, Flows]:
    """What reaches each field of the node, by number; adds to the walk's influences and failures."""
    match node:
        case Scan(table, columns):
            if not table.party:
                return {f.number: frozenset() for _, f in columns}
            return {f.number: frozenset({Flow(table.full_name, name, frozenset())}) for name, f in columns}
        case OneRow():
            return {}
        case Filter(input, predicate):
            flows = _below(node, flows_of(input, walk), walk)
            walk.influences |= frozenset(flow for c in conjuncts(predicate) for flow in _as_condition(c, flows))
            return flows
        case Sort(input):  # an order of what shows shows nothing; a hidden sort key counts as shown
            return _below(node, flows_of(input, walk), walk)
        case Limit(input):
            flows = flows_of(input, walk)
            for key in input.keys if isinstance(input, Sort) else ():
                walk.influences |= {flow.then(Use.RANK, "LIMIT") for flow in of(key.expression, flows)}
            return flows
        case Project(input, outputs):
            flows = _below(node, flows_of(input, walk), walk)
            return {f.number: of(e, flows) for f, e in outputs}
        case Reused():
            return flows_of(node.renaming, walk)
        case Join():
            return _of_join(node, walk)
        case Aggregate():
            return _of_aggregate(node, _below(node, flows_of(node.input, walk), walk), walk)
        case UnionAll(parts, outputs):
            below = [(flows_of(part, walk), fields(part)) for part in parts]
            return {f.number: frozenset().union(*(flows[old[i].number] for flows, old in below)) for i, f in enumerate(outputs)}
        case Cut(input, keys):
            flows = _below(node, flows_of(input, walk), walk)
            walk.influences |= frozenset(flow for key in keys for flow in _as_condition(key, flows))
            return flows
        case Noised(input, noises):
            flows = flows_of(input, walk)
            return flows | {noise.output.number: flows[noise.input.number] for noise in noises}
        case Private():  # authorize_private asks in its place; elsewhere noise allows nothing that needs a grant without it
            flows = flows_of(node.aggregate, walk)
            return {n: frozenset(flow.then(Use.DP, "WITH DIFFERENTIAL_PRIVACY") for flow in read) for n, read in flows.items()}
        case _:
            assert_never(node)


def of(e: Expression, flows: dict[int, Flows]) -> Flows:
    """What reaches an expression's value."""
    match e:
        case Ref(f):
            return flows[f.number]
        case Apply(function) if function in COMPARISONS | DISTINCTIONS | {"BETWEEN", "IN", "LIKE", "ILIKE", "IS NULL"}:
            return frozenset(flow.then(Use.COMPARE, function) for part in children(e) for flow in of(part, flows))
        case Apply(function) if function in CONNECTIVES:
            return frozenset(flow for part in children(e) for flow in _as_condition(part, flows))
        case Case(branches, default):
            conditions = frozenset(flow for when, _ in branches for flow in _as_condition(when, flows))
            values = [value for _, value in branches] + ([] if default is None else [default])
            return conditions | frozenset(flow for value in values for flow in of(value, flows))
        case _:
            read = frozenset(flow for part in children(e) for flow in of(part, flows))
            return read | {flow.then(Use.COMPARE, name) for name, flow in _told_apart(e, read, flows)}


def _told_apart(e: Expression, read: Flows, flows: dict[int, Flows]) -> list[tuple[str, Flow]]:
    """What an operator tells apart beside its value: all that a function reads, what a CAST rounds or refuses, and the
    divisor of a quotient, of which a single 0 shows in any sum."""
    match e:
        case Cast(operand, type_) if not widens(operand.type, type_):
            return [("CAST", flow) for flow in read]
        case Apply("/", (_, divisor)):
            return [("/", flow) for flow in of(divisor, flows) if not flow.uses & TOGETHER]
        case Apply(function) if function not in ARITHMETIC:
            return [(function, flow) for flow in read]
        case _:
            return []


def _as_condition(e: Expression, flows: dict[int, Flows]) -> Flows:
    """A bare BOOLEAN column in a condition is compared with TRUE."""
    return frozenset(flow if Use.COMPARE in flow.uses else flow.then(Use.COMPARE, "a condition") for flow in of(e, flows))


def _below(node: Node, flows: dict[int, Flows], walk: Walk) -> dict[int, Flows]:
    """The same flows; one bit on single rows shows by every operator that may fail, wherever its value goes."""
    for e in failing(node):
        read = {flow for flow in of(e, flows) if not flow.uses & TOGETHER}
        walk.failures |= {flow.then(Use.COMPARE, "an operator that may fail") for flow in read}
    return flows


# --- joins ---------------------------------------------------------------------------------------


def _of_join(join: Join, walk: Walk) -> dict[int, Flows]:
    left, right = flows_of(join.left, walk), flows_of(join.right, walk)
    flows = _below(join, left | right, walk)
    compared: set[Flow] = set()
    for conjunct in (part for c in conjuncts(join.condition) for part in conjuncts(asked(c))):
        compared |= _of_condition(conjunct, flows)
        flows |= _told_by_equality(conjunct, flows, (set(left), set(right)), walk.receiver)
    walk.influences |= compared
    return flows if join.mark is None else flows | {join.mark.number: frozenset(compared)}


def asked(conjunct: Expression) -> Expression:
    """What is asked of a row where NULL counts as FALSE, as in the conditions of correlated IN."""
    match conjunct:
        case Apply("coalesce", (inner, second)) if second == FALSE:
            return inner
        case _:
            return conjunct


def _of_condition(conjunct: Expression, flows: dict[int, Flows]) -> Flows:
    match conjunct:
        case Apply("=", (Ref(a), Ref(b))):
            return frozenset(flow.then(Use.JOIN, "JOIN") for f in (a, b) for flow in flows[f.number])
        case _:
            return _as_condition(conjunct, flows)


def _told_by_equality(
    conjunct: Expression, flows: dict[int, Flows], sides: tuple[set[int], set[int]], receiver: str
) -> dict[int, Flows]:
    """A column that equals an owner's shows the owner's value wherever it shows, and so does the whole row of a table that
    is public, as everyone can look it up; the receiver's own shows a match."""
    match conjunct:
        case Apply("=", (Ref(a), Ref(b))):
            told: dict[int, Flows] = {}
            for x, y in ((a.number, b.number), (b.number, a.number)):
                if not flows[x]:
                    side = next(side for side in sides if x in side)
                    told |= {n: flows[y] for n in side if not flows[n]}
                elif not _own(flows[x], receiver):
                    told[x] = flows[x] | flows[y]
            return told
        case _:
            return {}


def _own(flows: Flows, receiver: str) -> bool:
    return all(flow.table.startswith(f"{receiver}.") for flow in flows)


# --- aggregates ----------------------------------------------------------------------------------


def _of_aggregate(node: Aggregate, flows: dict[int, Flows], walk: Walk) -> dict[int, Flows]:
    found = {f.number: frozenset(flow.then(Use.GROUP, "GROUP BY") for flow in of(e, flows)) for f, e in node.keys}
    walk.influences |= frozenset(flow for keys in found.values() for flow in keys)  # groups show, shown or not
    rows = frozenset(
        Flow(scan.table.full_name, ANY_COLUMN, frozenset({Use.AGGREGATE}), "COUNT")
        for scan in nodes(node.input)
        if isinstance(scan, Scan) and scan.table.party
    )
    for call in node.calls:
        read = frozenset(flow for e in call.arguments for flow in of(e, flows))
        if call.filter is not None:
            read |= _as_condition(call.filter, flows)
        found[call.output.number] = _used(call, read) | rows
    return found


def _used(call: Call, read: Flows) -> Flows:
    use = Use.AGGREGATE if call.function in SUMMARIES else Use.EXTREMES
    return frozenset(flow.then(use, call.function.upper()) for flow in read)
