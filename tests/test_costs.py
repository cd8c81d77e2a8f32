"""What EXPLAIN predicts is what a trace of the run meters: bytes within a tenth, rounds within a third."""

from __future__ import annotations

import pytest

from sdh.executors import secure
from sdh.planners.costs import tree_cost
from tests.test_planner import JOIN, plan

QUERIES = (
    f"SELECT sum(a.x * o.x), count(*) {JOIN}",
    f"SELECT a.x, o.s {JOIN}",
    f"SELECT a.s, sum(o.x), min(o.y), avg(o.x) {JOIN} GROUP BY a.s",
    "SELECT count(*) FROM bank.accounts a, shop.orders o WHERE a.x < o.x",
    "SELECT count(*) FROM bank.accounts a, shop.orders o WHERE a.s < o.s AND a.y <> o.y",
    f"SELECT a.x > o.x AS g, sum(o.x) {JOIN} GROUP BY g",
    f"SELECT sum(CASE WHEN a.x > o.x THEN a.y END) {JOIN}",
    "SELECT a.s, count(*), sum(o.money) FROM bank.accounts a JOIN shop.orders o ON a.id = o.x GROUP BY a.s",
    f"SELECT max(a.money), min(o.d) FILTER (WHERE a.b) {JOIN}",
)


@pytest.mark.parametrize("query", QUERIES)
def test_predicted_costs(query: str) -> None:
    planned = plan(query)
    assert planned.root is not None
    predicted = tree_cost(planned.root, 2)
    meters = [secure.trace(planned, party)[1] for party in planned.placed.parties]
    labels = list(meters[0].operators)
    sent = sum(max(meter.operators[label].sent for meter in meters) for label in labels)
    found = meters[0].total
    assert predicted.bytes == pytest.approx(sent, rel=0.10)
    assert predicted.dealer_bytes == pytest.approx(found.dealt, rel=0.10)
    assert predicted.rounds == pytest.approx(found.rounds, rel=0.35, abs=20)
