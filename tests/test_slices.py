"""More pairs than one slice holds, in aggregates and in joins that are not INNER: against DuckDB, through real processes."""

from __future__ import annotations

from unittest.mock import patch

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import sdh
from sdh.executors.release import assemble
from sdh.executors.slices import SLICE
from sdh.planners import memory
from sdh.planners.memory import peak
from tests.compare import difference
from tests.join_ways_programs import data, planned
from tests.parties import Pool

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


KINDS = {
    "semi": "SELECT x.id FROM bank.t x WHERE EXISTS (SELECT 1 FROM shop.t y WHERE y.n > x.n AND y.b)",
    "anti": "SELECT x.id, x.s FROM bank.t x WHERE NOT EXISTS (SELECT 1 FROM shop.t y WHERE y.n > x.n)",
    "mark": "SELECT x.id, x.k IN (SELECT y.k FROM shop.t y WHERE y.n > x.n) AS m FROM bank.t x",
    "single": "SELECT x.id, (SELECT y.s FROM shop.t y WHERE y.n < x.n - 95) AS v, x.b FROM bank.t x",
}
ROWS, FEW = [11, 13], 40
"""13 or more pairs for each left row: two or three rows a slice."""


@pytest.mark.parametrize("name", KINDS)
def test_rows_of_the_left_in_slices(two: Pool, name: str) -> None:
    plan = planned(KINDS[name], "nested_loop", 2, ROWS, "padded")
    payloads = two.run("tests.slices_programs:asked", sql=KINDS[name], rows=ROWS, size=FEW)
    expected = data(2, tuple(ROWS)).sql(KINDS[name]).to_arrow_table()
    assert difference(assemble(plan, [bytes.fromhex(one) for one in payloads]), expected, ordered=False) == ""


def test_slices_of_the_left_bound_the_memory() -> None:
    plan = planned(KINDS["semi"], "nested_loop", 2, [60, 60], "exact")
    assert plan.root is not None
    whole = peak(plan.root)
    with patch.object(memory, "SLICE", 120):
        assert peak(plan.root).bytes < whole.bytes - 50_000
