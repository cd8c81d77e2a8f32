"""Two data sets of equal public sizes that differ in all else, and queries over either that cover every operator."""

from __future__ import annotations

import atexit
import datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa

import sdh
from sdh.planners.plan import Question
from sdh.statements import bounded_plan
from tests.features import features
from tests.programs import otherwise
from tests.sentinels import marked
from tests.taping import CLIENT, Recording, Taped

ROWS = {"bank": 40, "shop": 60, "mill": 9}
POLICIES = {"bank": "padded", "shop": "hidden", "mill": "exact"}
"""How each party announces row counts: all three ways."""
TYPES: dict[str, pa.DataType] = {"id": pa.int32(), "k": pa.int64(), "n": pa.int32(), "w": pa.int32(),
                                 "money": pa.decimal128(15, 2), "s": pa.string(), "d": pa.date32(), "b": pa.bool_()}
DAY = datetime.date(1995, 1, 1)
LONGEST = "as long as a text may be"
"""24 bytes."""
EXTREME = (1023, 31, 9999, 100_000, Decimal("99999.99"), LONGEST, datetime.date(2014, 1, 1), True)
"""A row of every table: it fixes all measured facts. The row after it is NULL but for its id."""


def twin(party: str, which: str) -> pa.Table:
    """`one`: all keys match, one group, no NULL but one row of them, every condition holds.
    `two`: no key of one party is another's, all values distinct, half of all values NULL, no condition holds."""
    rows: list[tuple[Any, ...]] = [EXTREME, (0, *[None] * 7)]
    rows += [_alike(i) if which == "one" else _distinct(party, i) for i in range(1, ROWS[party] - 1)]
    columns = zip(*rows, strict=True)
    return pa.table({name: pa.array(column, kind) for (name, kind), column in zip(TYPES.items(), columns, strict=True)})


def _alike(i: int) -> tuple[Any, ...]:
    return i, 7, 70, 90_000, Decimal("7.00"), "seven", DAY, True


def _distinct(party: str, i: int) -> tuple[Any, ...]:
    base = {"bank": 100, "shop": 300, "mill": 500}[party]
    values = (base + i, i % 31, -9000 + i, -i, Decimal(-i) / 100, f"{party} {i}", DAY - datetime.timedelta(days=i), False)
    return values[0], *[None if (i + place) % 2 else value for place, value in enumerate(values[1:])]


MARKED_KEYS: list[tuple[str, ...]] = [("id",), ("v",), ("m",), ("s", "d")]


@cache
def shared() -> Taped:
    """One hub of taped processes for all tests: bank, shop and mill with the tables one, two and mark."""
    otherwise.install()
    opened = Taped()
    atexit.register(opened.close)
    for party, rows in POLICIES.items():
        tables = {"one": twin(party, "one"), "two": twin(party, "two"), "mark": marked(party, ROWS[party])}
        keys = {"one": [("id",)], "two": [("id",)], "mark": MARKED_KEYS if party == "shop" else [("id",)]}
        repeats = {"one": {"w": 60}, "two": {"w": 60}}
        opened.hub.attach(party, tables, policy=sdh.Policy.open(rows=rows), keys=keys, repeats=repeats)
    for name in ("one", "two"):
        opened.hub.federate(f"joint.{name}", [f"bank.{name}", f"shop.{name}"], keys=[("id",)])
    opened.sql(QUERIES["chain"].format("one"))   # the first frames of all are those of their start
    return opened


