"""GROUP BY of keys that no owner knows, DISTINCT and DISTINCT aggregates across owners: DuckDB's rows, through real processes."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

import sdh
from sdh.planners.physical import ALONE, GIVEN, SORTED, GroupAggregate, MarkDistinct, Node, inputs
from tests.compare import difference
from tests.data import open_hub, oracle, tables, with_many

TWO = "FROM bank.accounts x JOIN shop.orders y ON x.id = y.id"
PAIRS = "FROM bank.branches x, shop.orders y"
MANY = "FROM bank.many x JOIN shop.many y ON x.id = y.id"
THREE = "FROM bank.accounts x JOIN shop.orders y ON x.id = y.id JOIN mill.sacks z ON z.id = x.id"

SORTS = {
    "text": f"SELECT x.s, y.s AS other, count(*) AS rows {TWO} GROUP BY x.s, y.s",
    "all types": f"SELECT x.k, y.d, x.f, y.b, x.money, count(*) AS rows, sum(y.n) AS total {TWO} GROUP BY ALL",
    "double": f"SELECT x.f, y.f AS g, count(*) AS rows, count(y.n) AS some {PAIRS} GROUP BY x.f, y.f",
    "sums": f"SELECT x.s, y.k, sum(x.n) AS a, sum(y.n) AS b, avg(x.n) AS c, avg(y.money) AS d {PAIRS} GROUP BY x.s, y.k",
    "filters": f"SELECT x.s, y.k, sum(x.n) FILTER (WHERE y.n > x.n) AS a, count(*) FILTER (WHERE y.b) AS b, "
    f"avg(y.n) FILTER (WHERE x.n IS NULL) AS c {PAIRS} GROUP BY x.s, y.k",
    "extremes": f"SELECT x.k, y.s, min(y.n) AS a, max(x.money) AS b, min(y.big) AS c, max(y.f) AS d, "
    f"max(y.d) FILTER (WHERE x.n > 0) AS e {PAIRS} GROUP BY x.k, y.s",
    "wide": f"SELECT x.big, y.long, count(*) AS rows {TWO} GROUP BY x.big, y.long",
    "computed": f"SELECT x.n + y.n AS g, count(*) AS rows, max(x.n) AS most {TWO} GROUP BY g",
    "condition": f"SELECT x.n > y.n AS g, y.s, x.t, count(*) AS rows {TWO} GROUP BY g, y.s, x.t",
    "where": f"SELECT y.s, x.k, count(*) AS rows {TWO} WHERE x.n < y.n OR x.b GROUP BY y.s, x.k",
    "having": f"SELECT y.s, x.k, sum(y.n) AS total {PAIRS} GROUP BY y.s, x.k HAVING count(*) > 1 AND sum(y.n) IS NOT NULL",
    "empty": "SELECT x.s, y.k, count(*) AS rows, min(y.n) AS least FROM bank.accounts x, shop.empty y GROUP BY x.s, y.k",
    "all keys NULL": "SELECT x.s, y.k, count(*) AS rows FROM bank.accounts x JOIN shop.orders y ON x.n < y.n "
    "WHERE x.s IS NULL AND y.k IS NULL GROUP BY x.s, y.k",
    "nothing": f"SELECT x.s, y.k, sum(x.n) AS total {TWO} WHERE x.n > y.n AND x.n < y.n GROUP BY x.s, y.k",
    "distinct": f"SELECT DISTINCT x.s, y.k, y.never {PAIRS}",
    "distinct computed": f"SELECT DISTINCT x.small + y.id AS total, y.s {TWO} ORDER BY total, y.s",
    "distinct of groups": f"SELECT DISTINCT rows FROM (SELECT x.s, y.k, count(*) AS rows {PAIRS} GROUP BY x.s, y.k) w",
    "groups of groups": f"SELECT w.rows, w.k, count(*) AS groups, max(w.total) AS most FROM "
    f"(SELECT x.s, y.k, count(*) AS rows, sum(y.n) AS total {PAIRS} GROUP BY x.s, y.k) w GROUP BY w.rows, w.k",
    "joined above": f"SELECT w.k, w.rows, z.n FROM (SELECT x.s, y.k, count(*) AS rows {PAIRS} GROUP BY x.s, y.k) w "
    "JOIN bank.accounts z ON z.id = w.k",
    "many": f"SELECT x.k, y.small, count(*) AS rows, sum(x.n) AS total, min(y.n) AS least {MANY} GROUP BY x.k, y.small",
    "many texts": f"SELECT DISTINCT x.s, y.s AS other {MANY}",
}
MARKS = {
    "count": f"SELECT count(DISTINCT y.k) AS a {TWO}",
    "several": f"SELECT count(DISTINCT y.k) AS a, count(DISTINCT x.s) AS b, count(*) AS c, sum(x.n) AS d {PAIRS}",
    "sums": f"SELECT sum(DISTINCT y.n) AS a, avg(DISTINCT y.n) AS b, max(DISTINCT x.n) AS c {PAIRS}",
    "filter": f"SELECT count(DISTINCT y.k) FILTER (WHERE x.n > y.n) AS a, sum(DISTINCT x.n) FILTER (WHERE y.b) AS b {PAIRS}",
    "by known": f"SELECT x.s, count(DISTINCT y.k) AS a, count(*) AS b {PAIRS} GROUP BY x.s",
    "by unknown": f"SELECT x.s, y.b, count(DISTINCT y.k) AS a, count(DISTINCT x.n) AS b, min(y.d) AS c {PAIRS} GROUP BY x.s, y.b",
    "double": f"SELECT count(DISTINCT x.f) AS a, count(DISTINCT y.f) AS b {PAIRS}",
    "truth": f"SELECT x.k, count(DISTINCT y.b) AS a {PAIRS} GROUP BY x.k",
    "computed": f"SELECT count(DISTINCT x.n + y.n) AS a, sum(DISTINCT x.small + y.id) AS b {TWO}",
    "empty": "SELECT count(DISTINCT y.k) AS a, sum(DISTINCT y.n) AS b FROM bank.accounts x, shop.empty y",
    "having": "SELECT x.s, y.k FROM bank.branches x, shop.orders y GROUP BY x.s, y.k HAVING count(DISTINCT y.n) > 1",
    "many": f"SELECT x.s, count(DISTINCT y.small) AS a, sum(DISTINCT y.small) AS b, count(*) AS c {MANY} GROUP BY x.s",
}
TEXTS = {
    "all": f"SELECT min(x.s) AS a, max(y.s) AS b, min(y.s) FILTER (WHERE x.n > y.n) AS c, max(x.s) FILTER (WHERE y.b) AS d "
    f"{PAIRS}",
    "one row": f"SELECT min(x.s) AS a, max(y.s) AS b {TWO} WHERE x.id = 9",
    "nothing": f"SELECT min(x.s) AS a, max(y.s) AS b {PAIRS} WHERE x.n > y.n AND x.n < y.n",
    "empty": "SELECT min(x.s) AS a, max(y.s) AS b FROM bank.accounts x, shop.empty y",
    "by known": f"SELECT x.k, min(x.s) AS a, max(y.s) AS b, max(y.s) FILTER (WHERE y.n > x.n) AS c {TWO} GROUP BY x.k",
    "by domain": f"SELECT x.n > y.n AS g, min(y.s) AS a, max(x.s) AS b, count(*) AS c {PAIRS} GROUP BY g",
    "by unknown": f"SELECT x.s, y.k, min(y.s) AS a, max(x.s) AS b, max(y.s) AS c, min(y.n) AS d {PAIRS} GROUP BY x.s, y.k",
    "alone": f"SELECT x.id, y.k, min(y.s) AS a, max(x.s) FILTER (WHERE y.n > 0) AS b {TWO} GROUP BY x.id, y.k",
    "computed": f"SELECT min(CASE WHEN x.n > y.n THEN x.s ELSE y.s END) AS a, max(coalesce(x.s, y.s)) AS b {PAIRS}",
    "having": "SELECT x.s, y.b FROM bank.branches x, shop.orders y GROUP BY x.s, y.b HAVING max(y.s) >= 'b' OR min(y.s) IS NULL",
    "distinct": f"SELECT max(DISTINCT y.s) AS a, count(DISTINCT x.s) AS b {PAIRS}",
    "many": f"SELECT x.small, min(x.s) AS a, max(y.s) AS b, max(x.s) FILTER (WHERE x.n > y.n) AS c {MANY} GROUP BY x.small",
    "many at once": f"SELECT min(x.s) FILTER (WHERE x.n > y.n) AS a, max(y.s) AS b {MANY}",
}
TRUTHS = {
    "all": f"SELECT bool_and(x.b) AS a, bool_or(y.b) AS b, min(x.b) AS c, max(y.b) AS d, count_if(y.b) AS e, "
    f"bool_or(x.n > y.n) AS f, bool_and(y.never) AS g, count_if(y.n IS NULL) AS h {PAIRS}",
    "filtered": f"SELECT bool_and(x.b) FILTER (WHERE y.n > x.n) AS a, bool_or(y.b) FILTER (WHERE x.b IS NULL) AS b, "
    f"count_if(DISTINCT y.b) AS c, max(DISTINCT y.b) AS d {PAIRS}",
    "nothing": "SELECT bool_and(x.b) AS a, bool_or(y.b) AS b, min(y.b) AS c, count_if(y.b) AS d FROM bank.accounts x, "
    "shop.empty y",
    "NULLs alone": f"SELECT bool_and(y.b) AS a, max(y.b) AS b, count_if(y.b) AS c, count(*) AS d {PAIRS} WHERE y.b IS NULL "
    "AND x.n < 9",
    "by known": f"SELECT x.k, bool_or(y.b) AS a, min(y.b) AS b, bool_and(x.n > y.n) AS c {TWO} GROUP BY x.k",
    "by unknown": f"SELECT x.k, y.s, bool_and(y.b) AS a, max(x.b) AS b {PAIRS} GROUP BY x.k, y.s HAVING bool_or(y.b) OR "
    "count(*) > 2",
    "by themselves": f"SELECT x.b, y.b AS other, bool_or(y.b) AS a, bool_and(NOT x.b) AS b {PAIRS} GROUP BY x.b, y.b ORDER "
    "BY 1, 2",
    "left": "SELECT bool_and(y.b) AS a, bool_or(y.b) AS b, min(y.b) AS c FROM bank.accounts x LEFT JOIN shop.orders y ON "
    "x.id = y.id",
    "of doubles": f"SELECT x.f, y.r, bool_or(y.f > x.f) AS a, count(*) AS b {PAIRS} GROUP BY x.f, y.r ORDER BY 1 DESC, 2 "
    "NULLS FIRST",
}
LESS = {
    "determined": f"SELECT x.id, x.s, y.d, y.s AS other, x.n, count(*) AS rows, sum(y.n) AS total {TWO} "
    "GROUP BY x.id, x.s, y.d, y.s, x.n",
    "alone": f"SELECT y.id, y.s, x.k, count(*) AS rows, sum(x.n) AS total, min(y.d) AS first, avg(y.n) AS mean, "
    f"count(x.s) AS texts, max(x.n) FILTER (WHERE y.n > 0) AS most {TWO} GROUP BY y.id, y.s, x.k",
    "redundant": f"SELECT count(DISTINCT x.id) AS a, sum(DISTINCT y.id) AS b {TWO}",
}
OF_THREE = {
    "keys": f"SELECT x.s, y.k, z.b, count(*) AS rows, sum(z.n) AS total {THREE} GROUP BY x.s, y.k, z.b",
    "distinct": "SELECT DISTINCT x.k, z.s FROM bank.branches x, shop.orders y, mill.sacks z WHERE x.n < y.n AND y.n > z.n",
    "count": "SELECT x.s, count(DISTINCT z.k) AS a, count(DISTINCT y.s) AS b "
    "FROM bank.branches x, shop.orders y, mill.sacks z WHERE x.id = y.id OR z.id = y.id GROUP BY x.s",
}


def data(parties: int) -> dict[str, dict[str, pa.Table]]:
    return with_many(parties, 5, 1, 2)


def connect(parties: int, rows: str) -> sdh.Hub:
    return open_hub(data(parties), rows)


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[sdh.Hub, duckdb.DuckDBPyConnection]]:
    with connect(2, "exact") as hub:
        yield hub, oracle(data(2))


@pytest.fixture(scope="module")
def three() -> Iterator[tuple[sdh.Hub, duckdb.DuckDBPyConnection]]:
    with connect(3, "exact") as hub:
        yield hub, oracle(data(3))


def nodes(result: sdh.Result) -> list[Node]:
    def below(node: Node) -> list[Node]:
        return [node, *(one for part in inputs(node) for one in below(part))]

    assert result.plan is not None
    assert result.plan.root is not None, "it ran at one owner"
    return below(result.plan.root.input)


def ask(opened: tuple[sdh.Hub, duckdb.DuckDBPyConnection], query: str) -> list[Node]:
    """The plan, once its rows are DuckDB's."""
    hub, connection = opened
    result = hub.sql(query)
    expected = connection.sql(query).to_arrow_table()
    assert not (found := difference(result.arrow(), expected, ordered="ORDER BY" in query)), found
    return nodes(result)


