"""The plaintext columns of the benchmarks: every process can make any slice of them again, to check with.

NumPy only. Test data, not masks: generators with fixed seeds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.int64]

SLICE = 1 << 20
"""Rows that are made, worked on (where an operation goes row by row) and checked at a time: memory stays bounded."""


def sizes(rows: int, step: int = SLICE) -> list[int]:
    """The lengths of the slices of a column."""
    return [min(step, rows - start) for start in range(0, rows, step)]


def words(which: int, index: int, rows: int, width: int) -> Column:
    """Slice `index` of column `which`: uniform in [-2^(width-1), 2^(width-1))."""
    drawn = _generator(which, index).integers(-(1 << 63), (1 << 63) - 1, rows, dtype=np.int64, endpoint=True)
    return drawn >> (64 - width)


def pairs(name: str, index: int, rows: int) -> tuple[Column, Column]:
    """Slice `index` of x and y as the row by row operation `name` takes them."""
    match name:
        case "lt32":
            return words(0, index, rows, 32), words(1, index, rows, 32)
        case "lt64":
            return words(0, index, rows, 64), words(1, index, rows, 64)
        case "lt64shares":
            return words(0, index, rows, 63), words(1, index, rows, 63)
        case "eq64":
            x = words(0, index, rows, 64)
            return x, np.where(words(1, index, rows, 1) == 0, x, words(2, index, rows, 64))
        case "mul64":
            return words(0, index, rows, 64), words(1, index, rows, 64)
        case "div64":
            return words(0, index, rows, 64), (words(1, index, rows, 64) >> 32 & 0xFFFF_FFFE) + 1
        case _:
            raise ValueError(name)


def distinct(which: int, rows: int) -> Column:
    """The numbers 0 .. rows - 1 in random order."""
    return _generator(which, 0).permutation(rows)


def _generator(which: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([which, index]))