QUERIES = {
    "rows": "SELECT x.id, y.money, x.s, x.n + y.n AS n FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id "
            "WHERE x.k <= y.k AND x.n = 70 AND y.s = 'seven' ORDER BY 1 DESC",
    "total": "SELECT sum(x.money), count(*), count(y.n), avg(y.n), min(y.d), max(x.money), min(x.n) "
             "FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id WHERE x.n >= y.n OR x.b",
    "groups": "SELECT x.s, sum(y.money) AS t, count(*) AS c, avg(y.n) AS a, min(y.n), max(y.d) FROM bank.{0} x "
              "JOIN shop.{0} y ON x.id = y.id GROUP BY x.s HAVING count(*) > 1 AND avg(y.n) > 1.5 ORDER BY t DESC",
    "domain": "SELECT x.n < y.n AS less, x.b, count(*), sum(y.n) FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id "
              "GROUP BY x.n < y.n, x.b",
    "case": "SELECT sum(CASE WHEN x.money BETWEEN z.money AND 100 THEN x.n ELSE coalesce(z.n, 0) END), count(*) "
            "FROM bank.{0} x JOIN mill.{0} z ON x.n >= z.n",
    "text": "SELECT count(*), max(z.d) FROM bank.{0} x JOIN mill.{0} z ON x.s <= z.s "
            "AND x.s <> 'zzz' AND x.id <> z.id",
    "in": "SELECT z.id, count(*) FROM mill.{0} z JOIN bank.{0} x ON x.k IN (z.k, z.n, 3) "
          "AND x.d IS DISTINCT FROM z.w + DATE '1990-01-01' GROUP BY z.id",
    "quotient": "SELECT z.id, z.n / y.n AS q FROM mill.{0} z JOIN shop.{0} y ON z.id = y.id "
                "WHERE z.n < y.n + 5",
    "error": "SELECT z.id, z.w * y.w AS product FROM mill.{0} z JOIN shop.{0} y ON z.id = y.id WHERE y.n <> 9999",
    "three": "SELECT x.s, count(*), sum(y.n * z.n) FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id "
             "JOIN mill.{0} z ON y.n >= z.n AND z.id <> y.k AND x.b GROUP BY x.s",
    "chain": "SELECT z.id, x.money, y.s FROM mill.{0} z JOIN shop.{0} y ON z.id = y.id JOIN bank.{0} x ON z.id = x.id",
    "derived": "WITH w AS (SELECT k, count(*) AS c, sum(n) AS t FROM bank.{0} GROUP BY k) "
               "SELECT sum(w.t), max(w.c), count(y.s) FROM w JOIN shop.{0} y ON w.k = y.id",
    "unknown keys": "SELECT x.s, y.k, count(*) AS c, sum(y.n) AS t, min(x.money), max(y.d) FROM bank.{0} x "
                    "JOIN shop.{0} y ON x.id = y.id GROUP BY x.s, y.k HAVING count(*) > 0",
    "distinct arguments": "SELECT z.k, count(DISTINCT y.n) AS c, sum(DISTINCT y.w) FILTER (WHERE y.n >= z.n) FROM mill.{0} z "
                          "JOIN shop.{0} y ON z.id = y.id GROUP BY z.k",
    "first rows": "SELECT x.id, y.n FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id WHERE x.n >= y.n OR y.b "
                  "ORDER BY y.n DESC NULLS FIRST, x.s, x.id LIMIT 5 OFFSET 1",
    "any rows": "SELECT z.id, x.n FROM mill.{0} z JOIN bank.{0} x ON z.n >= x.n LIMIT 7",
    "distinct": "SELECT DISTINCT y.b FROM mill.{0} z JOIN shop.{0} y ON z.id = y.id ORDER BY 1",
    "fetched late": "SELECT x.s, x.d, x.money, z.s AS t, z.d AS e FROM bank.{0} x JOIN mill.{0} z ON x.n >= z.n "
                    "ORDER BY z.n, z.id LIMIT 3",
}

QUERIES |= {
    "appended": "SELECT id, s, money FROM bank.{0} WHERE n > 5 UNION ALL SELECT id, s || '!', n FROM mill.{0}",
    "federated": "SELECT count(*), sum(n), min(money), avg(w) FROM joint.{0} WHERE b",
    "federated join": "SELECT count(*), sum(j.n * z.n), min(j.money) FROM joint.{0} j JOIN mill.{0} z ON j.n >= z.n",
    "proven": "SELECT id, s, sum(n) FROM joint.{0} WHERE n <> 9999 GROUP BY id, s",
}

