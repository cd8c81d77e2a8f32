"""A dealer that writes a tape, and falls out of step when told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sdh.dealer
from sdh.executors import dealing
from tests.programs.tape import Tape, tape_links

Send = Callable[[int, str, bytes], None]
TENTH = 10


def out_of_step(fault: str, send: Send) -> Send:
    """The tenth correction under another address, shorter by a word, or not at all."""
    count = 0

    def wrong(holder: int, address: str, correction: bytes) -> None:
        nonlocal count
        count += 1
        match fault if count == TENTH else "":
            case "address":
                send(holder, address + "0", correction)
            case "length":
                send(holder, address, correction[:-8])
            case "skip":
                pass
            case _:
                send(holder, address, correction)

    return wrong


def main() -> None:
    dealer: Any = sdh.dealer
    begin, serve = dealer.begin, dealing.serve
    tapes: list[Tape] = []

    def begin_taped() -> Any:
        start, identity, door = begin()
        tapes.append(Tape(start.name))
        tape_links(tapes[0])
        return start, identity, door

    def serve_faulty(items: Any, seeds: Any, send: Send, engine: Any = dealing.NUMPY) -> None:
        serve(items, seeds, out_of_step(tapes[0].fault, send), engine)

    dealer.begin, dealing.serve = begin_taped, serve_faulty
    dealer.main()


if __name__ == "__main__":
    main()
