"""A join whose build side is itself a join on shares: its rows' validity travels along and decides the match."""

from __future__ import annotations

import sdh
from sdh.planners.physical import Align
from sdh.planners.plan import Plan
from tests.compare import difference
from tests.data import oracle, tables
from tests.fuzz import OTHERWISE
from tests.programs import otherwise
from tests.test_planner import nodes

SEED, PARTIES = 5, 3
QUERY = (
    "SELECT x.id, y.n, z.n FROM bank.accounts x JOIN shop.orders y ON x.k = y.id JOIN mill.sacks z ON z.id = y.id "
    "WHERE y.n < z.n OR z.n IS NULL OR y.n IS NULL OR y.n >= z.n"
)


def test_a_build_side_whose_validity_is_on_shares() -> None:
    connection = oracle(tables(PARTIES, SEED))
    two = "SELECT count(*) FROM bank.accounts x JOIN shop.orders y ON x.k = y.id"
    otherwise.install()
    with sdh.connect(programs=OTHERWISE) as hub:
        for party, found in tables(PARTIES, SEED).items():
            hub.attach(party, dict(found), policy=sdh.Policy.open(), keys={name: [("id",)] for name in found})
        result = hub.sql(f"{QUERY} -- plan: Align")
        expected = connection.sql(QUERY).to_arrow_table()
        assert not difference(result.arrow(), expected, ordered=False)
        assert connection.sql(two).fetchall()[0][0] > expected.num_rows, "some rows find no partner further on"
        plan = result.plan
    assert isinstance(plan, Plan)
    assert plan.root is not None
    joins = [node for node in nodes(plan.root.input) if isinstance(node, Align)]
    assert any(isinstance(inner, Align) for join in joins for inner in nodes(join.build))
