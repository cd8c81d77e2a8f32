"""Golden scripts of differential privacy: a query's text, its plan with noise for the block, and what EXPLAIN says of it.

python -m tests.golden_privacy rewrites tests/golden_privacy/*.txt; read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

from sdh.planners.optimize import optimize
from sdh.planners.outline import outline
from sdh.planners.plan import Question, bound
from sdh.planners.privatise import privatise
from tests.test_privacy_plans import BOTH, DP, JOIN, plan

FOLDER = Path(__file__).parent / "golden_privacy"

QUERIES = {
    "public_values": f"{DP} p.city, count(*) AS n {JOIN} GROUP BY p.city",
    "public_table": f"{DP} i.label, sum(v.qty, contribution_bounds_per_group => (0, 50)) AS s FROM south.visits v "
    "JOIN items i ON i.code = v.item GROUP BY i.label",
    "hidden": f"{DP} v.kind, count(DISTINCT p.id) AS n, avg(p.age) AS a {JOIN} GROUP BY v.kind",
    "whole": f"{DP} count(*) AS n, var_pop(v.qty, contribution_bounds_per_row => (0, 20)) AS v {JOIN}",
    "one_row": f"{DP} p.sex, count(*) AS n, sum(p.cost, contribution_bounds_per_row => (-2.5, 100)) AS s "
    "FROM north.patients p GROUP BY p.sex",
    "values": f"{DP} v.kind, count(DISTINCT v.item) AS n {JOIN} GROUP BY v.kind",
    "above": f"SELECT i.label, d.n FROM ({DP} v.item, count(*) AS n {JOIN} GROUP BY v.item) d JOIN items i ON i.code = d.item "
    "WHERE d.n > 9 ORDER BY d.n DESC LIMIT 3",
}


def script(query: str) -> str:
    """The golden text of one query."""
    node, _ = privatise(optimize(bound(Question(query, "analyst"), BOTH)[0]), BOTH, "analyst")
    lines = plan(query).explain().splitlines()
    start = lines.index("Differential privacy:")
    explained = "\n".join(lines[start:lines.index("", start)])
    return f"-- query\n{query}\n\n-- privatise\n{outline(optimize(node))}\n\n-- explain\n{explained}\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, query in QUERIES.items():
        (FOLDER / f"{name}.txt").write_text(script(query))


if __name__ == "__main__":
    main()
