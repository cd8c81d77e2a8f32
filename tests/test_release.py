"""What the client adds up: rows that are not in the result are 0 in every word and bit, and stand in no order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import sdh
from sdh.executors import release

QUERIES = (
    "SELECT a.s, a.x, o.y, a.b, a.x > o.y AS c FROM bank.a a JOIN shop.o o ON a.id = o.id WHERE a.x > 2 OR o.y > 40",
    "SELECT o.s, sum(a.x) AS v, avg(a.x) AS m, max(a.x) AS h FROM shop.o o JOIN bank.a a ON a.id = o.id GROUP BY o.s "
    "HAVING sum(a.x) > 9",
    "SELECT a.x + o.y AS v, a.x / o.y AS q FROM bank.a a JOIN shop.o o ON a.id = o.id",
)


@pytest.fixture(scope="module")
def hub() -> Iterator[sdh.Hub]:
    ids = list(range(12))
    first = {"id": ids, "x": [None, *range(1, 12)], "s": [f"secret {i}" for i in ids], "b": [i % 3 == 0 for i in ids]}
    second = {"id": ids, "y": [7 * i for i in ids], "s": [f"group {i % 4}" for i in ids]}
    with sdh.connect() as opened:
        opened.attach("bank", {"a": pa.table(first)}, policy=sdh.Policy.open(), keys={"a": [("id",)]})
        opened.attach("shop", {"o": pa.table(second)}, policy=sdh.Policy.open(), keys={"o": [("id",)]})
        yield opened


def added(hub: sdh.Hub, monkeypatch: pytest.MonkeyPatch, query: str) -> tuple[list[Any], list[Any]]:
    """The words and bits, validity last, that the client adds up for a query."""
    seen: list[Any] = []
    plain = release._added

    def watched(*arguments: Any) -> Any:
        seen.append(plain(*arguments))
        return seen[-1]

    monkeypatch.setattr(release, "_added", watched)
    hub.sql(query)
    words, flags, failed = seen[0]
    assert not failed
    return words, flags


@pytest.mark.parametrize("query", QUERIES)
def test_rows_that_are_not_there_are_wiped_and_rows_are_shuffled(
    hub: sdh.Hub, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    words, flags = added(hub, monkeypatch, query)
    valid = flags[-1]
    assert len(valid) >= 1024
    assert 0 < int(valid.sum()) < 13
    assert all(not np.any(word[~valid]) for word in words)
    assert all(not np.any(flag[~valid]) for flag in flags)
    _, again = added(hub, monkeypatch, query)
    assert not np.array_equal(again[-1], valid), "the same rows stood in the same places twice"
