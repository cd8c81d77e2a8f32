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


SUITES = (Suite(2, "exact", 11, 180, 155), Suite(3, "exact", 12, 120, 100), Suite(2, "padded", 13, 12, 9, queries))


@pytest.fixture(scope="module", params=SUITES, ids=lambda suite: f"{suite.parties}-{suite.rows}")
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
