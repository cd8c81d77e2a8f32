"""UNION ALL across owners and federated tables, through real processes against DuckDB; every part keeps its policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import sdh
from sdh.catalog import Catalog, Federated, catalog_from_message, padded
from sdh.cli import app
from sdh.planners.expressions import Ref
from sdh.planners.physical import Concat, Node, Unique, inputs
from sdh.store import Holdings
from tests import data
from tests.compare import difference
from tests.test_costs import check as check_costs
from tests.test_costs import planned
from tests.test_planner import catalog

TYPES: dict[str, pa.DataType] = {
    "id": pa.int32(),
    "ward": pa.int16(),
    "name": pa.string(),
    "cost": pa.decimal128(15, 2),
    "born": pa.date32(),
    "alive": pa.bool_(),
    "weight": pa.float64(),
}
PATIENTS = pa.schema(TYPES)


def patients(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = {field.name: pa.array([row[i] for row in rows], field.type) for i, field in enumerate(PATIENTS)}
    return pa.table(columns, schema=PATIENTS)


NORTH = patients(
    [
        (1, 1, "ann", Decimal("10.50"), date(1950, 1, 1), True, 1.5),
        (2, 1, "bob", Decimal("-3.25"), date(1999, 12, 31), False, -2.25),
        (3, 2, "", Decimal("0.00"), date(1970, 1, 1), True, 0.0),
        (4, 2, "ann", Decimal("99.99"), date(2020, 2, 29), False, 8.0),
    ]
)
"""Short names, no NULL."""
SOUTH = patients(
    [
        (11, 1, "a name of more than seven bytes", Decimal("9999999999999.99"), None, None, None),
        (12, None, None, None, date(1900, 1, 1), True, 1e300),
        (13, 3, "ann", Decimal("-9999999999999.99"), date(2100, 1, 1), False, -1e-300),
        (14, None, "Ünïcode 木", Decimal("0.01"), None, None, 2.5),
        (15, 2, "bob", Decimal("1.00"), date(1999, 12, 31), True, None),
    ]
)
WEST = patients([])
VISITS = pa.table(
    {
        "patient": pa.array([1, 1, 2, 11, 13, 15, 15, None, 99], pa.int32()),
        "fee": pa.array([5, 7, None, 11, 13, -4, 6, 8, 9], pa.int64()),
    }
)
BEDS = pa.table({"id": pa.array([1, 4, 12, 15], pa.int32()), "bed": pa.array([100, 400, 1200, None], pa.int32())})
CODE = pa.table({"ward": pa.array([1, 2, 4], pa.int16()), "title": pa.array(["one", "two", None])})
MORE = pa.table({"ward": pa.array([1, 1, 3], pa.int16()), "floor": pa.array([10, 11, 12], pa.int32())})
STORES = {"north": {"patients": NORTH, "beds": BEDS}, "south": {"patients": SOUTH}, "west": {"patients": WEST, "visits": VISITS}}
KEYS = {"north": {"patients": [("id",)], "beds": [("id",)]}, "south": {"patients": [("id",)]}, "west": {"patients": [("id",)]}}


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    with started("exact") as opened:
        yield opened


@contextmanager
def started(rows: str) -> Iterator[sdh.Hub]:
    with sdh.connect() as opened:
        for party, owned in STORES.items():
            opened.attach(party, dict(owned), policy=sdh.Policy.open(rows=rows), keys=KEYS[party])
        opened.publish("code", CODE, keys=[("ward",)])
        opened.publish("more", MORE)
        opened.federate("patients", ["north.patients", "south.patients"], keys=[("id",)])
        opened.federate("land.patients", ["south.patients", "west.patients", "north.patients"])
        yield opened


@pytest.fixture(scope="module")
def plain() -> duckdb.DuckDBPyConnection:
    connection = data.plain(STORES)
    for name, table in (("code", CODE), ("more", MORE)):
        connection.register("given", table)
        connection.execute(f"CREATE TABLE {name} AS FROM given")
    connection.execute("CREATE VIEW patients AS FROM north.patients UNION ALL FROM south.patients")
    connection.execute("CREATE SCHEMA land")
    connection.execute(
        "CREATE VIEW land.patients AS FROM south.patients UNION ALL FROM west.patients UNION ALL FROM north.patients"
    )
    return connection


def check(hub: sdh.Hub, plain: duckdb.DuckDBPyConnection, query: str) -> sdh.Result:
    result = hub.sql(query)
    expected = plain.sql(query).to_arrow_table()
    assert difference(result.arrow(), expected, ordered="ORDER BY" in query) == ""
    assert result.plan is not None
    return result


def operators(node: Node) -> list[Node]:
    return [node, *(one for part in inputs(node) for one in operators(part))]


FEDERATED = {
    "all": "SELECT * FROM patients",
    "three, one empty": "SELECT id, name, cost, born, alive, weight FROM land.patients ORDER BY id",
    "filtered": "SELECT id, name FROM patients WHERE cost > 0 AND name <> 'bob'",
    "nothing": "SELECT id, name FROM patients WHERE cost > 1 AND cost < 1",
    "computed": "SELECT id * 2 + 1 AS odd, cost * 3, upper(name), born + 1, NOT alive FROM patients",
    "case": "SELECT CASE WHEN ward = 1 THEN 'first' WHEN ward IS NOT NULL THEN name END FROM land.patients",
    "aggregates": "SELECT count(*), count(name), sum(ward), sum(cost), avg(cost), avg(ward), min(born), max(cost) FROM patients",
    "aggregates over three": "SELECT count(*), count(born), sum(id), min(cost), max(born), avg(id) FROM land.patients "
    "WHERE id > 1",
    "aggregates of nothing": "SELECT count(*), count(ward), sum(ward), min(id), avg(cost) FROM land.patients WHERE id > 1000",
    "filtered aggregates": "SELECT sum(id) FILTER (WHERE alive), count(*) FILTER (WHERE ward = 1), "
    "count(name) FILTER (WHERE id > 2) FROM patients",
    "extremes of DOUBLE": "SELECT min(weight), max(weight) FROM patients",
    "extremes of texts": "SELECT min(name), max(name), max(name) FILTER (WHERE alive), min(name) FILTER (WHERE id > 1000) "
    "FROM land.patients",
    "extremes of texts by a few": "SELECT ward, min(name), max(upper(name)), bool_and(alive), bool_or(alive) FROM patients "
    "GROUP BY ward",
    "grouped by a DOUBLE": "SELECT weight, count(*), max(name) FROM land.patients GROUP BY weight ORDER BY weight DESC",
    "truths": "SELECT bool_and(alive), bool_or(alive), min(alive), max(alive), count_if(alive) FROM land.patients",
    "having": "SELECT sum(cost) AS total FROM patients HAVING count(*) > 3",
    "grouped by a BOOLEAN": "SELECT alive, count(*), sum(cost), min(id) FROM patients GROUP BY alive",
    "grouped by a few": "SELECT ward, count(*), sum(id), avg(cost), max(born) FROM land.patients GROUP BY ward",
    "public": "SELECT p.id, c.title FROM patients p JOIN code c ON p.ward = c.ward",
    "public, left": "SELECT p.id, c.title FROM north.patients p LEFT JOIN code c ON p.ward = c.ward "
    "JOIN west.visits v ON v.patient = p.id",
    "public, right": "SELECT v.fee, c.title, c.ward FROM west.visits v JOIN (SELECT n.id, n.ward AS own, c.* "
    "FROM north.patients n RIGHT JOIN code c ON n.ward = c.ward) c ON v.patient = c.id",
    "two public": "SELECT p.id, c.title, m.floor FROM patients p JOIN code c ON p.ward = c.ward JOIN more m ON m.ward = c.ward",
    "public, aggregated": "SELECT count(*), sum(m.floor * p.id) FROM patients p JOIN more m ON p.ward = m.ward",
    "joined with a part's owner": "SELECT p.id, p.name, b.bed FROM patients p JOIN north.beds b ON p.id = b.id",
    "joined with another": "SELECT p.id, v.fee FROM patients p JOIN west.visits v ON p.id = v.patient",
    "joined and aggregated": "SELECT count(*), sum(v.fee), sum(p.ward * v.fee), min(p.cost) FROM patients p "
    "JOIN west.visits v ON p.id = v.patient WHERE p.id < 14",
    "joined by <": "SELECT count(*) FROM patients p JOIN north.beds b ON p.id < b.bed AND p.cost > b.id",
    "public, outer": "SELECT p.id, c.title, m.floor FROM patients p LEFT JOIN code c ON p.ward = c.ward "
    "LEFT JOIN more m ON m.ward = p.ward AND m.floor > 10",
    "public keeps its rows": "SELECT c.ward, c.title, p.id FROM patients p RIGHT JOIN code c ON p.ward = c.ward",
    "public, full": "SELECT c.ward, p.id FROM code c FULL JOIN patients p ON p.ward = c.ward",
    "not in public": "SELECT id FROM land.patients WHERE ward NOT IN (SELECT ward FROM code WHERE title = 'two')",
    "in public, as a value": "SELECT id, ward IN (SELECT ward FROM more) AS there FROM patients",
    "exists at another": "SELECT id FROM patients p WHERE EXISTS (SELECT 1 FROM west.visits v WHERE v.patient = p.id)",
    "two federated, public and private": "SELECT p.id, q.name, c.title, b.bed FROM patients p JOIN land.patients q "
    "ON p.id = q.id JOIN code c ON c.ward = q.ward LEFT JOIN north.beds b ON b.id = p.id",
    "three parts in a row": "SELECT p.id, c.title, b.bed, m.floor FROM north.beds b JOIN patients p ON b.id = p.id "
    "JOIN code c ON c.ward = p.ward JOIN more m ON m.ward = c.ward",
    "with itself": "SELECT count(*), sum(a.id - b.id) FROM patients a JOIN patients b ON a.id = b.id",
    "in a derived table": "SELECT sum(t.x) FROM (SELECT id + ward AS x, cost FROM patients) t WHERE t.cost > 0",
    "twice in a CTE": "WITH t AS (SELECT id, cost FROM patients WHERE id > 1) SELECT count(*) FROM t a JOIN t b ON a.id < b.id",
}


@pytest.mark.parametrize("name", FEDERATED)
def test_a_federated_table(hub: sdh.Hub, plain: duckdb.DuckDBPyConnection, name: str) -> None:
    result = check(hub, plain, FEDERATED[name])
    assert result.plan is not None
    assert not result.plan.is_local


UNIONS = {
    "two owners": "SELECT id, name FROM north.patients UNION ALL SELECT id, name FROM south.patients",
    "types that differ": "SELECT ward, cost, name FROM north.patients UNION ALL SELECT fee, patient, 'visit' FROM west.visits "
    "UNION ALL SELECT NULL, 1.125, NULL",
    "BIGINT and SMALLINT": "SELECT fee AS x FROM west.visits UNION ALL SELECT ward FROM south.patients ORDER BY x",
    "public on both sides": "SELECT ward, title FROM code UNION ALL SELECT ward, name FROM south.patients UNION ALL "
    "SELECT ward, 'more' FROM more UNION ALL SELECT ward, name FROM north.patients",
    "labelled": "SELECT 'n' AS part, count(*) AS n FROM north.patients UNION ALL SELECT 's', count(*) FROM south.patients "
    "UNION ALL SELECT 'w', count(*) FROM west.patients ORDER BY part",
    "of joins": "SELECT p.id, v.fee FROM north.patients p JOIN west.visits v ON p.id = v.patient UNION ALL "
    "SELECT p.id, v.fee FROM south.patients p JOIN west.visits v ON p.id = v.patient",
    "of aggregates across owners": "SELECT sum(p.ward * v.fee) AS x FROM north.patients p JOIN west.visits v ON p.id = v.patient "
    "UNION ALL SELECT max(p.cost + v.fee) FROM south.patients p JOIN west.visits v ON p.id = v.patient",
    "of values of two owners": "SELECT p.id + v.fee AS x FROM south.patients p JOIN west.visits v ON p.id = v.patient "
    "UNION ALL SELECT ward FROM north.patients",
    "nested": "SELECT sum(x) FROM (SELECT id AS x FROM north.patients UNION ALL (SELECT ward FROM south.patients UNION ALL "
    "SELECT fee FROM west.visits) UNION ALL SELECT ward FROM code)",
    "grouped by two": "SELECT k, alive, count(*), min(x) FROM (SELECT ward AS k, alive, id AS x FROM north.patients UNION ALL "
    "SELECT ward, alive, id FROM south.patients) GROUP BY k, alive",
    "filtered above": "SELECT * FROM (SELECT id, cost FROM north.patients UNION ALL SELECT patient, fee FROM west.visits) "
    "WHERE cost > 5 AND id IS NOT NULL",
    "joined": "SELECT u.x, b.bed FROM (SELECT id AS x FROM south.patients UNION ALL SELECT patient FROM west.visits) u "
    "JOIN north.beds b ON u.x = b.id",
    "of one owner": "SELECT u.id, v.fee FROM (SELECT id FROM north.patients UNION ALL SELECT bed FROM north.beds) u "
    "JOIN west.visits v ON v.patient = u.id",
    "no columns are read": "SELECT count(*) FROM (SELECT id FROM north.patients UNION ALL SELECT fee FROM west.visits) u",
    "computed above": "SELECT sum(a * b + 1), sum(a // 3), count(*) FILTER (WHERE a > b) FROM "
    "(SELECT id AS a, ward AS b FROM north.patients UNION ALL SELECT id, ward FROM south.patients)",
    "an error that does not happen": "SELECT sum(CASE WHEN b <> 0 THEN a // b END) FROM "
    "(SELECT id AS a, ward - 1 AS b FROM north.patients UNION ALL SELECT id, ward FROM south.patients)",
}


@pytest.mark.parametrize("name", UNIONS)
def test_union_all(hub: sdh.Hub, plain: duckdb.DuckDBPyConnection, name: str) -> None:
    check(hub, plain, UNIONS[name])


@pytest.mark.parametrize("rows", ["padded", "hidden"])
def test_slots_that_hold_no_row_do_not_show(plain: duckdb.DuckDBPyConnection, rows: str) -> None:
    with started(rows) as opened:
        for name in ("all", "aggregates over three", "grouped by a few", "public, aggregated", "joined with a part's owner"):
            check(opened, plain, FEDERATED[name])
        for name in ("types that differ", "of joins", "grouped by two"):
            check(opened, plain, UNIONS[name])


def test_an_error_in_one_input_is_the_querys(hub: sdh.Hub, plain: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT sum(a // b) FROM ({} UNION ALL SELECT id, ward FROM south.patients)"
    query = query.format("SELECT id AS a, ward - 1 AS b FROM north.patients")
    with pytest.raises(duckdb.Error):
        plain.sql(query).fetchall()
    with pytest.raises(sdh.DataError):
        hub.sql(query)


# --- what is shared ------------------------------------------------------------------------------


def test_owners_aggregate_first(hub: sdh.Hub) -> None:
    text = hub.explain("SELECT count(*), avg(cost), min(born) FROM land.patients WHERE ward > 0")
    assert "append 3 inputs\n" in text
    assert "on shares, 3 slots" in text
    assert text.count("in the clear, then shared in 1 slots") == 3


def test_public_tables_are_joined_at_every_owner(hub: sdh.Hub) -> None:
    text = hub.explain(FEDERATED["two public"])
    assert text.count("then shared in") == 2
    assert not any(word in text.partition("Alternatives")[0] for word in ("nested_loop on", "align on", "sort_merge on"))


def test_a_union_of_one_owner_is_its_own_business(hub: sdh.Hub) -> None:
    assert "nothing is shared" in hub.explain("SELECT id FROM north.patients UNION ALL SELECT ward FROM code")


def test_values_are_computed_by_the_owners(hub: sdh.Hub, plain: duckdb.DuckDBPyConnection) -> None:
    """Of columns of an append: what is shared is the result, and what it was computed of is not."""
    result = check(hub, plain, "SELECT a.cost * 2 + a.ward AS x, b.id FROM patients a JOIN land.patients b ON a.id < b.id")
    assert result.plan is not None
    assert result.plan.root is not None
    appended = [node for node in operators(result.plan.root.input) if isinstance(node, Concat)]
    assert sorted(len(node.outputs) for node in appended) == [1, 2]
    assert all(isinstance(value, Ref) for node in appended for row in node.values for value in row)


# --- declared keys -------------------------------------------------------------------------------

def many(first: int, count: int) -> pa.Table:
    numbers = pa.array(range(first, first + count), pa.int32())
    return pa.table({"id": numbers, "x": pa.array([i % 97 for i in range(count)], pa.int32())})


@pytest.mark.parametrize("overlap", [0, 1])
def test_a_declared_key_is_proven_where_it_is_needed(overlap: int) -> None:
    """Too many pairs for a nested loop: the join needs the key, and two equal ones are an error and no wrong answer."""
    with sdh.connect() as opened:
        opened.attach("north", {"stock": many(0, 4000), "sold": many(2000, 3000)}, policy=sdh.Policy.open())
        opened.attach("south", {"stock": many(4000 - overlap, 4000), "sold": many(3000, 3000)}, policy=sdh.Policy.open())
        opened.federate("stock", ["north.stock", "south.stock"], keys="id")
        opened.federate("sold", ["north.sold", "south.sold"])
        query = "SELECT count(*), sum(a.x), sum(b.x) FROM sold a JOIN stock b ON a.id = b.id WHERE b.id >= 0"
        text = opened.explain(query)
        assert "(id) unique by declaration" in text
        assert "check that (b.id) is unique" in text
        assert "whether an operator failed" in text
        if overlap:
            with pytest.raises(sdh.DataError):
                opened.sql(query)
        else:
            sold = [(i, (i - 2000) % 97) for i in range(2000, 5000)] + [(i, (i - 3000) % 97) for i in range(3000, 6000)]
            stock = {i: i % 97 if i < 4000 else (i - 4000) % 97 for i in range(8000)}
            expected = len(sold), sum(x for _, x in sold), sum(stock[i] for i, _ in sold)
            assert opened.sql(query).fetchall() == [expected]


def test_nulls_and_rows_that_are_filtered_out_break_no_key() -> None:
    rows = pa.table({"id": pa.array([1, None, None, 7], pa.int32()), "x": pa.array([1, 2, 3, 0], pa.int32())})
    more = pa.table({"id": pa.array([2, None, 7], pa.int32()), "x": pa.array([4, 5, -6], pa.int32())})
    with sdh.connect() as opened:
        opened.attach("north", {"t": rows}, policy=sdh.Policy.open())
        opened.attach("south", {"t": more}, policy=sdh.Policy.open())
        opened.federate("t", ["north.t", "south.t"], keys=["id"])
        query = "SELECT id, sum(x) AS y, count(*) AS n FROM t WHERE x > 0 GROUP BY id ORDER BY id, y"
        assert opened.sql(query).fetchall() == [(1, 1, 1), (2, 4, 1), (None, 10, 3)]


COSTS = {
    "rows": "SELECT a.x, a.s, a.f, a.b FROM joint a",
    "unlike": "SELECT x, s FROM bank.accounts UNION ALL SELECT o.money, a.s FROM bank.accounts a JOIN shop.orders o ON a.x < o.x",
    "computed": "SELECT a.x + o.x AS v, a.b AND o.b FROM bank.accounts a JOIN shop.orders o ON a.id = o.id UNION ALL "
    "SELECT x, b FROM shop.orders",
    "sums": "SELECT count(*), sum(x), min(money), avg(y) FROM joint",
    "groups": "SELECT s, count(*), sum(x), max(d) FROM joint GROUP BY s",
    "proven": "SELECT id, s, t, sum(x) FROM joint GROUP BY id, s, t",
    "proven join": "SELECT count(*), sum(a.x * b.y) FROM joint a JOIN joint b ON a.id = b.id",
    "joined": "SELECT sum(a.x * o.x) FROM joint a JOIN shop.orders o ON a.x < o.x",
}


@pytest.mark.parametrize("rows", ["exact", "padded"])
@pytest.mark.parametrize("name", COSTS)
def test_predicted_costs(name: str, rows: str) -> None:
    known = replace(catalog(sdh.Policy.open(rows=rows), sdh.Policy.open(rows=rows)),
                    federated=(Federated("joint", ("bank.accounts", "shop.orders"), (("id",),)),))  # fmt: skip
    plan = planned(COSTS[name], (1100, 900, 1000, 700) if rows == "exact" else (padded(1000),) * 4, known)
    assert plan.root is not None
    kinds = {type(node) for node in operators(plan.root.input)}
    assert kinds >= ({Concat, Unique} if name.startswith("proven") else {Concat})
    check_costs(plan)


# --- policies ------------------------------------------------------------------------------------

ALL = "GRANT REVEAL ON {0}.patients TO analyst"


@contextmanager
def granted(north: str, south: str, floors: tuple[int, int] = (1, 1), client: str = "analyst",
            stores: dict[str, pa.Table] | None = None) -> Iterator[sdh.Hub]:  # fmt: skip
    """Two parts under policies of their own."""
    with sdh.connect(client=client) as opened:
        for party, text, floor in (("north", north, floors[0]), ("south", south, floors[1])):
            table = (stores or {"north": NORTH, "south": SOUTH})[party]
            policy = sdh.Policy.parse(text, floor=floor, facts="measured", rows="exact")
            opened.attach(party, {"patients": table}, policy=policy, keys={"patients": [("id",)]})
        opened.federate("patients", ["north.patients", "south.patients"])
        yield opened


def test_every_grant_is_asked_of_every_owner() -> None:
    counted = "GRANT AGGREGATE ON south.patients (cost) TO analyst"
    with granted(ALL.format("north"), counted) as opened:
        assert opened.sql("SELECT sum(cost), count(*) FROM patients").fetchall() == [(Decimal("108.25"), 9)]
        for text, grant in {
            "SELECT cost FROM patients": r"GRANT REVEAL ON south.patients \(cost\) TO analyst",
            "SELECT name FROM patients": r"GRANT REVEAL ON south.patients \(name\) TO analyst",
            "SELECT sum(ward) FROM patients": r"GRANT AGGREGATE ON south.patients \(ward\) TO analyst",
            "SELECT max(cost) FROM patients": r"GRANT EXTREMES ON south.patients \(cost\) TO analyst",
            "SELECT ward, sum(cost) FROM patients GROUP BY ward": r"GRANT GROUP ON south.patients \(ward\) TO analyst",
            "SELECT sum(cost) FROM patients WHERE ward = 1": r"GRANT COMPARE ON south.patients \(ward\) TO analyst",
            "SELECT id FROM north.patients UNION ALL SELECT id FROM south.patients": r"GRANT REVEAL ON south.patients \(id\)",
            "SELECT sum(x) FROM (SELECT cost AS x FROM north.patients UNION ALL SELECT ward FROM south.patients)":
                r"GRANT AGGREGATE ON south.patients \(ward\) TO analyst",
        }.items():  # fmt: skip
            with pytest.raises(sdh.NotGranted, match=grant):
                opened.sql(text)
        assert len(opened.sql("SELECT name FROM north.patients").fetchall()) == 4


def test_an_append_with_own_rows_matches_none_of_them() -> None:
    """PAYLOAD shows the values of rows whose key matched one of the receiver's own: UNION ALL matches nothing."""
    text = "GRANT JOIN, PAYLOAD ON south.patients TO north"
    with granted("", text, client="north") as opened:
        query = "SELECT a.id, b.name FROM north.patients a JOIN south.patients b ON a.id < b.id"
        with pytest.raises(sdh.NotGranted, match="GRANT COMPARE"):
            opened.sql(query)
        assert opened.sql(query.replace("<", "=")).fetchall() == []
        for refused in (
            "SELECT name FROM patients",
            "SELECT name FROM north.patients UNION ALL SELECT name FROM south.patients",
            "SELECT b.name FROM (SELECT id FROM north.patients UNION ALL SELECT id FROM south.patients) a "
            "JOIN south.patients b ON a.id = b.id",
        ):
            with pytest.raises(sdh.NotGranted, match=r"REVEAL is not granted"):
                opened.sql(refused)


