"""What is on the links tells nothing of the data: not by length or order of messages, not by any value in any form, and
what is revealed is what EXPLAIN lists. Through real processes that write tapes of all that they send."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import sdh
from sdh.audit import Reveal
from sdh.connectors.wire import CONTROL
from sdh.planners.physical import Input, Node
from sdh.session import DEALER
from tests.features import nodes
from tests.sentinels import DATE, MONEY, NUMBER, TEXT, Search, marked, patterns
from tests.taping import CLIENT, Recording, Taped
from tests.twins import QUERIES, shared, taken, twin

PARTIES = ("bank", "shop", "mill")
Taken = dict[tuple[str, str], Recording]


@pytest.fixture(scope="module")
def taped() -> Taped:
    return shared()


@pytest.fixture(scope="module", name="taken")
def all_taken() -> Taken:
    return taken()


# --- lengths and order -----------------------------------------------------------------------------


def outline(recording: Recording, process: str) -> list[tuple[str, str, str, int]]:
    """All that a process sends, receives and seals, in order, by peer, address and length."""
    frames = [record for record in recording.of(process) if record.kind != "note" and not record.is_progress]
    return [(record.kind, record.peer, record.address, record.size) for record in frames]


def test_the_data_sets_are_equal_in_public(taped: Taped) -> None:
    tables = {table.full_name: table for table in taped.catalog.tables}
    for party in PARTIES:
        one, two = tables[f"{party}.one"], tables[f"{party}.two"]
        assert (one.columns, one.facts, one.rows, one.keys) == (two.columns, two.facts, two.rows, two.keys)


@pytest.mark.parametrize("name", QUERIES)
def test_messages_do_not_depend_on_the_data(taken: Taken, name: str) -> None:
    one, two = taken[name, "one"], taken[name, "two"]
    assert one.shared_anything
    assert len({record.process for record in one.records}) > 2
    for process in (DEALER, *PARTIES):
        assert outline(one, process) == outline(two, process)


def test_the_data_sets_differ_in_private(taken: Taken) -> None:
    """Else the test above would show nothing: rows, groups and failures are not the same. (Noise may make answers so.)"""
    exact = [name for name in QUERIES if "PRIVACY" not in QUERIES[name]]
    assert {name for name in exact if answer(taken[name, "one"]) == answer(taken[name, "two"])} <= {"distinct"}
    assert isinstance(taken["error", "one"].error, sdh.DataError)
    assert taken["error", "two"].error is None
    assert isinstance(taken["proven", "one"].error, sdh.DataError)
    assert taken["proven", "two"].error is None
    assert all(recording.error is None for (name, _), recording in taken.items() if name not in ("error", "proven"))


def answer(recording: Recording) -> object:
    return recording.error and str(recording.error) or recording.result and recording.result.fetchall()


def test_every_operator_is_covered(taken: Taken) -> None:
    """A new class of the physical plan needs twins; of its kinds tests/test_generated.py asks for them."""
    kinds = {type(node) for recording in taken.values() if recording.error is None
             for node in nodes(recording.plan.root.input)}
    assert kinds == set(get_args(Node))
    assert {len(recording.plan.placed.parties) for recording in taken.values() if recording.error is None} == {2, 3}


# --- differential privacy --------------------------------------------------------------------------

LEDGER = sdh.PrivacyPolicy.of(budgets={CLIENT: (4, "1e-2")}, delta="1e-3", groups=2, rows=3)
ACROSS = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1, delta = 1e-3) x.s, count(*) AS n FROM clinic.{0} x " \
         "JOIN shop.{0} y ON x.id = y.id GROUP BY x.s"
ALONE = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1) count(*) AS n, " \
        "avg(n, contribution_bounds_per_row => (0, 9)) AS a FROM clinic.{0}"
FAILING = ACROSS.replace("count(*)", "sum(x.w * y.w, contribution_bounds_per_group => (0, 9))")


def test_charges_and_refusals_do_not_depend_on_the_data(taped: Taped, tmp_path: Path) -> None:
    """Across owners with a ledger, at one owner who adds the noise, with arguments that fail on one twin, and when nothing is
    left."""
    tables = {which: twin("bank", which) for which in ("one", "two")}
    policy = sdh.Policy.parse("GRANT DP ON * TO analyst", unit={"one": "id", "two": "id"}, facts="measured", privacy=LEDGER)
    taped.hub.attach("clinic", tables, policy, keys={"one": [("id",)], "two": [("id",)]}, ledger=tmp_path / "clinic.ledger")
    try:
        for text, failure in ((ACROSS, None), (ALONE, None), (FAILING, sdh.errors.Unsupported), (ACROSS, sdh.errors.BudgetSpent)):
            one, two = (taped.sql(text.format(which) + " -- again" * (failure is not None)) for which in ("one", "two"))
            assert (type(one.error), type(two.error)) == ((type(None),) * 2 if failure is None else (failure,) * 2)
            assert str(one.error).replace(".one", ".two") == str(two.error)
            assert bool(one.payloads) == (failure is None)
            for process in (DEALER, "clinic", "shop"):
                assert uncancelled(one, process) == uncancelled(two, process)
    finally:
        taped.hub.detach("clinic")


def uncancelled(recording: Recording, process: str) -> list[tuple[str, str, str, int]]:
    """Where the clinic refuses, the hub ends the others' work: how far they came by then, and whether they heard of it from the
    hub or from each other, is a matter of time."""
    found = outline(recording, process)
    late = {("received", CLIENT, CONTROL)} if process == "clinic" else {("received", CLIENT, CONTROL), ("sent", CLIENT, CONTROL)}
    return found if recording.error is None else sorted(one for one in found if one[:3] not in late)


# --- what is revealed ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUERIES)
def test_explain_lists_what_is_revealed(taped: Taped, taken: Taken, name: str) -> None:
    for which in ("one", "two"):
        recording, text = taken[name, which], QUERIES[name].format(which)
        explained = listed(taped.hub.explain(text))
        planned = [one for one in explained if one[0] != "slots"]
        for party in PARTIES:
            revealed = recording.notes(party, "reveal")
            assert sorted(revealed) == sorted(planned) or not recording.of(party)
        assert any(recording.notes(party, "reveal") for party in PARTIES)
        assert {to for reason, to in explained if reason != "slots"} == {CLIENT}
        assert {to for reason, to in explained if reason == "slots"} <= {"everyone"}
        if recording.result is not None:
            assert explained == pairs(recording.plan.reveals) == pairs(recording.result.revealed)
            assert explained == listed(recording.plan.explain())


def listed(explained: str) -> list[tuple[str, str]]:
    """(reason, receiver) of every line that EXPLAIN has under 'Revealed:'."""
    lines = explained.split("\nRevealed:\n")[1].split("\n\n")[0].splitlines()
    ends = [line.rpartition(" -> ")[2] for line in lines]
    return [(end.partition(" (")[2].rstrip(")"), end.partition(" (")[0]) for end in ends]


def pairs(reveals: tuple[Reveal, ...]) -> list[tuple[str, str]]:
    return [(one.reason, one.to) for one in reveals]


@pytest.mark.parametrize("name", QUERIES)
def test_every_opening_is_a_masked_one(taken: Taken, name: str) -> None:
    """Nothing is sent between parties but masked openings, hand-overs and the words of a session's begin and end."""
    for which in ("one", "two"):
        for party in PARTIES:
            sent = [record for record in taken[name, which].of(party) if record.kind == "sent" and record.peer in PARTIES]
            assert {record.address for record in sent if not record.is_masked} <= {"proof", CONTROL, "session", "end"}
            peers = {record.peer for record in sent}
            opened = [record for record in sent if record.address.endswith("/open")]
            assert len(opened) == len(peers) * len(taken[name, which].notes(party, "opening"))


