"""EXPLAIN ANALYZE prints what was measured beside what was predicted; seconds of work on clear data go to their owner alone."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pyarrow as pa
import pytest

import sdh
from sdh import audit
from sdh.config import Programs
from sdh.connectors.wire import Link
from sdh.executors import secure
from sdh.executors.metering import Cost as Counted
from sdh.executors.metering import Meter
from sdh.part import told
from sdh.planners.analyze import analyze
from sdh.planners.costs import Spent, nanoseconds, operator_costs, payload_bytes
from sdh.planners.plan import Plan
from sdh.planners.units import duration, size
from sdh.result import Cost
from tests.programs.slow_node import SECONDS, SLOW
from tests.test_costs import QUERIES, planned

JOIN = "FROM quick.t a JOIN slow.t b ON a.id = b.id"
ASKED = {
    "sum": f"SELECT sum(a.x * b.x), count(*) {JOIN}",
    "rows": f"SELECT a.x, b.s {JOIN} WHERE a.x < b.x",
    "groups": f"SELECT a.s, avg(b.x), min(b.x) {JOIN} GROUP BY a.s HAVING count(*) > 1 ORDER BY a.s",
    "pairs": "SELECT count(*) FROM quick.t a, slow.t b WHERE a.x < b.x",
}
LOCAL = "SELECT count(*) FROM slow.t"
SAID = {"id", "sizes", "say", "end", "slots", "digest", "done", "planned", "label", "session", "cost", "revealed",
        "party"}
"""Keys of a node's messages."""


def rows(seed: int) -> pa.Table:
    numbers = range(seed, seed + 30)
    return pa.table({"id": numbers, "x": [number * 7 % 11 for number in numbers], "s": [f"s{number % 4}" for number in numbers]})


def opened(**options: Any) -> sdh.Hub:
    hub = sdh.connect(**options)
    for seed, party in enumerate(("quick", SLOW)):
        hub.attach(party, {"t": rows(seed)}, policy=sdh.Policy.open(rows="exact"), keys={"t": [("id",)]})
    return hub


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    with opened() as hub:
        yield hub


def table_of(text: str) -> dict[str, list[str]]:
    """The figures of every line of the table, by operator: predicted and measured, four times."""
    lines = text.split("At the party where it is most:\n")[1].split("\n\n")[0].splitlines()
    assert lines[0].split() == "bytes sent rounds dealer bytes seconds".split()
    start = lines[1].index("predicted") - 3
    assert lines[1][start:].split() == ["predicted", "measured"] * 4
    found = {}
    for line in lines[2:]:
        words, figures = line[start:].split(), list[str]()
        while len(figures) < 8:
            number = words.pop(0)
            figures.append(f"{number} {words.pop(0)}" if len(figures) not in (2, 3) else number)
        found[line[:start].strip()] = figures
    return found


# --- what is printed -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ASKED)
def test_a_line_an_operator(hub: sdh.Hub, name: str) -> None:
    result = hub.sql(f"EXPLAIN ANALYZE {ASKED[name]}")
    [(key, text)] = result.fetchall()
    assert key == "analyzed_plan"
    ran = hub.sql(ASKED[name])
    plan = ran.plan
    assert plan is not None
    assert plan.root is not None
    costs = operator_costs(plan.root, 2, plan.network)
    found = table_of(text)
    assert list(found)[-1] == "in all"
    assert [line.split()[0] for line in list(found)[:-1]] == [f"#{number}" for number in range(len(costs))]
    for (_, cost), spent, figures in zip(costs, ran.cost.most, list(found.values())[:-1], strict=True):
        assert figures[0::2][:3] == [size(cost.sent), f"{cost.rounds:,}", size(cost.dealt)]
        assert figures[1::2][:3] == [size(spent.sent), f"{spent.rounds:,}", size(spent.dealt)]
    assert re.search(r"\n\nPlan digest [0-9a-f]{64}\nSession digest [0-9a-f]{64}\n\n", text)
    assert text.endswith(f"Measured: {result.cost}")
    assert plan.explain().rpartition("\n\n")[0] in text, "all that EXPLAIN says of it"


def test_what_is_measured_is_what_was_traced(hub: sdh.Hub) -> None:
    result = hub.sql(ASKED["groups"])
    plan = result.plan
    assert plan is not None
    assert plan.root is not None
    for party, spent in result.cost.operators.items():
        traced = secure.trace(plan, party)[1].whole.values()
        assert [(one.sent, one.rounds, one.dealt) for one in spent] == [(one.sent, one.rounds, one.dealt) for one in traced]
        assert all(one.seconds > 0 for one in spent)
        assert sum(one.seconds for one in spent) < result.cost.seconds
        payload = payload_bytes(plan.root, may_fail=plan.may_fail)
        assert result.cost.bytes[party] == sum(one.sent for one in spent) + payload
    assert result.cost.rounds == sum(one.rounds for one in result.cost.most)
    assert result.cost.dealer_bytes == sum(one.dealt for one in result.cost.most)


