"""The frame of a process that serves a hub: its start, its end with the hub, and the door where links come in.

A process gets its `Start` as one line of JSON on stdin, makes its own key, opens a Unix socket in its private folder
and answers with its public key on stdout. It lives as long as the hub: when stdin ends or the hub's process is gone,
it removes the private folder and exits, whatever it is doing.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from sdh.config import MAPPED, Share
from sdh.connectors.wire import Identity, Link, handshake, new_identity
from sdh.errors import Cancelled, PartyLost
from sdh.session import Member, member_from_message

PREAMBLE_SECONDS = 5.0
LONGEST_PREAMBLE = 1024
OWN = {"sdh", "parsers", "planners", "executors", "connectors"}


@dataclass(frozen=True, slots=True)
class Start:
    """What a process is told when it starts. `root` is the hub's folder, removed when the hub is gone."""

    name: str
    hub: Member
    process: int
    folder: Path
    root: Path
    share: Share

    def to_message(self) -> dict[str, Any]:
        return {"name": self.name, "hub": self.hub.to_message(), "process": self.process, "folder": str(self.folder),
                "root": str(self.root), "threads": self.share.threads, "memory": self.share.memory}


def start_from_message(message: dict[str, Any]) -> Start:
    return Start(str(message["name"]), member_from_message(message["hub"]), int(message["process"]),
                 Path(message["folder"]), Path(message["root"]), Share(int(message["threads"]), int(message["memory"])))


# --- the life of the process ---------------------------------------------------------------------


def begin() -> tuple[Start, Identity, Door]:
    """Read the start, watch the hub, open the door and say so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _report
    threading.excepthook = lambda fault: _report(fault.exc_type, fault.exc_value, fault.exc_traceback)
    start = start_from_message(json.loads(sys.stdin.buffer.readline()))
    # Beyond it allocations fail. It counts what may be written to, used or not; RLIMIT_AS counts a gigabyte of reserved
    # addresses too.
    resource.setrlimit(resource.RLIMIT_DATA, (start.share.memory - MAPPED, resource.RLIM_INFINITY))
    threading.Thread(target=_watch_hub, args=(start,), daemon=True, name="hub watch").start()
    identity = new_identity(start.name)
    door = Door(str(start.folder / "door"))
    sys.stdout.write(json.dumps({"public": identity.public.hex(), "address": door.address}) + "\n")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())   # nobody reads stdout after this line
    return start, identity, door


def give_memory_back() -> None:
    """Return what was freed to the system: malloc keeps it for this process alone."""
    with contextlib.suppress(AttributeError):   # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def unused_memory(size: int) -> Iterator[None]:
    """Allow for `size` bytes more that will not be written to, such as the stack of a thread."""
    allowed, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed + size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, most))


def _watch_hub(start: Start) -> None:
    """End with the hub. Its stdin pipe may outlive it in a child it forked, so its process is watched as well."""
    watch = select.poll()
    watch.register(sys.stdin.buffer.fileno(), select.POLLIN | select.POLLHUP)
    if (hub := _hub_process(start)) is not None:
        watch.register(hub, select.POLLIN)
    watch.poll()
    leave(start)


def _hub_process(start: Start) -> int | None:
    """A descriptor that becomes readable when the hub's process ends; None where it has, or the system has none."""
    if os.getppid() != start.process or not hasattr(os, "pidfd_open"):
        return None
    return os.pidfd_open(start.process)


def leave(start: Start) -> None:
    """Remove the private folder, and the hub's if it is gone and cannot do so itself; end at once."""
    shutil.rmtree(start.folder, ignore_errors=True)
    if _hub_is_gone(start):
        shutil.rmtree(start.root, ignore_errors=True)
    os._exit(0)


def _hub_is_gone(start: Start) -> bool:
    """Its pipes close a moment before its process ends."""
    hub = _hub_process(start)
    if hub is None:
        return os.getppid() != start.process
    watch = select.poll()
    watch.register(hub, select.POLLIN)
    return bool(watch.poll(500))


def _report(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Where an unexpected exception was, without its text: that may quote data."""
    print(f"{kind.__name__} at {where(trace)}", file=sys.stderr, flush=True)


def where(trace: TracebackType | None) -> str:
    """The innermost place of a traceback in SDH's own files, else its innermost place."""
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if OWN.intersection(Path(frame.filename).parts)]
    last = (own or list(frames))[-1:] or [traceback.FrameSummary("?", 0, "?")]
    return f"{Path(last[0].filename).name}:{last[0].lineno} in {last[0].name}"


# --- the door ------------------------------------------------------------------------------------


def dial(address: str, purpose: str, session: str = "", name: str = "") -> socket.socket:
    """Connect to a process's door and say what for. Raises PartyLost when nobody is there."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        words = json.dumps([purpose, session, name]).encode()
        connection.sendall(len(words).to_bytes(2, "little") + words)
    except OSError:
        connection.close()
        raise PartyLost(f"The connection to {address} could not be made.") from None
    return connection


class Door:
    """A listening socket and the waiting room behind it: a peer may knock before this process heard of its session."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        self._waiting: dict[tuple[str, str, str], socket.socket] = {}
        self._ended: set[str] = set()
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True, name="door").start()

    def take(self, purpose: str, session: str = "", name: str = "") -> socket.socket:
        """The connection that knocked for this, waiting for it. Raises Cancelled when the session is ended."""
        with self._changed:
            self._changed.wait_for(lambda: (purpose, session, name) in self._waiting or session in self._ended)
            if session in self._ended:
                raise Cancelled("The query was cancelled.")
            return self._waiting.pop((purpose, session, name))

    def end(self, session: str) -> None:
        """Let nobody in for this session any more."""
        with self._changed:
            self._ended.add(session)
            for key in [key for key in self._waiting if key[1] == session]:
                self._waiting.pop(key).close()
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            try:
                threading.Thread(target=self._admit, args=(connection,), daemon=True, name="knock").start()
            except RuntimeError:   # no memory for its stack: this one's preamble is waited for here
                self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(PREAMBLE_SECONDS)
            purpose, session, name = json.loads(_exactly(connection, int.from_bytes(_exactly(connection, 2), "little")))
            connection.settimeout(None)
            key = str(purpose), str(session), str(name)
        except (OSError, ValueError, MemoryError):
            connection.close()
            return
        with self._changed:
            if key[1] in self._ended or key in self._waiting:
                connection.close()
                return
            self._waiting[key] = connection
            self._changed.notify_all()


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size <= LONGEST_PREAMBLE:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def control_link(start: Start, identity: Identity, door: Door) -> Link:
    """The hub's own link, which it dials as soon as the door is open."""
    connection = door.take("control")
    return handshake(connection, identity, start.hub.name, start.hub.public, initiator=False, context=b"control")
