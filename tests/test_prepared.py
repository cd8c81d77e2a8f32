"""Prepared queries through real processes: dealt to disk, pinned, run once, ended by any fault."""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sdh
import sdh.conduct
from sdh import errors
from sdh.ahead import PIECE, TAG, USED, Ahead
from sdh.hub import Hub
from sdh.prepared import Prepared
from sdh.processes import Process
from sdh.session import DEALER
from tests.taping import Taped
from tests.test_faults import ANSWER, SQL, ask, new_hub, soon


@pytest.fixture(scope="module")
def shared_hub() -> Iterator[Hub]:
    with new_hub() as hub:
        assert ask(hub) == ANSWER   # imports
        yield hub


@pytest.fixture
def hub(shared_hub: Hub) -> Iterator[Hub]:
    """A hub that must be as usable after the test as before, and keep nothing of a prepared query."""
    yield shared_hub
    assert ask(shared_hub) == ANSWER
    assert dealt(shared_hub) == []


def dealer(hub: Hub) -> Process:
    found = hub._members._dealer
    assert found is not None
    return found


def dealt(hub: Hub) -> list[Path]:
    """The folders of streams on the dealer's disk."""
    return [path for path in dealer(hub).folder.iterdir() if path.is_dir()]


def disagree(listener: sdh.conduct.Listener) -> None:
    raise errors.PlanMismatch("No node told what it planned.")


def refused(prepared: Prepared) -> bool:
    with pytest.raises(errors.PreparedSpent, match="Prepare it again"):
        prepared.run()
    return True


# --- answers ---------------------------------------------------------------------------------------


def test_it_runs_once_with_other_queries_in_between(hub: Hub) -> None:
    first = hub.prepare(SQL)
    second = hub.prepare("SELECT sum(a.x * b.y) AS total FROM bank.accounts a JOIN shop.orders b ON a.x <= $least",
                         params={"least": 2})
    assert ask(hub) == ANSWER
    assert hub.sql("SELECT count(*) FROM bank.accounts").fetchall() == [(3,)]
    assert second.run().fetchall() == [(66,)]
    result = first.run()
    assert result.fetchall() == ANSWER
    assert result.plan is not None
    assert result.plan.digest in first.explain()
    assert set(result.cost.bytes) == {"bank", "shop"}
    assert result.cost.dealer_bytes > 0
    assert refused(first) and refused(second)


def test_three_parties_and_a_hub_that_closes() -> None:
    with sdh.connect() as hub:
        for name in ("north", "east", "south"):
            hub.attach(name, {"t": pa.table({"k": [1, 2, 3], "v": [4, 5, 6]})}, policy=sdh.Policy.open(), keys={"t": [("k",)]})
        prepared = hub.prepare("SELECT sum(a.v * b.v + c.v) FROM north.t a JOIN east.t b ON a.k = b.k "
                               "JOIN south.t c ON b.k = c.k")
        assert len(list(dealt(hub)[0].iterdir())) == 3
        assert prepared.run().fetchall() == [(16 + 25 + 36 + 15,)]
        left = hub.prepare("SELECT sum(a.v * b.v) FROM north.t a JOIN east.t b ON a.k = b.k")
        (folder,) = dealt(hub)
    assert not folder.exists()
    left.close()
    with pytest.raises(errors.HubClosed):
        left.run()


def test_the_rows_are_those_it_was_prepared_on(tmp_path: Path) -> None:
    store = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": [1, 2, 3]}), store)
    sql = "SELECT sum(a.x * b.y) FROM a.t a JOIN b.t b ON a.x <> b.y"
    with sdh.connect() as hub:
        hub.attach("a", store, policy=sdh.Policy.open())
        hub.attach("b", {"t": pa.table({"y": [2]})}, policy=sdh.Policy.open())
        prepared = hub.prepare(sql)
        pq.write_table(pa.table({"x": [100, 200, 300, 400]}), store)
        with pytest.raises(errors.StaleFact):
            hub.sql(sql)
        assert prepared.run().fetchall() == [(8,)]


