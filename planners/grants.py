"""What the owners' policies say to the receiver of one result."""

from __future__ import annotations

from dataclasses import dataclass

from sdh.catalog import Catalog, TableFacts
from sdh.policy import Use

ANY_COLUMN = "*"
"""Of a table: some column, whichever."""


@dataclass(frozen=True, slots=True)
class Grants:
    catalog: Catalog
    receiver: str

    def allows(self, use: Use, table: TableFacts, column: str) -> bool:
        """ANY_COLUMN: of some column. The receiver sees its own, and public tables."""
        if table.party in ("", self.receiver):
            return True
        columns = [c.name for c in table.columns] if column == ANY_COLUMN else [column]
        policy = self.catalog.party(table.party).policy
        return any(policy.allows(use, table.name, one, self.receiver) for one in columns)

    def own(self, table: TableFacts, _: str) -> bool:
        return table.party == self.receiver

    def seen(self, table: TableFacts, column: str) -> bool:
        """Whether the receiver may know the values: a join key that it can look for in an owner's rows."""
        return self.allows(Use.REVEAL, table, column)

    def joined(self, table: TableFacts, column: str) -> bool:
        return self.allows(Use.JOIN, table, column)

    def one_by_one(self, table: TableFacts, met: bool) -> bool:
        """Whether single rows of a table may be seen to be there. met: those alone that equal a key which the receiver may
        know, in a column that JOIN is granted of; how often a key is met is seen too."""
        return met or self.allows(Use.REVEAL, table, ANY_COLUMN)

    def floor(self, table: TableFacts) -> int:
        """The least number of contributors; the receiver's own rows, and public ones, need none."""
        return floors(self.catalog, self.receiver).get(table.party, 1)


def floors(catalog: Catalog, receiver: str) -> dict[str, int]:
    """The floor of each party; the receiver's own rows need none."""
    return {party.name: party.policy.floor for party in catalog.parties if party.name != receiver}
