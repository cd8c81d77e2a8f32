"""What seconds on this machine are made of: python -m tests.bench.calibrate [--rows N ...] [--repeat K].

Prints the constants of planners/protocol_costs.Machine. Every operator of the queries of tests.bench.seconds is an
equation: rounds x round + bytes sent x sent + bytes dealt x dealt + words x word = its seconds, the least of all
operators that cost the same. The constants, none below 0, have the least sum of (measured - predicted)^2 / (measured x
predicted). Work of others on the machine only adds to what is measured: calibrate an idle one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import combinations

import numpy as np

from sdh.planners.costs import Cost, Machine
from tests.bench.seconds import SIZES, Sample, samples

LEAST = 1e9
"""Picoseconds of an operator that counts: shorter ones are noise."""
STEPS = 50


def measured(found: Iterable[Sample]) -> dict[Cost, float]:
    """The least picoseconds of operators by what they cost."""
    least: dict[Cost, float] = {}
    for sample in found:
        for cost, spent in zip(sample.predicted, sample.spent, strict=True):
            least[cost] = min(1e12 * spent.seconds, least.get(cost, float("inf")))
    return {cost: each for cost, each in least.items() if each > LEAST}


def solved(left: np.ndarray, right: np.ndarray) -> np.ndarray:
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


def fitted(table: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The constants, by least squares with weights that follow from the last ones."""
    found, predicted = np.zeros(table.shape[1]), wanted
    for _ in range(STEPS):
        weights = 1 / np.sqrt(predicted * wanted)
        found = solved(table * weights[:, None], wanted * weights)
        predicted = np.maximum(table @ found, LEAST / 100)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.calibrate", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    least = measured(samples(options.rows, options.repeat))
    wanted = np.array([*least.values()])
    table = np.array([(cost.rounds, cost.sent, cost.dealt, cost.words) for cost in least], float)
    found = fitted(table, wanted)
    print(Machine(*(round(each) for each in found)))
    ratios = np.quantile(wanted / (table @ found), (0, 0.1, 0.5, 0.9, 1))
    print(f"{len(wanted)} operators; measured / predicted: least, tenth, half, nine tenths, most: {ratios.round(2)}")


if __name__ == "__main__":
    main()
