"""Refuse what a floor of contributors cannot be counted for: where one holds, each contributor has one row in what is
aggregated, and nothing else tells of fewer."""

from __future__ import annotations

from sdh.catalog import TableFacts
from sdh.errors import FloorUnsupported
from sdh.planners.facts import known
from sdh.planners.failing import failing, several
from sdh.planners.grants import Grants
from sdh.planners.logical import Aggregate, Join, Node, OneRow, Scan, UnionAll, inputs, nodes
from sdh.planners.matching import rows_of
from sdh.planners.presence import PADDED


def require_floors(node: Node, grants: Grants) -> None:
    """Raises FloorUnsupported."""
    for one in nodes(node):
        if isinstance(one, Aggregate):
            _require_one_row(one, grants)
            _require_one_unit(one, grants)
        _require_no_failure(one, grants)


def _require_one_row(aggregate: Aggregate, grants: Grants) -> None:
    """Of each contributor in what is aggregated."""
    scans = [n for n in nodes(aggregate.input) if isinstance(n, Scan) and grants.floor(n.table) > 1]
    single = known(aggregate.input).single if scans else frozenset[str]()
    nested = any(isinstance(n, Aggregate) for n in nodes(aggregate.input))
    for table in (scan.table for scan in scans):
        twice = sum(scan.table.full_name == table.full_name for scan in scans) > 1
        if nested or twice or table.full_name not in single or not _is_contributor(table, grants):
            raise FloorUnsupported(
                f"The floor of {grants.floor(table)} contributors of {table.full_name} cannot be counted here, since one "
                "contributor may have several rows.",
                advice="Join on a unique key of the other table, or ask the owner for a floor of 1.",
            )


def _is_contributor(table: TableFacts, grants: Grants) -> bool:
    """Whether each row is a contributor of its own: the unit is a key, and never NULL, which tells nobody apart."""
    unit = grants.catalog.party(table.party).policy.unit_of(table.name)
    return unit is None or (unit,) in table.keys and any(c.name == unit and not c.nullable for c in table.columns)


def _require_one_unit(aggregate: Aggregate, grants: Grants) -> None:
    """A contributor that stands in several tables would count several times where their rows stand apart."""
    tables = {n.table for n in nodes(aggregate.input) if isinstance(n, Scan) and grants.floor(n.table) > 1}
    for party in sorted({table.party for table in tables}):
        policy = grants.catalog.party(party).policy
        if any(policy.unit_of(table.name) for table in tables if table.party == party) and _ways(aggregate.input, party)[1] > 1:
            raise FloorUnsupported(
                f"The floor of {policy.floor} contributors of {party} cannot be counted over a UNION ALL or outer joins of its "
                "tables, since one may stand in several.",
                advice="Aggregate each table on its own, or ask the owner for a floor of 1.",
            )


def _ways(node: Node, party: str) -> tuple[bool, int]:
    """Whether every row has one of a certain table of the party; and in how many ways a row may have one of any."""
    below = [_ways(part, party) for part in inputs(node)]
    match node:
        case Scan(table):
            return table.party == party, int(table.party == party)
        case Join("SEMI" | "ANTI" | "MARK"):
            return below[0]
        case Join(kind):
            sure = [always and not padded for (always, _), padded in zip(below, PADDED.get(kind, (False, False)), strict=True)]
            return any(sure), 1 if any(sure) else sum(ways for _, ways in below)
        case UnionAll():
            return False, sum(ways for _, ways in below)
        case OneRow():
            return False, 0
        case _:
            return below[0]


def _require_no_failure(node: Node, grants: Grants) -> None:
    """Whether a query failed is told whatever the floor, so by an aggregate that may fail a single row would show."""
    met = [rows_of(part, grants.seen, grants.joined) for part in inputs(node)] if failing(node) else []
    met += [rows_of(node, grants.seen, grants.joined)] if several(node) else []
    tables = {n.table.full_name: n.table for n in nodes(node) if isinstance(n, Scan)}
    for rows in met:
        for table in (tables[name] for name in sorted(rows.tables(rows.single))):
            if grants.floor(table) > 1 and not grants.one_by_one(table, met=rows.met(table.full_name)):
                raise FloorUnsupported(
                    f"An operator of this query may fail, which would tell of fewer than the {grants.floor(table)} contributors "
                    f"of {table.full_name} that its floor demands.",
                    advice="Use TRY_CAST or nullif, cast to wider types, or ask the owner for bounds= or facts='measured'.",
                )
