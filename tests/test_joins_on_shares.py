"""Lookups, copies of runs and joins of shared keys against plain integers, with 2, 3 and 5 parties."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from math import log2
from typing import Any

import pytest
import torch

from sdh.errors import InternalError, ProtocolError
from sdh.executors import dealing, lookup, runtime, tracing
from sdh.planners.sorting import place_bits
from tests.parties import Pool
from tests.test_protocols_security import CHI_SQUARE_255

P = "tests.joins_programs:"


@pytest.mark.parametrize(("rows", "domain", "width"), [
    (0, 1, 1), (1, 1, 3), (2, 2, 64), (65, 3, 20), (300, 17, 9), (300, 64, 64), (1000, 256, 33)])
def test_lookups(two: Pool, three: Pool, rows: int, domain: int, width: int) -> None:
    for started in (two, three):
        started.run(P + "lookups", rows=rows, domain=domain, width=width)


def test_lookups_of_five_parties_and_of_several_chunks(two: Pool, five: Pool) -> None:
    five.run(P + "lookups", rows=100, domain=5, width=7)
    two.run(P + "lookups", rows=150_001, domain=3, width=2)


@pytest.mark.parametrize(("degrees", "bound"), [
    ([], 0), ([], 3), ([0], 0), ([2], 1), ([1], 1), ([0, 0, 0], 4), ([3, 0, 1, 0, 0, 5], 9), ([3, 0, 1, 0, 0, 5], 8),
    ([1] * 70, 70), ([0] * 40 + [64] + [0] * 30, 130), ([0, 1, 2, 3, 4, 5] * 20, 301), ([1 << 40, 1], 5), ([1 << 61] * 3, 64)])
def test_copies_of_runs(two: Pool, three: Pool, degrees: list[int], bound: int) -> None:
    for started in (two, three):
        started.run(P + "copies", degrees=degrees, bound=bound)


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize(("rows", "others", "limbs", "nulls", "distinct"), [
    (0, 0, 1, False, 1), (0, 3, 1, True, 2), (4, 0, 1, True, 2), (1, 1, 1, False, 1), (20, 1, 1, False, 1), (9, 5, 2, True, 4),
    (30, 40, 2, False, 50), (40, 30, 1, True, 12)])
def test_sort_merge(two: Pool, three: Pool, rows: int, others: int, limbs: int, nulls: bool, distinct: int,
                    in_order: bool) -> None:
    for started in (two, three):
        started.run(P + "merges", rows=rows, others=others, limbs=limbs, nulls=nulls, distinct=distinct, in_order=in_order)


LEAST, MOST = -(1 << 62), (1 << 62) - 1


@pytest.mark.parametrize(("left", "right", "usable"), [
    ([0, 5, -1], [5], [1]), ([0, MOST, LEAST], [LEAST], [1]), ([MOST, -1, LEAST], [-1, MOST], [1, 1]),
    ([0, 0, 3], [0, 3, 0, 3], [0, 1, 1, 0]), ([0, 3], [0, 3], [0, 0])])
def test_keys_that_are_nearly_equal(two: Pool, left: list[int], right: list[int], usable: list[int]) -> None:
    """None before it and key 0, a difference of 2^62, unusable rows of the same key on either side of the usable one."""
    two.run(P + "matches", left=left, right=right, usable=usable)


@pytest.mark.parametrize(("rows", "others", "distinct", "bound"), [
    (0, 0, 1, 2), (3, 0, 1, 2), (0, 2, 1, 0), (1, 1, 1, 3), (12, 9, 3, 40), (12, 9, 3, 5), (15, 14, 1, 150), (25, 20, 9, 60)])
def test_pairs_of_many_to_many(two: Pool, three: Pool, rows: int, others: int, distinct: int, bound: int) -> None:
    for started in (two, three):
        started.run(P + "pairs", rows=rows, others=others, distinct=distinct, bound=bound)


def test_the_last_pair_fits_and_one_more_does_not(two: Pool) -> None:
    for missing in (0, 1):
        two.run(P + "pairs", rows=8, others=7, distinct=2, bound=-missing)


def test_joins_of_five_parties(five: Pool) -> None:
    five.run(P + "copies", degrees=[2, 0, 1], bound=4)
    five.run(P + "merges", rows=6, others=4, limbs=2, nulls=True, distinct=3, in_order=True)
    five.run(P + "pairs", rows=4, others=5, distinct=2, bound=9)


def test_joins_over_a_slow_network_sort_by_digits(two: Pool) -> None:
    two.run(P + "merges", rows=9, others=7, limbs=3, nulls=True, distinct=4, in_order=True, slow=True)


def test_joins_that_are_prepared(two: Pool) -> None:
    """Orders and tables are worked out before the first frame."""
    assert two.run(P + "prepared") == [[True], [True]]


# --- costs ---

def test_costs_of_lookups(two: Pool) -> None:
    rows = 1 << 13
    costs = two.run(P + "lookups", rows=rows, domain=200, width=33)
    table = (33 + 1) * 256 // 8
    _near(costs[0]["public"], rows * 1, rows * 255 / 8, 1)
    _near(costs[0]["number"], rows * (1 + 33 / 8), rows * (255 / 8 + 8 * 33), 2)
    _near(costs[1]["private"], rows * 1 + table, rows * (255 + 34) / 8, 2)
    _near(costs[0]["private"], rows * 33 + table, rows * (255 + 34) / 8, 2)
    _near(costs[0]["numbers"], rows * 33 / 8, rows * 8 * 33, 1)
    small = two.run(P + "lookups", rows=rows, domain=17, width=64)
    _near(small[0]["number"], rows * 5 / 8, rows * 8 * 31, 1)


def test_costs_of_copies(two: Pool) -> None:
    rows, bound, w = 100, 12_000, 8 * 3 + 1
    cost = two.run(P + "copies", degrees=[7] * rows, bound=bound)[0]["copies"]
    places, bits = rows + 1 + bound, bound.bit_length()
    k = place_bits(places)
    sent = places * ((bits - 1) * (bits + 2) / 16 + 20 + (2 * k + 1) / 8 + 2 * w)
    _near(cost, sent, places * (bits * (bits - 1) / 16 + 32 + 4 * w), bits + log2(bits) + 20)


def test_costs_of_merging(two: Pool) -> None:
    """What comes on top of the sort, for key, two numbers and a bit."""
    rows, others = 300, 200
    cost = two.run(P + "merges", rows=rows, others=others, limbs=1, nulls=False, distinct=50, in_order=True)[0]
    n, w, k = rows + others, 8 * 3 + 1, place_bits(rows + others)
    _near(cost["join/merge"], n * (20 + 2 * w + (2 * k + 1) / 8), n * (32 + 4 * w), 9)
    _near(cost["join/back"], n * (8 + w + k / 8), n * (16 + 2 * w), 3)


def test_costs_of_groups(two: Pool) -> None:
    cost = two.run(P + "pairs", rows=60, others=68, distinct=30, bound=150)[0]
    n, k, tree = 128, place_bits(128), 19
    assert cost["join/groups"][0] <= n * (92 + 5 / 8 + (2 * k + 1) / 8 + tree) * 1.02
    assert cost["join/groups"][2] <= 18
    assert cost["join/right"][0] - cost["join/left"][0] == pytest.approx((33 - 9) * 2 * (n + 1 + 150) + 16 * n, rel=0.02)


def _near(cost: list[int], sent: float, dealt: float, rounds: float) -> None:
    assert cost[0] == pytest.approx(sent, rel=0.02)
    assert cost[1] == pytest.approx(dealt, rel=0.02)
    assert cost[2] <= rounds


# --- what shows ---

@pytest.mark.parametrize("kind", ["public", "number", "private"])
def test_openings_of_lookups_are_uniform(two: Pool, kind: str) -> None:
    """Chi-square of the bytes that a party gets to see for one index and table."""
    for index in (0, 77):
        for counted in two.run(P + "seen_by_lookups", kind=kind, index=index):
            mean = sum(counted) / 256
            assert mean > 50
            assert sum((count - mean) ** 2 / mean for count in counted) < CHI_SQUARE_255


def test_opened_places_are_uniform(two: Pool) -> None:
    """Of a fixed destination, the permutation that opens is every one of three rows alike."""
    draws = 240
    for destination in ([0, 1, 2], [2, 0, 1]):
        seen = two.run(P + "opened_places", destination=destination, draws=draws)[0]
        counts = [sum(places == list(order) for places in seen) for order in permutations(range(3))]
        assert sum(counts) == draws
        assert sum((count - draws / 6) ** 2 / (draws / 6) for count in counts) < 45


def test_frames_tell_nothing_of_the_data(two: Pool) -> None:
    """Address and length of every frame: the same whatever matches, repeats, is usable or flows over."""
    frames = [two.run(P + "frames", seed=seed, degrees=degrees, bound=20)
              for seed, degrees in ((1, [0] * 6), (2, [3, 0, 1, 0, 4, 0]), (3, [9, 9, 9, 0, 0, 0]))]
    assert frames[0] == frames[1] == frames[2]
    assert len(frames[0][0]) > 100


def test_a_trace_imports_nothing_slow() -> None:
    script = ("import sys, tests.joins_programs as p\n"
              "from sdh.executors import crypten_seam, tracing\n"
              "def program(session):\n"
              "    with crypten_seam.installed(session):\n"
              "        p.lookups(session, 65, 3, 4); p.lookups(session, 65, 100, 4); p.copies(session, [1, 2], 5)\n"
              "        p.merges(session, 9, 9, 2, True, 4, True); p.merges(session, 9, 9, 1, True, 4, False)\n"
              "        p.pairs(session, 5, 5, 2, 9)\n"
              "tracing.trace(program, ['a', 'b'])\n"
              "assert 'sympy' not in sys.modules\n")
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("wrong", [
    lambda session, x: lookup.lookup_public(session, x, [torch.arange(257)], [9]),
    lambda session, x: lookup.lookup_private(session, x, 257, 0, None, [9]),
    lambda session, x: lookup.lookup_number(session, x, torch.arange(300))])
def test_tables_that_are_too_large_are_refused(wrong: Callable[[runtime.Session, Any], Any]) -> None:
    with pytest.raises(InternalError, match="256 entries"):
        tracing.trace(lambda session: wrong(session, session.share(0, None, 3)), ["a", "b"])


def test_a_table_that_does_not_fit_its_domain_is_refused() -> None:
    with pytest.raises(InternalError, match="owner of a table"):
        lookup._owned([torch.arange(3)], 4, [2])


@pytest.mark.parametrize("correlation", [["inner", 1, 0, 2, -1, 0], ["inner", 1, 3, 9, -1, 0], ["inner", 1, 3, 0, -1, 0],
                                         ["one_hot", 1, 0, 9, -1, 0], ["one_hot", 1, 0, 0, -1, 0]])
def test_malformed_tables_are_not_dealt(correlation: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        dealing.list_from_json([["a", 0, [correlation]]], 2)
