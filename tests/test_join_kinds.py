"""Joins of every kind across owners, each way that shares can take, against DuckDB and each other."""

from __future__ import annotations

import pytest

from sdh.errors import DataError
from sdh.executors.release import assemble
from sdh.planners.physical import Align, NestedLoop, SortMerge
from tests.compare import difference
from tests.join_ways_programs import NAMES, WAYS, data, joins, planned
from tests.parties import Pool

P = "tests.join_ways_programs:asked"
X, Y = "bank.t x", "shop.t y"
PAIR = "x.id, y.id AS other, y.n, y.s, y.b, x.b AS own"

UNIQUE = {
    "inner": f"SELECT {PAIR} FROM {X} JOIN {Y} ON x.k = y.id",
    "left": f"SELECT {PAIR} FROM {X} LEFT JOIN {Y} ON x.k = y.id",
    "left where": f"SELECT {PAIR} FROM {X} LEFT JOIN {Y} ON x.k = y.id AND x.n < y.n",
    "right": f"SELECT {PAIR} FROM {X} RIGHT JOIN {Y} ON x.id = y.n AND x.d = y.d",
    "full": f"SELECT {PAIR}, x.s AS t FROM {X} FULL JOIN {Y} ON x.id = y.id",
    "full where": f"SELECT {PAIR}, x.s AS t FROM {X} FULL JOIN {Y} ON x.id = y.id AND (x.n > y.n OR x.b)",
    "semi": f"SELECT x.id, x.s FROM {X} WHERE EXISTS (SELECT 1 FROM {Y} WHERE y.id = x.k)",
    "anti": f"SELECT x.id, x.s FROM {X} WHERE NOT EXISTS (SELECT 1 FROM {Y} WHERE y.id = x.k)",
    "anti where": f"SELECT x.id FROM {X} WHERE NOT EXISTS (SELECT 1 FROM {Y} WHERE y.id = x.k AND y.n > x.n)",
    "mark": f"SELECT x.id, x.k IN (SELECT y.id FROM {Y}) AS m FROM {X}",
    "mark where": f"SELECT x.id, EXISTS (SELECT 1 FROM {Y} WHERE y.id = x.id AND y.n IS DISTINCT FROM x.n) AS m FROM {X}",
    "not in": f"SELECT x.id FROM {X} WHERE x.k NOT IN (SELECT y.id FROM {Y})",
    "single": f"SELECT x.id, (SELECT y.s FROM {Y} WHERE y.id = x.k) AS v FROM {X}",
    "sums": f"SELECT count(*) AS rows, count(y.id) AS met, sum(y.n) AS total, min(y.m) AS least "
    f"FROM {X} LEFT JOIN {Y} ON x.k = y.id",
}
"""By a key that its owner declared unique."""
REPEATED = {
    "left": f"SELECT {PAIR} FROM {X} LEFT JOIN {Y} ON x.id = y.k",
    "full": f"SELECT {PAIR} FROM {X} FULL JOIN {Y} ON x.id = y.k",
    "semi": f"SELECT x.id FROM {X} WHERE EXISTS (SELECT 1 FROM {Y} WHERE y.k = x.k AND y.m = x.m)",
    "anti": f"SELECT x.id, x.m FROM {X} WHERE NOT EXISTS (SELECT 1 FROM {Y} WHERE y.k = x.k)",
    "semi text": f"SELECT x.id FROM {X} WHERE x.s IN (SELECT y.s FROM {Y})",
    "anti days": f"SELECT x.id FROM {X} WHERE NOT EXISTS (SELECT 1 FROM {Y} WHERE y.d = x.d AND y.s = x.s)",
    "mark": f"SELECT x.id, x.k IN (SELECT y.k FROM {Y}) AS m FROM {X}",
    "not in": f"SELECT x.id FROM {X} WHERE x.m NOT IN (SELECT y.m FROM {Y} WHERE y.m IS NOT NULL)",
    "scales": f"SELECT x.id FROM {X} WHERE x.m IN (SELECT y.n FROM {Y})",
}
"""By keys that repeat at the right side."""
GIVEN_ONCE = {name: sql for name, sql in REPEATED.items() if name not in ("left", "full")}
"""Its owner gives each key once."""
SORTED = {
    "computed": f"SELECT {PAIR} FROM {X} JOIN {Y} ON x.k + 1 = y.id",
    "of a join": "SELECT x.id, z.n FROM bank.t x JOIN shop.t y ON x.k = y.id JOIN mill.t z ON y.n = z.id",
    "of both": "SELECT x.id, z.n FROM bank.t x JOIN shop.t y ON x.k = y.id LEFT JOIN mill.t z ON x.n + y.n = z.id",
    "of groups": "SELECT w.g, w.t, z.n FROM (SELECT x.k AS g, sum(x.n + y.n) AS t FROM bank.t x JOIN shop.t y ON x.id = y.id "
    "GROUP BY x.k) w JOIN mill.t z ON w.t - 61 = z.id",
    "anti of a join": "SELECT x.id FROM bank.t x JOIN shop.t y ON x.k = y.id "
    "WHERE NOT EXISTS (SELECT 1 FROM mill.t z WHERE z.s = y.s)",
}
"""By keys that no single owner knows at the joined rows."""
ALL_PAIRS = {
    "left": f"SELECT x.id, y.id AS other, y.s FROM {X} LEFT JOIN {Y} ON x.n > y.n",
    "full": f"SELECT x.id, y.id AS other, y.b FROM {X} FULL JOIN {Y} ON x.n > y.n AND x.s <> y.s",
    "anti": f"SELECT x.id FROM {X} WHERE NOT EXISTS (SELECT 1 FROM {Y} WHERE y.n > x.n)",
    "mark": f"SELECT x.id, EXISTS (SELECT 1 FROM {Y} WHERE y.n > x.n AND y.b) AS m FROM {X}",
    "mark null": f"SELECT x.id, x.k IN (SELECT y.k FROM {Y} WHERE y.n > x.n) AS m FROM {X}",
    "semi of nothing": f"SELECT x.id FROM {X} WHERE EXISTS (SELECT 1 FROM {Y} WHERE y.n > 40)",
    "single": f"SELECT x.id, (SELECT y.s FROM {Y} WHERE y.n < x.n - 95) AS v FROM {X}",
    "single of all": f"SELECT x.id, (SELECT max(y.b) FROM {Y}) AS v, (SELECT y.b FROM {Y} WHERE y.id < 0) AS none FROM {X}",
}


