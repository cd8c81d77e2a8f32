"""One request of the hub to one or more processes, from telling them until each has answered or is gone.

When one fails, the others fail of it: a dead process is the cause before any error, and an error of a process's own
before the `Aborted` and `PartyLost` that it brought upon the others.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from queue import Empty
from time import monotonic
from typing import Any

from sdh.errors import (
    Aborted,
    Cancelled,
    DeadlinePassed,
    DealerLost,
    HubClosed,
    PartyLost,
    SdhError,
    from_message,
)
from sdh.processes import Event, Events, Process

Hear = Callable[[Process, dict[str, Any]], None]


class Exchange:
    """`hear` gets every message that is not the last of its process."""

    def __init__(self, crew: Sequence[Process], events: Events, hear: Hear = lambda process, message: None) -> None:
        self.identifier = secrets.token_hex(16)
        self.answers: dict[Process, Event] = {}
        self._crew, self._events, self._hear = crew, events, hear
        self._gone: list[Process] = []
        self._failed: list[SdhError] = []

    def ask(self, process: Process, message: dict[str, Any]) -> None:
        """Send one process its request. One that is gone counts as failed."""
        try:
            process.send(message | {"id": self.identifier})
        except (PartyLost, DealerLost):
            self._lose(process)

    def wait(self, seconds: float | None) -> None:
        """Until all have answered or one has failed. Raises DeadlinePassed, HubClosed."""
        end = None if seconds is None else monotonic() + seconds
        while self._pending() and not self._gone and not self._failed:
            self._take(end)

    def stop(self, seconds: float) -> None:
        """Cancel at all that still run; a process that does not end in time is killed, its successor starts afresh."""
        try:
            for process in self._pending():
                self.ask(process, {"do": "cancel"})
            end = monotonic() + seconds
            while self._pending():
                self._take(end)
        except (DeadlinePassed, HubClosed):
            pass
        finally:
            for process in self._pending():
                process.kill()

    def cause(self) -> SdhError | None:
        """The error that the others follow from; None when nobody failed."""
        if self._gone:
            return self._gone[0].lost()
        return min(self._failed, key=_rank, default=None)

    def _pending(self) -> list[Process]:
        return [process for process in self._crew if process not in self.answers and process not in self._gone]

    def _take(self, end: float | None) -> None:
        try:
            event = self._events.get(timeout=None if end is None else max(0.0, end - monotonic()))
        except Empty:
            raise DeadlinePassed("The query's timeout passed.", advice="Allow more time with timeout=.") from None
        if event.sender is None:
            raise HubClosed("The hub was closed while a query ran.")
        if event.message is None:
            self._lose(event.sender)
        elif event.message.get("id") == self.identifier:
            self._heard(event.sender, event.message, event)

    def _heard(self, process: Process, message: dict[str, Any], event: Event) -> None:
        match message.get("end"):
            case "done":
                self.answers[process] = event
            case "failed":
                self.answers[process] = event
                self._failed.append(from_message(message["error"]))
            case _:
                self._hear(process, message)

    def _lose(self, process: Process) -> None:
        if process in self._crew and process not in self._gone:
            self._gone.append(process)


def _rank(error: SdhError) -> int:
    """Causes first, then what tells of a lost connection, then what tells of nothing."""
    match error:
        case Aborted() | Cancelled():
            return 3
        case DealerLost():  # a party that ends takes its link to the dealer along, and tells of it so
            return 2
        case PartyLost():
            return 1
        case _:
            return 0


def perform(exchange: Exchange, requests: Sequence[tuple[Process, dict[str, Any]]], seconds: float | None,
            stop: float) -> None:
    """Ask and wait until all have answered; on any failure, Ctrl-C included, end it everywhere and raise the cause."""
    try:
        for process, message in requests:
            exchange.ask(process, message)
        exchange.wait(seconds)
    except BaseException:
        exchange.stop(stop)
        raise
    if exchange.cause() is not None:
        exchange.stop(stop)
    if (cause := exchange.cause()) is not None:
        raise cause
