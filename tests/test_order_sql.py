"""ORDER BY, LIMIT and OFFSET over rows of several owners: nothing but these rows reaches the client. Ties may fall either way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

import sdh
from sdh.planners.derive_traits import traits
from tests.compare import Row, difference, rows_of, sort_key
from tests.data import open_hub, oracle, with_many

TWO = "FROM bank.accounts x JOIN shop.orders y ON x.id = y.id"
PAIRS = "FROM bank.branches x, shop.orders y"
MANY = "FROM bank.many x JOIN shop.many y ON x.id = y.id"
THREE = "FROM bank.branches x, shop.orders y, mill.sacks z"

QUERIES: dict[str, tuple[str, tuple[int, ...], str]] = {
    "first": (f"SELECT y.n, x.s {PAIRS} ORDER BY 1", (0,), "LIMIT 5"),
    "descending": (f"SELECT y.n, x.s {PAIRS} ORDER BY 1 DESC", (0,), "LIMIT 5"),
    "nulls first": (f"SELECT y.n, x.s {PAIRS} ORDER BY 1 NULLS FIRST", (0,), "LIMIT 30"),
    "descending, nulls first": (f"SELECT y.n, x.s {PAIRS} ORDER BY 1 DESC NULLS FIRST", (0,), "LIMIT 30 OFFSET 5"),
    "descending, nulls last": (f"SELECT y.k {PAIRS} ORDER BY 1 DESC NULLS LAST", (0,), "LIMIT 100 OFFSET 10"),
    "several": (f"SELECT x.k, y.s, y.money {PAIRS} ORDER BY 1 DESC, 2 NULLS FIRST, 3 DESC NULLS LAST", (0, 1, 2), "LIMIT 40"),
    "text": (f"SELECT y.s, x.id {PAIRS} ORDER BY 1, 2", (0, 1), "LIMIT 25 OFFSET 3"),
    "text descending": (f"SELECT y.s, x.s AS other {PAIRS} ORDER BY 1 DESC, 2", (0, 1), "LIMIT 25"),
    "double": (f"SELECT y.f, x.f AS g {PAIRS} ORDER BY 1, 2 DESC NULLS FIRST", (0, 1), "LIMIT 60"),
    "wide": (f"SELECT y.big, x.long {PAIRS} ORDER BY 1 DESC NULLS LAST, 2", (0, 1), "LIMIT 60"),
    "truth": (f"SELECT y.b, x.d {PAIRS} ORDER BY 1 NULLS FIRST, 2 DESC", (0, 1), "LIMIT 60"),
    "computed": (f"SELECT x.n + y.n AS v, x.id {TWO} ORDER BY v DESC", (0,), "LIMIT 2"),
    "with condition": (f"SELECT y.n, x.id {PAIRS} WHERE y.n > x.n ORDER BY 1, 2", (0, 1), "LIMIT 7 OFFSET 2"),
    "quotient": (f"SELECT y.n / x.n AS q, y.id {PAIRS} ORDER BY 1 NULLS FIRST", (0,), "LIMIT 60"),
    "quotient descending": (f"SELECT y.n / (x.n - 1) AS q, y.id {PAIRS} ORDER BY 1 DESC NULLS LAST, 2", (0, 1), "LIMIT 60"),
    "infinite": (f"SELECT (y.n - x.n) / (x.n - x.n) AS q, y.id {PAIRS} ORDER BY 1 DESC NULLS LAST, 2", (0, 1), "LIMIT 70"),
    "mean": (f"SELECT x.k, avg(y.n) AS mean {PAIRS} GROUP BY x.k, y.s ORDER BY mean DESC", (1,), "LIMIT 9"),
    "mean, nulls first": (f"SELECT y.s, avg(x.money) AS m {PAIRS} GROUP BY y.s ORDER BY m NULLS FIRST, 1", (1, 0), "LIMIT 4"),
    "offset alone": (f"SELECT y.n, x.id {PAIRS} ORDER BY 1, 2", (0, 1), "OFFSET 100"),
    "offset beyond": (f"SELECT y.n, x.id {TWO} ORDER BY 1, 2", (0, 1), "LIMIT 5 OFFSET 1000"),
    "offset beyond the valid": (f"SELECT y.n, x.id {PAIRS} WHERE y.n > 5000 ORDER BY 1, 2", (0, 1), "LIMIT 5 OFFSET 100"),
    "none": (f"SELECT y.n, x.id {PAIRS} ORDER BY 1", (0,), "LIMIT 0"),
    "more than there are": (f"SELECT y.n, x.id {TWO} ORDER BY 1, 2", (0, 1), "LIMIT 1000"),
    "any": (f"SELECT y.n, x.id {PAIRS}", (), "LIMIT 5"),
    "any with condition": (f"SELECT y.n, x.id {PAIRS} WHERE y.n < x.n", (), "LIMIT 5 OFFSET 2"),
    "any without enough": (f"SELECT y.n, x.id {PAIRS} WHERE y.n > 9000", (), "LIMIT 50"),
    "any without order": (f"SELECT y.n {TWO}", (), "LIMIT 1 OFFSET 1"),
    "groups": (f"SELECT x.s, sum(y.n) AS total {PAIRS} GROUP BY x.s ORDER BY total DESC, 1", (1, 0), "LIMIT 2"),
    "groups by unknown keys": (f"SELECT x.k, y.s, count(*) AS rows {PAIRS} GROUP BY x.k, y.s ORDER BY rows DESC, y.s, x.k",
                               (2, 1, 0), "LIMIT 6 OFFSET 1"),
    "having": (f"SELECT x.k, y.s, count(*) AS rows {PAIRS} GROUP BY x.k, y.s HAVING count(*) > 1 ORDER BY 3 DESC, 2, 1",
               (2, 1, 0), "LIMIT 3"),
    "groups of what may fail": (f"SELECT CAST(x.id * 1100 AS SMALLINT) AS g, y.k, count(*) AS c {PAIRS} GROUP BY g, y.k "
                                "ORDER BY g DESC, y.k", (0, 1), "LIMIT 7"),
    "distinct": (f"SELECT DISTINCT y.s, x.k {PAIRS} ORDER BY 1, 2 DESC", (0, 1), "LIMIT 9"),
    "total": (f"SELECT sum(y.n), count(*) {PAIRS}", (), "LIMIT 1"),
    "empty": ("SELECT x.id, y.n FROM bank.branches x, shop.empty y ORDER BY 1", (0,), "LIMIT 3"),
    "many": (f"SELECT y.small, x.n, x.id {MANY} ORDER BY 1, 2 DESC", (0, 1), "LIMIT 10"),
    "many texts": (f"SELECT y.s, x.money {MANY} ORDER BY 1 DESC NULLS LAST, 2", (0, 1), "LIMIT 20 OFFSET 20"),
    "many, some": (f"SELECT y.id {MANY} WHERE x.n < y.n ORDER BY 1", (0,), "LIMIT 15"),
}
HIDDEN = {
    "by a column that does not show": (f"SELECT x.id, y.id AS other {PAIRS} ORDER BY y.d DESC, x.id, y.id", "LIMIT 12"),
    "by an expression": (f"SELECT x.id, y.id AS other {PAIRS} ORDER BY x.id - y.id, y.id DESC", "LIMIT 12 OFFSET 3"),
}
INSIDE = {
    "counted": f"SELECT count(*) AS c, min(w.n) AS least FROM (SELECT y.n {PAIRS} ORDER BY y.n LIMIT 9) w",
    "offset": f"SELECT count(*) AS c FROM (SELECT y.n {PAIRS} WHERE y.n > 0 OFFSET 10) w",
    "filtered above": f"SELECT w.n FROM (SELECT y.n, x.id {PAIRS} ORDER BY y.n NULLS FIRST, x.id, y.id LIMIT 20) w "
    "WHERE w.id > 1",
    "joined": f"SELECT z.s, w.n FROM (SELECT y.id, y.n {TWO} ORDER BY y.id LIMIT 4) w JOIN bank.accounts z ON z.id = w.id",
    "grouped": f"SELECT w.s, count(*) AS c FROM (SELECT y.s, x.id {PAIRS} ORDER BY y.s, y.id, x.id LIMIT 21) w GROUP BY w.s",
    "limit of a limit": f"SELECT * FROM (SELECT y.n, x.id {PAIRS} ORDER BY y.n, x.id, y.id LIMIT 20) w "
    "ORDER BY n DESC, id LIMIT 4",
    "common": f"WITH w AS (SELECT x.s, sum(y.n) AS t {PAIRS} GROUP BY x.s ORDER BY t DESC, x.s LIMIT 2) "
    "SELECT max(t) AS m FROM w",
}
Opened = tuple[sdh.Hub, duckdb.DuckDBPyConnection]


def data(parties: int) -> dict[str, dict[str, pa.Table]]:
    return with_many(parties, 7, 3, 4)


def connect(parties: int, rows: str) -> sdh.Hub:
    return open_hub(data(parties), rows)


@pytest.fixture(scope="module")
def two() -> Iterator[Opened]:
    with connect(2, "exact") as hub:
        yield hub, oracle(data(2))


def check(opened: Opened, query: str, keys: tuple[int, ...], tail: str) -> sdh.Result:
    """The keys are those of DuckDB's rows, in order, and each row is one that could be among them."""
    hub, connection = opened
    result = hub.sql(f"{query} {tail}")
    expected = connection.sql(f"{query} {tail}").to_arrow_table()
    assert result.arrow().schema == expected.schema
    found, wanted = rows_of(result.arrow()), rows_of(expected)
    assert len(found) == len(wanted)
    assert [shown(row, keys) for row in found] == [shown(row, keys) for row in wanted]
    everything = Counter(str(sort_key(row)) for row in rows_of(connection.sql(query).to_arrow_table()))
    assert Counter(str(sort_key(row)) for row in found) <= everything
    return result


