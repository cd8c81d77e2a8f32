"""Common table expressions used several times are worked out once, and so is all else that a plan reads more than once."""

from __future__ import annotations

from collections import Counter

import pytest

from sdh.errors import NotGranted
from sdh.executors import secure
from sdh.executors.release import assemble
from sdh.planners.logical import Reused, Scan, nodes
from sdh.planners.outline import outline
from sdh.planners.physical import Align, Input, Node
from sdh.planners.plan import Plan, Question, bound
from sdh.planners.render import readable
from sdh.planners.sharing import readers, runs
from sdh.policy import Policy
from tests.common_tables_programs import planned, sharing
from tests.compare import difference
from tests.join_ways_programs import data
from tests.parties import Pool
from tests.test_costs import check as check_costs
from tests.test_costs import planned as costed
from tests.test_planner import OPEN, catalog, plan
from tests.test_subqueries import planned as optimized

P = "tests.common_tables_programs:asked"
JOINED = "FROM bank.t x JOIN shop.t y ON x.id = y.id"
GROUPS = f"WITH w AS (SELECT x.k AS k, sum(x.n * y.n) AS t, count(*) AS c, avg(y.n + x.n) AS a {JOINED} GROUP BY x.k) "
ROWS = f"WITH w AS (SELECT x.id AS id, x.k AS k, y.n + x.n AS v, y.s AS s, y.b AS b {JOINED}) "

QUERIES = {
    "self-join": GROUPS + "SELECT u.t, v.c FROM w u JOIN w v ON u.k = v.c",
    "scalar": GROUPS + "SELECT k, t FROM w WHERE t >= (SELECT max(t) FROM w)",
    "Q15": GROUPS + "SELECT z.id, w.t FROM shop.t z JOIN w ON z.id = w.k WHERE w.t <> (SELECT min(t) FROM w)",
    "quotients": GROUPS + "SELECT u.k, u.a, v.a FROM w u JOIN w v ON u.k = v.k WHERE u.a > v.k",
    "rows": ROWS + "SELECT u.v, p.s, u.s FROM w u JOIN w p ON u.id = p.k",
    "union": ROWS + "SELECT v, s FROM w WHERE b UNION ALL SELECT k, s FROM w WHERE NOT b",
    "in": ROWS + "SELECT id, v IN (SELECT k FROM w) AS i FROM w WHERE id IN (SELECT k FROM w)",
    "left": ROWS + "SELECT u.id, p.v, p.s FROM w u LEFT JOIN w p ON u.k = p.id",
    "full": ROWS + "SELECT u.id, p.v FROM w u FULL JOIN w p ON u.k = p.id",
    "correlated": ROWS + "SELECT u.id, (SELECT max(p.v) FROM w p WHERE p.k = u.k) AS m FROM w u",
    "three uses": GROUPS + "SELECT w.k FROM w WHERE t BETWEEN (SELECT min(t) FROM w) AND (SELECT avg(t) FROM w)",
    "nested": ROWS + ", g AS (SELECT k, sum(v) AS t FROM w GROUP BY k) "
    "SELECT w.id, g.t FROM w JOIN g ON w.k = g.k WHERE g.t > (SELECT min(t) FROM g)",
    "named": f"WITH w(p, q) AS (SELECT x.id, x.n * y.n {JOINED}) SELECT u.q, v.p FROM w u JOIN w AS v(p, z) ON u.p = v.p",
    "cut": f"WITH w AS (SELECT x.id AS id, y.n + x.n AS v {JOINED} ORDER BY v LIMIT 4) "
    "SELECT count(*) AS c FROM w u JOIN w v ON u.id = v.id",
    "one owner's": "WITH w AS (SELECT k, sum(n) AS t FROM shop.t GROUP BY k) "
    "SELECT x.id, u.t, v.t FROM bank.t x JOIN w u ON x.id = u.k LEFT JOIN w v ON x.k = v.k",
    "cut by its owner": "WITH w AS (SELECT id, k, s FROM bank.t ORDER BY id LIMIT 9) "
    "SELECT u.s, v.s AS o, y.n FROM w u JOIN w v ON u.k = v.k JOIN shop.t y ON y.id = u.k",
    "in a subquery": ROWS + "SELECT (SELECT count(*) FROM w p JOIN w q ON p.id = q.id) AS pairs, max(v) AS most FROM w",
}


def several(plan: Plan) -> list[Node]:
    assert plan.root is not None
    return [node for node, times in readers(plan.root.input).items() if times > 1]


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "copied"])
@pytest.mark.parametrize("name", QUERIES)
def test_rows(two: Pool, name: str, shared: bool) -> None:
    sql, rows = QUERIES[name], [17, 20]
    found = planned(sql, shared, 2, rows)
    payloads = two.run(P, sql=sql, shared=shared, rows=rows)
    expected = data(2, tuple(rows)).sql(sql).to_arrow_table()
    assert difference(assemble(found, [bytes.fromhex(one) for one in payloads]), expected, ordered=False) == ""
    assert several(found) or not shared or name == "cut by its owner", "there its DuckDB shares"


@pytest.mark.parametrize("rows", [[0, 3], [1, 1]])
def test_few_rows(two: Pool, rows: list[int]) -> None:
    for name in ("scalar", "left", "nested"):
        payloads = two.run(P, sql=QUERIES[name], shared=True, rows=rows)
        expected = data(2, tuple(rows)).sql(QUERIES[name]).to_arrow_table()
        found = assemble(planned(QUERIES[name], True, 2, rows), [bytes.fromhex(one) for one in payloads])
        assert difference(found, expected, ordered=False) == "", name


# --- what it costs -------------------------------------------------------------------------------