def test_floors_count_each_owners_rows() -> None:
    """Many of one owner's rows hide no few of another's."""
    everything = ALL.format("north"), ALL.format("south")
    query = "SELECT count(*), sum(cost) FROM patients WHERE id {}"
    with granted(*everything, floors=(3, 2)) as opened:
        assert opened.sql(query.format("> 0")).fetchall() == [(9, Decimal("108.25"))]
        assert opened.sql(query.format("> 2")).fetchall() == [(None, None)]  # two of north's
        assert opened.sql(query.format("<= 11")).fetchall() == [(None, None)]  # one of south's
        assert opened.sql(query.format("<= 12")).fetchall() == [(6, None)]  # of south's one is NULL
        assert opened.sql(query.format("<= 10")).fetchall() == [(None, None)]  # none of south's
        assert opened.sql(query.format("> 10")).fetchall() == [(None, None)]
        assert opened.sql("SELECT count(*) FROM south.patients").fetchall() == [(5,)]
        assert opened.sql("SELECT count(*) FILTER (WHERE id <> 1) FROM patients").fetchall() == [(8,)]
        assert opened.sql("SELECT count(*) FILTER (WHERE id > 2) FROM patients").fetchall() == [(None,)]
    rows = {"north": patients([(i, i % 2, "x", None, None, True, None) for i in range(6)]),
            "south": patients([(i, i % 3 % 2, "x", None, None, True, None) for i in range(100, 106)])}  # fmt: skip
    with granted(*everything, floors=(3, 3), stores=rows) as opened:
        assert opened.sql("SELECT ward, count(*) FROM patients GROUP BY ward").fetchall() == [(0, 7)]  # 3 + 4, and 3 + 2


