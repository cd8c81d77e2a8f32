"""Joins of many rows with many to a declared bound, and by private tables: against DuckDB, all pairs, and their costs."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import sdh
from sdh.catalog import Catalog, Party, TableFacts
from sdh.errors import DataError, KeyViolated, Unsupported
from sdh.executors import correlations
from sdh.executors.release import assemble
from sdh.planners import join_ways
from sdh.planners.derive_traits import traits
from sdh.planners.physical import Align, Expand, Lookup, NestedLoop, SortMerge
from sdh.planners.plan import Plan, Question, finish, place
from sdh.planners.repeats import most_rows, repeated, summed
from sdh.policy import Policy
from tests.compare import difference
from tests.join_ways_programs import data, joins, planned
from tests.parties import Pool
from tests.test_join_kinds import PAIR, UNIQUE, P, X, Y, cases
from tests.test_planner import COLUMNS, MEASURED

MANY = {
    "inner": f"SELECT {PAIR} FROM {X} JOIN {Y} ON x.k = y.k",
    "where": f"SELECT {PAIR} FROM {X} JOIN {Y} ON x.k = y.k AND x.n < y.n WHERE y.b OR x.n > 0",
    "two keys": f"SELECT x.id, y.id AS other, y.d FROM {X} JOIN {Y} ON x.m = y.m AND x.d = y.d",
    "texts": f"SELECT x.id, y.id AS other, x.s FROM {X} JOIN {Y} ON x.s = y.s",
    "scales": f"SELECT x.id, y.id AS other, y.m FROM {X} JOIN {Y} ON x.n = y.m",
    "filtered": f"SELECT x.id, y.id AS other FROM (SELECT * FROM {X} WHERE x.b) x JOIN {Y} ON x.k = y.k",
}
"""By keys that repeat at both sides."""
GROUPS = {
    "groups": f"SELECT x.k, count(*) AS c, sum(y.n) AS t, min(x.m) AS least FROM {X} JOIN {Y} ON x.k = y.k GROUP BY x.k",
    "of groups": f"SELECT x.d, count(*) AS c FROM (SELECT k, d, count(*) AS c FROM {X} GROUP BY k, d) x JOIN {Y} ON x.k = y.k "
    "GROUP BY x.d",
}
"""Whose keys an owner still knows after the join. Sorted on shares it is cheaper to aggregate first."""
OUTER = {
    "left": f"SELECT {PAIR} FROM {X} LEFT JOIN {Y} ON x.k = y.k",
    "full": f"SELECT {PAIR}, x.s AS t FROM {X} FULL JOIN {Y} ON x.k = y.k",
}
LOOKED_UP = {name: UNIQUE[name] for name in ("inner", "left where", "semi", "anti where", "mark", "not in", "single", "sums")}
LOOKED_UP |= {
    "computed": f"SELECT x.id, y.id AS other, y.s, y.m, y.d FROM {X} JOIN {Y} ON x.k + 1 = y.id",
    "repeated": f"SELECT x.id FROM {X} WHERE x.id IN (SELECT y.k FROM {Y})",
    "of a join": "SELECT x.id, z.n, z.b FROM bank.t x JOIN shop.t y ON x.k = y.id JOIN mill.t z ON y.k + x.k = z.id",
}
WAY: dict[str, tuple[type, ...]] = {"nested_loop": (NestedLoop,), "expand": (Align, SortMerge),
                                    "sorted_expand": (Expand, SortMerge), "lookup": (Lookup,)}
"""The first is what a query is about; what outer joins append is sorted."""


def check(pool: Pool, sql: str, way: str, rows: list[int], policy: str = "padded") -> None:
    """The rows are DuckDB's, and the joins went that way."""
    plan = planned(sql, way, pool.parties, rows, policy)
    assert plan.root is not None
    found = joins(plan.root.input)
    assert any(isinstance(node, WAY[way][0]) for node in found)
    assert all(isinstance(node, WAY[way]) for node in found)
    payloads = pool.run(P, sql=sql, way=way, rows=rows, policy=policy)
    expected = data(pool.parties, tuple(rows)).sql(sql).to_arrow_table()
    answer = assemble(plan, [bytes.fromhex(payload) for payload in payloads])
    assert difference(answer, expected, ordered=False) == ""


@pytest.mark.parametrize(("sql", "way"), [*cases(MANY, "nested_loop", "expand", "sorted_expand"), *cases(GROUPS, "expand")])
def test_many_to_many(two: Pool, sql: str, way: str) -> None:
    check(two, sql, way, [19, 23])


@pytest.mark.parametrize(("sql", "way"), cases(OUTER, "expand", "sorted_expand"))
def test_outer_joins(two: Pool, sql: str, way: str) -> None:
    check(two, sql, way, [12, 14], "exact")


@pytest.mark.parametrize(("sql", "way"), cases(LOOKED_UP, "lookup"))
def test_lookups(two: Pool, three: Pool, sql: str, way: str) -> None:
    check(three if "mill" in sql else two, sql, way, [19, 23, 21][: 3 if "mill" in sql else 2], "padded")


@pytest.mark.parametrize("way", ["expand", "sorted_expand", "lookup"])
def test_empty_sides(two: Pool, way: str) -> None:
    sql = UNIQUE["left"] if way == "lookup" else MANY["inner"]
    for rows in ([0, 5], [5, 0], [0, 0], [1, 1], [2, 40]):
        check(two, sql, way, rows, "exact")


@pytest.mark.parametrize("way", ["expand", "sorted_expand"])
def test_three_parties(three: Pool, way: str) -> None:
    """What the first join gives is joined again."""
    check(three, "SELECT x.id, y.s, z.n FROM bank.t x JOIN shop.t y ON x.k = y.k JOIN mill.t z ON x.m = z.m", way, [8, 9, 7],
          "exact")


