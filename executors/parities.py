"""Products of bit matrices over GF(2): which of many vectors meets which of many tables in an odd number of bits.

On NumPy arrays or torch tensors: half a nanosecond a word on a core.
"""

from __future__ import annotations

from typing import Any

CELLS = 1 << 14
"""Products that are added up at a time: they stay in a core's cache."""


def add_parities(sums: Any, vectors: Any, tables: Any) -> None:
    """XOR into sums[i, j] words whose parity is that of vectors[i] & tables[:, j].

    sums int64 [vectors, tables], vectors [vectors, words], tables [words, tables]. Every word enters: no branch on any.
    """
    step = max(1, CELLS // max(tables.shape[1], 1))
    for start in range(0, len(vectors), step):
        some = sums[start:start + step]
        for place, words in enumerate(tables):
            some ^= vectors[start:start + step, place, None] & words


def parity(words: Any) -> Any:
    """0 or 1 of every word: the XOR of its bits."""
    for step in (32, 16, 8, 4, 2, 1):
        words = words ^ (words >> step)
    return words & 1
