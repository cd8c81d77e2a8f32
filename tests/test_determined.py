"""What determines what in an owner's fragment, and that grouping by the least keys gives DuckDB's rows."""

from __future__ import annotations

import duckdb
import pyarrow as pa

import sdh
from sdh.planners.determined import determined
from sdh.planners.expressions import Apply, Expression, Field, Ref
from sdh.planners.logical import Aggregate, Filter, Join, Node, Project, Reused, Scan, fields
from sdh.schema import BIGINT, BOOLEAN, DOUBLE, INTEGER
from tests.compare import difference
from tests.test_planner import OPEN


def scan(place: int, first: int) -> Scan:
    """A party's table, its key `id` as field `first`, x (which may be NULL) and y after it, f (DOUBLE) last."""
    table = OPEN.parties[place].tables[0]
    names = [("id", INTEGER, False), ("x", INTEGER, True), ("y", BIGINT, True), ("f", DOUBLE, True)]
    return Scan(table, tuple((name, Field(first + i, name, kind, null)) for i, (name, kind, null) in enumerate(names)))


def pairs(node: Node) -> list[tuple[list[int], list[int]]]:
    return [(sorted(key), sorted(others)) for key, others in determined(node)]


def equal(a: int, b: int) -> Expression:
    return Apply("=", (Ref(Field(a, "", INTEGER)), Ref(Field(b, "", INTEGER))), BOOLEAN)


def test_a_key_determines_its_row() -> None:
    assert pairs(scan(0, 1)) == [([1], [1, 2, 3, 4])]


def test_keys_outlive_a_join_in_which_they_are_no_longer_unique() -> None:
    joined = Join("INNER", scan(0, 1), scan(1, 11), equal(2, 11))
    assert ([1], [1, 2, 3, 4, 11, 12, 13, 14]) in pairs(joined)
    assert ([11], [2, 11, 12, 13, 14]) in pairs(joined)


def test_the_padded_side_of_an_outer_join_determines_nothing() -> None:
    assert pairs(Join("LEFT", scan(0, 1), scan(1, 11), equal(2, 11))) == [([1], [1, 2, 3, 4])]
    assert pairs(Join("RIGHT", scan(0, 1), scan(1, 11), equal(2, 11))) == [([11], [11, 12, 13, 14])]
    assert pairs(Join("FULL", scan(0, 1), scan(1, 11), equal(2, 11))) == []


def test_what_may_be_null_is_no_key() -> None:
    """Rows of NULL that an outer join adds would agree in it, and in nothing else."""
    assert all(key != [2] for key, _ in pairs(Filter(scan(0, 1), equal(2, 3))))


def test_of_computed_columns() -> None:
    inner = scan(0, 1)
    key, _, y, f = fields(inner)
    twice = (Field(21, "", BIGINT), Apply("+", (Ref(key), Ref(y)), BIGINT))
    ratio = (Field(22, "", DOUBLE), Apply("/", (Ref(key), Ref(f)), DOUBLE))
    renamed = (Field(23, "", INTEGER, False), Ref(key))
    assert pairs(Project(inner, (twice, ratio, renamed))) == [([23], [21, 23])]   # 0.0 and -0.0 are equal, 1 / f is not


def test_of_groups() -> None:
    inner = scan(0, 1)
    [y] = [f for f in fields(inner) if f.name == "y"]
    group = (Field(31, "", INTEGER, False), Apply("abs", (Ref(y),), INTEGER))
    assert pairs(Aggregate(inner, (group,), ())) == []
    both = (group, (Field(32, "", BIGINT, False), Ref(fields(inner)[0])))
    assert ([32], [31, 32]) in pairs(Aggregate(inner, both, ()))


def test_two_uses_of_a_common_table_determine_nothing_of_each_other() -> None:
    whole = scan(0, 1)
    uses = [tuple((Field(f.number + add, f.name, f.type, f.nullable), f) for f in fields(whole)) for add in (50, 60)]
    joined = Join("INNER", Reused(9, whole, uses[0]), Reused(9, whole, uses[1]), None)
    assert pairs(joined) == [([51], [51, 52, 53, 54]), ([61], [61, 62, 63, 64])]


def test_groups_of_a_determined_column_are_duckdbs() -> None:
    zips = [None if i == 5 else i % 2 for i in range(8)]
    people = pa.table({"id": range(8), "name": [f"n{i % 3}" for i in range(8)], "zip": zips})
    visits = pa.table({"visit": range(40), "person": [i * 7 % 8 for i in range(40)]})
    bills = pa.table({"visit": [i * 3 % 40 for i in range(60)], "total": range(60), "code": [i % 4 * 300 for i in range(60)]})
    query = ("SELECT p.id, p.name, p.zip, b.code, sum(b.total), count(*) FROM a.people p JOIN a.visits v ON p.id = v.person "
             "JOIN b.bills b ON b.visit = v.visit GROUP BY p.id, p.name, p.zip, b.code")
    with duckdb.connect() as connection, sdh.connect() as hub:
        for schema, tables in (("a", {"people": people, "visits": visits}), ("b", {"bills": bills})):
            connection.execute(f"CREATE SCHEMA {schema}")
            for name, rows in tables.items():
                connection.register("arriving", rows)
                connection.execute(f"CREATE TABLE {schema}.{name} AS SELECT * FROM arriving")
            keys = {"people": [("id",)], "visits": [("visit",)]} if schema == "a" else None
            hub.attach(schema, tables, policy=sdh.Policy.open(rows="exact"), keys=keys)
        found = hub.sql(query)
        assert found.plan is not None and "which determine" in found.plan.explain()
        assert not difference(found.arrow(), connection.sql(query).to_arrow_table(), ordered=False)