def check(pool: Pool, sql: str, way: str, rows: list[int], policy: str = "padded") -> None:
    """The rows are DuckDB's, all joins went that way, and what they cost was predicted."""
    plan = planned(sql, way, pool.parties, rows, policy)
    assert plan.root is not None
    ways = joins(plan.root.input)
    assert ways
    assert all(isinstance(node, WAYS[way]) for node in ways)
    payloads = pool.run(P, sql=sql, way=way, rows=rows, policy=policy)
    expected = data(pool.parties, tuple(rows)).sql(sql).to_arrow_table()
    found = assemble(plan, [bytes.fromhex(payload) for payload in payloads])
    assert difference(found, expected, ordered=False) == ""


def cases(queries: dict[str, str], *ways: str) -> list[object]:
    return [pytest.param(sql, way, id=f"{name}-{way}") for name, sql in queries.items() for way in ways]


@pytest.mark.parametrize(("sql", "way"), cases(UNIQUE, "nested_loop", "align", "sort_merge"))
def test_unique_keys(two: Pool, sql: str, way: str) -> None:
    check(two, sql, way, [19, 23])


@pytest.mark.parametrize(("sql", "way"), [*cases(REPEATED, "nested_loop", "sort_merge"), *cases(GIVEN_ONCE, "align")])
def test_repeated_keys(two: Pool, sql: str, way: str) -> None:
    check(two, sql, way, [17, 20], "exact")


@pytest.mark.parametrize(("sql", "way"), cases(ALL_PAIRS, "nested_loop"))
def test_conditions_without_a_key(two: Pool, sql: str, way: str) -> None:
    check(two, sql, way, [11, 13])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["inner", "left", "full", "anti", "mark", "single"])
def test_empty_sides(two: Pool, name: str, way: str) -> None:
    for rows in ([0, 5], [5, 0], [0, 0], [1, 1]):
        check(two, UNIQUE[name], way, rows, "exact")
    check(two, UNIQUE[name], way, [0, 3], "padded")


@pytest.mark.parametrize(("sql", "way"), cases(SORTED, "nested_loop", "sort_merge"))
def test_keys_that_nobody_knows(three: Pool, two: Pool, sql: str, way: str) -> None:
    check(three if "mill" in sql else two, sql, way, [9, 11, 10][: 3 if "mill" in sql else 2], "exact")


@pytest.mark.parametrize("way", WAYS)
def test_three_parties(three: Pool, way: str) -> None:
    check(three, "SELECT x.id, y.s, z.n FROM bank.t x LEFT JOIN shop.t y ON x.id = y.id LEFT JOIN mill.t z ON x.k = z.id", way,
          [8, 9, 7], "exact")


def test_every_kind_goes_every_way() -> None:
    """Between them the queries above have each kind of join go each way that there is for it."""
    went = set[tuple[type, str]]()
    asked = {"nested_loop": {**UNIQUE, **ALL_PAIRS}, "align": UNIQUE | GIVEN_ONCE, "sort_merge": UNIQUE | REPEATED}
    for way, queries in asked.items():
        for sql in queries.values():
            root = planned(sql, way, 2, [19, 23], "exact").root
            assert root is not None
            went |= {(type(node), node.kind) for node in joins(root.input)
                     if isinstance(node, NestedLoop | Align | SortMerge)}
    by_key = {(way, kind) for way in (Align, SortMerge) for kind in ("INNER", "LEFT", "SEMI", "ANTI", "MARK")}
    assert went == by_key | {(NestedLoop, kind) for kind in ("INNER", "SEMI", "ANTI", "MARK", "SINGLE")}


def test_two_rows_where_one_may_be_are_an_error(two: Pool) -> None:
    sql = f"SELECT x.id, (SELECT y.n FROM {Y} WHERE y.k = x.k) AS v FROM {X}"
    plan = planned(sql, "nested_loop", 2, [12, 14], "exact")
    payloads = two.run(P, sql=sql, way="nested_loop", rows=[12, 14], policy="exact")
    with pytest.raises(DataError):
        assemble(plan, [bytes.fromhex(payload) for payload in payloads])


def test_the_tables_hold_what_joins_go_wrong_on() -> None:
    """NULL keys, keys that repeat, and keys with and without a match on both sides."""
    connection = data(2, (19, 23))
    for party in NAMES[:2]:
        [[nulls, keys, most]] = connection.execute(
            f"SELECT count(*) - count(k), count(DISTINCT k), (SELECT max(c) FROM (SELECT count(*) c FROM {party}.t GROUP BY k)) "
            f"FROM {party}.t").fetchall()
        assert nulls
        assert keys > 3
        assert most > 1
    [[both, left, right]] = connection.execute(
        "SELECT count(*) FILTER (x.id = y.id), count(*) FILTER (y.id IS NULL), count(*) FILTER (x.id IS NULL) "
        "FROM bank.t x FULL JOIN shop.t y ON x.id = y.id").fetchall()
    assert min(both, left, right) > 0
