"""Faults, through real processes: each a clear error of its own class, soon, and the hub is usable afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import sdh
from sdh import errors
from sdh.config import Limits, Programs
from sdh.connectors.wire import new_identity
from sdh.hub import Hub

FAULTY = Programs(node="tests.programs.faulty_node")
SOON = 3.0
"""Seconds within which a fault must be told: a second or two, on a busy machine."""

TABLES = {"bank": {"accounts": pa.table({"x": [1, 2, 3]})}, "shop": {"orders": pa.table({"y": [2, 20]})}}
SQL = "SELECT count(*) FROM bank.accounts a JOIN shop.orders b ON a.x < b.y"
ANSWER = [(4,)]


@pytest.fixture(scope="module")
def shared_hub() -> Iterator[Hub]:
    with new_hub() as hub:
        yield hub


@pytest.fixture
def hub(shared_hub: Hub) -> Iterator[Hub]:
    """A hub that must be as usable after the test as before."""
    yield shared_hub
    assert ask(shared_hub) == ANSWER


def new_hub(programs: Programs = FAULTY) -> Hub:
    hub = sdh.connect(programs=programs, limits=Limits(start=20, stop=1.0))
    for name, tables in TABLES.items():
        hub.attach(name, tables, policy=sdh.Policy.open())
    return hub


def ask(hub: Hub, fault: str = "none", timeout: float | None = 30) -> list[tuple[int]]:
    return hub.sql(f"{SQL} -- fault: {fault}", timeout=timeout).fetchall()


@contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


@contextmanager
def asking(hub: Hub, fault: str) -> Iterator[list[Exception]]:
    """Ask in another thread, which is in mid-query in the block; its error is in the list afterwards."""
    told: list[Exception] = []

    seen = threading.Event()
    thread = threading.Thread(target=lambda: hub_sql(hub, fault, seen, told))
    thread.start()
    assert seen.wait(20)
    yield told
    thread.join(SOON)
    assert not thread.is_alive()


def hub_sql(hub: Hub, fault: str, seen: threading.Event, told: list[Exception]) -> None:
    try:
        hub.sql(f"{SQL} -- fault: {fault}", timeout=30, progress=lambda done, planned, label: seen.set())
    except Exception as error:
        told.append(error)


def processes(hub: Hub) -> list[int]:
    return [process.popen.pid for process in hub._members._running]


def node(hub: Hub, name: str) -> int:
    return hub._members.parties[name].process.popen.pid


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_gone(pids: list[int], seconds: float = 2.0) -> bool:
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_a_party_that_revealed_more_than_the_plan_lists_is_named(hub: Hub) -> None:
    """Every answer to every query of every suite is held against EXPLAIN's list."""
    with pytest.raises(errors.ProtocolError, match="bank revealed something else than EXPLAIN lists"):
        ask(hub, "reveal bank")


# --- processes that end ----------------------------------------------------------------------------


@pytest.mark.parametrize("party", ["bank", "shop"])
def test_a_party_killed_in_mid_query_is_named(hub: Hub, party: str) -> None:
    ask(hub)
    with soon(), pytest.raises(errors.PartyLost, match=f"The node of {party} was killed by signal 9"):
        ask(hub, f"die {party}")


def test_a_party_killed_from_outside_in_mid_query(hub: Hub) -> None:
    with asking(hub, "stall bank") as told, soon():
        os.kill(node(hub, "shop"), signal.SIGKILL)
    assert isinstance(told[0], errors.PartyLost)
    assert "shop" in str(told[0])


def test_a_party_that_died_between_queries_is_started_again(hub: Hub) -> None:
    process = hub._members.parties["bank"].process
    process.popen.kill()
    process.popen.wait()
    assert ask(hub) == ANSWER
    assert hub._members.parties["bank"].process is not process


def test_last_words_of_a_node_are_quoted(hub: Hub) -> None:
    with pytest.raises(errors.PartyLost, match="ended with exit code 3: no room left in the attic"):
        ask(hub, "exit shop")


