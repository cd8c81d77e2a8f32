"""Check a plan against what the owners granted to the receiver.

For each column that reaches the result, the uses on its way are collected (compared, grouped, aggregated, ...); each
must be granted. What decides which rows are in the result (WHERE, ON, HAVING) counts for the whole result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from sdh.catalog import Catalog, TableFacts
from sdh.errors import FloorUnsupported, NotGranted
from sdh.planners.expressions import (
    COMPARISONS,
    CONNECTIVES,
    DISTINCTIONS,
    FALSE,
    Apply,
    Case,
    Expression,
    Ref,
    children,
    conjuncts,
)
from sdh.planners.facts import known
from sdh.planners.logical import (
    Aggregate,
    Call,
    Filter,
    Join,
    Limit,
    Node,
    OneRow,
    Project,
    Scan,
    Sort,
    UnionAll,
    fields,
    inputs,
    nodes,
)
from sdh.policy import Use

ANY_COLUMN = "*"
SUMMARIES = frozenset(
    {"sum", "count", "count_star", "avg", "variance", "var_samp", "var_pop", "stddev", "stddev_samp", "stddev_pop"}
)
"""Aggregates of all values; any other may show a single contributor's (EXTREMES)."""
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


@dataclass(slots=True)
class _Walk:
    """influences: what decides which rows are in the result."""

    receiver: str
    influences: set[Flow] = field(default_factory=set)


def authorize(node: Node, catalog: Catalog, receiver: str) -> None:
    """Raises NotGranted with the column, receiver, operator and grant that would help; FloorUnsupported."""
    walk = _Walk(receiver)
    flows = _flows(node, walk)
    released = {flow for f in fields(node) for flow in flows[f.number]}
    released |= {
        flow
        for sort in nodes(node)
        if isinstance(sort, Sort)
        for key in sort.keys
        for flow in _of(key.expression, _flows(sort.input, _Walk(receiver)))
    }
    tables = {scan.table.full_name: scan.table for scan in nodes(node) if isinstance(scan, Scan) and scan.table.party}
    alone = _not_matched(node, receiver)
    for flow in sorted(released | walk.influences, key=lambda f: (f.table, f.column, sorted(f.uses))):
        _require(flow, tables, catalog, receiver, flow.table not in alone)
    _require_rows(node, tables, catalog, receiver)
    _require_floors(node, catalog, receiver)


def floors(catalog: Catalog, receiver: str) -> dict[str, int]:
    """The floor of each party; the receiver's own rows need none."""
    return {party.name: party.policy.floor for party in catalog.parties if party.name != receiver}


def _not_matched(node: Node, receiver: str) -> frozenset[str]:
    """Tables of which a row may show without one of the receiver's own that it was joined with."""
    match node:
        case Scan(table):
            return frozenset({table.full_name})
        case Join(kind, left, right):
            first, second = _not_matched(left, receiver), _not_matched(right, receiver)
            if kind not in ("LEFT", "FULL", "ANTI", "MARK", "SINGLE") and _has_own(right, receiver):
                first = frozenset()
            if kind not in ("RIGHT", "FULL") and _has_own(left, receiver):
                second = frozenset()
            return first | second
        case _:
            return frozenset(name for part in inputs(node) for name in _not_matched(part, receiver))


def _has_own(node: Node, receiver: str) -> bool:
    """Whether every row has one of the receiver's own rows in it."""
    match node:
        case Scan(table):
            return table.party == receiver
        case OneRow():
            return False
        case Join(kind, left, right):
            sides = {"LEFT": (left,), "RIGHT": (right,), "FULL": (), "ANTI": (left,), "MARK": (left,), "SINGLE": (left,)}
            return any(_has_own(side, receiver) for side in sides.get(kind, (left, right)))
        case _:
            return all(_has_own(part, receiver) for part in inputs(node))


def _require(flow: Flow, tables: dict[str, TableFacts], catalog: Catalog, receiver: str, joined: bool) -> None:
    table = tables[flow.table]
    if table.party == receiver:
        return
    policy = catalog.party(table.party).policy
    columns = [c.name for c in table.columns] if flow.column == ANY_COLUMN else [flow.column]

    def allows(use: Use) -> bool:
        return any(policy.allows(use, table.name, column, receiver) for column in columns)

    if not flow.uses:
        if not (allows(Use.REVEAL) or joined and allows(Use.PAYLOAD) and allows(Use.JOIN)):
            _refuse(flow, Use.REVEAL, receiver, "puts its values into the result")
        return
    for use in sorted(flow.uses):
        if not allows(use):
            _refuse(flow, use, receiver, f"is used by {flow.operator}")