def arrangements(plan: list[Node]) -> set[str]:
    return {node.arrangement for node in plan if isinstance(node, GroupAggregate)}


@pytest.mark.parametrize("name", SORTS)
def test_sorted_groups(two: tuple[sdh.Hub, duckdb.DuckDBPyConnection], name: str) -> None:
    assert SORTED in arrangements(ask(two, SORTS[name]))


@pytest.mark.parametrize("name", MARKS)
def test_distinct_arguments(two: tuple[sdh.Hub, duckdb.DuckDBPyConnection], name: str) -> None:
    plan = ask(two, MARKS[name])
    assert any(isinstance(node, MarkDistinct) for node in plan)
    assert arrangements(plan) <= {GIVEN}


@pytest.mark.parametrize("name", TEXTS)
def test_least_and_greatest_texts(two: tuple[sdh.Hub, duckdb.DuckDBPyConnection], name: str) -> None:
    ask(two, TEXTS[name])


@pytest.mark.parametrize("name", TRUTHS)
def test_aggregates_of_truths(two: tuple[sdh.Hub, duckdb.DuckDBPyConnection], name: str) -> None:
    ask(two, TRUTHS[name])


def test_the_least_keys_are_sorted(two: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    """A unique key that a group holds makes it a row; what it determines is carried."""
    assert arrangements(ask(two, LESS["determined"])) == {ALONE}
    assert arrangements(ask(two, LESS["alone"])) == {ALONE}
    assert not any(isinstance(node, MarkDistinct) for node in ask(two, LESS["redundant"]))


def test_determined_keys_are_carried(two: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    query = (f"SELECT x.id, x.s, x.t, y.k, count(*) AS rows, sum(y.n) AS total {PAIRS} WHERE x.n < y.n OR x.n IS NULL "
             "GROUP BY x.id, x.s, x.t, y.k")
    [group] = [node for node in ask(two, query) if isinstance(node, GroupAggregate)]
    assert [len(group.keys), len(group.carried)] == [2, 2]


@pytest.mark.parametrize("name", OF_THREE)
def test_three_parties(three: tuple[sdh.Hub, duckdb.DuckDBPyConnection], name: str) -> None:
    ask(three, OF_THREE[name])


def test_padded() -> None:
    """Rows that are padding make no group."""
    with connect(2, "padded") as hub:
        for query in (SORTS["text"], SORTS["where"], SORTS["nothing"], MARKS["computed"],
                      f"SELECT x.k, y.s, min(y.n) AS a, count(DISTINCT x.n) AS b {TWO} GROUP BY x.k, y.s"):
            ask((hub, oracle(data(2))), query)


def test_refused(two: tuple[sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    hub, _ = two
    with pytest.raises(sdh.Unsupported, match="quotient"):
        hub.explain(f"SELECT x.n / y.n AS g, count(*) {TWO} GROUP BY g")
    with pytest.raises(sdh.QuestionError, match="DISTINCT"):
        hub.explain(f"SELECT DISTINCT x.s {TWO} ORDER BY y.n")


# --- grants and floors ------------------------------------------------------------------------------


def test_a_distinct_key_needs_the_grant_of_a_group() -> None:
    with sdh.connect(client="analyst") as hub:
        found = tables(2, 5)
        hub.attach("bank", dict(found["bank"]), policy=sdh.Policy.open(), keys={"accounts": [("id",)]})
        policy = sdh.Policy.parse("GRANT JOIN ON shop.orders (id) TO analyst; GRANT AGGREGATE ON shop.orders (k, n) TO analyst",
                                  floor=1)
        hub.attach("shop", {"orders": found["shop"]["orders"]}, policy=policy, keys={"orders": [("id",)]})
        for query in (f"SELECT DISTINCT x.s, y.k {TWO}", f"SELECT x.s, y.k, count(*) {TWO} GROUP BY x.s, y.k"):
            with pytest.raises(sdh.NotGranted, match=r"shop.orders.k is used by GROUP BY"):
                hub.explain(query)
        assert "mark distinct" in hub.explain(f"SELECT count(DISTINCT y.k) {TWO}")


def test_a_floor_holds_for_unknown_keys_and_distinct() -> None:
    """A group of fewer than three contributors is absent, whoever's keys make it and however it is asked for."""
    with sdh.connect(client="analyst") as hub:
        accounts = pa.table({"id": range(40), "b": [i % 2 * 10**6 for i in range(40)]})
        texts = ["rare" if i in (1, 3) else None if i % 7 == 0 else "abcd"[i % 4] for i in range(40)]
        orders = pa.table({"id": range(40), "s": texts})
        found = {"bank": {"accounts": accounts}, "shop": {"orders": orders}}
        grants = "GRANT COMPARE, AGGREGATE, GROUP, JOIN ON accounts TO analyst"
        hub.attach("bank", dict(found["bank"]), policy=sdh.Policy.parse(grants, floor=3, facts="measured"),
                   keys={"accounts": [("id",)]})
        hub.attach("shop", dict(found["shop"]), policy=sdh.Policy.open(), keys={"orders": [("id",)]})
        expected = oracle(found).sql(f"SELECT x.b, y.s {TWO} GROUP BY x.b, y.s HAVING count(*) >= 3").to_arrow_table()
        assert 0 < len(expected) < len(oracle(found).sql(f"SELECT DISTINCT x.b, y.s {TWO}").to_arrow_table())
        for query in (f"SELECT x.b, y.s {TWO} GROUP BY x.b, y.s", f"SELECT DISTINCT x.b, y.s {TWO}"):
            assert SORTED in arrangements(nodes(hub.sql(query)))
            assert not difference(hub.sql(query).arrow(), expected, ordered=False)
        query = f"SELECT x.b, count(DISTINCT y.s) AS texts {TWO} GROUP BY x.b"
        kept = oracle(found).sql(f"{query} HAVING count(y.s) >= 3").to_arrow_table()
        assert not difference(hub.sql(query).arrow(), kept, ordered=False)
        assert hub.sql(f"SELECT count(DISTINCT y.s) {TWO} WHERE x.id < 0").fetchall() == [(None,)]