# --- sentinels -------------------------------------------------------------------------------------

KEPT = {
    "compared": "SELECT count(*) FROM bank.mark x JOIN shop.mark y ON x.id = y.id "
                "WHERE x.v >= y.v AND x.m >= y.m AND x.s <> y.s || '' AND x.d >= y.d",
    "matched": "SELECT count(*), min(y.id) FROM bank.mark x JOIN shop.mark y ON x.v = y.v",
    "matched by text": "SELECT y.id FROM bank.mark x JOIN shop.mark y ON x.s = y.s AND x.d = y.d",
    "matched by money": "SELECT y.id, x.m < y.m FROM bank.mark x JOIN shop.mark y ON x.m = y.m",
    "all pairs": "SELECT count(*), min(z.id) FROM bank.mark x JOIN mill.mark z ON x.v > z.v OR x.s < z.s OR x.m > z.m "
                 "HAVING min(x.d) > DATE '1980-01-01'",
    "extremes": "SELECT count(*) FROM mill.mark z JOIN shop.mark y ON z.id = y.id "
                "GROUP BY z.id HAVING max(y.v) > 5 AND min(y.m) < 0",
    "grouped": "SELECT count(*), sum(CASE WHEN x.m > y.m THEN 1 ELSE 0 END) FROM bank.mark x "
               "JOIN shop.mark y ON x.id = y.id GROUP BY x.v, x.s, x.m, x.d",
}
SHOWN = "SELECT x.v, x.m, x.s, x.d FROM bank.mark x JOIN shop.mark y ON x.v = y.v"


