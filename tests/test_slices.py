"""Aggregates over more pairs than one slice holds, against DuckDB, through real processes."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

import sdh
from sdh.executors.slices import SLICE
from tests.compare import difference

LEFT, RIGHT = 1500, 800
QUERY = """SELECT count(*), sum(a.x * b.y), max(a.x - b.y), min(b.z), sum(CASE WHEN a.x > b.y THEN a.x * b.z END)
FROM {a}.t a, {b}.t b WHERE a.x > b.y AND (a.x <> b.z OR b.z IS NULL)"""


def test_aggregates_over_several_slices() -> None:
    assert LEFT * RIGHT > SLICE
    rng = np.random.default_rng(5)
    left = pa.table({"x": pa.array(rng.integers(-1000, 1000, LEFT))})
    null = rng.random(RIGHT) < 0.1
    right = pa.table({"y": pa.array(rng.integers(-1000, 1000, RIGHT)), "z": pa.array(rng.integers(-9, 9, RIGHT), mask=null)})
    with sdh.connect() as hub:
        for party, table in (("north", left), ("south", right)):
            hub.attach(party, {"t": table}, policy=sdh.Policy.open())
        found = hub.sql(QUERY.format(a="north", b="south")).arrow()
    here = duckdb.connect()
    here.register("left_", left)
    here.register("right_", right)
    wanted = here.sql(QUERY.format(a="t", b="t").replace("t.t a", "left_ a").replace("t.t b", "right_ b")).to_arrow_table()
    assert not difference(found, wanted, ordered=False)
