"""What EXPLAIN predicts of every operator is what a trace of the run meters: bytes and rounds within a tenth."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdh.catalog import Catalog, Facts, Party, TableFacts, padded
from sdh.executors import compare, divide, jobs, secure, slices
from sdh.planners import protocol_costs
from sdh.planners.comparing import LOCAL
from sdh.planners.costs import Cost, Machine, nanoseconds, operator_costs, payload_bytes, tree_cost
from sdh.planners.plan import Plan, Question, finish, place
from sdh.policy import Policy
from tests.join_ways_programs import only
from tests.test_planner import COLUMNS, JOIN, MEASURED, OPEN

QUERIES = {
    "sums": f"SELECT sum(a.x * o.x), count(*) {JOIN}",
    "rows": f"SELECT a.x, o.s {JOIN}",
    "groups": f"SELECT a.s, sum(o.x), min(o.y), avg(o.x) {JOIN} GROUP BY a.s",
    "pairs": "SELECT count(*) FROM bank.accounts a, shop.orders o WHERE a.x < o.x",
    "texts": "SELECT count(*) FROM bank.accounts a, shop.orders o WHERE a.s < o.s AND a.y <> o.y",
    "domain": f"SELECT a.x > o.x AS g, sum(o.x) {JOIN} GROUP BY g",
    "case": f"SELECT sum(CASE WHEN a.x > o.x THEN a.y END) {JOIN}",
    "keys": "SELECT a.s, count(*), sum(o.money) FROM bank.accounts a JOIN shop.orders o ON a.id = o.x GROUP BY a.s",
    "extremes": f"SELECT max(a.money), min(o.d) FILTER (WHERE a.b), max(a.t) {JOIN}",
    "condition": f"SELECT a.x {JOIN} WHERE a.x BETWEEN o.x AND o.y OR a.s IN (o.s, 'x') OR a.d IS DISTINCT FROM o.d",
    "choices": f"SELECT coalesce(a.x, o.x, 0), greatest(a.y, o.y), abs(a.x - o.x), nullif(a.s, o.s) {JOIN}",
    "failing": f"SELECT CAST(a.y + o.y AS SMALLINT) {JOIN}",
    "divided": f"SELECT a.x // o.y, a.y % 7 {JOIN}",
    "rounded": "SELECT round(a.money + o.money, 1), floor(a.money - o.money), round(a.money + o.y, 4), trunc(a.x - o.x, -1) "
               f"{JOIN}",
    "tried": f"SELECT TRY_CAST(a.y + o.y AS SMALLINT), TRY_CAST(a.money - o.money AS DECIMAL(4,1)), "
             f"CAST(a.money - o.money AS TINYINT), CAST(a.money + o.y AS DECIMAL(20,1)) {JOIN}",
    "chosen quotients": f"SELECT CASE WHEN a.x > o.x THEN a.x / o.y WHEN a.b THEN a.money END, coalesce(a.y / o.x, 0) {JOIN}",
    "rollup": f"SELECT a.s, o.x, sum(o.y), avg(a.y) {JOIN} GROUP BY ROLLUP (a.s, o.x)",
    "quotient": f"SELECT a.x / o.x, a.x / 3 < o.y {JOIN}",
    "slices": "SELECT min(a.x), max(o.d) FILTER (WHERE a.x > o.y), sum(a.x) FROM bank.accounts a, shop.orders o WHERE a.y > o.y",
    "unknown keys": f"SELECT o.s, a.y, count(*), sum(o.x), min(o.y), avg(a.x) FILTER (WHERE a.b) {JOIN} GROUP BY o.s, a.y",
    "wide keys": f"SELECT o.f, a.d, o.b, max(o.money) {JOIN} GROUP BY o.f, a.d, o.b",
    "alone": f"SELECT a.id, o.s, a.x, sum(o.x), count(o.y), min(o.d) {JOIN} GROUP BY a.id, o.s, a.x",
    "least texts": f"SELECT min(a.s), max(o.s) FILTER (WHERE a.b), count(*) {JOIN}",
    "texts by key": f"SELECT a.x, min(a.s) AS q, max(o.s), min(o.y) {JOIN} GROUP BY a.x",
    "texts by unknown keys": f"SELECT o.s, a.y, min(a.s) AS q, max(o.s), sum(o.x) {JOIN} GROUP BY o.s, a.y",
    "texts alone": f"SELECT a.id, a.s, o.s, max(o.s), min(a.s) {JOIN} GROUP BY a.id, a.s, o.s",
    "distinct": f"SELECT DISTINCT a.s, o.x {JOIN}",
    "marks": f"SELECT count(DISTINCT o.x), sum(DISTINCT a.y) FILTER (WHERE o.y > a.x), count(*) {JOIN}",
    "marks by key": f"SELECT a.s, count(DISTINCT o.x), sum(a.y) {JOIN} GROUP BY a.s",
    "first rows": f"SELECT a.s, o.x {JOIN} ORDER BY o.x DESC, a.s NULLS FIRST LIMIT 5 OFFSET 2",
    "first means": f"SELECT a.x, avg(o.x) AS m {JOIN} GROUP BY a.x ORDER BY m DESC LIMIT 3",
    "first quotients": f"SELECT a.x / o.y AS q, o.s {JOIN} ORDER BY q NULLS FIRST, o.s DESC LIMIT 7",
    "any rows": f"SELECT a.s, o.x {JOIN} LIMIT 5",
    "offset": f"SELECT a.s, o.x {JOIN} ORDER BY a.f OFFSET 2",
    "first groups": f"SELECT o.s, a.y, sum(o.x) AS t {JOIN} GROUP BY o.s, a.y ORDER BY t DESC LIMIT 3",
    "left": "SELECT a.x, o.s, o.b FROM bank.accounts a LEFT JOIN shop.orders o ON a.id = o.id AND a.x < o.x",
    "full": "SELECT a.x, o.s FROM bank.accounts a FULL JOIN shop.orders o ON a.id = o.id",
    "anti": "SELECT a.x FROM bank.accounts a WHERE NOT EXISTS (SELECT 1 FROM shop.orders o WHERE a.id = o.id AND a.y <> o.y)",
    "semi": "SELECT a.x FROM bank.accounts a WHERE a.s IN (SELECT s FROM shop.orders)",
    "mark": "SELECT a.x, a.y IN (SELECT y FROM shop.orders) FROM bank.accounts a",
    "mark pairs": "SELECT a.x, a.y IN (SELECT y FROM shop.orders o WHERE o.x < a.x) FROM bank.accounts a",
    "single": "SELECT a.x, (SELECT o.s FROM shop.orders o WHERE o.x < a.x) FROM bank.accounts a",
    "computed key": "SELECT a.y, o.b FROM bank.accounts a JOIN shop.orders o ON a.x + 1 = o.id AND o.y + a.y > 3",
    "key of a join": "SELECT b.y FROM bank.accounts a JOIN shop.orders o ON a.x = o.id JOIN bank.accounts b ON o.x + a.y = b.id",
    "repeated key": "SELECT a.x, o.s FROM bank.accounts a LEFT JOIN shop.orders o ON a.id = o.x",
    "wide": f"SELECT count(*) {JOIN} AND a.f < o.f",
    "late": f"SELECT a.s, a.money, a.d, a.y, o.s {JOIN} ORDER BY o.x LIMIT 5",
    "late and missing": "SELECT a.s, a.y, o.s, o.money, o.d FROM bank.accounts a LEFT JOIN shop.orders o ON a.x = o.id "
    "ORDER BY a.id, o.x LIMIT 100",
    "late by group": "SELECT a.id, a.s, a.y, a.money, sum(o.y) AS t FROM bank.accounts a JOIN shop.orders o ON a.id = o.x "
    "GROUP BY a.id, a.s, a.y, a.money ORDER BY t DESC LIMIT 3",
}
SIZES = ((20, 33), (padded(1000), padded(1000)), (70_000, 9000))


def planned(text: str, sizes: tuple[int, ...], known: Catalog = OPEN) -> Plan:
    placed = place(Question(text, "analyst"), known)
    return finish(placed, (*sizes, *sizes)[: len(placed.fragments)])


def metered(plan: Plan) -> list[Cost]:
    """Of every operator, at the party that sends most."""
    found: dict[str, list[Cost]] = {}
    for party in plan.placed.parties:
        for label, cost in secure.trace(plan, party)[1].whole.items():
            found.setdefault(label, []).append(Cost(cost.sent, cost.rounds, cost.dealt))
    return [Cost(max(cost.sent for cost in costs), costs[0].rounds, costs[0].dealt) for costs in found.values()]


def check(plan: Plan) -> None:
    assert plan.root is not None
    predicted = [cost for _, cost in operator_costs(plan.root, len(plan.placed.parties))]
    found = metered(plan)
    slack = sum(cost.sent for cost in found) / 100
    for one, cost in zip(predicted, found, strict=True):
        assert one.sent == pytest.approx(cost.sent, rel=0.10, abs=slack)
        assert one.dealt == pytest.approx(cost.dealt, rel=0.10, abs=slack)
        assert one.rounds == pytest.approx(cost.rounds, rel=0.10, abs=1)
    assert tree_cost(plan.root, len(plan.placed.parties)) == sum(predicted, Cost())


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", QUERIES)
def test_predicted_costs(name: str, sizes: tuple[int, ...]) -> None:
    if name in ("pairs", "texts", "slices", "mark pairs", "single") and sizes[0] > 1300:
        sizes = (1300, 1700)   # all pairs
    check(planned(QUERIES[name], sizes))


@pytest.mark.parametrize("rows", ["exact", "padded"])
def test_predicted_costs_of_three_parties(rows: str) -> None:
    """With row counts known and not: there is no validity where they are."""
    parties = tuple(Party(name, (TableFacts(name, "t", COLUMNS, MEASURED, 4096, (("id",),), "1"),), Policy.open(rows=rows))
                    for name in ("bank", "shop", "mill"))
    for text in ("SELECT a.s, b.y, c.x FROM bank.t a JOIN shop.t b ON a.id = b.id JOIN mill.t c ON a.id = c.id",
                 "SELECT a.s, sum(b.x * c.x) FROM bank.t a JOIN shop.t b ON a.id = b.id, mill.t c WHERE c.id = a.id GROUP BY a.s",
                 "SELECT sum(a.x), max(c.y) FROM bank.t a, mill.t c"):
        check(planned(text, (1500, 900, 40), Catalog(parties, ())))


REPEATING = Catalog(tuple(
    Party(name, (TableFacts(name, "t", COLUMNS, (Facts(low=0, high=200), Facts(low=0, high=150), *MEASURED[2:]), 4096, (("id",),),
                            "1", ((("x",), times), (("s",), 3))),), Policy.open(rows=rows))
    for name, times, rows in (("bank", 5, "padded"), ("shop", 4, "exact"), ("mill", 4, "padded"))), ())
WAYS = {
    "expand": "SELECT a.s, b.y, b.b FROM bank.t a JOIN shop.t b ON a.x = b.x AND a.y < b.y",
    "expand sums": "SELECT a.x, sum(b.y), count(*) FROM bank.t a JOIN shop.t b ON a.x = b.x AND a.s = b.s GROUP BY a.x",
    "sorted_expand": "SELECT a.s, b.y, b.b FROM bank.t a JOIN shop.t b ON a.x = b.x AND a.y < b.y",
    "sorted_expand texts": "SELECT b.id, a.b FROM bank.t a JOIN shop.t b ON a.s = b.s",
    "sorted_expand computed": "SELECT b.id, a.b FROM bank.t a JOIN shop.t b ON a.x + a.id - a.id = b.x",
    "lookup": "SELECT a.s, b.y, b.b, b.s FROM bank.t a LEFT JOIN shop.t b ON a.x = b.id AND a.y < b.y",
    "lookup semi": "SELECT a.s FROM bank.t a WHERE a.x IN (SELECT x FROM shop.t)",
    "lookup computed": "SELECT a.y, b.money, b.d FROM bank.t a JOIN shop.t b ON a.x + 1 = b.id",
    "lookup three": "SELECT c.y FROM bank.t a JOIN shop.t b ON a.x = b.id JOIN mill.t c ON b.x = c.id",
}


@pytest.mark.parametrize("name", WAYS)
def test_predicted_costs_of_joins_of_one_way(name: str) -> None:
    for sizes in ((20, 33, 9), (1500, 900, 700), (30_000, 200, 150)):
        with only(name.split()[0]):
            check(planned(WAYS[name], sizes, REPEATING))


def test_chunks_are_those_of_the_executors() -> None:
    predicted = protocol_costs.CHUNK, protocol_costs.WINDOW, protocol_costs.FEW, protocol_costs.SLICE, protocol_costs.DIVIDED
    assert predicted == (jobs.CHUNK, jobs.WINDOW, compare._FEW, slices.SLICE, divide.ROWS)


def test_the_payload_is_what_is_sent_to_the_client() -> None:
    """Bytes of a share of 3 rows: a number and a text of two words and its length, NULLs of both and the validity."""
    plan = planned(f"SELECT a.x, o.s {JOIN}", (3, 1))
    assert plan.root is not None
    assert payload_bytes(plan.root, may_fail=False) == 8 * (3 * 5 + 3)


def test_nanoseconds() -> None:
    machine = Machine(round=5000, sent=3000, dealt=2000, word=1000)
    assert nanoseconds(Cost(3, 5, 7, 11), LOCAL, machine) == 9 + 25 + 14 + 11
    slow = replace(LOCAL, bandwidth=LOCAL.bandwidth // 3, delay=LOCAL.delay + 20)
    assert nanoseconds(Cost(600, 5, 400, 0), slow, machine) == 1800 + 25 + 800 + 5 * 20 + 1000 * 2 * 10**9 // LOCAL.bandwidth
    assert nanoseconds(Cost(1, 1, 1, 1), replace(LOCAL, delay=0), machine) == nanoseconds(Cost(1, 1, 1, 1), LOCAL, machine)