def test_dealer_killed_in_mid_query(hub: Hub) -> None:
    with asking(hub, "stall bank") as told, soon():
        dealer = hub._members._dealer
        assert dealer is not None
        os.kill(dealer.popen.pid, signal.SIGKILL)
    assert isinstance(told[0], errors.DealerLost)
    assert "signal 9" in str(told[0])


def test_dealer_killed_between_queries_is_started_again(hub: Hub) -> None:
    dealer = hub._members._dealer
    assert dealer is not None
    dealer.popen.kill()
    dealer.popen.wait()
    assert ask(hub) == ANSWER


@pytest.mark.parametrize(("program", "words"), [
    ("tests.programs.broken_node", "exit code 3: OSError: no such island"),
    ("tests.programs.absent", "No module named"),
])
def test_a_node_that_does_not_start(program: str, words: str) -> None:
    with sdh.connect(programs=Programs(node=program)) as hub:
        with soon(), pytest.raises(errors.PartyLost, match=words):
            hub.attach("bank", TABLES["bank"])
        assert hub.tables() == ()


def test_a_node_that_starts_and_says_nothing() -> None:
    with sdh.connect(programs=Programs(node="tests.programs.mute_node"), limits=Limits(start=0.5)) as hub:
        with soon(), pytest.raises(errors.ProtocolError, match="did not answer"):
            hub.attach("bank", TABLES["bank"])
        assert all_gone(processes(hub)[1:])


def test_a_dealer_that_does_not_start() -> None:
    programs = Programs(FAULTY.node, "tests.programs.broken_node")
    with new_hub(programs) as hub, pytest.raises(errors.DealerLost, match="island"):
        ask(hub)


# --- time and turns --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["stall bank", "stall shop", "stop bank"])
def test_deadline(hub: Hub, fault: str) -> None:
    with soon(), pytest.raises(errors.DeadlinePassed):
        ask(hub, fault, timeout=0.5)


def test_a_second_query_while_one_runs(hub: Hub) -> None:
    with asking(hub, "stall bank") as told:
        for call in (ask, lambda hub: hub.attach("other", TABLES["bank"]), lambda hub: hub.detach("bank"),
                     lambda hub: hub.explain("SELECT 1"), lambda hub: hub.publish("nation", pa.table({"x": [1]}))):
            with pytest.raises(errors.HubBusy):
                call(hub)
        os.kill(node(hub, "bank"), signal.SIGKILL)
    assert isinstance(told[0], errors.PartyLost)


def test_closing_ends_a_running_query() -> None:
    hub = new_hub()
    pids = processes(hub)
    with asking(hub, "stall bank") as told:
        hub.close()
    assert isinstance(told[0], errors.HubClosed)
    assert all_gone(pids)
    assert not hub._members.root.exists()


def test_a_closed_hub() -> None:
    hub = sdh.connect()
    hub.close()
    hub.close()
    for call in (lambda: hub.sql("SELECT 1"), lambda: hub.explain("SELECT 1"), hub.tables, lambda: hub.schema("a.b"),
                 lambda: hub.attach("bank", TABLES["bank"]), lambda: hub.detach("bank"),
                 lambda: hub.publish("nation", pa.table({"x": [1]}))):
        with pytest.raises(errors.HubClosed):
            call()


# --- causes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("party", ["bank", "shop"])
def test_the_cause_is_told_not_its_consequences(hub: Hub, party: str) -> None:
    with soon(), pytest.raises(errors.DataError, match=f"the data of {party}: a division by zero"):
        ask(hub, f"data {party}")


def test_an_unexpected_exception_tells_its_class_and_no_data(hub: Hub) -> None:
    with pytest.raises(errors.InternalError, match="bank met an unexpected ValueError during encoding") as told:
        ask(hub, "raise bank")
    assert "4711" not in str(told.value)
    assert all("4711" not in line for process in hub._members._running for line in process.tail)


def test_a_node_that_plans_otherwise(hub: Hub) -> None:
    with pytest.raises(errors.PlanMismatch):
        ask(hub, "plan bank")


