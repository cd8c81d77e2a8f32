"""Quotients and averages of columns of two owners, scaled by constants and compared; parts of dates; conditions by owner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

import sdh
from tests.compare import difference
from tests.data import plain

ROWS = 40
DAYS = [date(1992, 1, 1) + timedelta(days=97 * i) for i in range(ROWS)]
LEFT = pa.table({"id": pa.array(range(ROWS), pa.int32()),
                 "q": pa.array([None if i % 13 == 5 else Decimal(1 + i * 7 % 50) for i in range(ROWS)], pa.decimal128(15, 2)),
                 "i": pa.array([i * 31 % 17 - 4 for i in range(ROWS)], pa.int32()),
                 "wide": pa.array([(1 << 43) + i for i in range(ROWS)], pa.int64()),
                 "d": pa.array(DAYS, pa.date32()), "t": pa.array(DAYS, pa.date32()).cast(pa.timestamp("us"))})
RIGHT = pa.table({"id": pa.array(range(ROWS), pa.int32()), "g": pa.array([i % 7 for i in range(ROWS)], pa.int32()),
                  "n": pa.array([1 + i % 9 for i in range(ROWS)], pa.int32()),
                  "k": pa.array([None if i % 11 == 3 else i % 5 - 1 for i in range(ROWS)], pa.int32())})
JOIN = "FROM bank.l x JOIN shop.r y ON x.id = y.id"


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    with sdh.connect(client="analyst") as opened:
        opened.attach("bank", {"l": LEFT}, policy=sdh.Policy.open(rows="exact"), keys={"l": [("id",)]})
        opened.attach("shop", {"r": RIGHT}, policy=sdh.Policy.open(rows="exact"), keys={"r": [("id",)]}, bounds={"r.n": (1, 9)})
        yield opened


@pytest.fixture(scope="module")
def oracle() -> duckdb.DuckDBPyConnection:
    return plain({"bank": {"l": LEFT}, "shop": {"r": RIGHT}})


@pytest.mark.parametrize("query", [
    *(f"SELECT y.g, count(*) {JOIN} GROUP BY y.g HAVING {condition}" for condition in (
        "0.2 * avg(x.q) < 5", "avg(x.q) * 0.2 >= 5.5", "2 * avg(x.i) > 3", "-1.5 * avg(x.i) < avg(x.q)", "avg(x.i) / 4 < 1",
        "sum(x.i) < 0.5 * avg(x.q)", "0.3e0 * avg(x.q) BETWEEN 6 AND 8.5", "sum(x.q) / 7.0 > 20",
        "max(x.q) < 0.0001 * sum(x.q) + 40", "sum(x.q) * 0.25 > max(x.q)", "1.10 * avg(x.q) = 1.1 * avg(x.q)")),
    f"SELECT count(*), sum(x.i) {JOIN} WHERE 3 * ((x.i + y.n) / 4) < x.q",
    f"SELECT x.id {JOIN} WHERE ((x.i - y.n) / 3) / 2.5 > 0.4",
    f"SELECT x.id {JOIN} WHERE 0.5 * (x.q * y.n / 7.0) > y.k AND x.i > y.k",
    f"SELECT sum(CASE WHEN 0.5 * ((x.q - y.n) / 4) >= 2.5 THEN x.i ELSE 0 END) {JOIN}",
    f"SELECT 100.00 * sum(CASE WHEN y.k > 0 THEN x.q * (1 - 0.05) ELSE 0 END) / sum(x.q * (1 - 0.05)) AS share {JOIN}",
    f"SELECT 100.00 * sum(x.wide * y.n) / sum(x.wide) AS share {JOIN}", f"SELECT sum(x.q * y.n) / 7.0 AS yearly {JOIN}",
    f"SELECT y.g, sum(CASE WHEN y.k > 1 THEN x.q ELSE 0 END) / sum(x.q) {JOIN} GROUP BY y.g"])
def test_ratios(hub: sdh.Hub, oracle: duckdb.DuckDBPyConnection, query: str) -> None:
    result = hub.sql(query)
    assert not difference(result.arrow(), oracle.sql(query).to_arrow_table(), ordered=False)
    assert result.plan is not None and not result.plan.is_local


def test_a_tie_is_a_tie(hub: sdh.Hub, oracle: duckdb.DuckDBPyConnection) -> None:
    """A known deviation: 0.2 * 25.5 is 5.1 on shares, where a quotient is an exact pair; as DOUBLE it is a rounding more."""
    query = f"SELECT avg(x.q), 0.2 * avg(x.q) > 5.1, 0.2 * avg(x.q) = 5.1, sum(y.n) {JOIN} WHERE x.id IN (25, 32)"
    assert hub.sql(query).fetchall() == [(25.5, False, True, 14)]
    assert oracle.sql(query).fetchall() == [(25.5, True, False, 14)]


@pytest.mark.parametrize("query", [
    f"SELECT extract(year FROM x.d) AS year, count(*), sum(y.n) {JOIN} GROUP BY year",
    "SELECT x.id, extract(year FROM x.t) - y.n, date_part('Month', x.d) * y.n, day(x.t) + y.k, quarter + y.n FROM (SELECT *, "
    "date_part('quarter', d) AS quarter FROM bank.l) x JOIN shop.r y ON x.id = y.id",
    f"SELECT count(*) {JOIN} WHERE date_part('dow', x.d) > y.n - 3 AND date_part('doy', x.d) > 40 * y.k",
    f"SELECT count(*) {JOIN} WHERE x.d + INTERVAL 1 MONTH >= DATE '1994-01-31' + INTERVAL '3' MONTH AND x.i > y.k"])
def test_dates(hub: sdh.Hub, oracle: duckdb.DuckDBPyConnection, query: str) -> None:
    assert not difference(hub.sql(query).arrow(), oracle.sql(query).to_arrow_table(), ordered=False)


def test_a_year_cannot_fail(hub: sdh.Hub) -> None:
    text = hub.explain(f"SELECT extract(year FROM x.d) AS year, sum(y.n) {JOIN} GROUP BY year")
    assert "TRY(" not in text and "an operator failed" not in text


def test_infinite_dates_have_no_year() -> None:
    rows = "SELECT * FROM (VALUES (1, DATE 'infinity'), (2, '-infinity'), (3, '2000-02-29'), (4, NULL)) l(id, d)"
    with duckdb.connect() as connection, sdh.connect(client="analyst") as hub:
        dates = {"l": connection.sql(rows).to_arrow_table()}
        hub.attach("bank", dates, policy=sdh.Policy.open(rows="exact"), keys={"l": [("id",)]})
        hub.attach("shop", {"r": RIGHT}, policy=sdh.Policy.open(rows="exact"), keys={"r": [("id",)]})
        found = hub.sql(f"SELECT x.id, extract(year FROM x.d) + y.n AS later {JOIN}").fetchall()
    assert sorted(found) == [(1, None), (2, None), (3, 2004), (4, None)]


def test_the_conditions_of_one_owner_are_one_column(hub: sdh.Hub, oracle: duckdb.DuckDBPyConnection) -> None:
    query = (f"SELECT count(*) {JOIN} WHERE (x.i > 1 AND x.q < 30 AND y.n = 3 AND x.id > 2 AND y.k > 0) "
             "OR (y.n = 4 AND x.i < 3 AND y.k IS NULL OR x.q IS NULL)")
    result = hub.sql(query)
    assert not difference(result.arrow(), oracle.sql(query).to_arrow_table(), ordered=False)
    assert result.plan is not None
    assert [len(fragment.schema) for fragment in result.plan.placed.fragments] == [4, 3]   # the key, and a bit for each side


@pytest.mark.parametrize("condition", ["avg(x.q) + avg(y.n) > 3", "avg(x.q) * avg(x.i) > 3", "avg(x.q) / -2 < 1",
                                       "avg(x.q) / 0 < 1", "1e-30 * avg(x.q) < 1"])
def test_what_is_refused(hub: sdh.Hub, condition: str) -> None:
    with pytest.raises(sdh.Unsupported, match="Arithmetic with a quotient or AVG"):
        hub.sql(f"SELECT y.g, sum(y.n * x.i) {JOIN} GROUP BY y.g HAVING {condition}")


@pytest.mark.parametrize("query", [
    f"SELECT y.g, round(avg(x.q), 2) AS mean, 0.2 * avg(x.q) AS fifth, count(*) {JOIN} GROUP BY y.g ORDER BY mean DESC, y.g",
    f"SELECT y.g, -round(100 * (sum(x.q) / sum(y.n)) - 7, 1), avg(x.q)::DECIMAL(10,3) {JOIN} GROUP BY y.g ORDER BY y.g",
    f"SELECT x.id, trunc(x.q / y.n)::BIGINT AS whole, abs(x.i / y.n) / 3 {JOIN} ORDER BY floor(x.i / y.n), x.id",
    f"SELECT round(avg(x.q), 1) + 1, avg(x.i) / 0 {JOIN} WHERE y.n > 100"])
def test_the_client_works_out_what_follows_a_quotient(hub: sdh.Hub, oracle: duckdb.DuckDBPyConnection, query: str) -> None:
    result = hub.sql(query)
    assert not difference(result.arrow(), oracle.sql(query).to_arrow_table(), ordered=" ORDER BY " in query)
    assert result.plan is not None and not result.plan.is_local


def test_the_quotient_is_what_is_revealed(hub: sdh.Hub) -> None:
    text = hub.explain(f"SELECT y.g, round(avg(x.q), 2) AS mean {JOIN} GROUP BY y.g")
    assert "worked out at the client: mean = round(its quotient, 2)" in text
    assert "the rows of the result (g, the quotient in mean) -> analyst (result)" in text


def test_the_clients_own_step_fails_as_duckdbs(hub: sdh.Hub) -> None:
    with pytest.raises(sdh.DataError, match="out of range for the destination type INT8"):
        hub.sql(f"SELECT (1000 * avg(x.q))::TINYINT {JOIN} WHERE y.n > 0")


@pytest.mark.parametrize("query", [
    f"SELECT avg(x.q) - avg(y.n) {JOIN} WHERE x.i > y.k", f"SELECT y.g, avg(x.q) * sum(y.n) {JOIN} GROUP BY y.g",
    f"SELECT y.g {JOIN} GROUP BY y.g ORDER BY round(avg(x.q), 2), y.g LIMIT 2",
    f"SELECT sqrt(avg(x.q)) {JOIN} WHERE x.i > y.k"])
def test_what_several_quotients_or_a_choice_rest_on_is_refused(hub: sdh.Hub, query: str) -> None:
    with pytest.raises(sdh.Unsupported, match="quotient"):
        hub.sql(query)