def sent(plan: Plan) -> Counter[str]:
    """Bytes that the first party sends, by kind of operator, and how often each runs."""
    found: Counter[str] = Counter()
    for label, cost in secure.trace(plan, plan.placed.parties[0])[1].whole.items():
        kind = label.partition(":")[2]
        found[kind] += cost.sent
        found[f"{kind}s"] += 1
    return found


def test_used_twice_it_costs_what_it_costs_once() -> None:
    """The join and the groups of the table are metered once; a second use adds what it does itself."""
    text = "WITH w AS (SELECT a.s AS s, sum(a.x * o.x) AS t FROM bank.accounts a JOIN shop.orders o ON a.id = o.id GROUP BY a.s) "
    twice = text + "SELECT sum(u.t) AS v, (SELECT max(t) FROM w) AS m FROM w u"
    once, shared = (sent(costed(one, (1000, 900))) for one in (text + "SELECT sum(t) AS v FROM w", twice))
    with sharing(False):
        copied = sent(costed(twice, (1000, 900)))
    assert once["align"] > 50_000
    assert [shared[kind] for kind in ("align", "aligns", "input", "inputs")] == [once["align"], 1, 0, 2]
    assert (copied["align"], copied["aligns"]) == (2 * once["align"], 2)
    assert sum(shared.values()) < 1.2 * sum(once.values())


@pytest.mark.parametrize("name", QUERIES)
def test_predicted_costs(name: str) -> None:
    check_costs(planned(QUERIES[name], True, 2, [40, 50]))


def test_the_cheaper_plan_is_taken() -> None:
    """A filter that leaves a handful of rows goes to the owner, so that the copies cost less than sharing all rows."""
    shared = plan("WITH w AS (SELECT a.x AS x, o.y AS y FROM bank.accounts a JOIN shop.orders o ON a.id = o.id) "
                  "SELECT sum(u.y) FROM w u JOIN w v ON u.x = v.x")
    assert any(isinstance(node, Align) for node in runs(_root(shared)))
    assert sum(isinstance(node, Align) for node in runs(_root(shared))) == 1


def _root(plan: Plan) -> Node:
    assert plan.root is not None
    return plan.root.input


def test_both_inputs_of_an_append_share_what_both_read() -> None:
    """A LEFT join of a right side that repeats keys appends what met none: the join below both runs once."""
    found = planned(f"SELECT x.id, y.n, z.s {JOINED} LEFT JOIN bank.t z ON y.k = z.k", True, 2, [12, 14])
    kinds = Counter(type(node).__name__ for node in runs(_root(found)))
    assert kinds["Concat"] == 1
    assert kinds["Align"] + kinds["Lookup"] <= 2
    assert sent(found)["inputs"] == 3
    check_costs(found)


def test_fragments_that_are_alike_are_one() -> None:
    text = "SELECT count(*) FROM bank.accounts a JOIN shop.orders o ON a.id = o.x JOIN bank.accounts c ON c.id = o.y"
    found = plan(text)
    assert [fragment.party for fragment in found.placed.fragments] == ["bank", "shop"]
    assert [type(node) for node in several(found)] == [Input]
    assert "again, which is worked out once" in found.explain()
    other = plan(text.replace("c.id = o.y", "c.id = o.y AND c.x > 3"))
    assert [fragment.party for fragment in other.placed.fragments] == ["bank", "shop", "bank"]


def test_columns_that_no_use_reads_are_not_shared() -> None:
    text = ("WITH w AS (SELECT a.x, a.y, a.s, o.d, o.t FROM bank.accounts a JOIN shop.orders o ON a.id = o.id) "
            "SELECT (SELECT max(d) FROM w) AS m, sum(x) FROM w")
    uses = [node for node in nodes(optimized(text)) if isinstance(node, Reused)]
    assert sorted(len(use.outputs) for use in uses) == [1, 1]
    assert len({use.input for use in uses}) == 1
    assert [name for one in nodes(uses[0].input) if isinstance(one, Scan) for name, _ in one.columns] == ["id", "x", "id", "d"]
    assert outline(optimized(text)).count("reused") == 2


# --- policies ------------------------------------------------------------------------------------

ASKED = "WITH w AS (SELECT o.x AS x, {} AS v FROM shop.orders o JOIN bank.accounts a ON a.id = o.id) SELECT {}"


@pytest.mark.parametrize(("value", "use", "missing"), [
    ("a.x", "u.v FROM w u JOIN w p ON u.x = p.x", "REVEAL"),
    ("a.x", "sum(u.x) FROM w u WHERE u.v > (SELECT min(v) FROM w)", "COMPARE"),
    ("a.x", "(SELECT max(v) FROM w), count(*) FROM w", "EXTREMES"),
    ("a.x", "u.v, count(*) FROM w u, w p GROUP BY u.v", "GROUP"),
])  # fmt: skip
def test_a_shared_table_is_no_way_around_a_grant(value: str, use: str, missing: str) -> None:
    known = catalog(Policy.parse("GRANT JOIN, AGGREGATE ON accounts TO analyst", floor=1, facts="measured"))
    with pytest.raises(NotGranted, match=missing):
        plan(ASKED.format(value, use), known)


def test_where_a_floor_holds_each_use_is_counted() -> None:
    known = catalog(Policy.parse("GRANT REVEAL ON accounts TO analyst", floor=10, facts="measured"))
    text = ("WITH w AS (SELECT a.x AS x FROM shop.orders o JOIN bank.accounts a ON a.id = o.id) "
            "SELECT sum(x), (SELECT sum(x) FROM w) FROM w")
    assert any(isinstance(node, Reused) for node in nodes(bound(Question(text, "analyst"), OPEN)[0]))
    found = plan(text, known)
    assert found.root is not None
    shown = [readable(e) for _, e in found.root.outputs]
    assert [e.count(">= 10") for e in shown] == [1, 1], shown
