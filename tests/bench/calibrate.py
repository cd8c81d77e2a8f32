"""What seconds on this machine are made of: python -m tests.bench.calibrate [--rows N ...] [--repeat K].

Prints the constants of planners/comparing.Network, in three steps. 1. bandwidth: frames over one sealed link, both its ends
here. 2. Every operator of the queries of tests.bench.seconds is an equation: its seconds, the least of all operators that
cost the same, less its bytes / bandwidth, are rounds x delay + scale x what bits opened and dealt take by the constants
that stand there + words x word. 3. delay, scale and word, none below 0, with the least sum of (measured - predicted)^2 /
(measured x predicted). Work of others on the machine only adds to what is measured: calibrate an idle one.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations
from time import perf_counter

import numpy as np

from sdh.connectors.wire import Link
from sdh.planners.comparing import LOCAL
from sdh.planners.costs import Cost, nanoseconds
from tests.bench.seconds import SIZES, Sample, samples
from tests.parties import link_pair

LEAST = 1e6
"""Nanoseconds of an operator that counts: shorter ones are noise."""
FRAME, FRAMES, STEPS = 1 << 20, 256, 50


def send(link: Link, frame: bytes) -> None:
    for _ in range(FRAMES):
        link.send_paced("frame", frame)


def bandwidth() -> int:
    """Bytes a second through one link, the best of three."""
    def once() -> float:
        left, right = link_pair()
        sender = threading.Thread(target=send, args=(left, bytes(FRAME)))
        began = perf_counter()
        sender.start()
        for _ in range(FRAMES):
            right.receive("frame", FRAME)
        taken = perf_counter() - began
        sender.join()
        left.close()
        right.close()
        return taken

    return int(FRAME * FRAMES / min(once() for _ in range(3)))


def measured(found: Iterable[Sample]) -> dict[Cost, float]:
    """The least nanoseconds of operators by what they cost."""
    least: dict[Cost, float] = {}
    for sample in found:
        for cost, spent in zip(sample.predicted, sample.spent, strict=True):
            least[cost] = min(1e9 * spent.seconds, least.get(cost, float("inf")))
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


def fitted(table: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The constants, by least squares with weights that follow from the last ones."""
    found, predicted = np.zeros(table.shape[1]), wanted
    for _ in range(STEPS):
        weights = 1 / np.sqrt(predicted * wanted)
        found = solved(table * weights[:, None], (wanted - known) * weights)
        predicted = np.maximum(table @ found + known, LEAST / 100)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.calibrate", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    network = replace(LOCAL, bandwidth=bandwidth(), delay=0, word=0)
    travel = replace(network, opened=0, dealt=0)
    least = measured(samples(options.rows, options.repeat))
    wanted, known = np.array([*least.values()]), np.array([nanoseconds(cost, travel) for cost in least], float)
    bits = [nanoseconds(cost, network) - nanoseconds(cost, travel) for cost in least]
    table = np.array([(cost.rounds, each, cost.words / 1000) for cost, each in zip(least, bits, strict=True)], float)
    delay, scale, word = fitted(table, known, wanted)
    opened, dealt = round(scale * network.opened), round(scale * network.dealt)
    print(replace(network, delay=round(delay), opened=opened, dealt=dealt, word=round(word)))
    ratios = np.quantile(wanted / (table @ [delay, scale, word] + known), (0, 0.1, 0.5, 0.9, 1))
    print(f"{len(wanted)} operators; measured / predicted: least, tenth, half, nine tenths, most: {ratios.round(2)}")


if __name__ == "__main__":
    main()
