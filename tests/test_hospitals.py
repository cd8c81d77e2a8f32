"""The measure of errors over two hospitals: it passes the law's own draws, and no others; and a small run of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.hospitals import FACTORS, Errors, measured, opened

DRAWS = 20_000


def drawn(scale: float, draws: int) -> list[int]:
    """Sums of `draws` discrete Laplace draws, a difference of two geometric ones each."""
    random = np.random.default_rng(7)
    p = 1 - np.exp(-1 / scale)
    found = random.geometric(p, (2, draws, DRAWS)).sum(axis=1)
    return [int(x) for x in found[0] - found[1]]


@pytest.mark.parametrize("noise", FACTORS)
def test_the_law_agrees_and_no_other(noise: str) -> None:
    draws = FACTORS[noise]
    assert Errors("sum", 10, noise, drawn(30, draws)).agrees
    assert not Errors("sum", 10, noise, drawn(27, draws)).agrees
    assert not Errors("sum", 10, noise, drawn(30, 3 - draws)).agrees


def test_answers_of_two_hospitals_are_near_the_truth(tmp_path: Path) -> None:
    with opened(tmp_path, groups=100) as hub:
        counts, sums = measured(hub, 90, "parties", groups=100)
    assert 1 < counts.factor < 4 and 1 < sums.factor < 4