def test_a_question_to_one_owner_costs_no_operator(hub: sdh.Hub) -> None:
    [(_, text)] = hub.sql(f"EXPLAIN ANALYZE {LOCAL}").fetchall()
    assert "At the party where it is most" not in text
    assert "in the clear at slow" in text
    assert "Session digest" in text


def test_a_prepared_query_tells_the_same(hub: sdh.Hub) -> None:
    with hub.prepare(ASKED["sum"]) as prepared:
        text = prepared.run().explain()
    assert list(table_of(text)) == list(table_of(hub.sql(ASKED["sum"]).explain()))


def test_what_is_off_is_named() -> None:
    plan = planned(QUERIES["groups"], (1000, 1000))
    figures = predicted(plan)
    assert "x" not in "".join(tail(analyze(plan, figures, "")))
    figures[2] = Spent(figures[2].sent, figures[2].rounds * 3, figures[2].dealt, figures[2].seconds / 4)
    figures[0] = Spent(0, 0, 0, figures[2].seconds / 1000)
    found = tail(analyze(plan, figures, ""))
    assert found[2] == "rounds x3, seconds x0.25"
    assert found[0] == "", "a trifle"


def predicted(plan: Plan) -> list[Spent]:
    assert plan.root is not None
    costs = operator_costs(plan.root, 2, plan.network)
    return [Spent(cost.sent, cost.rounds, cost.dealt, nanoseconds(cost, plan.network) / 1e9) for _, cost in costs]


def tail(text: str) -> list[str]:
    """What stands behind the figures of every line."""
    lines = text.split("At the party where it is most:\n")[1].split("\n\n")[0].splitlines()
    width = len(lines[1])
    return [line[width:].strip() for line in lines[2:]]


def test_units() -> None:
    assert [duration(seconds) for seconds in (0, 0.000354, 0.00999, 0.0123, 0.354, 0.99951, 1.234, 59.96, 754.2)] == [
        "0.00 ms", "0.35 ms", "9.99 ms", "12.3 ms", "354 ms", "1.00 s", "1.23 s", "60.0 s", "754 s"]
    assert [size(count) for count in (0, 999, 1000, 999_499, 999_500)] == ["0 B", "999 B", "1.0 kB", "999 kB", "1.0 MB"]


# --- the command -----------------------------------------------------------------------------------


