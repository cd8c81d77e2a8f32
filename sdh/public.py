"""Public tables: known to all, measured by every node itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdh.catalog import TableFacts, table_from_message


@dataclass(frozen=True, slots=True)
class Public:
    """A public table: its file, its facts, and what was declared of it (as stores.declarations_to_message has it)."""

    path: Path
    facts: TableFacts
    declared: dict[str, Any]

    def to_message(self) -> dict[str, Any]:
        return {"path": str(self.path), "facts": self.facts.to_message(), "declared": self.declared}


def public_from_message(message: dict[str, Any]) -> Public:
    return Public(Path(message["path"]), table_from_message(message["facts"]), dict(message["declared"]))


def measure(path: Path, name: str, declared: dict[str, Any]) -> TableFacts:
    """The table's facts; its snapshot is the hash of the file, equal at every node. Raises StoreError."""
    from sdh.connectors import stores

    facts = stores.describe_public(path, name, declared["keys"].get(name, ()), declared["bounds"])
    with path.open("rb") as file:
        return replace(facts, snapshot=hashlib.file_digest(file, "sha256").hexdigest())
