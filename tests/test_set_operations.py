"""INTERSECT, EXCEPT, SEMI JOIN and ANTI JOIN across owners: DuckDB's rows, through real processes; grants and floors."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

import sdh
from tests.compare import difference
from tests.data import oracle, tables
from tests.test_planner import catalog, plan

BOTH = "SELECT {0} FROM bank.accounts {1} SELECT {0} FROM shop.orders"
QUERIES = {
    "intersect": BOTH.format("k", "INTERSECT"),
    "except": BOTH.format("k", "EXCEPT"),
    "other way round": "SELECT k FROM shop.orders EXCEPT SELECT k FROM bank.accounts",
    "several columns": BOTH.format("b, never, k > 10", "INTERSECT"),
    "several columns, except": BOTH.format("b, s", "EXCEPT"),
    "texts": BOTH.format("s", "INTERSECT"),
    "doubles": BOTH.format("f", "EXCEPT") + " ORDER BY 1",
    "doubles, intersect": BOTH.format("abs(f)", "INTERSECT"),
    "types that differ": "SELECT n, money FROM bank.accounts INTERSECT SELECT money, small FROM shop.orders",
    "of empty": "SELECT k FROM bank.accounts INTERSECT SELECT k FROM shop.empty",
    "but empty": "SELECT k FROM bank.accounts EXCEPT SELECT k FROM shop.empty",
    "empty but": "SELECT k FROM shop.empty EXCEPT SELECT k FROM bank.accounts",
    "order": BOTH.format("k AS q", "EXCEPT") + " ORDER BY q DESC NULLS LAST LIMIT 3",
    "chain": "SELECT k FROM bank.accounts EXCEPT SELECT k FROM shop.orders INTERSECT SELECT small FROM bank.branches "
    "UNION ALL SELECT code FROM code EXCEPT SELECT 7",
    "inside": f"SELECT count(*), sum(w.k) FROM ({BOTH.format('k', 'INTERSECT')}) w JOIN bank.branches z ON z.id < w.k",
    "in a subquery": f"SELECT id FROM bank.branches WHERE k IN ({BOTH.format('k', 'EXCEPT')})",
    "of joins": "SELECT x.s, y.b FROM bank.accounts x JOIN shop.orders y ON x.id = y.id EXCEPT SELECT s, b FROM shop.orders",
    "of a CTE": "WITH w AS (SELECT x.k, y.b FROM bank.branches x, shop.orders y WHERE x.n < y.n) "
    "SELECT k FROM w WHERE b INTERSECT SELECT k FROM w WHERE NOT b",
    "semi": "SELECT x.id, x.s FROM bank.accounts x SEMI JOIN shop.orders y ON x.k = y.k",
    "semi, further": "SELECT x.id, x.k FROM bank.accounts x SEMI JOIN shop.orders y ON x.k = y.k AND x.n < y.n WHERE x.b "
    "ORDER BY x.id",
    "semi, unequal": "SELECT count(*) FROM bank.accounts x SEMI JOIN shop.orders y ON x.n < y.n",
    "semi using": "SELECT * FROM bank.branches SEMI JOIN shop.orders USING (k)",
    "semi of texts": "SELECT s, count(*) FROM bank.accounts SEMI JOIN shop.orders USING (s) GROUP BY s",
    "semi, any": "SELECT x.id FROM bank.branches x SEMI JOIN shop.empty y ON TRUE",
    "anti": "SELECT x.id, x.k FROM bank.accounts x ANTI JOIN shop.orders y ON x.k = y.k",
    "anti using": "SELECT k, count(*) FROM bank.accounts ANTI JOIN shop.orders USING (k, b) GROUP BY k",
    "anti of none": "SELECT x.id FROM bank.branches x ANTI JOIN shop.empty y ON x.id = y.id",
    "NULLs equal": "SELECT x.id FROM bank.accounts x ANTI JOIN shop.orders y ON x.k IS NOT DISTINCT FROM y.k",
    "one after another": "SELECT x.id, z.s FROM bank.accounts x SEMI JOIN shop.orders y ON x.id = y.id ANTI JOIN bank.branches b "
    "ON b.n = x.n JOIN shop.orders z ON z.id = x.id",
    "a comma": "SELECT x.id, z.id FROM bank.branches x, bank.branches z SEMI JOIN shop.orders y ON x.k = y.k AND z.n < y.n",
    "one owner's": "SELECT x.id FROM bank.accounts x SEMI JOIN bank.branches y ON x.k = y.k UNION ALL SELECT id FROM shop.orders",
}


@pytest.fixture(scope="module")
def opened() -> Iterator[tuple[sdh.Hub, duckdb.DuckDBPyConnection]]:
    found = tables(2, 3)
    with sdh.connect(client="analyst") as hub:
        for party, owned in found.items():
            hub.attach(party, dict(owned), policy=sdh.Policy.open(rows="exact"), keys={name: [("id",)] for name in owned})
        connection = oracle(found)
        hub.publish("code", connection.sql("FROM code").to_arrow_table())
        yield hub, connection


@pytest.mark.parametrize("name", QUERIES)
def test_the_rows_are_duckdbs(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection], name: str) -> None:
    hub, connection = opened
    query = QUERIES[name]
    result = hub.sql(query)
    assert result.plan is not None
    assert not result.plan.is_local
    expected = connection.sql(query).to_arrow_table()
    assert not (found := difference(result.arrow(), expected, ordered="ORDER BY" in query)), found


def test_all_is_refused_where_it_stands(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    for word in ("INTERSECT", "EXCEPT"):
        with pytest.raises(sdh.Unsupported, match=f"{word} ALL is not supported") as caught:
            opened[0].explain(BOTH.format("k", f"{word} ALL"))
        assert caught.value.column == 1 + len("SELECT k FROM bank.accounts ")


def test_only_the_lefts_columns_have_names(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    with pytest.raises(sdh.UnknownColumn):
        opened[0].explain("SELECT y.k FROM bank.accounts x SEMI JOIN shop.orders y ON x.k = y.k")


# --- grants and floors ------------------------------------------------------------------------------


def test_set_operations_show_values_and_need_their_grants() -> None:
    query = "SELECT s FROM bank.accounts {} SELECT s FROM shop.orders"
    for uses, missing in (("AGGREGATE, COMPARE", "GROUP"), ("GROUP, COMPARE", "AGGREGATE"), ("GROUP, AGGREGATE", "COMPARE")):
        known = catalog(sdh.Policy.open(), sdh.Policy.parse(f"GRANT {uses} ON orders (s) TO analyst", floor=1, facts="measured"))
        for operator in ("INTERSECT", "EXCEPT"):
            with pytest.raises(sdh.NotGranted, match=rf"GRANT {missing} ON shop\.orders"):
                plan(query.format(operator), known)
        with pytest.raises(sdh.NotGranted, match=r"shop\.orders\.s may not be shown"):
            plan("SELECT s FROM bank.accounts SEMI JOIN shop.orders USING (s)", known)
    known = catalog(sdh.Policy.open(), sdh.Policy.parse("GRANT GROUP, AGGREGATE, COMPARE ON orders (s) TO analyst", floor=1))
    assert plan(query.format("EXCEPT"), known).root is not None


def test_a_floor_holds_for_set_operations() -> None:
    """A value of fewer than three of the shop's rows does not show; nor that it has none of a value."""
    policy = sdh.Policy.parse("GRANT GROUP, AGGREGATE, COMPARE ON t (k) TO analyst", floor=3, facts="measured", rows="exact")
    with sdh.connect(client="analyst") as hub:
        hub.attach("bank", {"t": pa.table({"k": [1, 2, 2, 3, 4]})}, policy=sdh.Policy.open(rows="exact"))
        hub.attach("shop", {"t": pa.table({"k": [2, 2, 2, 3, 5]})}, policy=policy)
        assert hub.sql("SELECT k FROM bank.t INTERSECT SELECT k FROM shop.t").fetchall() == [(2,)]
        assert hub.sql("SELECT k FROM bank.t EXCEPT SELECT k FROM shop.t").fetchall() == []
