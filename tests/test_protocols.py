"""Every protocol against plain integers, with 2, 3 and 5 parties in processes of their own and a dealer."""

from __future__ import annotations

import pytest

from tests.parties import Pool

P = "tests.protocol_programs:"
WIDTHS = [1, 2, 3, 8, 31, 32, 33, 40, 57, 63, 64]
SIZES = [0, 1, 2, 63, 64, 65, 1000]


@pytest.mark.parametrize("rows", SIZES)
def test_comparisons(two: Pool, rows: int) -> None:
    two.run(P + "comparisons", rows=rows, widths=WIDTHS)


@pytest.mark.parametrize("rows", [1, 65])
def test_comparisons_of_three(three: Pool, rows: int) -> None:
    three.run(P + "comparisons", rows=rows, widths=WIDTHS)


def test_comparisons_of_five(five: Pool) -> None:
    five.run(P + "comparisons", rows=65, widths=[1, 2, 33, 64])


def test_comparisons_of_many_rows(two: Pool, three: Pool) -> None:
    two.run(P + "comparisons", rows=300_001, widths=[33])
    three.run(P + "comparisons", rows=100_003, widths=[64])


@pytest.mark.parametrize("rows", [0, 1, 65, 1000, 5000])
def test_batches(two: Pool, three: Pool, rows: int) -> None:
    two.run(P + "batches", rows=rows)
    three.run(P + "batches", rows=rows)


@pytest.mark.parametrize("rows", SIZES)
def test_logic(two: Pool, three: Pool, five: Pool, rows: int) -> None:
    for started in (two, three, five):
        started.run(P + "logic", rows=rows)


@pytest.mark.parametrize("rows", [*SIZES, 100_001])
def test_products(two: Pool, three: Pool, five: Pool, rows: int) -> None:
    for started in (two, three, five) if rows < 100_000 else (two,):
        started.run(P + "products", rows=rows)


@pytest.mark.parametrize(("rows", "rows_out"), [(0, 0), (0, 3), (1, 1), (2, 1), (3, 9), (9, 3), (64, 65), (1000, 1200),
                                                (70, 0)])
def test_moves(two: Pool, three: Pool, five: Pool, rows: int, rows_out: int) -> None:
    for started in (two, three, five):
        started.run(P + "moves", rows=rows, rows_out=rows_out)


def test_moves_of_many_rows(two: Pool) -> None:
    two.run(P + "moves", rows=100_000, rows_out=120_001)


@pytest.mark.parametrize(("probes", "builds", "words"), [(0, 0, 1), (0, 5, 1), (3, 0, 2), (1, 1, 1), (65, 2, 3),
                                                         (1000, 1000, 1), (100, 700, 2)])
def test_joins(two: Pool, three: Pool, probes: int, builds: int, words: int) -> None:
    two.run(P + "joins", probes=probes, builds=builds, words=words)
    three.run(P + "joins", probes=probes, builds=builds, words=words, probe_rank=2, build_rank=0)


def test_joins_and_moves_in_parts(two: Pool, three: Pool) -> None:
    two.run(P + "in_parts", program="joins", probes=150, builds=90, words=2)
    two.run(P + "in_parts", program="joins", probes=70, builds=0, words=1, payloads=0)
    three.run(P + "in_parts", program="joins", probes=70, builds=40, words=1, probe_rank=2, build_rank=0)
    three.run(P + "in_parts", program="moves", rows=9, rows_out=5)


def test_joins_without_ring_payload(two: Pool, five: Pool) -> None:
    two.run(P + "joins", probes=100, builds=50, words=1, probe_rank=1, build_rank=0, payloads=0)
    five.run(P + "joins", probes=100, builds=50, words=1, probe_rank=4, build_rank=2)


def test_joins_of_many_rows(two: Pool) -> None:
    two.run(P + "joins", probes=120_000, builds=100_000, words=1)


@pytest.mark.parametrize("greatest", [False, True])
@pytest.mark.parametrize(("rows", "width", "nullable"), [(0, 20, True), (1, 1, True), (2, 8, True), (65, 20, True),
                                                         (130, 62, True), (33, 63, True), (33, 64, True),
                                                         (65, 64, False), (300, 33, False)])
def test_extremes(two: Pool, rows: int, width: int, nullable: bool, greatest: bool) -> None:
    two.run(P + "extremes", rows=rows, width=width, greatest=greatest, nullable=nullable)


def test_extremes_of_three(three: Pool) -> None:
    three.run(P + "extremes", rows=65, width=20, greatest=True, nullable=True)
    three.run(P + "extremes", rows=17, width=64, greatest=False, nullable=True)


def test_costs_are_those_of_the_reference(two: Pool) -> None:
    """Bytes a row and rounds within 10% of protocols.md's table (its columns m=2)."""
    measured = two.run(P + "costs", rows=1 << 16)[0]
    wanted = {"msb33": (9.3, 9.4, 5), "msb24": (6.6, 6.6, 5), "msb40": (11.5, 11.5, 6), "msb64": (19.0, 19.0, 6),
              "zero64": (15.8, 15.9, 6), "bit": (1 / 8, 8, 1), "mux": (8 + 1 / 8, 16, 1), "multiply": (16, 8, 1),
              "shuffle": (32, 64, 2)}
    for label, (sent, dealt, rounds) in wanted.items():
        assert measured[label][0] <= 1.1 * sent, label
        assert measured[label][1] <= 1.1 * dealt, label
        assert measured[label][2] <= rounds, label


def test_work_on_clear_data_is_done_before_the_first_frame(two: Pool) -> None:
    assert two.run(P + "prepared", rows=100) == [[1, 1], [1, 1]]
