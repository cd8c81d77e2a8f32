"""How a node and the dealer work: one task at a time, cancelled in its midst, its failure told without data."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from sdh.connectors.wire import Link
from sdh.errors import (
    Aborted,
    Cancelled,
    HubBusy,
    InternalError,
    PartyLost,
    ProtocolError,
    SdhError,
    memory_exceeded,
)
from sdh.serving import Door, Start, give_memory_back, leave, where

Answer = tuple[dict[str, Any], Sequence[bytes]]
"""The last message of a task and the sealed pieces that follow it."""
Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Connections:
    """Sockets and the links over them: a turn's, or those of a prepared query between its two turns."""

    sockets: list[socket.socket] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def end(self) -> None:
        """Cut all of them; a link's writer thread ends with it."""
        for connection in self.sockets:
            _cut(connection)
        for link in self.links:
            link.close()


class Turn:
    """From the moment a task is taken until its end. `operator` says where it is, for the error of one that fails."""

    def __init__(self, identifier: str, door: Door) -> None:
        self.identifier, self.operator = identifier, ""
        self._door, self._lock = door, threading.Lock()
        self._held = Connections()
        self._stops: list[Callable[[], None]] = []
        self._cancelled = False

    def guard(self, connection: socket.socket) -> socket.socket:
        """Cut this connection when the turn is cancelled or ends."""
        with self._lock:
            self._held.sockets.append(connection)
            cancelled = self._cancelled
        if cancelled:
            _cut(connection)
        return connection

    def adopt(self, link: Link) -> Link:
        """Close this link, whose connection is guarded, when the turn ends: its writer thread ends with it."""
        with self._lock:
            self._held.links.append(link)
        return link

    def give(self) -> Connections:
        """All that this turn holds, for a later one to take: the end of this turn does not cut it. Raises Cancelled."""
        self.check()
        return self._let_go()

    def take(self, given: Connections) -> None:
        """Hold what an earlier turn gave."""
        for connection in given.sockets:
            self.guard(connection)
        for link in given.links:
            self.adopt(link)

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Call `stop`, from another thread, when the turn is cancelled."""
        with self._lock:
            self._stops.append(stop)
            cancelled = self._cancelled
        if cancelled:
            stop()

    def check(self) -> None:
        """Raises Cancelled when the turn was cancelled."""
        if self._cancelled:
            raise Cancelled("The query was cancelled.")

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            stops = list(self._stops)
        for stop in stops:
            with contextlib.suppress(Exception):
                stop()
        self.end()

    def end(self) -> None:
        """Cut every connection and let no late one in: nothing is sent after this."""
        self._door.end(self.identifier)
        self._let_go().end()

    def _let_go(self) -> Connections:
        with self._lock:
            held, self._held = self._held, Connections()
        return held

    def public_error(self, error: Exception, name: str) -> SdhError:
        """What may be told of a failure: SDH's own errors as they are, any other by class, place and operator only."""
        if self._cancelled:
            return Aborted(f"{name} stopped because the query was ended elsewhere.")
        if isinstance(error, SdhError):
            return error
        place = where(error.__traceback__)
        print(f"{type(error).__name__} at {place}", file=sys.stderr, flush=True)
        if _out_of_memory(error):
            return memory_exceeded(name, self.operator)
        during = f" during {self.operator}" if self.operator else ""
        return InternalError(f"{name} met an unexpected {type(error).__name__}{during}.",
                             advice=f"It was at {place}; please report it.")


def _out_of_memory(error: Exception) -> bool:
    """Python and NumPy have a class for it, torch and threads have RuntimeErrors of fixed words."""
    words = ("can't allocate memory", "bad_alloc", "can't start new thread")
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


Task = Callable[[Turn, dict[str, Any]], Answer]


class Worker:
    """The main thread reads the hub's control link, so that a cancel works in mid-task; another does the task."""

    def __init__(self, start: Start, door: Door, link: Link, task: Task) -> None:
        self._start, self._door, self._link, self._task = start, door, link, task
        self._turn: Turn | None = None
        self._sending = threading.Lock()
        self._tasks: SimpleQueue[tuple[Turn, dict[str, Any]]] = SimpleQueue()

    def serve(self) -> None:
        """Until the control link ends, and this process with it."""
        threading.Thread(target=self._work, daemon=True, name="work").start()
        try:
            while True:
                self._take(self._link.receive_message())
        except (PartyLost, ProtocolError):
            leave(self._start)

    def say(self, message: dict[str, Any], pieces: Sequence[bytes] = ()) -> None:
        with self._sending:
            self._link.send_message(message | {"sizes": [len(piece) for piece in pieces]})
            for piece in pieces:
                self._link.send("result", piece)

    def _take(self, message: dict[str, Any]) -> None:
        turn, identifier = self._turn, str(message["id"])
        if message["do"] == "cancel":
            if turn is not None and turn.identifier == identifier:
                turn.cancel()
        elif turn is not None:
            self._fail(identifier, HubBusy(f"{self._start.name} is at work already."))
        else:
            self._turn = turn = Turn(identifier, self._door)
            self._tasks.put((turn, message))

    def _work(self) -> None:
        try:
            while True:
                self._do(*self._tasks.get())
        except BaseException as error:   # the hub was not told, and must not wait
            print(f"{type(error).__name__} at {where(error.__traceback__)}", file=sys.stderr, flush=True)
            leave(self._start)

    def _do(self, turn: Turn, message: dict[str, Any]) -> None:
        told: SdhError | None = None
        answer: Answer = {}, ()
        try:
            answer = self._task(turn, message)
            turn.check()
        except Exception as error:
            told = turn.public_error(error, self._start.name)
        turn.end()
        give_memory_back()
        self._turn = None   # before the hub hears of the end: its next request may follow at once
        if told is None:
            self.say(answer[0] | {"id": turn.identifier, "end": "done"}, answer[1])
        else:
            self._fail(turn.identifier, told)

    def _fail(self, identifier: str, error: SdhError) -> None:
        self.say({"id": identifier, "end": "failed", "error": error.to_message()})
