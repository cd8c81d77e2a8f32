"""SQL that analysts write beyond the grammar of tests/fuzz.py gives DuckDB's rows, names and types, on shares."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

import sdh
from tests.compare import difference
from tests.data import oracle, tables
from tests.fuzz import open_hub

SEED = 4
PAIR = "FROM bank.accounts a JOIN shop.orders o ON o.id = a.k"
HALVES = [-10**12, 10**12, *range(-1005, 1006, 67), -1000, -500, -250, -50, -5, -1, 0, 1, 5, 50, 250, 500, 1000, None]
ROUNDED = pa.table({"id": pa.array(range(len(HALVES)), pa.int32()),
                    "m": pa.array([None if v is None else Decimal(v).scaleb(-3) for v in HALVES], pa.decimal128(15, 3)),
                    "n": pa.array([None if v is None else max(min(v, 2**31 - 1), -(2**31)) for v in HALVES], pa.int64())})
NOTHING = pa.table({"id": pa.array(range(len(HALVES)), pa.int32()), "zero": pa.array([0] * len(HALVES), pa.int32())})
"""Beside it every value of the other table is on shares."""


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    with open_hub(2, SEED, "exact") as opened:
        opened.attach("mint", {"coins": ROUNDED}, policy=sdh.Policy.open(rows="exact"), keys={"coins": [("id",)]})
        opened.attach("till", {"zeros": NOTHING}, policy=sdh.Policy.open(rows="exact"), keys={"zeros": [("id",)]})
        yield opened


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return oracle(tables(2, SEED) | {"mint": {"coins": ROUNDED}, "till": {"zeros": NOTHING}})


STARS = ["SELECT * EXCLUDE (f, r, a.id, long) REPLACE (a.n // 2 AS n) RENAME (t AS moment) "
         "FROM bank.accounts a JOIN shop.orders o USING (k)",
         f"SELECT a.* EXCLUDE (f, r), o.s {PAIR} ORDER BY ALL",
         "SELECT u.n, u.t FROM (SELECT * EXCLUDE (s) RENAME (n AS t, t AS n) FROM bank.accounts) u "
         "JOIN shop.orders o ON o.id = u.k"]
UNIONS = ["SELECT k, s FROM bank.accounts UNION ALL BY NAME SELECT n, money AS K FROM shop.orders ORDER BY ALL DESC NULLS FIRST",
          "SELECT k, b FROM bank.accounts UNION BY NAME SELECT b, k FROM shop.orders UNION BY NAME SELECT 1.5 AS k, 'x' AS label",
          f"SELECT a.b, avg(o.money) AS m {PAIR} GROUP BY a.b UNION ALL SELECT NULL, avg(o.n) {PAIR}",
          "SELECT v.label, count(o.id), sum(a.money) FROM (VALUES (1, 'one'), (2.0, 'two'), (NULL, 'none'), (7, NULL)) "
          "v(k, label) LEFT JOIN shop.orders o ON o.k = v.k LEFT JOIN bank.accounts a ON a.id = o.n GROUP BY ALL"]
SETS = [f"SELECT a.s, o.b, sum(o.money), avg(o.n), grouping(a.s, o.b) AS g {PAIR} GROUP BY ROLLUP (a.s, o.b) ORDER BY g, 1, 2",
        f"SELECT a.b, o.b, count(*), min(o.d) {PAIR} GROUP BY CUBE (a.b, o.b) HAVING count(*) > 1 OR grouping(a.b) = 1",
        f"SELECT coalesce(o.s, '-') AS town, a.b, sum(a.n) FILTER (WHERE o.n > 0) {PAIR} "
        "GROUP BY GROUPING SETS ((town, a.b), (a.b), ())",
        f"SELECT o.s, sum(o.n) {PAIR} AND a.n > 100000 GROUP BY ROLLUP (o.s)",
        f"SELECT a.k % 3 AS rest {PAIR} GROUP BY ROLLUP (rest)",
        "SELECT s, b, count(*), grouping(s) FROM pooled GROUP BY s, ROLLUP (b)",
        f"SELECT 'all' AS g, count(*), sum(o.n) {PAIR} GROUP BY g",
        f"SELECT 'none' AS g, count(*), sum(o.n) {PAIR} AND a.n > 100000 GROUP BY g",
        f"SELECT count(*) {PAIR} AND a.n > 100000 GROUP BY ()"]
VALUES = ["SELECT a.id FROM bank.accounts a WHERE (a.k, a.b) NOT IN (SELECT o.k, o.b FROM shop.orders o)",
          "SELECT a.id, (a.k, a.b) IN (SELECT o.id, o.b FROM shop.orders o) AS met FROM bank.accounts a",
          f"SELECT a.id {PAIR} WHERE (a.b, o.s) IN ((TRUE, 'MAIL'), (NULL, 'SHIP'), (FALSE, NULL))",
          f"SELECT sum(if(a.b, o.n, 0)), sum(ifnull(o.n, a.n)), sum(3), sum(2.5), count(1), max('x') {PAIR}",
          f"SELECT a.s, sum(3), count(*) {PAIR} GROUP BY a.s",
          f"SELECT strftime(o.d, '%Y-%m') AS month, dayname(a.t) AS day, count(*), max(strftime(o.t, '%c')) {PAIR} GROUP BY ALL",
          f"SELECT a.id AS x, o.n AS x, x + 1 AS y {PAIR} WHERE x > 0 ORDER BY x, a.id",
          f"SELECT a.id, o.n AS id, o.id AS other {PAIR} ORDER BY id DESC, a.id",
          "SELECT TRY_CAST(a.n + o.n AS TINYINT), TRY_CAST(a.money - o.money AS DECIMAL(6,1)), "
          f"TRY_CAST(o.n * 2 AS SMALLINT) + a.id {PAIR}",
          "SELECT a.b, coalesce(sum(o.money) / nullif(sum(o.n), 0), 0) AS r, "
          f"CASE WHEN count(*) > 2 THEN avg(o.n) ELSE -1.5 END {PAIR} GROUP BY a.b ORDER BY r",
          f"SELECT CASE WHEN a.n > o.n THEN a.money / o.n WHEN a.b THEN o.money WHEN o.b THEN NULL ELSE o.n / a.n END {PAIR}",
          "SELECT o.id, x.m FROM shop.orders o LEFT JOIN (SELECT a.k, coalesce(avg(u.n), 0) AS m FROM bank.accounts a "
          "LEFT JOIN shop.orders u ON u.k = a.k GROUP BY a.k) x ON x.k = o.id"]
ROUNDINGS = ["round({0}, 1)", "round({0})", "round({0}, 5)", "round({0}, -1)",
             "floor({0})", "ceil({0})", "trunc({0})", "trunc({0}, 2)",
             "CAST({0} AS DECIMAL(16,1))", "CAST({0} AS BIGINT)"]
DECIMALS = "SELECT c.id, " + ", ".join(one.format("(c.m + z.zero)") for one in ROUNDINGS)
QUERIES = [*STARS, *UNIONS, *SETS, *VALUES,
           f"{DECIMALS}, round(c.n - z.zero, -2), round(c.n - z.zero, 1) FROM mint.coins c JOIN till.zeros z ON c.id = z.id",
           "SELECT round(c.m - z.zero) AS g, count(*) FROM mint.coins c JOIN till.zeros z ON c.id = z.id GROUP BY g ORDER BY g",
           "SELECT floor(sum(c.m * z.id)), round(sum(c.m), 1) FROM mint.coins c JOIN till.zeros z ON c.id = z.id"]


@pytest.mark.parametrize("query", QUERIES)
def test_is_duckdbs(hub: sdh.Hub, connection: duckdb.DuckDBPyConnection, query: str) -> None:
    result = hub.sql(query)
    assert result.plan is not None
    assert not result.plan.is_local, "nothing is computed on shares"
    ordered = " ORDER BY " in query
    assert not difference(result.arrow(), connection.sql(query).to_arrow_table(), ordered=ordered)


@pytest.mark.parametrize(("query", "name"), [
    (f"SELECT CAST(a.money + o.money AS DECIMAL(3,1)) {PAIR}", "on the data"),
    (f"SELECT round(a.money / o.n, 2) + o.n / a.n {PAIR}", "Arithmetic with a quotient"),
    (f"SELECT a.s, count(*) {PAIR} GROUP BY a.s HAVING round(avg(o.n), 2) > 1", "Arithmetic with a quotient"),
    ("SELECT o.id, (SELECT sum(a.n) FROM bank.accounts a WHERE a.k = o.id GROUP BY ROLLUP (a.b)) FROM shop.orders o",
     "GROUPING SETS in a correlated subquery")])
def test_refused(hub: sdh.Hub, query: str, name: str) -> None:
    with pytest.raises((sdh.Unsupported, sdh.DataError), match=name):
        hub.sql(query)
