"""The memory limit of nodes and the dealer: refused beforehand, or failed by name, and never exceeded."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import sdh
from sdh import errors
from sdh.config import LEAST, MIB, Limits, Share, machine_memory, memory_from_text, share_of_machine
from sdh.executors.local import told
from sdh.hub import Hub
from sdh.planners.memory import SLICE, peak
from sdh.planners.physical import Release
from sdh.planners.plan import Plan, finish, place
from sdh.processes import Process

ROWS = 200_000
JOIN = "SELECT sum(a.x * b.y) FROM a.t a JOIN b.t b ON a.id = b.id"
SMALL = JOIN + " WHERE a.id < 3 AND b.id < 3"
ANSWER = [(5,)]


@pytest.fixture(scope="module")
def shared_hub() -> Iterator[Hub]:
    numbers = pa.array(np.arange(ROWS))
    with sdh.connect(memory_limit="1GiB", limits=Limits(stop=20)) as hub:
        few = pa.table({"z": numbers[:4_000]})
        hub.attach("a", {"t": pa.table({"id": numbers, "x": numbers}), "few": few}, policy=sdh.Policy.open(),
                   keys={"t": [("id",)]})
        hub.attach("b", {"t": pa.table({"id": numbers, "y": numbers}), "few": few}, policy=sdh.Policy.open())
        assert hub.sql(SMALL).fetchall() == ANSWER
        yield hub


@pytest.fixture
def hub(shared_hub: Hub) -> Iterator[Hub]:
    """A hub whose processes are the same and as usable after the test as before, and stayed below their limit."""
    before = [process.popen.pid for process in processes(shared_hub)]
    yield shared_hub
    assert shared_hub.sql(SMALL).fetchall() == ANSWER
    assert [process.popen.pid for process in processes(shared_hub)] == before
    assert all(highest(process) <= 1024 * MIB for process in processes(shared_hub))


def processes(hub: Hub) -> list[Process]:
    return hub._members._running


def highest(process: Process) -> int:
    """Bytes of memory at its peak."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.popen.pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


@contextmanager
def limited(process: Process, more: int) -> Iterator[None]:
    """In the block the process can take `more` bytes beyond what it has."""
    found = re.search(r"VmData:\s+(\d+) kB", Path(f"/proc/{process.popen.pid}/status").read_text())
    assert found is not None
    limits = (int(found[1]) * 1024 + more, resource.RLIM_INFINITY)
    before = resource.prlimit(process.popen.pid, resource.RLIMIT_DATA, limits)
    try:
        yield
    finally:
        resource.prlimit(process.popen.pid, resource.RLIMIT_DATA, before)


# --- refused ---------------------------------------------------------------------------------------


def test_what_cannot_fit_is_refused_before_anything_is_shared(hub: Hub) -> None:
    with pytest.raises(errors.MemoryExceeded, match=r"align needs about \d+ MiB .* its limit leaves 1\d\d MiB") as told:
        hub.sql(JOIN)
    assert "Nothing was shared" in str(told.value)
    with pytest.raises(errors.MemoryExceeded, match="align needs about"):
        hub.prepare(JOIN)


def test_explain_shows_the_estimate(hub: Hub) -> None:
    [line] = [line for line in hub.explain(JOIN).splitlines() if line.startswith("Memory")]
    estimate = peak(root(hub, JOIN))
    assert line == f"Memory of each party on shares: at most about {estimate.bytes >> 20} MiB, in align"


def test_estimates_grow_with_rows_where_rows_are_moved_and_with_slices_elsewhere(hub: Hub) -> None:
    small, large = (peak(root(hub, JOIN, rows)) for rows in (ROWS, 10 * ROWS))
    assert 3 < large.bytes / small.bytes < 10   # many rows move in parts
    assert large.operator == "align"
    pairs = "SELECT count(*) FROM a.few a JOIN b.few b ON a.z < b.z"
    bounded = [peak(root(hub, pairs, rows)).bytes for rows in (2_000, 4_000)]
    assert bounded[1] < 1.05 * bounded[0] < 400 * SLICE
    whole = peak(root(hub, pairs.replace("count(*)", "a.z, b.z"), 4_000))
    assert whole.bytes > 4_000**2 * 16
    sums = ", ".join(f"sum(a.x * b.y + {number})" for number in range(8))
    assert peak(root(hub, f"SELECT b.id, {sums} FROM a.t a JOIN b.t b ON a.id = b.id GROUP BY b.id")).operator == "aggregate"


def root(hub: Hub, sql: str, rows: int | None = None) -> Release:
    plan = planned(hub, sql, rows)
    assert plan.root is not None
    return plan.root


def planned(hub: Hub, sql: str, rows: int | None) -> Plan:
    placed = place(hub._question(sql, None), hub._members.catalog)
    return finish(placed, tuple(fragment.slots if rows is None else rows for fragment in placed.fragments))


# --- failed ----------------------------------------------------------------------------------------


def test_a_fragment_that_is_too_large_fails_by_name(hub: Hub) -> None:
    with pytest.raises(errors.MemoryExceeded, match=r"The memory limit was met at a during .*fragment"):
        hub.sql("SELECT a.x + b.x FROM a.t a, a.t b")


@pytest.mark.parametrize("name", ["a", "b", "$dealer"])
def test_a_run_that_meets_the_limit_fails_by_name(hub: Hub, name: str) -> None:
    hub.sql(SMALL)
    [process] = [process for process in processes(hub) if process.name == name]
    sql = JOIN.replace("SELECT", f"SELECT /* {name} */") + " WHERE a.id < 30000 AND b.id < 30000"
    with limited(process, 10 * MIB), pytest.raises(errors.MemoryExceeded, match=re.escape(f"met at {name} during")):
        hub.sql(sql)


def test_duckdbs_own_limit() -> None:
    error = told(duckdb.OutOfMemoryException("the secret is 4711"), "bank")
    assert isinstance(error, errors.MemoryExceeded)
    assert "4711" not in str(error)


# --- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "size"), [("2GiB", 2 << 30), ("1.5 GB", 1_500_000_000), ("4096mib", 4 << 30),
                                            ("1tib", 1 << 40), ("3000000000B", 3_000_000_000)])
def test_sizes(text: str, size: int) -> None:
    assert memory_from_text(text) == size


@pytest.mark.parametrize("text", ["", "2", "2 gigabytes", "-2GiB", "1GB", "1023MiB", "0GiB", "GiB"])
def test_sizes_that_are_none_or_too_small(text: str) -> None:
    with pytest.raises(errors.UnknownDeclaration, match="cannot be the memory limit"):
        sdh.connect(memory_limit=text)


def test_what_a_process_may_use() -> None:
    """All shares of the default fit the machine; the parts of a share fit it."""
    assert 3 * share_of_machine(3).memory <= machine_memory() or share_of_machine(3).memory == LEAST
    assert share_of_machine(6).memory <= share_of_machine(3).memory
    assert share_of_machine(3, 5 << 30).memory == 5 << 30
    share = Share(2, 2 << 30)
    assert 0 < share.shares < share.memory - share.duckdb
    assert Share(1, LEAST).shares > 100 * MIB
