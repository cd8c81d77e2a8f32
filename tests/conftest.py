"""Parties that all protocol tests share: started once, when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parties import Pool, pool


@pytest.fixture(scope="session")
def two() -> Iterator[Pool]:
    with pool(2) as started:
        yield started


@pytest.fixture(scope="session")
def three() -> Iterator[Pool]:
    with pool(3) as started:
        yield started


@pytest.fixture(scope="session")
def five() -> Iterator[Pool]:
    with pool(5) as started:
        yield started
