"""A node that fails as the question tells it: `SELECT ... -- fault: kind party`, at one point of that party's run."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from types import ModuleType
from typing import Any
from unittest.mock import patch

import sdh.node
import sdh.part
from sdh.catalog import Catalog
from sdh.errors import DataError
from sdh.order import announced
from sdh.planners.plan import Placed, Plan, Question, finish, place
from sdh.serving import begin
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
    def faulty_finish(placed: Placed, slots: tuple[int, ...]) -> Plan:
        return in_planning(finish(placed, slots), party)

    def faulty_place(question: Question, catalog: Catalog) -> Placed:
        if fault_of(question, party) == "nonce":
            replace(Nonces, "draw", lambda self: bytes(32))
        lie = 1 if fault_of(question, party) == "slots" else 0
        replace(sdh.part, "announced", lambda fragment, count: announced(fragment, count) - lie)
        return place(question, catalog)

    replace(sdh.part, "place", faulty_place)
    replace(sdh.part, "finish", faulty_finish)


def replace(owner: object, name: str, value: object) -> None:
    """For the rest of this process's life."""
    patch.object(owner, name, value).start()


def wrap_executors(secure: ModuleType) -> None:
    encode, run = secure.encode, secure.run

    def faulty_encode(plan: Plan, party: str, tables: Any) -> Any:
        in_encoding(plan, party)
        return encode(plan, party, tables)

    def faulty_run(plan: Plan, session: Any, inputs: Any) -> bytes:
        if not session.tracing:
            in_run(plan, session.parties[session.rank])
        payload: bytes = run(plan, session, inputs)
        if not session.tracing and fault_of(plan.placed.question, session.parties[session.rank]) == "reveal":
            session.revealed.append(session.revealed[0])
        return payload

    replace(secure, "encode", faulty_encode)
    replace(secure, "run", faulty_run)


def main() -> None:
    """The node as it is, with the executors wrapped as soon as they are loaded."""
    load = sdh.node.load_runtime

    def load_and_wrap(threads: int) -> None:
        from sdh.executors import secure

        load(threads)
        wrap_executors(secure)

    def begin_and_wrap() -> Any:
        start, identity, door = begin()
        wrap_planner(start.name)
        return start, identity, door

    replace(sdh.node, "load_runtime", load_and_wrap)
    replace(sdh.node, "begin", begin_and_wrap)
    sdh.node.main()


if __name__ == "__main__":
    main()
