"""Joins that are not INNER are no way around a grant or a floor."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

import sdh
from sdh.errors import FloorUnsupported, NotGranted
from sdh.policy import Policy
from tests.test_planner import catalog, plan

MINE, THEIRS = "shop.orders o", "bank.accounts b"
JOIN = "GRANT JOIN ON bank.accounts"
COMPARE = "GRANT COMPARE ON bank.accounts"


@pytest.mark.parametrize(("granted", "query", "wanted"), [
    ("JOIN ON accounts (id)", f"SELECT o.x FROM {MINE} WHERE NOT EXISTS (SELECT 1 FROM {THEIRS} WHERE b.id = o.id)", ""),
    ("JOIN ON accounts (id)", f"SELECT o.x FROM {MINE} WHERE NOT EXISTS (SELECT 1 FROM {THEIRS} WHERE b.x = o.id)",
     f"{JOIN} (x)"),
    ("JOIN ON accounts (id)", f"SELECT o.x FROM {MINE} WHERE EXISTS (SELECT 1 FROM {THEIRS} WHERE b.x = o.id)", f"{JOIN} (x)"),
    ("JOIN ON accounts (id)", f"SELECT o.y FROM {MINE} WHERE o.x NOT IN (SELECT x FROM {THEIRS})", f"{COMPARE} (x)"),
    ("JOIN ON accounts (id)", f"SELECT o.x, o.id IN (SELECT x FROM {THEIRS}) FROM {MINE}", f"{JOIN} (x)"),
    ("JOIN ON accounts (id)", f"SELECT o.x FROM {MINE} LEFT JOIN {THEIRS} ON b.x = o.id", f"{JOIN} (x)"),
    ("JOIN ON accounts (id)", f"SELECT o.x FROM {THEIRS} RIGHT JOIN {MINE} ON b.id = o.id AND b.y < o.y", f"{COMPARE} (y)"),
    ("JOIN ON accounts (id)", f"SELECT o.x FROM {MINE} FULL JOIN {THEIRS} ON b.x = o.id", f"{JOIN} (x)"),
    ("JOIN ON accounts (id)", f"SELECT o.x, b.y IS NULL FROM {MINE} LEFT JOIN {THEIRS} ON b.id = o.id", f"{COMPARE} (y)"),
    ("JOIN ON accounts (id)", f"SELECT o.x, b.y FROM {MINE} LEFT JOIN {THEIRS} ON b.id = o.id",
     "GRANT REVEAL ON bank.accounts (y)"),
    ("JOIN ON accounts (id)", f"SELECT o.x, (SELECT b.y FROM {THEIRS} WHERE b.id = o.id) FROM {MINE}",
     "GRANT REVEAL ON bank.accounts (y)"),
    ("JOIN ON accounts (id)", f"SELECT count(*) FROM {MINE} LEFT JOIN {THEIRS} ON b.id = o.id",
     "GRANT AGGREGATE ON bank.accounts"),
    ("JOIN ON accounts (id)", f"SELECT o.x FROM {MINE} WHERE EXISTS (SELECT 1 FROM {THEIRS} WHERE b.y > o.y)", f"{COMPARE} (y)"),
    ("AGGREGATE ON accounts", f"SELECT o.x FROM {MINE} WHERE EXISTS (SELECT 1 FROM {THEIRS})",
     "GRANT REVEAL ON bank.accounts"),
])  # fmt: skip
def test_a_join_of_any_kind_asks_for_its_keys(granted: str, query: str, wanted: str) -> None:
    known = catalog(Policy.parse(f"GRANT {granted} TO analyst", floor=1, facts="measured"))
    if not wanted:
        assert plan(query, known).root is not None
        return
    with pytest.raises(NotGranted) as refused:
        plan(query, known)
    assert f"{wanted} TO analyst" in (refused.value.advice or "")


@pytest.mark.parametrize("query", [
    f"SELECT count(*) FROM {MINE} WHERE NOT EXISTS (SELECT 1 FROM {THEIRS} WHERE b.id = o.id)",
    f"SELECT count(*) FROM {MINE} WHERE o.id NOT IN (SELECT id FROM {THEIRS})",
    f"SELECT count(*) FILTER (WHERE o.id IN (SELECT id FROM {THEIRS})) FROM {MINE}",
    f"SELECT count(*) FROM {MINE} LEFT JOIN {THEIRS} ON b.id = o.x",
])  # fmt: skip
def test_who_cannot_be_counted_is_refused(query: str) -> None:
    """Whom a query asks about stands in no row of an ANTI or MARK join, and behind several rows of a repeated key."""
    known = catalog(Policy.parse("GRANT AGGREGATE, JOIN, COMPARE ON accounts TO analyst", floor=10, facts="measured"))
    with pytest.raises(FloorUnsupported):
        plan(query, known)


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    """30 orders, of which 4 have an account."""
    accounts = pa.table({"id": pa.array([1, 2, 3, 4, *range(100, 110)], pa.int32()), "x": pa.array(range(14), pa.int32())})
    orders = pa.table({"id": pa.array(range(30), pa.int32()), "n": pa.array([1] * 30, pa.int32())})
    policy = sdh.Policy.parse("GRANT COMPARE, AGGREGATE, JOIN ON accounts TO analyst", floor=10, facts="measured", rows="exact")
    with sdh.connect(client="analyst") as opened:
        opened.attach("bank", {"accounts": accounts}, policy=policy, keys={"accounts": [("id",)]})
        opened.attach("shop", {"orders": orders}, policy=sdh.Policy.open(rows="exact"), keys={"orders": [("id",)]})
        yield opened


@pytest.mark.parametrize(("query", "expected"), [
    ("SELECT count(*), sum(o.n), sum(b.x) FROM shop.orders o LEFT JOIN bank.accounts b ON o.id = b.id", [(None, None, None)]),
    ("SELECT sum(CASE WHEN b.x IS NULL THEN 0 ELSE 1 END) FROM shop.orders o LEFT JOIN bank.accounts b ON o.id = b.id",
     [(None,)]),
    ("SELECT count(*), sum(b.x) FROM shop.orders o RIGHT JOIN bank.accounts b ON o.id = b.id", [(14, 91)]),
    ("SELECT count(*), sum(b.x), sum(o.n) FROM shop.orders o FULL JOIN bank.accounts b ON o.id = b.id", [(40, 91, None)]),
    ("SELECT count(*) FROM shop.orders o WHERE EXISTS (SELECT 1 FROM bank.accounts b WHERE o.id = b.id)", [(None,)]),
    ("SELECT count(*) FROM bank.accounts b WHERE NOT EXISTS (SELECT 1 FROM shop.orders o WHERE o.id = b.id)", [(10,)]),
    ("SELECT count(*) FROM bank.accounts b WHERE b.id NOT IN (SELECT o.id + 1 FROM shop.orders o)", [(10,)]),
    ("SELECT count(*) FROM bank.accounts b WHERE b.id IN (SELECT o.id FROM shop.orders o)", [(None,)]),
])  # fmt: skip
def test_rows_that_a_join_adds_count_for_nobody(hub: sdh.Hub, query: str, expected: list[tuple[object, ...]]) -> None:
    assert hub.sql(query).fetchall() == expected
