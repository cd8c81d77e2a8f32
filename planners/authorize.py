"""Check a plan against what the owners granted to the receiver.

Each use that a column passes on its way (flows.py) must be granted, and each table whose rows stand in the result one by
one must be granted to be seen so. What a floor cannot be counted for is refused too (require_floors.py).
"""

from __future__ import annotations

from sdh.catalog import Catalog, TableFacts
from sdh.errors import NotGranted
from sdh.planners.flows import Flow, Flows, Walk, flows_of, of
from sdh.planners.grants import ANY_COLUMN, Grants
from sdh.planners.logical import Aggregate, Limit, Node, Project, Scan, Sort, fields, nodes
from sdh.planners.matching import rows_of
from sdh.planners.require_floors import require_floors
from sdh.policy import Use

SHOWING = (Use.REVEAL, Use.JOIN, Use.PAYLOAD, Use.GROUP, Use.AGGREGATE, Use.EXTREMES, Use.RANK)
"""Uses of which one at least is granted of a table that a result depends on."""


def authorize(node: Node, catalog: Catalog, receiver: str) -> None:
    """Raises NotGranted with the column, receiver, operator and grant that would help; FloorUnsupported."""
    grants, walk = Grants(catalog, receiver), Walk(receiver)
    flows = flows_of(node, walk)
    released = {flow for f in fields(node) for flow in flows[f.number]} | _order(node, receiver)
    tables = {scan.table.full_name: scan.table for scan in nodes(node) if isinstance(scan, Scan) and scan.table.party}
    rows = rows_of(node, grants.own, grants.joined)
    for flow in (*_sorted(released | walk.influences), *_sorted(walk.failures)):
        _require(flow, tables[flow.table], grants, met=rows.met(flow.table))
    for _, table in sorted(tables.items()):
        _require_any(table, grants)
    _require_rows(node, tables, grants)
    _require_cuts(node, tables, grants)
    require_floors(node, grants)


def _sorted(flows: set[Flow]) -> list[Flow]:
    return sorted(flows, key=lambda flow: (flow.table, flow.column, sorted(flow.uses)))


def _order(node: Node, receiver: str) -> Flows:
    """What the result is sorted by, which comes with it."""
    match node:
        case Project() | Limit():
            return _order(node.input, receiver)
        case Sort(input, keys):
            flows = flows_of(input, Walk(receiver))
            return frozenset(flow for key in keys for flow in of(key.expression, flows)) | _order(input, receiver)
        case _:
            return frozenset()


def _require(flow: Flow, table: TableFacts, grants: Grants, met: bool) -> None:
    """met: every row of the table that may show has a key that equals one of the receiver's own."""
    if not flow.uses:
        shown = met and grants.allows(Use.PAYLOAD, table, flow.column)
        if not shown and not grants.allows(Use.REVEAL, table, flow.column):
            _refuse(flow, Use.REVEAL, grants.receiver, "puts its values into the result")
    for use in sorted(flow.uses):
        if not grants.allows(use, table, flow.column):
            _refuse(flow, use, grants.receiver, f"is used by {flow.operator}")


def _refuse(flow: Flow, use: Use, receiver: str, how: str) -> None:
    name = f"{flow.table}" if flow.column == ANY_COLUMN else f"{flow.table}.{flow.column}"
    column = "" if flow.column == ANY_COLUMN else f" ({flow.column})"
    raise NotGranted(
        f"{name} may not be shown to {receiver}: the query {how}, and {use} is not granted."
        if not flow.uses
        else f"{name} {how}, and {use} of it is not granted to {receiver}.",
        advice=f"Its owner could GRANT {use} ON {flow.table}{column} TO {receiver}.",
    )


def _require_any(table: TableFacts, grants: Grants) -> None:
    """A table none of whose columns show still shows which of its rows are there: some use must be granted."""
    if not any(grants.allows(use, table, ANY_COLUMN) for use in SHOWING):
        raise NotGranted(
            f"Nothing of {table.full_name} may be shown to {grants.receiver}, not even which of its rows there are.",
            advice=f"Its owner could GRANT AGGREGATE ON {table.full_name} TO {grants.receiver}.",
        )


def _require_rows(node: Node, tables: dict[str, TableFacts], grants: Grants) -> None:
    """Tables whose rows reach the result without an aggregate on their way, or by nothing but GROUP BY."""
    shown = rows_of(node, grants.seen, grants.joined)
    for name in sorted(shown.tables(shown.single)):
        if not grants.one_by_one(tables[name], met=shown.met(name)):
            _refuse_rows(name, grants.receiver)
    for part in (n.input for n in nodes(node) if isinstance(n, Aggregate) and n.keys and not n.calls):
        grouped = rows_of(part, grants.seen, grants.joined)
        for name in sorted(grouped.tables(grouped.single)):
            together = any(grants.allows(use, tables[name], ANY_COLUMN) for use in (Use.GROUP, Use.AGGREGATE))
            if not together and not grants.one_by_one(tables[name], met=grouped.met(name)):
                _refuse_rows(name, grants.receiver)


def _require_cuts(node: Node, tables: dict[str, TableFacts], grants: Grants) -> None:
    """LIMIT tells rows that stand one by one apart by their places, whatever they are ordered by: a sum of one is its value."""
    for part in (n.input for n in nodes(node) if isinstance(n, Limit)):
        cut = rows_of(part, grants.seen, grants.joined)
        for name in sorted(cut.tables(cut.single)):
            ranked = grants.allows(Use.RANK, tables[name], ANY_COLUMN)
            if not ranked and not grants.one_by_one(tables[name], met=cut.met(name)):
                _refuse(Flow(name, ANY_COLUMN, frozenset({Use.RANK}), "LIMIT"), Use.RANK, grants.receiver, "is used by LIMIT")


def _refuse_rows(name: str, receiver: str) -> None:
    raise NotGranted(
        f"The result has a row for each row of {name}, and neither REVEAL of it is granted to {receiver}, nor JOIN on a key "
        "that must equal one that the receiver may know.",
        advice=f"Aggregate, or its owner could GRANT REVEAL ON {name} TO {receiver}.",
    )
