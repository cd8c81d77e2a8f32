"""A hub whose processes write tapes (tests/programs/tape.py), and what they recorded of one query."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sdh
import sdh.conduct
from sdh.catalog import Catalog
from sdh.config import Limits, Programs
from sdh.connectors.wire import CONTROL
from sdh.planners.plan import finish
from sdh.processes import Process
from sdh.session import DEALER
from tests.programs.tape import FAULTS

TAPED = Programs("tests.programs.taped", "tests.programs.taped_dealer")
CLIENT = "analyst"


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of one process's tape."""

    process: str
    kind: str
    peer: str
    address: str
    payload: Any
    size: int = 0
    """Bytes of the payload; of a record that was thinned they are all that is left of it."""

    @property
    def message(self) -> dict[str, Any]:
        """A control message."""
        found: dict[str, Any] = json.loads(self.payload)
        return found

    @property
    def is_masked(self) -> bool:
        """A frame of the run on shares: an opening, a hand-over, or a correction of the dealer."""
        corrected = self.process == DEALER and "#" in self.address
        return self.kind == "sent" and (corrected or self.address.endswith(("/open", "/turn")))

    @property
    def is_progress(self) -> bool:
        """Told every so often: how many there are depends on time alone."""
        return self.kind == "sent" and self.address == CONTROL and self.message.get("say") == "progress"


@dataclass(slots=True)
class Recording:
    """All tapes of one query, in each process's order."""

    records: list[Record] = field(default_factory=list)
    result: sdh.Result | None = None
    error: sdh.SdhError | None = None

    @property
    def plan(self) -> Any:
        assert self.result is not None, self.error
        assert self.result.plan is not None
        return self.result.plan

    def thinned(self) -> Recording:
        """Without the bytes of all frames but control messages: many recordings fit in memory."""
        kept = [replace(record, payload=b"") if record.kind != "note" and record.address != CONTROL else record
                for record in self.records]
        return Recording(kept, self.result, self.error)

    def of(self, process: str) -> list[Record]:
        return [record for record in self.records if record.process == process]

    def notes(self, process: str, what: str) -> list[Any]:
        return [record.payload for record in self.of(process) if record.kind == "note" and record.address == what]

    @property
    def payloads(self) -> dict[str, bytes]:
        """Each party's share of the result, before it was sealed."""
        return {record.process: record.payload for record in self.records if record.kind == "sealed"}

    @property
    def shared_anything(self) -> bool:
        """Whether one byte that depends on data left a process."""
        return any(record.is_masked or record.kind == "sealed" for record in self.records)


class Taped:
    """A hub of taped processes; `close` removes the tapes too."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sdh-tape-"))
        self._outer = os.environ.get("SDH_TAPE")   # of another hub, which may start more processes after this one
        os.environ["SDH_TAPE"] = str(self.folder)
        self.hub = sdh.connect(client=CLIENT, programs=TAPED, limits=Limits(start=60, stop=5.0))

    def record(self, ask: Callable[[], sdh.Result]) -> Recording:
        """Run one question. An SdhError is in the recording, any other is raised."""
        found = Recording()
        for tape in self.folder.glob("*.tape"):
            os.truncate(tape, 0)
        try:
            found.result = ask()
        except sdh.SdhError as error:
            found.error = error
        for tape in sorted(self.folder.glob("*.tape")):
            found.records += _read(tape)
        return found

    def sql(self, text: str, timeout: float = 120) -> Recording:
        return self.record(lambda: self.hub.sql(text, timeout=timeout))

    @property
    def catalog(self) -> Catalog:
        return self.hub._members.catalog

    def process(self, name: str) -> Process:
        members = self.hub._members
        return members.dealer() if name == DEALER else members.process(name)

    @contextmanager
    def fault(self, process: str, what: str) -> Iterator[None]:
        """Have a process do something wrong in the block's queries."""
        path = self.folder / FAULTS
        path.write_text(json.dumps({process: what}))
        try:
            yield
        finally:
            path.unlink()

    def close(self) -> None:
        self.hub.close()
        os.environ.pop("SDH_TAPE")
        if self._outer is not None:
            os.environ["SDH_TAPE"] = self._outer
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(tape: Path) -> list[Record]:
    stream, found = io.BytesIO(tape.read_bytes()), []
    while True:
        try:
            kind, peer, address, payload = pickle.load(stream)
            found.append(Record(tape.stem, kind, peer, address, payload, len(payload) if isinstance(payload, bytes) else 0))
        except EOFError:
            return found


Lie = Callable[[str, dict[str, Any]], None]
"""Changes what the hub tells a process, by its name."""


@contextmanager
def lying(lie: Lie) -> Iterator[None]:
    """In the block the hub's requests are changed on their way out, and it minds no answer: nodes must not take its
    word, nor rely on its checks."""
    conduct: Any = sdh.conduct
    perform = conduct.perform

    def tell(exchange: Any, requests: Sequence[tuple[Process, dict[str, Any]]], seconds: float | None,
             stop: float) -> None:
        told = []
        for process, message in requests:
            changed = json.loads(json.dumps(message))
            lie(process.name, changed)
            told.append((process, changed))
        perform(exchange, told, seconds, stop)

    def mind_nothing(self: Any, name: str, slots: tuple[int, ...], digest: str) -> None:
        self.plan = finish(self.placed, slots)

    with patch.object(conduct, "perform", tell), patch.object(conduct.Listener, "_compare", mind_nothing):
        yield