BOTH = "FROM mill.{0} z JOIN shop.{0} y ON z.id = y.id"
QUERIES |= {
    "left join": "SELECT x.id, y.s, y.b, y.n + 1 AS n FROM bank.{0} x LEFT JOIN shop.{0} y ON x.id = y.id AND y.n >= x.n",
    "full join": "SELECT x.id, z.s, z.b FROM bank.{0} x FULL JOIN mill.{0} z ON x.id = z.id",
    "all pairs of a full join": "SELECT z.id, x.s FROM bank.{0} x FULL JOIN mill.{0} z ON x.n > z.n AND x.s <= z.s",
    "anti join": "SELECT x.id, x.s FROM bank.{0} x WHERE NOT EXISTS (SELECT 1 FROM shop.{0} y WHERE y.k = x.k AND y.s = x.s)",
    "semi join": "SELECT z.id FROM mill.{0} z WHERE EXISTS (SELECT 1 FROM shop.{0} y WHERE y.n >= z.n AND y.b)",
    "marks": "SELECT z.id, z.k IN (SELECT y.k FROM shop.{0} y) AS a, "
             "z.n NOT IN (SELECT y.n FROM shop.{0} y WHERE y.w > z.w) AS b, "
             "(SELECT y.s FROM shop.{0} y WHERE y.w < z.n - 200000) AS none FROM mill.{0} z",
    "aligned marks": "SELECT x.id, x.k IN (SELECT y.k FROM shop.{0} y) AS a FROM bank.{0} x -- plan: Align",
    "single": "SELECT z.id, (SELECT y.s FROM shop.{0} y WHERE y.id = z.id) AS s, (SELECT max(x.n) FROM bank.{0} x) AS n "
              "FROM mill.{0} z",
    "sorted join": "SELECT x.id, w.s FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id JOIN bank.{0} w ON w.id = x.k + y.k",
    "sorted left join": "SELECT count(*), count(w.id), sum(w.n) FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id "
                        "LEFT JOIN shop.{0} w ON w.id = y.k + x.k - 7 AND x.n <= w.n",
    "sorted left join alone": "SELECT count(*), sum(w.n) FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id "
                              "LEFT JOIN shop.{0} w ON w.id = y.k + x.k - 7 -- plan: SortMerge",
    "sorted anti join": "SELECT x.id FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id "
                        "WHERE NOT EXISTS (SELECT 1 FROM shop.{0} w WHERE w.k = x.k + y.k) -- plan: SortMerge",
    "all pairs or none": "SELECT z.id FROM mill.{0} z WHERE EXISTS (SELECT 1 FROM shop.{0} y WHERE y.b) "
                         "AND NOT EXISTS (SELECT 1 FROM bank.{0} x WHERE x.n = 1)",
    "looked up": "SELECT z.id FROM mill.{0} z WHERE z.id NOT IN (SELECT y.k FROM shop.{0} y WHERE y.k IN "
                 "(SELECT x.k FROM bank.{0} x)) AND NOT EXISTS (SELECT 1 FROM bank.{0} x WHERE x.k = z.k AND z.n > 70) "
                 "-- plan: Lookup",
    "read twice": f"WITH v AS (SELECT z.k AS g, y.n AS c {BOTH}) "
                  "SELECT (SELECT count(*) FROM v), (SELECT max(c) FROM v) + (SELECT min(g) FROM v)",
    "appended groups": "SELECT s, count(*) AS c, sum(n), avg(n) FROM (SELECT s, n FROM bank.{0} UNION ALL "
                       "SELECT s, n FROM shop.{0}) u GROUP BY s",
}

QUERIES |= {
    f"many to many by {way}": "SELECT z.id, y.id AS other, y.s, y.b FROM mill.{0} z JOIN shop.{0} y ON z.w = y.w AND z.n <= y.n "
    f"-- plan: {way}" for way in ("Expand", "Align")
}