def _refuse(flow: Flow, use: Use, receiver: str, how: str) -> None:
    name = f"{flow.table}" if flow.column == ANY_COLUMN else f"{flow.table}.{flow.column}"
    column = "" if flow.column == ANY_COLUMN else f" ({flow.column})"
    raise NotGranted(
        f"{name} may not be shown to {receiver}: the query {how}, and {use} is not granted."
        if not flow.uses
        else f"{name} {how}, and {use} of it is not granted to {receiver}.",
        advice=f"Its owner could GRANT {use} ON {flow.table}{column} TO {receiver}.",
    )


def _flows(node: Node, walk: _Walk) -> dict[int, Flows]:
    match node:
        case Scan(table, columns):
            if not table.party:
                return {f.number: frozenset() for _, f in columns}
            return {f.number: frozenset({Flow(table.full_name, name, frozenset())}) for name, f in columns}
        case OneRow():
            return {}
        case Filter(input, predicate):
            flows = _flows(input, walk)
            walk.influences |= frozenset(flow for c in conjuncts(predicate) for flow in _as_condition(c, flows))
            return flows
        case Sort(input):
            return _flows(input, walk)  # an order of what shows shows nothing; a hidden sort key counts as shown
        case Limit(input):
            flows = _flows(input, walk)
            for key in input.keys if isinstance(input, Sort) else ():
                walk.influences |= {flow.then(Use.RANK, "LIMIT") for flow in _of(key.expression, flows)}
            return flows
        case Project(input, outputs):
            flows = _flows(input, walk)
            return {f.number: _of(e, flows) for f, e in outputs}
        case Join(_, left, right, condition, mark):
            flows = _flows(left, walk) | _flows(right, walk)
            compared: set[Flow] = set()
            for conjunct in (part for c in conjuncts(condition) for part in conjuncts(_asked(c))):
                compared |= _of_condition(conjunct, flows)
                flows |= _told_by_equality(conjunct, flows, walk.receiver)
            walk.influences |= compared
            return flows if mark is None else flows | {mark.number: frozenset(compared)}
        case Aggregate():
            return _of_aggregate(node, _flows(node.input, walk), walk)
        case UnionAll(parts, outputs):
            below = [(_flows(part, walk), fields(part)) for part in parts]
            return {f.number: frozenset().union(*(flows[old[i].number] for flows, old in below)) for i, f in enumerate(outputs)}
        case _:
            assert_never(node)


def _told_by_equality(conjunct: Expression, flows: dict[int, Flows], receiver: str) -> dict[int, Flows]:
    """A column that equals an owner's shows the owner's value wherever it shows; the receiver's own shows a match."""
    match conjunct:
        case Apply("=", (Ref(a), Ref(b))):
            return {
                x.number: flows[x.number] | flows[y.number] for x, y in ((a, b), (b, a)) if not _own(flows[x.number], receiver)
            }
        case _:
            return {}


def _asked(conjunct: Expression) -> Expression:
    """What is asked of a row where NULL counts as FALSE, as in the conditions of correlated IN."""
    match conjunct:
        case Apply("coalesce", (inner, second)) if second == FALSE:
            return inner
        case _:
            return conjunct


def _own(flows: Flows, receiver: str) -> bool:
    return bool(flows) and all(flow.table.startswith(f"{receiver}.") for flow in flows)


def _of_aggregate(node: Aggregate, flows: dict[int, Flows], walk: _Walk) -> dict[int, Flows]:
    found = {f.number: frozenset(flow.then(Use.GROUP, "GROUP BY") for flow in _of(e, flows)) for f, e in node.keys}
    walk.influences |= frozenset(flow for keys in found.values() for flow in keys)  # groups show, shown or not
    rows = frozenset(
        Flow(scan.table.full_name, ANY_COLUMN, frozenset({Use.AGGREGATE}), "COUNT")
        for scan in nodes(node.input)
        if isinstance(scan, Scan) and scan.table.party
    )
    for call in node.calls:
        read = frozenset(flow for e in call.arguments for flow in _of(e, flows))
        if call.filter is not None:
            read |= _of(call.filter, flows)
        found[call.output.number] = _used(call, read) | rows
    return found


def _used(call: Call, read: Flows) -> Flows:
    use = Use.AGGREGATE if call.function in SUMMARIES else Use.EXTREMES
    return frozenset(flow.then(use, call.function.upper()) for flow in read)


def _of(e: Expression, flows: dict[int, Flows]) -> Flows:
    match e:
        case Ref(f):
            return flows[f.number]
        case Apply(function) if function in COMPARISONS | DISTINCTIONS | {"BETWEEN", "IN", "LIKE", "ILIKE", "IS NULL"}:
            return frozenset(flow.then(Use.COMPARE, function) for part in children(e) for flow in _of(part, flows))
        case Apply(function) if function in CONNECTIVES:
            return frozenset(flow for part in children(e) for flow in _as_condition(part, flows))
        case Case(branches, default):
            conditions = frozenset(flow for when, _ in branches for flow in _as_condition(when, flows))
            values = [value for _, value in branches] + ([] if default is None else [default])
            return conditions | frozenset(flow for value in values for flow in _of(value, flows))
        case _:
            read = frozenset(flow for part in children(e) for flow in _of(part, flows))
            if isinstance(e, Apply) and e.function not in ARITHMETIC:
                read |= frozenset(flow.then(Use.COMPARE, e.function) for flow in read)
            return read