def shown(row: Row, keys: tuple[int, ...]) -> str:
    return str(sort_key([row[place] for place in keys]))


def released(result: sdh.Result) -> int:
    assert result.plan is not None
    assert result.plan.root is not None, "it ran at one owner"
    return traits(result.plan.root.input).slots


@pytest.mark.parametrize("name", QUERIES)
def test_first_rows(two: Opened, name: str) -> None:
    query, keys, tail = QUERIES[name]
    result = check(two, query, keys, tail)
    limit = int(tail.split()[1]) if tail.startswith("LIMIT") else None
    assert limit is None or released(result) <= limit, "no more slots reach the client than it may have rows"


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_keys(two: Opened, name: str) -> None:
    query, tail = HIDDEN[name]
    hub, connection = two
    expected = connection.sql(f"{query} {tail}").to_arrow_table()
    assert not (found := difference(hub.sql(f"{query} {tail}").arrow(), expected, ordered=True)), found


@pytest.mark.parametrize("name", INSIDE)
def test_limits_in_derived_tables(two: Opened, name: str) -> None:
    hub, connection = two
    result = hub.sql(INSIDE[name])
    expected = connection.sql(INSIDE[name]).to_arrow_table()
    ordered = INSIDE[name].rfind("ORDER BY") > INSIDE[name].rfind(")")
    assert not (found := difference(result.arrow(), expected, ordered=ordered)), found
    assert result.plan is not None
    assert "top_k" in result.plan.explain()