KINDS = "SELECT z.id, y.s, x.s AS t, {0} IN (SELECT v.k FROM bank.{{0}} v) AS m " \
        "FROM mill.{{0}} z JOIN shop.{{0}} y ON y.{1} = z.{1} LEFT JOIN bank.{{0}} x ON x.id = {0} AND x.n <= z.n " \
        "WHERE EXISTS (SELECT 1 FROM shop.{{0}} v WHERE v.k = {0} AND v.d = z.d) " \
        "AND NOT EXISTS (SELECT 1 FROM bank.{{0}} u WHERE u.id = {0} + 900 AND u.n > z.n) -- plan: {2}"
QUERIES |= {
    "kinds by Align": KINDS.format("z.k", "id", "Align"),
    "kinds by SortMerge": KINDS.format("(z.k + y.k)", "id", "SortMerge"),   # no owner knows the key
    "kinds by Lookup": "SELECT z.id, y.s, x.b, z.k IN (SELECT v.k FROM bank.{0} v) AS m, u.b IS NULL AS none FROM mill.{0} z "
                       "JOIN (SELECT k, max(s) AS s FROM shop.{0} GROUP BY k) y ON y.k = z.k "
                       "LEFT JOIN (SELECT k, bool_or(b) AS b, min(n) AS n FROM bank.{0} GROUP BY k) x ON x.k = z.k "
                       "AND x.n <= z.n "
                       "LEFT JOIN (SELECT k, bool_or(b) AS b FROM bank.{0} GROUP BY k) u ON u.k = z.k + 1 "
                       "WHERE NOT EXISTS (SELECT 1 FROM bank.{0} v WHERE v.k = z.k + 2) "
                       "AND z.n > ALL (SELECT v.n FROM shop.{0} v WHERE v.k = z.k + 3) -- plan: Lookup",
}
QUERIES |= {
    "numbers": "SELECT z.n % nullif(y.k, 0), (z.n + y.n) // 7, coalesce(z.k, y.k, 0), greatest(z.n, y.n), least(z.money, y.n), "
               "nullif(z.n, y.n), abs(z.n - y.n), -y.k + z.k, z.k IS NOT DISTINCT FROM y.k, z.n NOT IN (y.n, 3), "
               "z.d BETWEEN y.d AND DATE '1995-02-01', CAST(z.n - y.n AS DECIMAL(12,2)), "
               "round(z.money - y.n, 1), floor(z.money + y.n), ceil(z.money + y.n), "
               "trunc(z.money - y.n), CAST(z.money - y.n AS INTEGER), TRY_CAST(z.n + y.n AS TINYINT), "
               f"coalesce(z.n / nullif(y.k, 0), 0) {BOTH}",
    "texts": "SELECT CASE WHEN z.s < y.s THEN z.s ELSE y.s END, coalesce(z.s, y.s), z.s = y.s, z.s >= y.s, z.s <> y.s, "
             "z.s BETWEEN 'a' AND y.s, z.s IN (y.s, 'x'), z.s IS DISTINCT FROM y.s, x.s IS NULL, x.s || '!', x.n + 1, NOT x.b, "
             "z.s > y.s, x.n IS NULL "
             f"{BOTH} LEFT JOIN bank.{{0}} x ON x.id = z.id",
    "truths": "SELECT z.b = y.b, z.b <> y.b, z.b < y.b, z.b <= y.b, z.b > y.b, z.b >= y.b, "
              "greatest(z.b, y.b), least(z.b, y.b, TRUE), z.b IN (y.b, FALSE), "
              "z.b IS NOT DISTINCT FROM y.b, "
              f"z.b IS DISTINCT FROM y.b, z.b BETWEEN FALSE AND y.b, coalesce(z.b, y.b), nullif(z.b, y.b) {BOTH}",
    "all in one": "SELECT count(z.s) FILTER (WHERE y.b), count(z.b), count(*) FILTER (WHERE y.n > z.n), max(y.s), min(z.s), "
                  f"max(y.n), min(y.money) FILTER (WHERE z.b), sum(y.n) FILTER (WHERE z.n > y.n), count(DISTINCT y.k), "
                  f"bool_or(y.b) {BOTH}",
    "failing elsewhere": f"SELECT y.id, CAST(z.n * 3 AS SMALLINT) AS a, CAST(z.n * 3 AS SMALLINT) > z.k AS b {BOTH}",
    "domain alone": f"SELECT z.n < y.n AS less, count(*) {BOTH} GROUP BY less",
    "all by key": "SELECT y.w, z.b, count(z.s), count(z.b), count(y.n), max(y.s), min(z.s), max(y.n), min(y.money), avg(y.n), "
                  f"sum(z.n) {BOTH} GROUP BY y.w, z.b",
    "first by key": f"SELECT y.w, count(*) AS c, count(z.b), min(z.s), avg(y.n) {BOTH} WHERE z.n <= y.n GROUP BY y.w "
                    "ORDER BY c DESC, 1 LIMIT 3 OFFSET 1",
}
"""Every function and aggregate on shares, of every sort of value."""

