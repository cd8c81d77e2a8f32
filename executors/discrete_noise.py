"""Exact samplers of integer noise: no floating point, randomness from the operating system.

Source: Canonne, Kamath, Steinke, The Discrete Gaussian for Differential Privacy (2020), algorithms 1 to 3. How long a draw
takes tells of its value: draws are made before a run's first frame. Standard library only.
"""

from __future__ import annotations

import math
import secrets
from fractions import Fraction

LAPLACE, GAUSSIAN = "laplace", "gaussian"


def draws(kind: str, scale: Fraction, count: int) -> list[int]:
    """`count` independent draws: DLap(scale), or the discrete Gaussian of sigma^2 = scale."""
    sample = discrete_gaussian if kind == GAUSSIAN else discrete_laplace
    return [sample(scale) for _ in range(count)]


def discrete_laplace(scale: Fraction) -> int:
    """P(x) ~ e^(-|x| / scale), scale > 0 (algorithm 2).

    1. U + t V, U uniform below t and kept with chance e^(-U / t), V geometric, is geometric of ratio e^(-1 / t). 2. Its
    quotient by s is one of ratio e^(-s / t), where scale = t / s. 3. A sign; -0 is drawn anew.
    """
    t, s = scale.numerator, scale.denominator
    while True:
        part = secrets.randbelow(t)
        if not _exponential(part, t):
            continue
        whole = 0
        while _exponential(1, 1):
            whole += 1
        size, negative = (part + t * whole) // s, secrets.randbits(1)
        if size or not negative:
            return -size if negative else size


def discrete_gaussian(variance: Fraction) -> int:
    """P(x) ~ e^(-x^2 / 2 variance), variance > 0 (algorithm 3): discrete Laplace draws, each kept with the right chance."""
    t = math.isqrt(math.floor(variance)) + 1
    while True:
        found = discrete_laplace(Fraction(t))
        exponent = (abs(found) - variance / t) ** 2 / (2 * variance)
        if _exponential(exponent.numerator, exponent.denominator):
            return found


def _exponential(numerator: int, denominator: int) -> bool:
    """TRUE with chance e^(-numerator / denominator) (algorithm 1)."""
    while numerator > denominator:
        if not _at_most_one(1, 1):
            return False
        numerator -= denominator
    return _at_most_one(numerator, denominator)


def _at_most_one(numerator: int, denominator: int) -> bool:
    """The same for a fraction of at most 1: the first k at which a coin of chance x / k falls tails is odd."""
    k = 1
    while secrets.randbelow(denominator * k) < numerator:
        k += 1
    return k % 2 == 1