def test_three_parties() -> None:
    with connect(3, "exact") as hub:
        opened = hub, oracle(data(3))
        check(opened, f"SELECT x.s, y.n, z.d {THREE} ORDER BY 3 DESC, 2 NULLS FIRST, 1", (2, 1, 0), "LIMIT 11 OFFSET 4")
        groups = f"SELECT x.s, z.s AS t, count(*) AS c {THREE} GROUP BY x.s, z.s ORDER BY c DESC, t, x.s"
        check(opened, groups, (2, 1, 0), "LIMIT 5")
        check(opened, f"SELECT x.s, z.n {THREE} WHERE x.n > y.n", (), "LIMIT 3")


def test_padded() -> None:
    """Padding is no row: it comes after all that are."""
    with connect(2, "padded") as hub:
        opened = hub, oracle(data(2))
        for query, keys, tail in (
            (f"SELECT y.n, x.id {TWO} ORDER BY 1 DESC NULLS FIRST, 2", (0, 1), "LIMIT 3 OFFSET 1"),
            (f"SELECT y.n, x.id {TWO} ORDER BY 1 NULLS LAST, 2", (0, 1), "LIMIT 300"),
            (f"SELECT y.n, x.id {TWO}", (), "LIMIT 4"),
            (f"SELECT x.s, y.k, count(*) AS c {TWO} GROUP BY x.s, y.k ORDER BY 3 DESC, 1, 2", (2, 0, 1), "LIMIT 4"),
        ):
            assert released(check(opened, query, keys, tail)) <= 300


def test_explain_says_what_the_client_gets(two: Opened) -> None:
    text = two[0].explain(f"SELECT y.n, x.s {PAIRS} ORDER BY 1 DESC, x.d LIMIT 5 OFFSET 2")
    assert "the client gets at most 5 rows" in text
    assert "top_k the first 5 rows after 2 others by y.n DESC NULLS LAST, x.d NULLS LAST\n   │  on shares, 5 slots" in text


def test_a_limit_needs_the_grant_of_a_rank() -> None:
    with sdh.connect(client="analyst") as hub:
        found = data(2)
        hub.attach("bank", {"accounts": found["bank"]["accounts"]}, policy=sdh.Policy.open(), keys={"accounts": [("id",)]})
        hub.attach("shop", {"orders": found["shop"]["orders"]}, policy=sdh.Policy.parse(
            "GRANT JOIN ON shop.orders (id) TO analyst; GRANT AGGREGATE ON shop.orders (n) TO analyst",
            floor=1, facts="measured"), keys={"orders": [("id",)]})
        groups = f"SELECT x.s, sum(y.n) AS total {TWO} GROUP BY x.s"
        assert "ordered at the client" in hub.explain(f"{groups} ORDER BY total")
        with pytest.raises(sdh.NotGranted, match=r"shop.orders is used by LIMIT, and RANK of it is not granted"):
            hub.explain(f"{groups} ORDER BY total LIMIT 3")
        assert "top_k" in hub.explain(f"{groups} LIMIT 3")
