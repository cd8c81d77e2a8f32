"""Golden scripts: for a query its text, the plan after each rule, EXPLAIN and the rows, checked against plain DuckDB.

python -m tests.golden rewrites tests/golden/*.txt; read the difference before you commit it.
"""

from __future__ import annotations

import re
from pathlib import Path

import sdh
from sdh.planners.optimize import steps
from sdh.planners.outline import outline
from sdh.planners.plan import Question, bound
from tests.compare import difference, rows_of
from tests.data import oracle, tables
from tests.fuzz import open_hub

FOLDER = Path(__file__).parent / "golden"
SEED, PARTIES = 1, 3

QUERIES = {
    "comparison": "SELECT count(*) AS pairs, sum(x.money) AS total FROM bank.accounts x JOIN shop.orders y ON x.money > y.money "
    "WHERE x.n > 0 AND y.s <> 'a'",
    "align": "SELECT x.id, x.s, y.money FROM bank.accounts x JOIN shop.orders y ON x.id = y.id ORDER BY x.id DESC",
    "group": "SELECT x.s, count(*) AS rows, sum(x.n * y.n) AS products, avg(y.money) AS mean, min(y.d) AS first "
    "FROM shop.orders x JOIN bank.accounts y ON x.k = y.id GROUP BY x.s HAVING count(*) > 0 ORDER BY x.s",
    "below": "SELECT x.s, sum(y.money) AS total, count(*) AS rows FROM bank.accounts x JOIN shop.orders y ON x.id = y.k "
    "GROUP BY x.s ORDER BY 1",
    "domain": "SELECT x.d > y.d AS later, count(*) AS rows FROM bank.branches x, shop.orders y GROUP BY later ORDER BY rows",
    "three": "SELECT count(*) AS rows, max(z.n) AS greatest FROM bank.accounts x JOIN shop.orders y ON x.id = y.id "
    "JOIN mill.sacks z ON z.id = x.id WHERE x.n + y.n > z.n",
    "local": "SELECT b, count(*) AS rows FROM bank.accounts GROUP BY b ORDER BY b",
    "guarded": "SELECT CASE WHEN x.n > y.n THEN -x.small ELSE x.small // 2 END AS v "
    "FROM bank.branches x JOIN shop.orders y ON x.id = y.id",
    "unknown": "SELECT x.s, y.k, x.id, x.money, count(*) AS rows, sum(y.n) AS total, min(y.d) AS first FROM bank.branches x, "
    "shop.orders y GROUP BY x.id, x.s, y.k, x.money HAVING count(*) > 1 ORDER BY 1, 2, 3, 4",
    "marked": "SELECT x.s, count(DISTINCT y.k) AS k, sum(DISTINCT y.n) FILTER (WHERE y.b) AS n, count(*) AS rows "
    "FROM bank.branches x, shop.orders y GROUP BY x.s ORDER BY x.s",
    "top": "SELECT x.id, y.s, y.n + x.n AS n FROM bank.branches x, shop.orders y WHERE x.n < y.n "
    "ORDER BY y.d DESC NULLS FIRST, n, x.id, y.id LIMIT 5 OFFSET 2",
    "left": "SELECT x.id, y.s, coalesce(y.n, 0) AS n FROM bank.accounts x LEFT JOIN shop.orders y ON x.id = y.id AND x.n < y.n "
    "ORDER BY x.id",
    "anti": "SELECT x.id, x.s FROM bank.accounts x WHERE x.k NOT IN (SELECT y.k FROM shop.orders y WHERE y.k > 2) ORDER BY x.id",
    "sorted": "SELECT count(*) AS rows, sum(x.m) AS total FROM (SELECT a.id, a.small + b.id AS m FROM bank.accounts a, "
    "bank.accounts b, bank.accounts c) x JOIN shop.orders y ON x.id = y.id WHERE x.m + y.id NOT IN "
    "(SELECT d.small + e.id FROM shop.orders d, shop.orders e, shop.orders f WHERE d.small IS NOT NULL)",
    "appended": "SELECT id, n, s FROM bank.accounts WHERE n > 0 UNION ALL SELECT x.id, x.n + y.n, c.label FROM mill.sacks x "
    "JOIN shop.orders y ON x.id = y.id JOIN code c ON c.code = x.k ORDER BY 1, 2, 3",
    "federated": "SELECT count(*) AS rows, avg(u.money) AS mean, max(u.d) AS last, sum(u.n * c.code) AS total FROM pooled u "
    "JOIN code c ON c.code < u.k WHERE u.id > 2",
    "scalar": "SELECT x.id, (SELECT max(n) FROM shop.orders) AS most, (SELECT y.n + x.n FROM shop.orders y WHERE y.id = x.id) "
    "AS n FROM bank.accounts x ORDER BY x.id",
    "correlated": "SELECT x.id FROM bank.accounts x WHERE x.n <= (SELECT 0.5 * sum(y.n) FROM shop.orders y WHERE y.k = x.k) "
    "OR (SELECT count(*) FROM shop.orders y WHERE y.k = x.k) = 0",
    "exists": "SELECT x.id FROM bank.accounts x WHERE EXISTS (SELECT 1 FROM shop.orders y WHERE y.k = x.k AND y.b) "
    "AND NOT EXISTS (SELECT 1 FROM shop.orders y WHERE y.n = x.n AND y.d > x.d) ORDER BY x.id",
    "extremes": "SELECT x.id FROM bank.accounts x WHERE EXISTS (SELECT 1 FROM shop.orders y WHERE y.k = x.k AND y.n <> x.n)",
    "in": "SELECT x.id, x.n IN (SELECT n FROM shop.orders) AS i FROM bank.accounts x WHERE x.k IN (SELECT id FROM shop.orders) "
    "AND x.k NOT IN (SELECT k FROM bank.branches WHERE k > 3) AND x.id NOT IN (SELECT id FROM bank.branches) ORDER BY x.id",
    "quantified": "SELECT x.id, x.n > ALL (SELECT y.n FROM shop.orders y WHERE y.b = x.b) AS a FROM bank.branches x "
    "WHERE x.n < ANY (SELECT n FROM shop.orders) ORDER BY x.id",
    "factored": "SELECT count(*) AS rows FROM bank.accounts x, shop.orders y WHERE (x.id = y.id AND x.n < 5 AND y.s = 'a') "
    "OR (y.id = x.id AND x.n BETWEEN 6 AND 100 AND y.s IN ('ab', 'MAIL'))",
    "equated": "SELECT x.id, z.n FROM bank.accounts x, shop.orders y, bank.branches z WHERE x.id = y.id AND z.id = y.id "
    "AND x.id < 9 AND EXISTS (SELECT 1 FROM bank.accounts w WHERE w.k = y.id AND w.n IS NOT NULL) ORDER BY x.id",
    "common": "WITH w AS (SELECT x.k AS k, x.s AS s, sum(x.n * y.n) AS t, avg(y.n + x.n) AS m FROM bank.accounts x "
    "JOIN shop.orders y ON x.id = y.id GROUP BY x.k, x.s) "
    "SELECT w.k, w.t, w.m FROM w WHERE w.t >= (SELECT min(t) FROM w) ORDER BY 1, 2",
    "alike": "SELECT x.id, y.n, z.n AS other FROM bank.accounts x JOIN shop.orders y ON x.k = y.id "
    "JOIN shop.orders z ON z.id = x.id ORDER BY x.id",
    "derived": "WITH w AS (SELECT k, sum(n) AS total FROM shop.orders GROUP BY k) "
    "SELECT sum(w.total * x.n) AS v FROM w JOIN bank.accounts x ON x.id = w.k WHERE w.total > x.n",
}


