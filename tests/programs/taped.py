"""A node that writes a tape: its frames, its result's share before sealing, what it opens and reveals, and the states
of all random generators around every query."""

from __future__ import annotations

import hashlib
import pickle
import random
from typing import Any

import sdh.node
import sdh.part
from sdh.order import Order
from sdh.session import NONCE, Nonces
from sdh.turn import Answer
from tests.programs import otherwise
from tests.programs.tape import Tape, tape_links


def tape_parts(tape: Tape) -> None:
    """Around every query: the generators' states. Before a result's share is sealed: the share."""
    part: Any = sdh.part
    play, seal = part.Part.play, part.seal

    def taped_play(self: sdh.part.Part, order: Order) -> Answer:
        self.ready()
        misbehave(tape)
        tape.note("generators", generators())
        try:
            answer: Answer = play(self, order)
            return answer
        finally:
            tape.note("generators", generators())

    def taped_seal(payload: bytes, sender: str, receiver: bytes, context: bytes) -> list[bytes]:
        tape.write("sealed", "client", "payload", bytes(payload))
        pieces: list[bytes] = seal(payload, sender, receiver, context)
        return pieces

    part.Part.play, part.seal = taped_play, taped_seal


def tape_executors(tape: Tape) -> None:
    """Every opening's sizes, and every call of `reveal`."""
    from sdh.executors import runtime, secure

    Session: Any = runtime.Session
    execution: Any = secure
    post, reveal = Session._post, execution.reveal

    def taped_post(self: Any, opening: Any) -> Any:
        if not self.tracing:
            tape.note("opening", [(value.share.numel(), value.width, value.xor) for value in opening.values])
        return post(self, opening)

    def taped_reveal(session: Any, record: Any, to: str, reason: str, planned: Any) -> Any:
        if not session.tracing:
            tape.note("reveal", (reason, to))
        return reveal(session, record, to, reason, planned)

    Session._post, execution.reveal = taped_post, taped_reveal


def generators() -> dict[str, str]:
    """A digest of the state of every generator of random numbers that a library might use unasked."""
    import numpy as np
    import torch

    states = {"torch": torch.random.get_rng_state().numpy().tobytes(),
              "torch default": torch.default_generator.get_state().numpy().tobytes(),
              "numpy": pickle.dumps(np.random.get_state()), "python": pickle.dumps(random.getstate())}
    return {name: hashlib.sha256(state).hexdigest() for name, state in states.items()}


def misbehave(tape: Tape, honest: tuple[Any, Any] = (Nonces.draw, Nonces.use)) -> None:
    """'replay': the same nonce part in every session, whatever was seen before."""
    replays = tape.fault == "replay"
    Nonces.draw = (lambda self: tape.name[:1].encode() * NONCE) if replays else honest[0]  # type: ignore[method-assign]
    Nonces.use = (lambda self, parts: None) if replays else honest[1]  # type: ignore[method-assign]


def main() -> None:
    """The node as it is, with the links taped from its first frame and the executors as soon as they are loaded."""
    otherwise.install()
    node: Any = sdh.node
    begin, load = node.begin, node.load_runtime
    tapes: list[Tape] = []

    def begin_taped() -> Any:
        start, identity, door = begin()
        tapes.append(Tape(start.name))
        tape_links(tapes[0])
        tape_parts(tapes[0])
        return start, identity, door

    def load_taped(threads: int) -> None:
        load(threads)
        tape_executors(tapes[0])

    node.begin, node.load_runtime = begin_taped, load_taped
    node.main()


if __name__ == "__main__":
    main()
