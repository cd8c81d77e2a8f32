"""Private blocks become the algebra of the golden scripts, and EXPLAIN says of them what stands there."""

from __future__ import annotations

import pytest

from tests.golden_privacy import FOLDER, QUERIES, script


@pytest.mark.parametrize("name", QUERIES)
def test_golden(name: str) -> None:
    assert script(QUERIES[name]).splitlines() == (FOLDER / f"{name}.txt").read_text().splitlines()
