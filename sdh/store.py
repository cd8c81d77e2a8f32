"""What a node holds: its owner's store behind one open connection, what it published of it, and the public tables."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdh.accounting import DELTAS, EPSILONS
from sdh.catalog import Catalog, Party, check_federated
from sdh.config import Share
from sdh.errors import PlanMismatch, SdhError, StaleFact, UnknownDeclaration
from sdh.order import UNSHARED
from sdh.policy import Policy, policy_from_message
from sdh.public import Public, measure, public_from_message

if TYPE_CHECKING:
    from sdh.connectors.ledger import Ledger


@dataclass(slots=True)
class Holdings:
    """One connection stays open: a CSV file is read once, and nobody writes to a database that a node has open."""

    name: str
    folder: Path
    share: Share
    party: Party | None = None
    public: dict[str, Public] = field(default_factory=dict)
    ledger: Ledger | None = None
    _source: Any = None
    _snapshot: str = ""
    _connection: Any = None
    _timezone: str = "UTC"

    def attach(self, message: dict[str, Any]) -> Party:
        """Open and measure the store. Raises StoreError."""
        from sdh.connectors import stores

        policy = policy_from_message(message["policy"])
        self.ledger = _ledger(message["ledger"], policy, self.name)
        self._source = stores.source_from_message(message["source"])
        self._snapshot = stores.snapshot(self._source)
        self.party = stores.describe(self._source, self.name, policy,
                                     message["keys"], message["bounds"], connection=self.connection("UTC"),
                                     repeats=message["repeats"])
        return self.party

    def publish(self, message: dict[str, Any]) -> None:
        """Take a public table, measured here: a plan rests on nobody's word about it. Raises PlanMismatch."""
        told = public_from_message(message)
        name = told.facts.name
        if measure(told.path, name, told.declared) != told.facts:
            raise PlanMismatch(f"The public table {name} is not what the hub says of it.")
        self.public[name] = told
        self.close()

    def check(self, catalog: Catalog) -> None:
        """Raises PlanMismatch unless the catalog says of this party and the public tables what this node holds, and
        federates what is there."""
        own = [party for party in catalog.parties if party.name.lower() == self.name.lower()]
        if self.party is None or own != [self.party]:
            raise PlanMismatch(f"The catalog is not what {self.name} published.", advice=UNSHARED)
        if len({party.name.lower() for party in catalog.parties}) != len(catalog.parties):
            raise PlanMismatch("The catalog lists two parties of one name.", advice=UNSHARED)
        if any(table.party != party.name for party in catalog.parties for table in party.tables):
            raise PlanMismatch("The catalog lists a table under another owner.", advice=UNSHARED)
        try:
            check_federated(catalog)
        except SdhError as fault:   # the hub has checked it too: this is another catalog than its
            raise PlanMismatch(f"The catalog federates what is not there: {fault.message}", advice=UNSHARED) from None
        held = {public.facts for public in self.public.values()}
        if not held.issuperset(catalog.public):
            raise PlanMismatch(f"The catalog's public tables are not those of {self.name}.", advice=UNSHARED)

    @property
    def version(self) -> str:
        """An id of the store's data that the owner's ledger can compare with that of another day; '' without a ledger."""
        from sdh.connectors import stores

        return "" if self.ledger is None else stores.snapshot(self._source, self.ledger.salt)

    def connection(self, timezone: str) -> Any:
        """The locked DuckDB connection for a client's time zone. Raises StoreError, StaleFact."""
        from sdh.connectors import stores

        if self._snapshot != stores.snapshot(self._source):
            raise StaleFact(f"The store of {self.name} changed since it was attached.", advice="Attach it again.")
        if self._connection is None or self._timezone != timezone:
            self.close()
            paths = {name: public.path for name, public in self.public.items()}
            spill = self.folder / "spill"
            spill.mkdir(mode=0o700, exist_ok=True)
            self._connection = stores.connect(self._source, self.name, paths, timezone, self.share.threads,
                                              self.share.duckdb, spill)
            self._timezone = timezone
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _ledger(path: str | None, policy: Policy, name: str) -> Ledger | None:
    """The owner's ledger, with the policy's budgets where it has none yet. Raises CorruptLedger, UnknownDeclaration."""
    if policy.privacy is None:
        return None
    if path is None:
        raise UnknownDeclaration(f"{name} has a policy of differential privacy and no ledger to keep its budgets in.",
                                 advice="Give ledger=, the path of a file that stays.")
    from sdh.connectors.ledger import Ledger

    ledger = Ledger(Path(path), name)
    set_before = {(space, receiver) for space, receiver, _, _ in ledger.budgets()}
    for receiver, epsilon, delta in policy.privacy.budgets:
        if (policy.privacy.space, receiver) not in set_before:
            ledger.set_budget(policy.privacy.space, receiver, math.floor(epsilon * EPSILONS), math.floor(delta * DELTAS))
    return ledger
