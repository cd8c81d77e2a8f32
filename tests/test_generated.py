"""More than 300 generated queries give DuckDB's rows and types through real processes, each on shares across parties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import pytest

import sdh
from tests.data import oracle, tables
from tests.fuzz import Outcome, ask, open_hub
from tests.generate import queries


@dataclass(frozen=True, slots=True)
class Suite:
    """`count` queries from `seed` over `parties` parties whose row counts are announced as `rows`."""

    parties: int
    rows: str
    seed: int
    count: int
    least: int
    """Queries that must give DuckDB's rows; the rest are refused by name, or raise as DuckDB does."""


SUITES = (Suite(2, "exact", 11, 220, 195), Suite(3, "exact", 12, 130, 110), Suite(2, "padded", 13, 12, 9))
REFUSED = (sdh.Unsupported, sdh.WidthError)


@pytest.fixture(scope="module", params=SUITES, ids=lambda suite: f"{suite.parties}-{suite.rows}")
def opened(request: pytest.FixtureRequest) -> Iterator[tuple[Suite, sdh.Hub, duckdb.DuckDBPyConnection]]:
    suite: Suite = request.param
    with open_hub(suite.parties, suite.seed, suite.rows) as hub:
        yield suite, hub, oracle(tables(suite.parties, suite.seed))


def test_generated(opened: tuple[Suite, sdh.Hub, duckdb.DuckDBPyConnection]) -> None:
    suite, hub, connection = opened
    outcomes: list[tuple[str, Outcome]] = []
    for query in queries(suite.seed, suite.count, suite.parties):
        outcomes.append((query, ask(hub, connection, query)))
    wrong = [f"{query}\n  {outcome.detail}" for query, outcome in outcomes if outcome.verdict == "wrong"]
    assert not wrong, f"seed {suite.seed}, {len(wrong)} of {suite.count} differ:\n" + "\n".join(wrong)
    same = [outcome for _, outcome in outcomes if outcome.verdict == "same"]
    assert len(same) >= suite.least, "too many are refused"
    assert all(outcome.secure for outcome in same), "every query has tables of several owners"
