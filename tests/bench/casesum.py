"""SUM(CASE WHEN a.x > b.y THEN a.x * b.z END) over Parquet files of two owners, rows aligned by position.

Each slice of rows is shared, compared, multiplied, selected and added up, while a thread reads the next: memory does
not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdh.connectors.wire import Link
from sdh.executors.arithmetic import multiply, mux, to_arithmetic
from sdh.executors.compare import is_zero, less
from sdh.executors.runtime import Session
from sdh.executors.shares import raw
from tests.bench import columns, files
from tests.bench.programs import opened_value, ready, stop

SLICE = 1 << 20
"""Rows shared at a time."""


def start(rank: int, links: Mapping[int, Link], **_: Any) -> dict[str, Any]:
    del rank
    return {"began": ready(links)}


def operation(session: Session, rows: int, folder: str, wanted: int | None, began: float = 0.0) -> dict[str, Any]:
    """1. Share a slice of x, y, z. 2. y < x. 3. x * z. 4. Select it by the comparison, add it up; count the rows that
    were selected. 5. The sum is NULL where the count is 0. Checked against DuckDB's answer."""
    zero = torch.zeros(1, dtype=torch.int64, device=session.device)
    total, count = zero, zero
    for size, (x, y, z) in zip(columns.sizes(rows, SLICE), _read(session, Path(folder), rows), strict=True):
        a, b, c = session.share(0, x, size), session.share(1, y, size), session.share(1, z, size)
        met = less(session, b, a, 33)
        total = total + raw(mux(session, met, multiply(session, a, c))).sum(0)
        count = count + raw(to_arithmetic(session, met)).sum(0)
    null = is_zero(session, count, rows.bit_length())
    clocked = stop(session, began)
    found, none = opened_value(session, total), opened_value(session, null)
    if found is not None and none is not None:
        assert (None if none[0] else int(found[0])) == wanted, (found, none, wanted)
    return clocked


def _read(session: Session, folder: Path, rows: int) -> Iterator[tuple[Tensor | None, ...]]:
    """Slices of x, y, z: each at its owner, None elsewhere and in a trace. The next is read while one is worked on."""
    if session.tracing or session.rank >= len(files.OWNED):
        yield from ((None, None, None) for _ in columns.sizes(rows, SLICE))
        return
    owned = files.slices(folder, session.rank, rows, SLICE)
    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(next, owned, None)
        while (found := ahead.result()) is not None:
            ahead = reader.submit(next, owned, None)
            parts = [torch.from_numpy(column) for column in found]
            yield (parts[0], None, None) if session.rank == 0 else (None, parts[0], parts[1])