def script(hub: sdh.Hub, query: str) -> str:
    """The golden text of one query."""
    result = hub.sql(query)
    assert result.plan is not None
    catalog = result.plan.placed.catalog
    parts = [f"-- query\n{query}"]
    parts += [f"-- {name}\n{outline(node)}" for name, node in steps(bound(Question(query, "analyst"), catalog)[0])]
    explained = "\n".join(line for line in result.plan.explain().splitlines() if not line.startswith("Plan digest"))
    explained = re.sub(r", ~[\d.]+ m?s\b", "", explained)   # seconds are this machine's
    parts.append(f"-- explain\n{explained.strip()}")
    rows = ["\t".join(repr(value) for value in row) for row in rows_of(result.arrow())]
    parts.append("-- rows\n" + "\n".join(rows if "ORDER BY" in query else sorted(rows)))  # released rows are shuffled
    return "\n\n".join(parts) + "\n"


def check(hub: sdh.Hub, query: str) -> str:
    """How the rows differ from plain DuckDB's: ''."""
    expected = oracle(tables(PARTIES, SEED)).sql(query).to_arrow_table()
    return difference(hub.sql(query).arrow(), expected, ordered="ORDER BY" in query)


def main() -> None:
    with open_hub(PARTIES, SEED, "exact") as hub:
        for name, query in QUERIES.items():
            assert not (found := check(hub, query)), f"{name}: {found}"
            (FOLDER / f"{name}.txt").write_text(script(hub, query))


if __name__ == "__main__":
    main()