def test_public_and_own_rows_fill_no_floor() -> None:
    with granted(ALL.format("north"), ALL.format("south"), floors=(2, 1)) as opened:
        opened.publish("code", CODE)
        query = "SELECT count(*) FROM (SELECT id FROM north.patients WHERE id {} UNION ALL SELECT ward FROM code)"
        assert opened.sql(query.format("= 1")).fetchall() == [(None,)]
        assert opened.sql(query.format("< 3")).fetchall() == [(5,)]


def test_rows_of_nulls_fill_no_floor() -> None:
    stores = {"north": NORTH, "south": NORTH}
    with granted(ALL.format("north"), ALL.format("south"), floors=(2, 1), stores=stores) as opened:
        query = "SELECT count(*), sum(coalesce(b.ward, 0)) FROM south.patients a LEFT JOIN north.patients b ON a.id = b.id {}"
        assert opened.sql(query.format("AND b.id = 1")).fetchall() == [(None, None)]
        assert opened.sql(query.format("AND b.id > 1")).fetchall() == [(4, 5)]


# --- the catalog ---------------------------------------------------------------------------------


def test_a_federated_table_is_in_the_catalog(hub: sdh.Hub) -> None:
    assert {"patients", "land.patients", "north.patients"} <= set(hub.tables())
    assert [column.name for column in hub.schema("LAND.patients")] == PATIENTS.names
    assert [row[:3] for row in hub.sql("DESCRIBE patients").fetchall()][1] == ("ward", "SMALLINT", "YES")
    assert ("land.patients",) in hub.sql("SHOW TABLES").fetchall()
    with pytest.raises(sdh.UnknownTable, match=r"Did you mean .*patients"):
        hub.sql("SELECT * FROM patient")
    with pytest.raises(sdh.UnknownColumn, match="ward"):
        hub.sql("SELECT wards FROM patients")
    assert hub.sql("SELECT land.patients.id FROM land.patients WHERE patients.id = 1").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("name", "parts", "keys", "kind", "says"),
    [
        ("north", ["north.patients", "south.patients"], None, sdh.NameTaken, "party"),
        ("north.people", ["north.patients", "south.patients"], None, sdh.NameTaken, "north"),
        ("code", ["north.patients", "south.patients"], None, sdh.NameTaken, "public table"),
        ("Patients", ["north.patients", "south.patients"], None, sdh.NameTaken, "federated table"),
        ("land", ["north.patients", "south.patients"], None, sdh.NameTaken, "federated table"),
        ("code.people", ["north.patients", "south.patients"], None, sdh.NameTaken, "code"),
        ("people", ["north.patients", "south.people"], None, sdh.UnknownTable, "south.people"),
        ("people", ["north.patients", "code"], None, sdh.UnknownTable, "code"),
        ("people", ["north.patients", "north.beds"], None, sdh.UnknownColumn, "ward"),
        ("people", ["north.patients"], None, sdh.UnknownDeclaration, "two parts"),
        ("people", ["north.patients", "North.patients"], None, sdh.UnknownDeclaration, "each once"),
        ("people", ["north.patients", "south.patients"], "key", sdh.UnknownDeclaration, "key"),
        ("a.b.c", ["north.patients", "south.patients"], None, sdh.UnknownDeclaration, "name of a federated table"),
    ],
)
def test_what_cannot_be_federated_is_refused_by_name(
    hub: sdh.Hub, name: str, parts: list[str], keys: str | None, kind: type[sdh.SdhError], says: str
) -> None:
    before = hub.tables()
    with pytest.raises(kind, match=says):
        hub.federate(name, parts, keys=keys)
    assert hub.tables() == before