def _as_condition(e: Expression, flows: dict[int, Flows]) -> Flows:
    """A bare BOOLEAN column in a condition is compared with TRUE."""
    return frozenset(flow if Use.COMPARE in flow.uses else flow.then(Use.COMPARE, "a condition") for flow in _of(e, flows))


def _of_condition(conjunct: Expression, flows: dict[int, Flows]) -> Flows:
    match conjunct:
        case Apply("=", (Ref(a), Ref(b))):
            return frozenset(flow.then(Use.JOIN, "JOIN") for f in (a, b) for flow in flows[f.number])
        case _:
            return _as_condition(conjunct, flows)


def _require_rows(node: Node, tables: dict[str, TableFacts], catalog: Catalog, receiver: str) -> None:
    """A table none of whose columns show still shows which of its rows are there: some use must be granted."""
    for name, table in sorted(tables.items()):
        if table.party == receiver:
            continue
        policy = catalog.party(table.party).policy
        uses = (Use.REVEAL, Use.JOIN, Use.PAYLOAD, Use.GROUP, Use.AGGREGATE, Use.EXTREMES, Use.RANK)
        if not any(policy.allows(use, table.name, c.name, receiver) for use in uses for c in table.columns):
            raise NotGranted(
                f"Nothing of {name} may be shown to {receiver}, not even which of its rows there are.",
                advice=f"Its owner could GRANT AGGREGATE ON {name} TO {receiver}.",
            )
    for name in sorted(_row_by_row(node)):
        _require_existence(name, tables[name], catalog, receiver)


def _row_by_row(node: Node) -> frozenset[str]:
    """Owners' tables whose rows reach the result without an aggregate on their way."""
    match node:
        case Scan(table):
            return frozenset({table.full_name}) if table.party else frozenset()
        case Aggregate():
            return frozenset()
        case _:
            return frozenset(name for part in inputs(node) for name in _row_by_row(part))


def _require_existence(name: str, table: TableFacts, catalog: Catalog, receiver: str) -> None:
    if table.party == receiver:
        return
    policy = catalog.party(table.party).policy
    if not any(policy.allows(use, table.name, c.name, receiver) for use in (Use.REVEAL, Use.JOIN) for c in table.columns):
        raise NotGranted(
            f"The result has a row for each row of {name}, and neither REVEAL nor JOIN of it is granted to {receiver}.",
            advice=f"Aggregate, or its owner could GRANT REVEAL ON {name} TO {receiver}.",
        )


def _require_floors(node: Node, catalog: Catalog, receiver: str) -> None:
    """Where a floor above 1 holds, each contributor must have one row in what is aggregated."""
    least = floors(catalog, receiver)
    for aggregate in (n for n in nodes(node) if isinstance(n, Aggregate)):
        _require_one_unit(aggregate, catalog, least)
        facts = known(aggregate.input)
        for scan in (n for n in nodes(aggregate.input) if isinstance(n, Scan)):
            table = scan.table
            if least.get(table.party, 1) <= 1:
                continue
            unit = catalog.party(table.party).policy.unit_of(table.name)
            unique = unit is None or (unit,) in table.keys
            nested = any(isinstance(n, Aggregate) for n in nodes(aggregate.input))
            if not unique or table.full_name not in facts.single or nested:
                raise FloorUnsupported(
                    f"The floor of {least[table.party]} contributors of {table.full_name} cannot be counted here, since one "
                    "contributor may have several rows.",
                    advice="Join on a unique key of the other table, or ask the owner for a floor of 1.",
                )


def _require_one_unit(aggregate: Aggregate, catalog: Catalog, least: dict[str, int]) -> None:
    """A contributor that stands in several tables of a union would count several times."""
    for union in (n for n in nodes(aggregate.input) if isinstance(n, UnionAll)):
        scans = [{scan.table for scan in nodes(part) if isinstance(scan, Scan)} for part in union.inputs]
        for party, floor in least.items():
            own = [[table for table in found if table.party == party] for found in scans]
            units = any(catalog.party(party).policy.unit_of(table.name) is not None for found in own for table in found)
            if floor > 1 and units and sum(bool(found) for found in own) > 1:
                raise FloorUnsupported(
                    f"The floor of {floor} contributors of {party} cannot be counted over a UNION ALL of its tables, since one "
                    "may stand in several.",
                    advice="Aggregate each table on its own, or ask the owner for a floor of 1.",
                )