def run(*arguments: str, **variables: str) -> str:
    done = subprocess.run([sys.executable, "-m", "sdh", *arguments], capture_output=True, text=True, timeout=120, check=False,
                          env=os.environ | {"PYTHONPATH": os.getcwd()} | variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, options = tmp_path_factory.mktemp("stores"), list[str]()
    for seed, party in enumerate(("quick", SLOW)):
        with duckdb.connect(str(folder / f"{party}.duckdb")) as connection:
            connection.register("incoming", rows(seed))
            connection.execute("CREATE TABLE t AS FROM incoming")
        options += ["--party", f"{party}={folder / party}.duckdb", "--policy", f"{party}=open", "--key", f"{party}.t=id"]
    return options


@pytest.mark.parametrize("command", [["explain", "--analyze", ASKED["sum"]], ["query", f"EXPLAIN ANALYZE {ASKED['sum']}"]])
def test_the_command_prints_lines_whole(stores: list[str], tmp_path: Path, command: list[str]) -> None:
    text = run(*command, *stores, SDH_AUDIT=str(tmp_path / "books"))
    assert list(table_of(text))[-1] == "in all"
    assert "│  " not in text.split("At the party")[1], "no frame"
    shown = run("audit", str(tmp_path / "books" / f"{SLOW}.jsonl"))
    assert "on clear data, told to nobody" in shown
    assert "preparing" in shown
    assert shown == run("audit", SDH_AUDIT=str(tmp_path / "books")).split("\n\n", 1)[1], "quick's book comes first"


# --- seconds on clear data -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[dict[str, Any]], dict[str, sdh.Result], Path]]:
    """What the hub hears from nodes of which one is slow on clear data; the results; the parties' books."""
    messages: list[dict[str, Any]] = []
    receive, books = Link.receive_message, tmp_path_factory.mktemp("books")

    def listening(self: Link) -> dict[str, Any]:
        message = receive(self)
        messages.append(message)
        return message

    with (patch.object(Link, "receive_message", listening), patch.dict(os.environ, {audit.VARIABLE: str(books)}),
          opened(programs=Programs(node="tests.programs.slow_node")) as hub):
        hub.sql(ASKED["sum"])
        messages.clear()
        results = {name: hub.sql(ASKED[name]) for name in ("sum", "rows")} | {"local": hub.sql(LOCAL)}
        yield messages, results, books


def numbers(value: object) -> Iterator[float]:
    """All numbers in a message but whole ones, whether written as numbers or as texts."""
    match value:
        case dict():
            for part in value.values():
                yield from numbers(part)
        case list():
            for part in value:
                yield from numbers(part)
        case float():
            yield value
        case str() if "." in value:
            yield float(value)


def test_seconds_of_work_on_clear_data_are_in_no_message(heard: tuple[list[dict[str, Any]], dict[str, sdh.Result], Path]) -> None:
    messages, results, _ = heard
    assert messages
    assert {key for message in messages for key in message} <= SAID
    assert max(number for message in messages for number in numbers(message)) < SECONDS
    for message in messages:
        for figures in message.get("cost", {}).values():
            assert [type(figure) for figure in figures] == [int, int, int, str]
            assert len(figures[-1]) == 16, "a message's length tells nothing"
    counted = {(one.sent, one.rounds, one.dealt) for result in results.values() for spent in result.cost.operators.values()
               for one in spent}
    said = {tuple(figures[:3]) for message in messages for figures in message.get("cost", {}).values()}
    assert said == counted


def test_a_wait_for_a_peers_clear_work_is_in_no_operator(heard: tuple[list[dict[str, Any]], dict[str, sdh.Result], Path]) -> None:
    _, results, _ = heard
    for name in ("sum", "rows"):
        cost = results[name].cost
        assert cost.seconds > 3 * SECONDS, "the slow party was slow"
        assert max(one.seconds for one in cost.most) < SECONDS


def test_the_owner_alone_has_them(heard: tuple[list[dict[str, Any]], dict[str, sdh.Result], Path]) -> None:
    _, results, books = heard
    slow, quick = (list(audit.read(books / f"{party}.jsonl")) for party in (SLOW, "quick"))
    assert len(slow) == len(quick) + 1
    assert [entry.question for entry in slow] == [ASKED["sum"], ASKED["sum"], ASKED["rows"], LOCAL]
    for entry in slow[1:-1]:   # in the first it was loading
        assert all(seconds >= SECONDS for seconds in entry.clear.values())
        assert {step.split()[0] for step in entry.clear} == {"fragment", "encoding", "preparing"}
    assert list(slow[-1].clear) == ["fragment 0"]
    assert all(sum(entry.clear.values()) < 3 * SECONDS for entry in quick[1:])
    for entry, name in zip(slow[1:], ("sum", "rows", "local"), strict=True):
        result = results[name]
        assert result.plan is not None
        assert (entry.plan, entry.session, entry.client) == (result.plan.digest, result.session, "analyst")
        assert entry.revealed == tuple(map(str, result.revealed))
        seconds = [one.seconds for one in result.cost.operators.get(SLOW, ())]
        assert list(entry.shared.values()) == pytest.approx(seconds, abs=1e-6)


def test_a_book_is_its_owners(tmp_path: Path) -> None:
    book = tmp_path / "books" / "bank.jsonl"
    entry = audit.Entry("2026-01-01T00:00:00+00:00", "analyst", "SELECT 'ü\n'", "0", "1", ("x -> y (z)",), {"encoding": 0.5}, {})
    for _ in range(2):
        audit.write(book, entry)
    assert list(audit.read(book)) == [entry, entry]
    assert stat.S_IMODE(book.stat().st_mode) == 0o600
    assert stat.S_IMODE(book.parent.stat().st_mode) == 0o700
    for damaged in ("{}", "[]", "no", json.dumps({"when": 1})):
        book.write_text(damaged + "\n")
        with pytest.raises(ValueError):
            list(audit.read(book))


def test_without_a_folder_no_book_is_kept() -> None:
    with patch.dict(os.environ, clear=True):
        assert audit.book_of("bank") is None


def test_an_answer_that_cannot_be_booked_does_not_leave(tmp_path: Path) -> None:
    (tmp_path / "books").write_text("no folder")
    with patch.dict(os.environ, {audit.VARIABLE: str(tmp_path / "books")}), opened() as hub, pytest.raises(sdh.InternalError):
        hub.sql(ASKED["sum"])


# --- the meter -------------------------------------------------------------------------------------


def test_an_operators_figures_are_those_of_all_within_it() -> None:
    inner, last = Counted(10, 20, 30, 3.5), Counted(seconds=0.25)
    meter = Meter({"0:align": Counted(1, 2, 3, 4.0), "0:align/table": inner, "1:release": last})
    assert meter.whole == {"0:align": Counted(11, 22, 33, 4.0), "1:release": Counted(0, 0, 0, 0.25)}
    assert meter.total == Counted(11, 22, 33, 4.25)
    assert told(meter) == {"0": [11, 22, 33, "000000004.000000"], "1": [0, 0, 0, "000000000.250000"]}


def test_figures_are_those_of_the_busiest_party() -> None:
    by_party: dict[str, Sequence[Spent]] = {"bank": [Spent(1, 5, 7, 0.5)], "shop": [Spent(2, 5, 7, 0.25)]}
    assert Cost(operators=by_party).most == [Spent(2, 5, 7, 0.5)]
