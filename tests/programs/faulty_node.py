"""A node that fails as the question tells it: `SELECT ... -- fault: kind party`, at one point of that party's run."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from types import ModuleType
from typing import Any

import sdh.node
import sdh.part
from sdh.errors import DataError
from sdh.planners.plan import Placed, Plan, Question
from sdh.session import Nonces

_FAULT = re.compile(r"-- fault: (\w+) (\w+)")


def fault_of(question: Question, party: str) -> str:
    """The fault that this party shall have; '' for none."""
    found = _FAULT.search(question.text)
    return found[1] if found is not None and found[2] == party else ""


def in_planning(plan: Plan, party: str) -> Plan:
    if fault_of(plan.placed.question, party) == "plan":
        object.__setattr__(plan, "digest", "00" * 32)
    return plan


def in_encoding(plan: Plan, party: str) -> None:
    match fault_of(plan.placed.question, party):
        case "data":
            raise DataError(f"The query failed on the data of {party}: a division by zero.")
        case "raise":
            raise ValueError("the secret is 4711")


def in_run(plan: Plan, party: str) -> None:
    match fault_of(plan.placed.question, party):
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            print("no room left in the attic", file=sys.stderr, flush=True)
            os._exit(3)
        case "stall":
            threading.Event().wait()
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)


def wrap_planner(party: str) -> None:
    finish, announced = sdh.part.finish, sdh.part.announced

    def faulty_finish(placed: Placed, slots: tuple[int, ...]) -> Plan:
        return in_planning(finish(placed, slots), party)

    def faulty_place(*arguments: Any) -> Placed:
        placed = place(*arguments)
        match fault_of(placed.question, party):
            case "nonce":
                Nonces.draw = lambda self: bytes(32)  # type: ignore[method-assign]
            case "slots":
                sdh.part.announced = lambda fragment, count: announced(fragment, count) - 1
            case _:
                sdh.part.announced = announced
        return placed

    place = sdh.part.place
    sdh.part.place, sdh.part.finish = faulty_place, faulty_finish


def wrap_executors(secure: ModuleType) -> None:
    encode, run = secure.encode, secure.run

    def faulty_encode(plan: Plan, party: str, tables: Any) -> Any:
        in_encoding(plan, party)
        return encode(plan, party, tables)

    def faulty_run(plan: Plan, session: Any, inputs: Any) -> bytes:
        if not session.tracing:
            in_run(plan, session.parties[session.rank])
        payload: bytes = run(plan, session, inputs)
        return payload

    secure.encode, secure.run = faulty_encode, faulty_run  # type: ignore[attr-defined]


def main() -> None:
    """The node as it is, with the executors wrapped as soon as they are loaded."""
    load, begin = sdh.node.load_runtime, sdh.node.begin

    def load_and_wrap(threads: int) -> None:
        from sdh.executors import secure

        load(threads)
        wrap_executors(secure)

    def begin_and_wrap() -> Any:
        start, identity, door = begin()
        wrap_planner(start.name)
        return start, identity, door

    sdh.node.load_runtime, sdh.node.begin = load_and_wrap, begin_and_wrap
    sdh.node.main()


if __name__ == "__main__":
    main()
