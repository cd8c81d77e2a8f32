"""A tape of all that this process puts on its links or takes off them, before encryption: a file in $SDH_TAPE.

Records are pickled (kind, peer, address, payload). kind: 'sent' or 'received' (frames of a link), 'sealed' (the result's
share before it is sealed to the client), 'note' (what the process did; the payload is a Python value). Standard library
and the wire only: the dealer writes a tape too.
"""

from __future__ import annotations

import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

from sdh.connectors.wire import CONTROL, Buffer, Link

FAULTS = "faults.json"


class Tape:
    """One process's tape. Records are appended whole: the reader may empty the file in between."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._folder = Path(os.environ["SDH_TAPE"])
        self._file = os.open(self._folder / f"{name}.tape", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._writing = threading.Lock()

    def write(self, kind: str, peer: str, address: str, payload: object) -> None:
        with self._writing:
            os.write(self._file, pickle.dumps((kind, peer, address, payload)))

    def note(self, what: str, value: object) -> None:
        self.write("note", "", what, value)

    @property
    def fault(self) -> str:
        """What this process shall do wrong now; '' for nothing."""
        try:
            return str(json.loads((self._folder / FAULTS).read_text()).get(self.name, ""))
        except FileNotFoundError:
            return ""


def tape_links(tape: Tape) -> None:
    """Record every frame of every link of this process, from now on."""
    send, receive_into, receive_message = Link.send, Link.receive_into, Link.receive_message

    def taped_send(self: Link, address: str, payload: Buffer) -> None:
        tape.write("sent", self.peer, address, bytes(payload))
        send(self, address, payload)

    def taped_receive_into(self: Link, address: str, buffer: bytearray | memoryview) -> None:
        receive_into(self, address, buffer)
        tape.write("received", self.peer, address, bytes(buffer))

    def taped_receive_message(self: Link) -> dict[str, Any]:
        message = receive_message(self)
        tape.write("received", self.peer, CONTROL, json.dumps(message, separators=(",", ":")).encode())
        return message

    Link.send = taped_send  # type: ignore[method-assign]
    Link.receive_into = taped_receive_into  # type: ignore[method-assign]
    Link.receive_message = taped_receive_message  # type: ignore[method-assign]