@pytest.fixture(scope="module")
def search() -> Search:
    return Search(patterns())


def everything(recording: Recording) -> bytes:
    """All bytes of all frames and of all shares before they are sealed."""
    return b"\xa5".join(record.payload for record in recording.records if record.kind in ("sent", "received", "sealed"))


@pytest.mark.parametrize("name", KEPT)
def test_no_form_of_a_value_is_on_any_link(taped: Taped, search: Search, name: str) -> None:
    recording = taped.sql(KEPT[name])
    assert recording.error is None
    assert recording.shared_anything
    assert not recording.plan.is_local
    assert search.of(everything(recording)) == []


def test_a_released_value_is_in_no_single_share(taped: Taped, search: Search) -> None:
    """The sum of the shares has it, which shows that the search can find."""
    recording = taped.sql(SHOWN)
    assert recording.result is not None, recording.error
    assert recording.result.fetchall()[0] == (NUMBER, MONEY, TEXT, DATE)
    assert search.of(everything(recording)) == []
    shares = [np.frombuffer(payload, np.int64) for payload in recording.payloads.values()]
    total = np.sum(shares, axis=0)
    found = search.of(total.tobytes())
    for form in ("number, 8 low bytes", "money, 8 low bytes", "date, 8 low bytes", "text from byte 0, backwards"):
        assert form in found


def test_the_search_finds_what_is_sent_in_the_clear(taped: Taped, search: Search) -> None:
    """A question that one owner answers alone: its payload to the client is plain before it is sealed."""
    recording = taped.sql("SELECT v, m, s, d FROM bank.mark")
    found = search.of(everything(recording))
    for form in ("number, 8 low bytes", "number, 4 low bytes", "number, high half", "money, 16 low bytes",
                 "text", "text from byte 0", "date, 4 low bytes"):
        assert form in found
    sent = b"".join(record.payload for record in recording.records if record.kind == "sent")
    assert search.of(sent) == [], "what is sealed is not on a link"


# --- grants ----------------------------------------------------------------------------------------


def test_a_store_without_a_policy_grants_nothing(taped: Taped) -> None:
    taped.hub.attach("mute", {"mark": marked("bank", 8)})
    try:
        for text, grant in {
            "SELECT v FROM mute.mark": "GRANT REVEAL ON mute.mark (v) TO analyst",
            "SELECT count(*) FROM mute.mark": "GRANT",
            "SELECT count(*) FROM mute.mark x JOIN shop.mark y ON x.id = y.id": "GRANT",
            "SELECT y.v FROM mute.mark x JOIN shop.mark y ON x.v < y.v": r"GRANT COMPARE ON mute.mark \(v\) TO analyst",
        }.items():
            with pytest.raises(sdh.NotGranted, match=grant.replace("mark (v)", r"mark \(v\)")):
                taped.hub.explain(text)
            recording = taped.sql(text)
            assert isinstance(recording.error, sdh.NotGranted)
            assert recording.records == []
    finally:
        taped.hub.detach("mute")


def test_no_party_gets_anything_in_the_clear(taped: Taped, taken: Taken) -> None:
    """Fragments are inputs to shares, never shipped: whoever else takes part gets no rows."""
    for (name, which), recording in taken.items():
        assert " ship" not in taped.hub.explain(QUERIES[name].format(which))
        if recording.error is None:
            owners = {node.party for node in nodes(recording.plan.root.input) if isinstance(node, Input)}
            assert owners == set(recording.plan.placed.parties)