def test_keys_that_nobody_knows(two: Pool) -> None:
    check(two, f"SELECT x.id, y.id AS other FROM {X} JOIN {Y} ON x.k + x.n - x.n = y.k", "sorted_expand", [9, 12])


def test_more_pairs_than_declared_are_an_error(two: Pool) -> None:
    """Sorted on shares an error bit; at the owner a refusal, before anything is shared."""
    rows = [30, 40]
    sql = f"SELECT x.id, y.id AS other FROM {X} JOIN {Y} ON x.m = y.m"
    plan = planned(sql, "sorted_expand", 2, rows, "exact", 9)
    payloads = two.run(P, sql=sql, way="sorted_expand", rows=rows, policy="exact", fewer=9)
    with pytest.raises(DataError):
        assemble(plan, [bytes.fromhex(payload) for payload in payloads])
    with pytest.raises(AssertionError, match="KeyViolated"):
        two.run(P, sql=sql, way="expand", rows=rows, policy="exact", fewer=2)


# --- what is known beforehand ----------------------------------------------------------------------


def sized(sql: str, slots: tuple[int, ...], *declared: bool) -> Plan:
    """The plan of two tables of so many rows, where a party declares how often x repeats."""
    parties = tuple(
        Party(name, (TableFacts(name, "t", COLUMNS, MEASURED, max(slots), (("id",),), "1", ((("x",), 9),) if known else ()),),
              Policy.open(rows="exact")) for name, known in zip(("bank", "shop"), declared, strict=True))
    return finish(place(Question(sql, "analyst"), Catalog(parties, ())), slots)


def test_without_a_declaration_many_rows_are_refused() -> None:
    sql = "SELECT a.s, b.s FROM bank.t a JOIN shop.t b ON a.x = b.x"
    with pytest.raises(Unsupported, match="pairs") as refused:
        sized(sql, (9_000, 9_000), False, False)
    assert "repeats=" in refused.value.advice
    for declared, slots in (((True, False), 9 * 8_000), ((False, True), 9 * 9_000), ((True, True), 9 * 8_000)):
        found = sized(sql, (9_000, 8_000), *declared)
        assert found.root is not None
        assert traits(found.root.input).slots == slots


def test_what_is_known_goes_through_joins_and_appends() -> None:
    """A row that meets up to 9 others repeats its key as often; parts of a union repeat keys as often as all together."""
    found = sized("SELECT a.id, b.id FROM bank.t a JOIN shop.t b ON a.x = b.x", (90, 80), False, True)
    assert found.root is not None
    [join] = joins(found.root.input)
    [number] = [n for n, column in traits(join).ranges.items() if column.field.name.endswith("a.id")]
    assert traits(join).times(frozenset({number})) == 9
    union = "SELECT u.y FROM (SELECT x, y FROM bank.t UNION ALL SELECT x, y FROM shop.t) u JOIN shop.t b ON u.x = b.x + b.y"
    both = sized(union, (9_000, 9_000, 9_000), True, True)
    assert both.root is not None
    assert [traits(node).slots for node in joins(both.root.input)] == [18 * 9_000]


def test_a_declaration_through_a_hub(tmp_path: Path) -> None:
    """It is checked where the data is, listed by EXPLAIN, and the join is what it bounds."""
    orders = pa.table({"customer": [1, 1, 2, None, 7] * 3, "total": range(15)})
    visits = pa.table({"customer": [1, 2, 2, 7, 8, None], "day": ["a", "b", "c", "d", "e", "f"]})
    sql = "SELECT o.customer, o.total, v.day FROM shop.orders o JOIN web.visits v ON o.customer = v.customer"
    with sdh.connect() as hub:
        with pytest.raises(KeyViolated, match="more than 5 rows of shop"):
            hub.attach("shop", {"orders": orders}, policy=Policy.open(), repeats={"orders": {"customer": 5}})
        hub.attach("shop", {"orders": orders}, policy=Policy.open(), repeats={"orders": {"customer": 6}})
        hub.attach("web", {"visits": visits}, policy=Policy.open(rows="exact"), repeats={"visits": {("customer",): 2}})
        text = hub.explain(sql)
        assert "(customer) in at most 6 rows each" in text
        assert "expand" in text
        result = hub.sql(sql)
    expected = duckdb.connect().sql(sql.replace("shop.", "").replace("web.", "")).to_arrow_table()
    assert difference(result.arrow(), expected, ordered=False) == ""


def test_tables_are_as_large_as_the_protocol_allows() -> None:
    assert join_ways.LARGEST_TABLE == correlations.INDEX_BITS


def test_how_often_keys_repeat() -> None:
    a, b, c = frozenset({1}), frozenset({2}), frozenset({3})
    assert repeated((a,), ((b, 3),), 4) == ((b, 12), (a, 4))
    assert repeated((a,), ((b, 3),), 1) == ((b, 3),)
    assert repeated((a,), ((b, 3),), None) == ()
    assert most_rows((a,), ((b, 3), (b | c, 2)), b | c) == 2
    assert most_rows((a,), ((b, 3),), a | b) == 1
    assert most_rows((a,), ((b, 3),), c) is None
    same = {11: 1, 12: 2}
    assert summed([(same, (a,), ((b, 3),)), (same, (), ((a, 5), (b, 4)))]) == ((frozenset({11}), 6), (frozenset({12}), 7))
    assert summed([(same, (a,), ()), ({12: 2}, (a,), ())]) == ()