PRIVATE = "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 30, delta = 1e-3, max_groups_contributed = 2, " \
          "max_rows_contributed = 3, privacy_unit_column = {unit}, noise = {noise}, group_selection_strategy = {groups}) "
HIDDEN, PUBLIC = "LAPLACE_THRESHOLD", "PUBLIC_GROUPS"
VISITS = "FROM mill.{0} z JOIN shop.{0} y ON y.k = z.id"
QUERIES |= {
    f"noise of {noise}, groups {groups}": PRIVATE.format(unit="z.id", noise=noise, groups=groups)
    + f"{key}, count(*) AS n, sum(y.n, contribution_bounds_per_group => (-100, 100)) AS t {BOTH} GROUP BY {key}"
    for noise, key, groups in (("JOINT", "y.s", HIDDEN), ("JOINT", "y.b", PUBLIC), ("PARTIES", "y.s", HIDDEN),
                               ("DEALER", "y.b", PUBLIC))
}
QUERIES |= {
    "rows of a unit cut": PRIVATE.format(unit="z.id", noise="DEALER", groups=PUBLIC)
    + f"y.b, avg(y.n + z.n, contribution_bounds_per_row => (0, 50)) AS a {VISITS} GROUP BY y.b",
    "values of a unit cut": PRIVATE.format(unit="z.id", noise="DEALER", groups=PUBLIC)
    + f"count(DISTINCT y.s) AS n {VISITS} AND y.n >= z.n",
    "Gaussian noise of six": PRIVATE.format(unit="z.id", noise="JOINT", groups=PUBLIC).replace("= 30", "= 1", 1)
    + ", ".join(f"sum(y.n, contribution_bounds_per_group => (0, {most}))" for most in (1, 1, 2, 3, 4, 5)) + f" {BOTH}",
    "noise of nine": PRIVATE.format(unit="z.id", noise="DEALER", groups=PUBLIC).replace("= 30", "= 1", 1)
    + ", ".join(f"count(*) FILTER (WHERE y.n > {least}) AS n{least}" for least in range(9)) + f" {BOTH}",
}
"""Differential privacy: each way of noise, hidden and public groups, contributions cut on shares, Gaussian noise."""


@cache
def covered() -> frozenset[str]:
    """Every feature of a plan (tests/features.py) that some twins have."""
    shared()   # that plans heed "-- plan:"
    asked = (Question(text.format("one"), CLIENT) for text in QUERIES.values())
    return frozenset(name for question in asked for name in features(bounded_plan(shared().catalog, question)))


@cache
def taken() -> dict[tuple[str, str], Recording]:
    """Every query on both data sets."""
    return {(name, which): shared().sql(text.format(which)).thinned()
            for name, text in QUERIES.items() for which in ("one", "two")}
