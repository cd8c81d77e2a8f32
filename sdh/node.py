"""A party's node: a process beside its store. `python -m sdh.node` is started by a hub (sdh/processes.py)."""

from __future__ import annotations

import threading
from typing import Any

from sdh.connectors.wire import Identity, Link
from sdh.errors import InternalError
from sdh.order import order_from_message
from sdh.part import Part, Ready
from sdh.serving import Door, Start, begin, control_link
from sdh.session import Nonces
from sdh.shelf import Shelf
from sdh.store import Holdings
from sdh.turn import Answer, Turn, Worker


class Node:
    """Serves one owner's store: attach, publish, query; prepare, then run or drop."""

    def __init__(self, start: Start, identity: Identity, door: Door, link: Link) -> None:
        self._start, self._identity, self._door = start, identity, door
        self._holdings, self._nonces = Holdings(start.name, start.folder, start.share), Nonces()
        self._prepared = Shelf[Ready]()
        self._warm = threading.Thread(target=load_runtime, args=(start.share.threads,), daemon=True, name="warm")
        self._worker = Worker(start, door, link, self._task)

    def serve(self) -> None:
        self._worker.serve()

    def _task(self, turn: Turn, message: dict[str, Any]) -> Answer:
        turn.operator = str(message["do"])
        match message["do"]:
            case "attach":
                party = self._holdings.attach(message)
                self._warm.start()   # imports go on while the hub attaches others
                return {"party": party.to_message()}, ()
            case "publish":
                self._holdings.publish(message)
                return {}, ()
            case "query":
                return self._part(turn).play(order_from_message(message))
            case "prepare":
                self._prepared.put(turn, self._part(turn).prepare(order_from_message(message)))
                return {}, ()
            case "run":
                return self._part(turn).run(self._prepared.take(turn, str(message["prepared"])))
            case "drop":
                self._prepared.drop(str(message["prepared"]))
                return {}, ()
            case other:
                raise InternalError(f"A node has no task {other!r}.")

    def _part(self, turn: Turn) -> Part:
        def say(report: dict[str, Any]) -> None:
            self._worker.say(report | {"id": turn.identifier})

        return Part(self._start, self._identity, self._door, self._holdings, self._nonces, turn, self._warm.join, say)


def load_runtime(threads: int) -> None:
    """Import what takes more than a second."""
    import torch

    from sdh.executors import runtime, secure

    del runtime, secure
    torch.set_num_threads(threads)


def main() -> None:
    start, identity, door = begin()
    Node(start, identity, door, control_link(start, identity, door)).serve()


if __name__ == "__main__":
    main()