def test_types_must_be_equal_and_names_may_be_in_any_order() -> None:
    table = pa.table({"b": pa.array(["x"]), "A": pa.array([1], pa.int32())})
    with sdh.connect() as opened:
        opened.attach("one", {"t": pa.table({"a": pa.array([2], pa.int32()), "b": pa.array(["y"])})}, policy=sdh.Policy.open())
        opened.attach("two", {"t": table, "u": table.set_column(1, "a", pa.array([1], pa.int64()))}, policy=sdh.Policy.open())
        with pytest.raises(sdh.TypeMismatch, match=r"a of the federated table u is INTEGER in one\.t and BIGINT in two\.u"):
            opened.federate("u", ["one.t", "two.u"])
        opened.federate("t", ["one.t", "two.t"])
        assert sorted(opened.sql("SELECT * FROM t").fetchall()) == [(1, "x"), (2, "y")]
        with pytest.raises(sdh.NameTaken):
            opened.attach("t", {"t": table})
        opened.detach("two")
        assert opened.tables() == ("one.t",)


def test_every_node_checks_the_parts(hub: sdh.Hub) -> None:
    """A hub that federates what is not there, or hides a table, is refused at the nodes."""
    members = hub._members
    federated = dict(members.federated)
    facts = members.parties["north"].party
    held = Holdings("north", members.root, members.share, party=facts)
    for table, what in {
        Federated("none", ("north.patients", "south.none")): "No owner has a table south.none",
        Federated("none", ("north.patients", "north.beds")): "column",
        Federated("north.beds", ("north.patients", "south.patients")): "would hide",
        Federated("none", ("north.patients", "south.patients"), (("x",),)): "x",
    }.items():
        forged = Catalog(members.catalog.parties, (), (*federated.values(), table))
        with pytest.raises(sdh.PlanMismatch, match=what):
            held.check(forged)
        again = catalog_from_message(forged.to_message())
        assert again == forged


# --- the command ---------------------------------------------------------------------------------


def test_the_command_federates(tmp_path: Path) -> None:
    for party, table in (("north", NORTH), ("south", SOUTH)):
        pq.write_table(table, tmp_path / f"{party}.parquet")
    options = ["--party", f"north={tmp_path}/north.parquet", "--party", f"south={tmp_path}/south.parquet",
               "--policy", "north=open", "--policy", "south=open"]  # fmt: skip
    federate = ["--federate", "people=north.north,south.south", "--key", "people=id"]
    found = CliRunner().invoke(app, ["query", "SELECT count(*) AS n, sum(id) AS s FROM people", "-f", "csv", *options, *federate])
    assert found.exit_code == 0, found.output
    assert found.stdout.split() == ["n,s", "9,75"]
    found = CliRunner().invoke(app, ["explain", "SELECT id FROM people", *options, *federate])
    assert "(id) unique by declaration" in found.stdout
    found = CliRunner().invoke(app, ["query", "SELECT 1", *options, "--federate", "people"])
    assert found.exit_code == 2
    found = CliRunner().invoke(app, ["query", "SELECT 1", *options, "--federate", "people=north.north,south.none"])
    assert found.exit_code == 1
    assert "south.none" in found.stderr
