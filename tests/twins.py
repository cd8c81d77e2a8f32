"""Two data sets of equal public sizes that differ in all else, and queries over either that cover every operator."""

from __future__ import annotations

import atexit
import datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa

import sdh
from tests.sentinels import marked
from tests.taping import Recording, Taped

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
    opened = Taped()
    atexit.register(opened.close)
    for party, rows in POLICIES.items():
        tables = {"one": twin(party, "one"), "two": twin(party, "two"), "mark": marked(party, ROWS[party])}
        keys = {"one": [("id",)], "two": [("id",)], "mark": MARKED_KEYS if party == "shop" else [("id",)]}
        opened.hub.attach(party, tables, policy=sdh.Policy.open(rows=rows), keys=keys)
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
}

QUERIES |= {
    "appended": "SELECT id, s, money FROM bank.{0} WHERE n > 5 UNION ALL SELECT id, s || '!', n FROM mill.{0}",
    "federated": "SELECT count(*), sum(n), min(money), avg(w) FROM joint.{0} WHERE b",
    "federated join": "SELECT count(*), sum(j.n * z.n), min(j.money) FROM joint.{0} j JOIN mill.{0} z ON j.n >= z.n",
    "proven": "SELECT id, s, sum(n) FROM joint.{0} WHERE n <> 9999 GROUP BY id, s",
}

QUERIES |= {
    "left join": "SELECT x.id, y.s, y.b, y.n + 1 AS n FROM bank.{0} x LEFT JOIN shop.{0} y ON x.id = y.id AND y.n >= x.n",
    "full join": "SELECT x.id, z.s, z.b FROM bank.{0} x FULL JOIN mill.{0} z ON x.id = z.id",
    "all pairs of a full join": "SELECT z.id, x.s FROM bank.{0} x FULL JOIN mill.{0} z ON x.n > z.n AND x.s <= z.s",
    "anti join": "SELECT x.id, x.s FROM bank.{0} x WHERE NOT EXISTS (SELECT 1 FROM shop.{0} y WHERE y.k = x.k AND y.s = x.s)",
    "semi join": "SELECT z.id FROM mill.{0} z WHERE EXISTS (SELECT 1 FROM shop.{0} y WHERE y.n >= z.n AND y.b)",
    "marks": "SELECT z.id, z.k IN (SELECT y.k FROM shop.{0} y) AS a, "
             "z.n NOT IN (SELECT y.n FROM shop.{0} y WHERE y.w > z.w) AS b FROM mill.{0} z",
    "aligned marks": "SELECT x.id, x.k IN (SELECT y.k FROM shop.{0} y) AS a FROM bank.{0} x",
    "single": "SELECT z.id, (SELECT y.s FROM shop.{0} y WHERE y.id = z.id) AS s, (SELECT max(x.n) FROM bank.{0} x) AS n "
              "FROM mill.{0} z",
    "sorted join": "SELECT x.id, w.s FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id JOIN bank.{0} w ON w.id = x.k + y.k",
    "sorted left join": "SELECT count(*), count(w.id), sum(w.n) FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id "
                        "LEFT JOIN shop.{0} w ON w.id = y.k + x.k - 7 AND x.n <= w.n",
    "sorted anti join": "SELECT x.id FROM bank.{0} x JOIN shop.{0} y ON x.id = y.id "
                        "WHERE NOT EXISTS (SELECT 1 FROM shop.{0} w WHERE w.k = x.k + y.k)",
}


@cache
def taken() -> dict[tuple[str, str], Recording]:
    """Every query on both data sets."""
    return {(name, which): shared().sql(text.format(which)).thinned()
            for name, text in QUERIES.items() for which in ("one", "two")}