def test_what_is_not_prepared(hub: Hub) -> None:
    for sql in ("SELECT count(*) FROM bank.accounts", "SELECT 1"):
        with pytest.raises(errors.Unsupported, match="Only a query across owners"):
            hub.prepare(sql)
    with pytest.raises(errors.Unsupported, match="Only SELECT"):
        hub.prepare(f"EXPLAIN {SQL}")
    with pytest.raises(errors.UnknownTable):
        hub.prepare("SELECT count(*) FROM bank.accounts a JOIN shop.oders b ON a.x < b.y")


# --- what leaves, and when -------------------------------------------------------------------------


def test_nothing_is_shared_before_the_run_and_nothing_is_dealt_from_what_is_marked() -> None:
    taped = Taped()
    try:
        for name, table in (("bank", {"x": [1, 2, 3]}), ("shop", {"y": [2, 20]})):
            taped.hub.attach(name, {"t": pa.table(table)}, policy=sdh.Policy.open())
        made: list[Prepared] = []

        def prepare() -> sdh.Result:
            made.append(taped.hub.prepare("SELECT count(*) FROM bank.t a JOIN shop.t b ON a.x < b.y"))
            return sdh.Result(pa.table({}))

        for _ in range(2):
            before = taped.record(prepare)
            assert before.error is None
            assert not before.shared_anything
        run = taped.record(made[0].run)
        assert run.result is not None
        assert run.result.fetchall() == [(4,)]
        received = [record for record in run.of(DEALER) if record.kind == "received" and record.peer in ("bank", "shop")]
        assert {(record.address, record.size) for record in received} == {("end", 0)}
        assert sum(record.size for record in run.of(DEALER) if record.is_masked) == run.result.cost.dealer_bytes
        (dealt(taped.hub)[0] / USED).touch()
        again = taped.record(made[1].run)
        assert isinstance(again.error, errors.PreparedSpent)
        assert not any(record.is_masked for record in again.of(DEALER))
    finally:
        taped.close()


def test_files_are_private_and_go_with_the_run_and_with_close(hub: Hub) -> None:
    with hub.prepare(SQL) as prepared:
        (folder,) = dealt(hub)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = sorted(folder.iterdir())
        assert [file.name for file in files] == ["0", "1"]
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 and file.stat().st_size for file in files)
        assert prepared.run().fetchall() == ANSWER
        assert dealt(hub) == []
    with hub.prepare(SQL) as prepared:
        assert len(dealt(hub)) == 1
    assert dealt(hub) == []
    assert refused(prepared)
    prepared.close()


# --- faults ----------------------------------------------------------------------------------------


def test_a_party_that_ends_before_the_run(hub: Hub) -> None:
    prepared, again = hub.prepare(SQL), hub.prepare(SQL)
    process = hub._members.parties["bank"].process
    os.kill(process.popen.pid, signal.SIGKILL)
    with soon(), pytest.raises(errors.PartyLost, match=r"The node of bank .*prepare it again"):
        prepared.run()
    assert refused(prepared)
    assert ask(hub) == ANSWER
    assert hub._members.parties["bank"].process is not process
    with soon(), pytest.raises(errors.PartyLost, match=r"The node of bank .*prepare it again"):
        again.run()


def test_the_dealer_that_ends_before_the_run(hub: Hub) -> None:
    prepared, folder = hub.prepare(SQL), dealer(hub).folder
    os.kill(dealer(hub).popen.pid, signal.SIGKILL)
    with soon(), pytest.raises(errors.DealerLost, match="prepare it again"):
        prepared.run()
    assert not folder.exists()
    assert refused(prepared)


