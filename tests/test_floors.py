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
        names = pa.table({"g": ["twelve", "one", "none"], "k": [1, 2, 3]})
        opened.attach("shop", {"orders": orders, "names": names}, policy=sdh.Policy.open(rows="exact"),
                      keys={"orders": [("id",)], "names": [("g",)]})
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


OF_A_NAME = "(SELECT count(*) FROM bank.accounts a WHERE a.g = n.g)"


@pytest.mark.parametrize(("query", "expected"), [
    (f"SELECT n.k, {OF_A_NAME} AS c FROM shop.names n ORDER BY 1", [(1, 12), (2, None), (3, None)]),
    (f"SELECT n.k FROM shop.names n WHERE {OF_A_NAME} = 0", []),
    (f"SELECT n.k, {OF_A_NAME} IS NULL AS z, coalesce({OF_A_NAME} + 1, -1) AS c FROM shop.names n ORDER BY 1",
     [(1, False, 13), (2, True, -1), (3, True, -1)]),
    ("SELECT n.k, d.c, d.c > 0 AS y, d.c IS NULL AS z FROM shop.names n JOIN (SELECT g, count(*) FILTER (WHERE id = 7) AS c "
     "FROM bank.accounts GROUP BY g) d ON d.g = n.g", [(1, None, None, True)]),
    ("SELECT count(*) < 5, coalesce(count(*), -1) FROM bank.accounts a JOIN shop.names n ON a.g = n.g WHERE a.id = 7",
     [(None, -1)]),
])  # fmt: skip
def test_a_count_that_does_not_show_is_null(hub: sdh.Hub, query: str, expected: list[tuple[object, ...]]) -> None:
    """DuckDB's 0 of no rows would be an answer about fewer contributors than the floor."""
    assert hub.sql(query).fetchall() == expected


def test_a_call_counts_the_rows_where_no_argument_is_null(hub: sdh.Hub) -> None:
    query = "SELECT arg_max(x, once), covar_pop(x, once), sum(DISTINCT once), sum(DISTINCT x) FROM bank.accounts"
    assert hub.sql(query).fetchall() == [(None, None, None, 4350)]


def test_explain_and_describe_ask_for_the_same_grants(hub: sdh.Hub) -> None:
    for lead in ("", "EXPLAIN ", "EXPLAIN ANALYZE ", "DESCRIBE "):
        with pytest.raises(sdh.NotGranted):
            hub.sql(lead + "SELECT x FROM bank.accounts")
