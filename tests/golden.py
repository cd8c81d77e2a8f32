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