def test_a_catalog_that_a_node_did_not_publish(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    attached = hub._members.parties["bank"]
    with monkeypatch.context() as patch:
        tables = tuple(replace(table, rows=table.rows + 1) for table in attached.party.tables)
        patch.setattr(attached, "party", replace(attached.party, tables=tables))
        with pytest.raises(errors.PlanMismatch, match="not what bank published"):
            ask(hub)


def test_a_receiver_that_the_nodes_do_not_know(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hub._members, "identity", new_identity("analyst"))
        with pytest.raises(errors.PlanMismatch, match="does not know the receiver"):
            ask(hub)


def test_a_count_that_the_policy_cannot_announce(hub: Hub) -> None:
    with pytest.raises(errors.ProtocolError, match="bank announced a count"):
        ask(hub, "slots bank")


def test_a_nonce_used_twice() -> None:
    with new_hub() as hub:
        assert ask(hub, "nonce bank") == ANSWER
        with pytest.raises(errors.ProtocolError, match="nonce was offered a second time"):
            ask(hub)


# --- names -----------------------------------------------------------------------------------------


def test_names_are_given_once(hub: Hub) -> None:
    hub.publish("nation", pa.table({"x": [1]}))
    for taken in ("bank", "Bank", "nation"):
        with pytest.raises(errors.NameTaken):
            hub.attach(taken, TABLES["bank"])
        with pytest.raises(errors.NameTaken):
            hub.publish(taken, pa.table({"x": [1]}))
    with pytest.raises(errors.UnknownDeclaration):
        hub.attach("ba nk", TABLES["bank"])


def test_an_unknown_party(hub: Hub) -> None:
    with pytest.raises(errors.UnknownParty, match="Attached: bank, shop"):
        hub.detach("bnak")


def test_a_store_that_cannot_be_attached_leaves_nothing(hub: Hub, tmp_path: Path) -> None:
    before = processes(hub)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    faults = {tmp_path / "absent.duckdb": errors.MissingStore, tmp_path / "torn.parquet": errors.CorruptStore,
              42: errors.UnsupportedStore}
    for store, fault in faults.items():
        with pytest.raises(fault):
            hub.attach("other", store)
    assert processes(hub) == before


# --- the hub's own end -----------------------------------------------------------------------------

SCRIPT = """
import sys
from tests.test_faults import SQL, ask, new_hub, processes
hub = new_hub()
print(*processes(hub), hub._members.root, flush=True)
"""


def start(script: str) -> tuple[subprocess.Popen[str], list[int], Path]:
    """A script with a hub, without a main guard; its nodes' process ids and private folder."""
    script = SCRIPT + script
    program = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert program.stdout is not None
    line = program.stdout.readline().split()
    assert line, program.communicate()[1]
    return program, [int(word) for word in line[:-1]], Path(line[-1])


RUNNING = """
hub.sql(SQL + "-- fault: stall bank", timeout=30, progress=lambda done, planned, label: print("running", flush=True))
"""


@pytest.mark.parametrize("script", ["sys.stdin.read()", RUNNING])
def test_a_killed_hub_leaves_nothing(script: str) -> None:
    program, pids, folder = start(script)
    if script == RUNNING:
        assert program.stdout is not None
        assert program.stdout.readline() == "running\n"
    program.kill()
    assert all_gone(pids)
    program.communicate()
    assert not folder.exists()


@pytest.mark.parametrize(("script", "code"), [("", 0), ("raise ValueError", 1), ("sys.exit(4)", 4)])
def test_a_script_that_ends_leaves_nothing(script: str, code: int) -> None:
    program, pids, folder = start(script)
    program.communicate(timeout=20)
    assert program.returncode == code
    assert all_gone(pids)
    assert not folder.exists()


INTERRUPTED = """
try:
    hub.sql(SQL + "-- fault: stall bank", timeout=30, progress=lambda done, planned, label: print("running", flush=True))
except KeyboardInterrupt:
    print("interrupted", ask(hub), processes(hub)[1:] , flush=True)
"""


def test_an_interrupt_ends_the_query_and_nothing_else() -> None:
    program, pids, folder = start(INTERRUPTED)
    assert program.stdout is not None
    assert program.stdout.readline() == "running\n"
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=20)
    assert "interrupted" in out, err
    assert str(ANSWER) in out
    assert program.returncode == 0
    assert all_gone(pids)
    assert not folder.exists()
