"""Grants of a query with private blocks: use DP of a column lets it into any block, whatever is done with it there.

A column without DP needs what the query without noise would need of it. DP of a column counts where its owner's policy has
budgets and a unit (Policy.privacy): else nothing would bound what is learnt.
"""

from __future__ import annotations

from dataclasses import replace

from sdh.catalog import Catalog, Party, TableFacts
from sdh.errors import FloorUnsupported, NotGranted
from sdh.planners.authorize import authorize
from sdh.planners.logical import Node, Private, Scan, bottom_up, nodes
from sdh.policy import Grant, Policy, Use

Columns = dict[str, set[str]]
"""By full name of a table, those that are read."""


def authorize_private(node: Node, catalog: Catalog, receiver: str) -> None:
    """Raises NotGranted; FloorUnsupported where an owner with a floor grants its rows exactly, not by DP."""
    tables = {one.table.full_name: one.table for one in nodes(node) if isinstance(one, Scan) and one.table.party}
    read: Columns = {name: set() for name in tables}
    for one in nodes(node):
        if isinstance(one, Scan) and one.table.party:
            read[one.table.full_name] |= {name for name, _ in one.columns}
    missing = [(table, column) for name, table in sorted(tables.items()) if table.party != receiver
               for column in sorted(read[name]) if not _allows(table, column, catalog, receiver)]  # fmt: skip
    widened = replace(catalog, parties=tuple(_widened(party, tables, read, receiver) for party in catalog.parties))
    try:
        authorize(bottom_up(node, _exactly), widened, receiver)
    except NotGranted:
        for table, column in missing:
            raise _refused(table, column, receiver) from None
        raise
    _refuse_floors(missing, catalog)


def _allows(table: TableFacts, column: str, catalog: Catalog, receiver: str) -> bool:
    policy = catalog.party(table.party).policy
    return policy.privacy is not None and policy.allows(Use.DP, table.name, column, receiver)


def _exactly(node: Node) -> Node:
    return node.aggregate if isinstance(node, Private) else node


def _widened(party: Party, tables: dict[str, TableFacts], read: Columns, receiver: str) -> Party:
    """With every use of the columns that DP is granted of: what they are used for in a block is no matter.

    No floor is counted there.
    """
    policy = party.policy
    grants = list(policy.grants)
    for name, table in tables.items() if policy.privacy is not None else ():
        granted = tuple(c for c in sorted(read[name]) if policy.allows(Use.DP, table.name, c, receiver))
        if table.party == party.name and granted:
            grants.append(Grant(tuple(Use), table.name, granted, receiver))
    return replace(party, policy=replace(policy, grants=tuple(grants), floor=1))


def _refuse_floors(missing: list[tuple[TableFacts, str]], catalog: Catalog) -> None:
    """No floor is applied below noise: what shows is not exact, and a count of contributors would be."""
    for table, column in missing:
        policy: Policy = catalog.party(table.party).policy
        if policy.floor > 1:
            raise FloorUnsupported(
                f"The floor of {policy.floor} contributors of {table.party} cannot be counted WITH DIFFERENTIAL_PRIVACY.",
                advice=f"Its owner could GRANT DP ON {table.full_name} ({column}), with a policy of privacy.",
            )


def _refused(table: TableFacts, column: str, receiver: str) -> NotGranted:
    return NotGranted(
        f"{table.full_name}.{column} enters an answer WITH DIFFERENTIAL_PRIVACY, and DP of it is not granted to {receiver}.",
        advice=f"Its owner could GRANT DP ON {table.full_name} ({column}) TO {receiver}, with a policy of privacy.",
    )
