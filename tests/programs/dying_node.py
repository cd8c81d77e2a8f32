"""A node that kills itself at a named point of what an answer costs: the file that SDH_TEST_DIE names says 'point party'."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sdh.node
from sdh.charging import Charging
from sdh.connectors.ledger import Ledger
from sdh.turn import Worker

POINTS = ("before", "reserved", "receipts", "computed", "spent", "sending")
"""Before the answer has left; `sent` is after."""


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


def tell(say: Callable[..., None]) -> Callable[..., None]:
    def dying(self: Worker, message: dict[str, Any], pieces: Sequence[bytes] = ()) -> None:
        if pieces:
            die("sending", self._start.name)
        say(self, message, pieces)
        if pieces:
            die("sent", self._start.name)

    return dying


def main() -> None:
    wrapped(Ledger, "reserve", "before", "reserved", lambda ledger: str(ledger.name))
    wrapped(Charging, "_exchange", "", "receipts", lambda charging: str(charging.party))
    wrapped(Ledger, "spend", "computed", "spent", lambda ledger: str(ledger.name))
    patch.object(Worker, "say", tell(Worker.say)).start()
    sdh.node.main()


if __name__ == "__main__":
    main()
