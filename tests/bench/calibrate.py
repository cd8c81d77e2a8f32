"""What rounds and words take on this machine: python -m tests.bench.calibrate [--rows N ...] [--repeat K].

Prints `delay` and `word` of planners/comparing.Network, its other constants (of comparisons, by python -m tests.bench lt32)
given. Every operator of the queries of tests.bench.seconds is an equation: rounds x delay + words x word = its least
measured seconds less what the other constants say of its bytes. The constants are those, none below 0, with the least
sum of squared relative errors. Work of others on the machine only adds to what is measured: calibrate an idle one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from sdh.planners.comparing import LOCAL
from sdh.planners.costs import nanoseconds
from tests.bench.seconds import SIZES, Sample, samples

LEAST = 500_000
"""Nanoseconds of an operator that counts: shorter ones are noise."""


def equations(found: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By operator: rounds and words; nanoseconds that its bytes take; measured nanoseconds."""
    free = replace(LOCAL, delay=0, word=0)
    rows = [(cost.rounds, 1e-3 * cost.words, nanoseconds(cost, free), 1e9 * spent.seconds) for sample in found
            for cost, spent in zip(sample.predicted, sample.spent, strict=True) if 1e9 * spent.seconds > LEAST]
    table = np.array(rows, float)
    return table[:, :2], table[:, 2], table[:, 3]


def least(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x >= 0 with the least |left x - right|: of all choices of columns that are not 0, the best."""
    count = left.shape[1]
    best, found = float("inf"), np.zeros(count)
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            x, *_ = np.linalg.lstsq(left[:, chosen], right, rcond=None)
            error = float(np.square(left[:, chosen] @ x - right).sum())
            if (x >= 0).all() and error < best:
                best, found = error, np.zeros(count)
                found[list(chosen)] = x
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.calibrate", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    left, known, measured = equations(list(samples(options.rows, options.repeat)))
    delay, word = least(left / measured[:, None], 1 - known / measured)
    print(replace(LOCAL, delay=int(delay), word=int(word)))
    ratios = np.quantile(measured / (left @ [delay, word] + known), (0.1, 0.5, 0.9))
    print(f"{len(measured)} operators; measured / predicted of the tenth, half and nine tenths: {ratios.round(2)}")


if __name__ == "__main__":
    main()
