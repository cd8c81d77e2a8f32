"""What a run passes to `reveal` is what EXPLAIN lists: nothing else, nothing less, nothing twice. Every run of every suite
holds itself to it (executors/secure.py, and the hub all parties' answers, sdh/conduct.py); here it is broken each way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from sdh.audit import Reveal, reasons
from sdh.errors import InternalError
from sdh.executors import runtime, secure, tracing
from sdh.executors.reveal import reveal
from sdh.executors.shapes import ShapesOnly
from sdh.planners.plan import Plan
from tests.test_costs import QUERIES, planned

CLIENT = "analyst"
SIZES = (20, 33)
FAILING = "failing"
"""A query one of whose operators may fail: an error bit is revealed too."""


def revealed(plan: Plan) -> list[Reveal]:
    """What a trace of the run passes to `reveal`."""
    session = tracing.TraceSession(plan.placed.parties)
    with ShapesOnly():
        secure.run(plan, session, None)
    return session.revealed


@pytest.mark.parametrize("name", QUERIES)
def test_the_run_reveals_what_explain_lists(name: str) -> None:
    plan = planned(QUERIES[name], SIZES)
    found = revealed(plan)
    assert sorted(found) == sorted(one for one in plan.reveals if one.reason != "slots")
    text = plan.explain().split("\nRevealed:\n")[1].split("\n\n")[0]
    assert [line.strip() for line in text.splitlines()] == [str(one) for one in plan.reveals]
    assert len(reasons(found)) == 1 + plan.may_fail


def test_errors_are_listed_where_they_may_be() -> None:
    assert {name for name in QUERIES if planned(QUERIES[name], SIZES).may_fail} >= {FAILING, "single"}
    assert not planned(QUERIES["rows"], SIZES).may_fail


@pytest.mark.parametrize("name", QUERIES)
def test_what_is_not_listed_is_not_revealed(name: str) -> None:
    plan = planned(QUERIES[name], SIZES)
    for listed in (tuple(one for one in plan.reveals if one.reason != "result"),
                   tuple(replace(one, to="bank") if one.reason == "result" else one for one in plan.reveals)):
        with pytest.raises(InternalError, match="Nothing is to be revealed to analyst as 'result'"):
            revealed(replace(plan, reveals=listed))


@pytest.mark.parametrize("more", [Reveal("matches", "how many rows matched", "everyone"), Reveal("result", "all", "bank")])
@pytest.mark.parametrize("name", QUERIES)
def test_what_is_listed_is_revealed(name: str, more: Reveal) -> None:
    plan = planned(QUERIES[name], SIZES)
    with pytest.raises(InternalError, match="revealed something else than the plan lists"):
        revealed(replace(plan, reveals=(*plan.reveals, more)))


@pytest.mark.parametrize("name", ["rows", FAILING])
def test_nothing_is_revealed_twice(name: str) -> None:
    def twice(session: runtime.Session, record: Any, to: str, reason: str, listed: tuple[Reveal, ...]) -> bytes:
        return reveal(session, record, to, reason, listed) + reveal(session, record, to, reason, listed)

    with patch.object(secure, "reveal", twice), pytest.raises(InternalError, match="revealed something else"):
        revealed(planned(QUERIES[name], SIZES))


def test_an_operator_cannot_reveal_on_its_own() -> None:
    """An operator that lets out validities, as a reason that nothing lists."""
    plan = planned(QUERIES["rows"], SIZES)
    wiped = secure._wiped

    def leaking(session: runtime.Session, *rest: Any) -> Any:
        record = wiped(session, *rest)
        reveal(session, record[-1:], CLIENT, "valid", plan.reveals)
        return record

    with patch.object(secure, "_wiped", leaking), pytest.raises(InternalError, match="revealed to analyst as 'valid'"):
        revealed(plan)
