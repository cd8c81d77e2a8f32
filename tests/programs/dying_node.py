"""A node that kills itself at a named point of what an answer costs: the file that SDH_TEST_DIE names says 'point party'."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sdh.node
from sdh.charging import Charging
from sdh.connectors.ledger import Ledger

POINTS = ("before", "reserved", "receipts", "computed", "spent")


def die(point: str, party: str) -> None:
    told = Path(os.environ["SDH_TEST_DIE"])
    if told.exists() and told.read_text() == f"{point} {party}":
        os.kill(os.getpid(), signal.SIGKILL)


def wrapped(owner: type, name: str, before: str, after: str, party_of: Callable[[Any], str]) -> None:
    work = getattr(owner, name)

    def dying(self: Any, *arguments: Any) -> Any:
        die(before, party_of(self))
        found = work(self, *arguments)
        die(after, party_of(self))
        return found

    patch.object(owner, name, dying).start()


def main() -> None:
    wrapped(Ledger, "reserve", "before", "reserved", lambda ledger: str(ledger.name))
    wrapped(Charging, "_exchange", "", "receipts", lambda charging: str(charging.party))
    wrapped(Ledger, "spend", "computed", "spent", lambda ledger: str(ledger.name))
    sdh.node.main()


if __name__ == "__main__":
    main()
