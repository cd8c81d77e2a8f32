"""What a node or the dealer keeps of prepared queries between their two turns."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from sdh.session import spent
from sdh.turn import Connections, Turn


class Closable(Protocol):
    def close(self) -> None:
        """Forget what must not remain."""


T = TypeVar("T", bound=Closable)


class Shelf(Generic[T]):
    """Things by the identifier of the turn that made them, each with that turn's links. What is taken is gone."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[T, Connections]] = {}

    def put(self, turn: Turn, thing: T) -> None:
        """Raises Cancelled."""
        try:
            self._kept[turn.identifier] = thing, turn.give()
        except BaseException:
            thing.close()
            raise

    def take(self, turn: Turn, identifier: str) -> T:
        """The thing, its links now the turn's. Raises PreparedSpent."""
        if identifier not in self._kept:
            raise spent()
        thing, connections = self._kept.pop(identifier)
        turn.take(connections)
        return thing

    def drop(self, identifier: str) -> None:
        """Close it and its links, if it is there."""
        if identifier in self._kept:
            thing, connections = self._kept.pop(identifier)
            thing.close()
            connections.end()
