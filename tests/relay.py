"""Someone on the network between two processes: knows no key, sees where frames begin, changes one."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from sdh.connectors.wire import HEADER, PIECE, TAG

Change = Callable[[bytearray], None]
"""Changes a frame as it is on the wire: header, then sealed pieces. An emptied frame is dropped."""


class Relay:
    """Stands at `address` and passes on to `door`. The frame `number` (from 0) that answers to `dialer` sends, or with
    `outward=False` receives, is changed; a frame that is cut short ends the connection after it."""

    def __init__(self, folder: Path, door: str, dialer: str, number: int, change: Change, *, outward: bool = True) -> None:
        self.address = str(folder / f"relay{secrets.token_hex(4)}")
        self.changed = threading.Event()
        self._door, self._dialer, self._number, self._change, self._outward = door, dialer, number, change, outward
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen()
        self._open: list[socket.socket] = [self._listener]
        self._start(self._accept)

    def close(self) -> None:
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _start(self, task: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=task, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._join, self._listener.accept()[0])

    def _join(self, dialer: socket.socket) -> None:
        door = socket.socket(socket.AF_UNIX)
        self._open += [dialer, door]
        door.connect(self._door)
        size = _exactly(dialer, 2)
        words = _exactly(dialer, int.from_bytes(size, "little"))
        door.sendall(size + words)
        for source, target in ((dialer, door), (door, dialer)):
            own = json.loads(words)[2] == self._dialer and (source is dialer) == self._outward
            self._start(self._pass_on, source, target, self._number if own else -1)

    def _pass_on(self, source: socket.socket, target: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            target.sendall(_exactly(source, 32))   # the ephemeral key
            while True:
                frame = _frame(source)
                size = len(frame)
                if number == 0:
                    self._change(frame)
                    self.changed.set()
                target.sendall(frame)
                number -= 1
                if 0 < len(frame) < size:
                    break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _frame(source: socket.socket) -> bytearray:
    header = _exactly(source, HEADER.size)
    size = HEADER.unpack(header)[0]
    pieces = max(1, -(-size // PIECE))
    return bytearray(header + _exactly(source, size + pieces * TAG))


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data