def test_a_party_that_ends_in_the_run(hub: Hub) -> None:
    prepared = hub.prepare(f"{SQL} -- fault: die shop")
    with soon(), pytest.raises(errors.PartyLost, match=r"shop .*prepare it again"):
        prepared.run()
    assert refused(prepared)


def test_the_deadline_of_a_run_and_of_preparing(hub: Hub) -> None:
    prepared = hub.prepare(SQL)
    for call in (prepared.run, partial(hub.prepare, SQL)):
        os.kill(dealer(hub).popen.pid, signal.SIGSTOP)
        with soon(), pytest.raises(errors.DeadlinePassed):
            call(timeout=0.5)
        assert ask(hub) == ANSWER
    assert refused(prepared)


def test_a_failure_while_preparing_leaves_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with soon(), pytest.raises(errors.DataError, match="a division by zero"):
        hub.prepare(f"{SQL} -- fault: data bank")
    with monkeypatch.context() as patch:
        patch.setattr(sdh.conduct.Listener, "agreed", disagree)   # when all is dealt
        with pytest.raises(errors.PlanMismatch):
            hub.prepare(SQL)
    assert dealt(hub) == []


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: b"\0" + data[1:], lambda data: data[:40] + data],
                         ids=["cut", "altered", "moved"])
def test_what_was_altered_on_disk_is_refused(hub: Hub, change: Any) -> None:
    prepared = hub.prepare(SQL)
    file = dealt(hub)[0] / "1"
    data = file.read_bytes()
    with file.open("r+b") as opened:
        opened.truncate(opened.write(change(data)))
    with soon(), pytest.raises(errors.ProtocolError, match="altered on the dealer's disk"):
        prepared.run()
    assert refused(prepared)


def test_a_full_disk(hub: Hub) -> None:
    limits = resource.prlimit(dealer(hub).popen.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        with soon(), pytest.raises(errors.DiskFull, match="no room"):
            hub.prepare(SQL)
    finally:
        resource.prlimit(dealer(hub).popen.pid, resource.RLIMIT_FSIZE, limits)
    assert dealt(hub) == []


def test_processes_refuse_what_a_hub_asks_for_twice(hub: Hub) -> None:
    """The hub is not trusted to run a prepared query once: nodes and the dealer see to it."""
    prepared = hub.prepare(SQL)
    assert prepared.run().fetchall() == ANSWER
    for process in prepared._ready.crew.all:
        with pytest.raises(errors.PreparedSpent):
            hub._members.request(process, {"do": "run", "prepared": prepared._ready.identifier})


# --- the stream on disk ----------------------------------------------------------------------------


def test_a_stream_is_what_was_written_and_is_read_after_a_durable_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    corrections = [(0, "a#0", b""), (1, "b#1", os.urandom(PIECE)), (0, "c#2", os.urandom(2 * PIECE + 1)), (1, "d#3", b"x")]
    stream = Ahead(tmp_path / "dealt", 2)
    for holder, address, correction in corrections:
        stream.write(holder, address, correction)
    stream.finish()
    files = [(tmp_path / "dealt" / name).read_bytes() for name in "01"]
    assert [len(file) for file in files] == [2 * PIECE + 1 + 3 * TAG, PIECE + 1 + 2 * TAG]
    assert not any(correction[:64] in file for _, _, correction in corrections if len(correction) > 64 for file in files)
    stream.use()
    assert synced == [str(tmp_path / "dealt" / USED), str(tmp_path / "dealt")]
    for holder, address, correction in corrections:
        assert stream.read(holder, address, len(correction)) == correction
    with pytest.raises(errors.PreparedSpent):
        stream.use()
    stream.close()
    assert not (tmp_path / "dealt").exists()


def test_a_stream_is_bound_to_its_addresses(tmp_path: Path) -> None:
    stream = Ahead(tmp_path / "dealt", 1)
    stream.write(0, "a#0", b"12345678")
    stream.finish()
    with pytest.raises(errors.ProtocolError):
        stream.read(0, "a#1", 8)
    stream.close()
