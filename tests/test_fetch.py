"""Fetching columns that stayed with their owner: the protocol against plain tables, with 2, 3 and 5 parties."""

from __future__ import annotations

from typing import Any

import pytest

from sdh.errors import ProtocolError
from sdh.executors import dealing
from tests.parties import Pool
from tests.test_protocols_security import CHI_SQUARE_255

P = "tests.fetch_programs:"


@pytest.mark.parametrize(("rows", "slots", "width"), [
    (1, 1, 1), (3, 2, 5), (5, 63, 1), (7, 64, 3), (9, 65, 70), (64, 100, 2), (65, 4097, 33), (200, 1000, 130)])
def test_fetched(two: Pool, three: Pool, rows: int, slots: int, width: int) -> None:
    for owner, started in enumerate((two, three)):
        started.run(P + "fetches", rows=rows, slots=slots, width=width, owner=owner + 1)


def test_fetched_by_five_parties_and_of_several_slices(two: Pool, five: Pool) -> None:
    five.run(P + "fetches", rows=4, slots=300, width=9, owner=2)
    two.run(P + "fetches", rows=40, slots=140_000, width=7, owner=0)


def test_what_a_party_sees_is_uniform(two: Pool) -> None:
    """Chi-square of the bytes that a party gets to see, for one place and one table."""
    for place, fill in ((0, 0), (299, 1)):
        for counted in two.run(P + "seen", place=place, fill=fill):
            mean = sum(counted) / 256
            assert mean > 20
            assert sum((count - mean) ** 2 / mean for count in counted) < CHI_SQUARE_255


def test_frames_tell_nothing_of_the_rows(two: Pool) -> None:
    found = [two.run(P + "frames", places=places, fill=fill) for places, fill in (([0] * 9, 0), ([*range(290, 299)], 1))]
    assert found[0] == found[1]
    assert len(found[0][0]) == 4


@pytest.mark.parametrize("correlation", [["unit", 1, 0, 0, -1, 0], ["unit", 1, 0, 32, -1, 0], ["matrix", 1, -1, 1, -1, 0]])
def test_malformed_tables_are_not_dealt(correlation: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        dealing.list_from_json([["a", 0, [correlation]]], 2)
