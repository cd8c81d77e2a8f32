"""The floor of contributors through real processes: at one owner and on shares, for groups and for what each call reads."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

import sdh

FLOOR = 10
ROWS = 30
GRANT = "GRANT COMPARE, AGGREGATE, GROUP, JOIN, EXTREMES ON accounts TO analyst"
ALONE = "FROM bank.accounts a"
JOINED = "FROM bank.accounts a JOIN shop.orders o ON a.id = o.id"


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    """Groups of 12, 10, 7 and 1 accounts; `once` is NULL but in one of them."""
    groups = ["twelve"] * 12 + ["ten"] * 10 + ["seven"] * 7 + ["one"]
    ids = list(range(ROWS))
    once = [7 if i == 3 else None for i in ids]
    accounts = pa.table({"id": ids, "g": groups, "x": [10 * i for i in ids], "once": once})
    orders = pa.table({"id": ids, "n": [1] * ROWS})
    policy = sdh.Policy.parse(GRANT, floor=FLOOR, facts="measured", rows="exact")
    with sdh.connect(client="analyst") as opened:
        opened.attach("bank", {"accounts": accounts}, policy=policy, keys={"accounts": [("id",)]})
        opened.attach("shop", {"orders": orders}, policy=sdh.Policy.open(rows="exact"), keys={"orders": [("id",)]})
        yield opened


@pytest.mark.parametrize("origin", [ALONE, JOINED])
@pytest.mark.parametrize(("select", "rest", "expected"), [
    ("count(*)", "", [(30,)]),
    ("count(*)", "WHERE a.id < 10", [(10,)]),
    ("count(*)", "WHERE a.id < 9", [(None,)]),
    ("sum(a.x), max(a.x), avg(a.x)", "WHERE a.id < 9", [(None, None, None)]),
    ("avg(a.x)", "WHERE a.id < 10", [(45.0,)]),
    ("a.g, count(*)", "GROUP BY a.g ORDER BY 1", [("ten", 10), ("twelve", 12)]),
    ("a.g, sum(a.x)", "GROUP BY a.g HAVING sum(a.x) > 1000 ORDER BY 1", [("ten", 1650)]),
    ("DISTINCT a.g", "ORDER BY 1", [("ten",), ("twelve",)]),
    ("sum(a.x) FILTER (WHERE a.id = 7), count(*) FILTER (WHERE a.id = 7)", "", [(None, None)]),
    ("sum(a.once), count(a.once), count(*)", "", [(None, None, 30)]),
    ("sum(CASE WHEN a.id = 7 THEN a.x END)", "", [(None,)]),
])  # fmt: skip
def test_fewer_contributors_than_the_floor_do_not_show(
    hub: sdh.Hub, origin: str, select: str, rest: str, expected: list[tuple[object, ...]]
) -> None:
    assert hub.sql(f"SELECT {select} {origin} {rest}").fetchall() == expected


@pytest.mark.parametrize(("query", "expected"), [
    ("SELECT (SELECT sum(a.x) FROM bank.accounts a WHERE a.id < 9) AS v", [(None,)]),
    ("SELECT (SELECT sum(a.x) FROM bank.accounts a WHERE a.id < 10) AS v", [(450,)]),
    ("SELECT o.id FROM shop.orders o WHERE o.id IN (SELECT count(*) FROM bank.accounts a GROUP BY a.g) ORDER BY 1",
     [(10,), (12,)]),
    ("SELECT max(v) FROM (SELECT o.id, (SELECT count(*) FROM bank.accounts a WHERE a.x = 10 * o.id) AS v FROM shop.orders o)",
     sdh.FloorUnsupported),
    ("SELECT o.id FROM shop.orders o WHERE (SELECT count(*) FROM bank.accounts a WHERE a.x = 10 * o.id) > 0", []),
    ("SELECT count(*) FROM shop.orders o WHERE EXISTS (SELECT 1 FROM bank.accounts a WHERE a.id = o.id AND a.x < 90)", [(None,)]),
    ("SELECT count(*) FROM shop.orders o WHERE o.id IN (SELECT a.id FROM bank.accounts a WHERE a.x < 100)", [(10,)]),
    ("SELECT count(*) FROM shop.orders o WHERE NOT EXISTS (SELECT 1 FROM bank.accounts a WHERE a.id = o.id AND a.x < 90)",
     sdh.FloorUnsupported),
    ("SELECT o.id FROM shop.orders o WHERE EXISTS (SELECT a.g FROM bank.accounts a GROUP BY a.g HAVING count(*) < 8)", []),
])  # fmt: skip
def test_a_subquery_is_no_way_below_the_floor(hub: sdh.Hub, query: str, expected: list[tuple[object, ...]] | type) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected):
            hub.sql(query)
        return
    assert hub.sql(query).fetchall() == expected
