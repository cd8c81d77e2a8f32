"""300 queries of the whole grammar, and some of padded tables, give DuckDB's rows and types through real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import duckdb
import pytest

import sdh
from tests.data import oracle
from tests.features import features
from tests.fuzz import Outcome, ask, everything, open_hub, whole
from tests.generate import queries
from tests.twins import covered


@dataclass(frozen=True, slots=True)
class Suite:
    """`count` queries of a grammar from `seed` over `parties` parties whose row counts are announced as `rows`."""

    parties: int
    rows: str
    seed: int
    count: int
    least: int
    """Queries that must give DuckDB's rows, on shares; the rest are refused by name, or raise as DuckDB does."""
    grammar: Callable[[int, int, int], list[str]] = whole


ONCE_WRONG = (
    # a truth that may be NULL in its table and is not, of a small public domain, grouped by and then sorted by
    "SELECT DISTINCT y.b IS NOT TRUE AS v0, y.big AS v1, x.s LIKE '%a%' AS v2 FROM bank.branches x JOIN shop.orders y "
    "ON x.d + 1 = y.d ORDER BY v2, v1, v0 LIMIT 3",
    # a key that an owner tried to compute, grouped by on shares, then sorted by
    "SELECT CAST(x.money AS INTEGER) AS g, count(*) AS c FROM bank.north x LEFT JOIN pooled y ON x.d + 1 = y.d GROUP BY g "
    "ORDER BY g LIMIT 1 -- plan: 626",
    # a key that only one part of a federated table has NULL in
    "SELECT y.s AS g, bool_or(y.b) FILTER (WHERE y.d <> x.d) AS c FROM shop.south x JOIN pooled y "
    "ON x.k IS NOT DISTINCT FROM y.k WHERE y.d >= y.d GROUP BY g",
)
"""Of seed 600."""


def once_wrong(seed: int, count: int, parties: int) -> list[str]:
    del seed, parties
    return list(ONCE_WRONG[:count])


SUITES = (Suite(2, "exact", 11, 180, 155), Suite(3, "exact", 12, 120, 100), Suite(2, "padded", 13, 12, 9, queries),
          Suite(2, "exact", 600, len(ONCE_WRONG), len(ONCE_WRONG), once_wrong))


@pytest.fixture(scope="module", params=SUITES, ids=lambda suite: f"{suite.parties}-{suite.rows}-{suite.seed}")
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Suite, sdh.Hub, duckdb.DuckDBPyConnection]]:
    suite: Suite = request.param
    owned = everything(suite.parties, suite.seed)
    with open_hub(suite.parties, suite.seed, suite.rows, owned) as hub:
        yield suite, hub, oracle(owned)


def test_generated(opened: tuple[Suite, sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    suite, hub, connection = opened
    outcomes: list[tuple[str, Outcome]] = []
    for query in suite.grammar(suite.seed, suite.count, suite.parties):
        outcomes.append((query, ask(hub, connection, query)))
    wrong = [f"{query}\n  {outcome.detail}" for query, outcome in outcomes if outcome.verdict == "wrong"]
    assert not wrong, f"seed {suite.seed}, {len(wrong)} of {suite.count} differ:\n" + "\n".join(wrong)
    assert sum(outcome.verdict == "same" and outcome.secure for _, outcome in outcomes) >= suite.least, "too many are refused"
    has_twins(outcomes)


def has_twins(outcomes: list[tuple[str, Outcome]]) -> None:
    """What these plans do on shares, tests/test_oblivious.py sees to: operators with their kinds, functions, aggregates."""
    alone = {name: query for query, outcome in outcomes if outcome.plan for name in features(outcome.plan) - covered()}
    assert not alone, "without twins (tests/twins.py): " + "\n".join(f"{name}: {query}" for name, query in alone.items())
