"""A plan's memory, estimated and measured: python -m tests.bench.memory [ROWS]. One JSON object a line.

For each query: the estimate (planners/memory.py), and by how much the resident memory of either party and of the dealer
grew at its peak, from a hub that was at work before. `ratio` is the hungrier party's peak over the estimate.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

import sdh
from sdh.hub import Hub
from sdh.planners.memory import peak

JOIN = "a.t a JOIN b.t b ON a.id = b.id"
QUERIES = {
    "align": f"SELECT sum(b.y) FROM {JOIN}",
    "align wide": f"SELECT sum(a.x * b.y + a.p0 * b.q0 + a.p1 * b.q1 + a.p2 * b.q2) FROM {JOIN}",
    "filter": f"SELECT count(*) FROM {JOIN} WHERE a.x < b.y AND a.p0 < b.q0",
    "group": f"SELECT b.g, sum(a.x), min(a.p0), avg(b.q1) FROM {JOIN} GROUP BY b.g",
    "release": f"SELECT a.x, b.y, a.p0, a.p1, b.q0 FROM {JOIN}",
    "divide": f"SELECT a.x / b.y FROM {JOIN} WHERE b.y > 5",
    "pairs": "SELECT count(*), sum(a.x * b.y) FROM a.few a JOIN b.few b ON a.x < b.y",
}


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 250_000
    with sdh.connect(memory_limit="6GiB") as hub:
        for party, tables in zip("ab", _tables(rows), strict=True):
            hub.attach(party, tables, policy=sdh.Policy.open(), keys={"t": [("id",)]} if party == "a" else None)
        hub.sql(f"SELECT count(*) FROM {JOIN} WHERE a.id < 4 AND b.id < 4")   # imports
        for name, sql in QUERIES.items():
            print(json.dumps({"query": name, "n": rows} | measure(hub, sql)), flush=True)


def measure(hub: Hub, sql: str) -> dict[str, object]:
    processes = {process.name: process.popen.pid for process in hub._members._running}
    for pid in processes.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")   # its peak counts from now on
    before = {name: resident(pid)["VmRSS"] for name, pid in processes.items()}
    began = perf_counter()
    result = hub.sql(sql)
    seconds = perf_counter() - began
    grown = {name: resident(pid)["VmHWM"] - before[name] for name, pid in processes.items()}
    assert result.plan is not None
    assert result.plan.root is not None
    most = peak(result.plan.root)
    return {"operator": most.operator, "estimate": most.bytes, "measured": grown, "seconds": round(seconds, 2),
            "ratio": round(max(grown["a"], grown["b"]) / most.bytes, 2)}


def resident(pid: int) -> Mapping[str, int]:
    """Bytes of memory now (VmRSS) and at the peak (VmHWM)."""
    found = re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return {name: int(size) << 10 for name, size in found}


def _tables(rows: int) -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    draw = np.random.Generator(np.random.PCG64(1))

    def column(count: int, low: int = -1000, high: int = 1000) -> pa.Array[Any]:
        return pa.array(draw.integers(low, high, count))

    few = max(int(4 * rows**0.5), 1)
    a = {"id": pa.array(np.arange(rows))} | {name: column(rows) for name in ("x", "p0", "p1", "p2")}
    b = {"id": column(rows, 0, 2 * rows), "g": column(rows, 0, 100)}
    b |= {name: column(rows) for name in ("y", "q0", "q1", "q2")}
    return ({"t": pa.table(a), "few": pa.table({"x": column(few)})}, {"t": pa.table(b), "few": pa.table({"y": column(few)})})


if __name__ == "__main__":
    main()
