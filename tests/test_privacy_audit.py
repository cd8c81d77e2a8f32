"""The black box: what a hub answers with noise is held against the law of the noise, and a wrong scale is caught.

`python -m tests.privacy_audit --draws 20000` is the whole audit; here each way of noise answers one query a side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sdh.config import Programs
from sdh.hub import Hub
from sdh.planners.mechanisms import LAPLACE, Mechanism, laplace_scale
from sdh.privacy import exact
from tests.privacy_audit import GROUPS, audit, audited, bounded
from tests.test_noise import fits

FACTOR = {"joint": 1.0, "parties": 2.0, "dealer": 1.0}
"""Of the variance, among two."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with audited(tmp_path_factory.mktemp("audit")) as found:
        yield found


@pytest.mark.parametrize("noise", FACTOR)
def test_answers_have_the_noise_that_was_promised(hub: Hub, noise: str) -> None:
    found = audit(hub, GROUPS, noise)
    epsilon = exact(found.epsilon)
    assert epsilon is not None
    law = Mechanism(LAPLACE, laplace_scale(1, epsilon), noise)
    for side in (found.with_unit, found.without):
        fits(side, law)
    assert abs(found.spread / FACTOR[noise] - 1) < 5.4 * math.sqrt(8 / (2 * GROUPS))
    assert not found.caught
    assert abs(np.mean(found.with_unit)) < 5.4 * math.sqrt(2 * FACTOR[noise] / GROUPS)


def test_a_scale_a_tenth_too_small_shows(tmp_path: Path) -> None:
    """By the variance, which is 0.81 of the promised one; the whole audit catches it by epsilon too."""
    with audited(tmp_path, Programs(node="tests.programs.misnoised_node")) as wrong:
        assert audit(wrong, 3 * GROUPS, "joint").spread < 0.9


def test_the_bound_is_one() -> None:
    """Of the right law it stays below epsilon, of one a tenth off it passes."""
    q, wrong = math.exp(-1), math.exp(-1 / 0.9)
    draws = 20_000
    assert bounded(int(draws / (1 + q)), int(draws * q / (1 + q)), draws) < 1
    assert bounded(int(draws / (1 + wrong)), int(draws * wrong / (1 + wrong)), draws) > 1
