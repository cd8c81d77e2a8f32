"""Plans after each rule, EXPLAIN and rows are those of the golden scripts, and the rows are plain DuckDB's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import sdh
from tests.fuzz import open_hub
from tests.golden import FOLDER, PARTIES, QUERIES, SEED, check, script


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    with open_hub(PARTIES, SEED, "exact") as opened:
        yield opened


@pytest.mark.parametrize("name", QUERIES)
def test_golden(hub: sdh.Hub, name: str) -> None:
    query = QUERIES[name]
    assert not check(hub, query)
    assert script(hub, query).splitlines() == (FOLDER / f"{name}.txt").read_text().splitlines()
