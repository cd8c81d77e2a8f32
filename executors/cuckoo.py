"""Cuckoo tables in three thirds, built in the clear at the owner of a key before the online phase.

Key i may lie in bin h_j(key) of third j, j = 0, 1, 2. With at most 1/1.27 of the bins full (the threshold of three
hashes is 0.918; Fotakis et al. 2005) a placement exists except with negligible probability. The hashes are keyed
by a seed that the two owners share and the dealer does not know.

NumPy only; loops run over rounds in which all keys without a place move at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sdh.errors import DataError, KeyViolated
from sdh.executors.streams import Words, stream

Unsigned = npt.NDArray[np.uint64]

ROUNDS = 4000
"""Rounds after which building gives up; typical tables take some tens."""


def bins(rows: int) -> int:
    """The size of the table for `rows` keys: a multiple of three."""
    wanted = max(-(-127 * rows // 100), rows + 512)
    return -(-wanted // 3) * 3


def candidates(columns: Sequence[Words], key: bytes, size: int) -> Words:
    """The three bins of every key, [3, rows]; `size` is the number of all bins."""
    keys = stream(key, "cuckoo").words(len(columns) + 4).view(np.uint64)
    mixed = np.full(len(columns[0]), keys[-1], dtype=np.uint64)
    for column, word in zip(columns, keys, strict=False):
        mixed = _mix((mixed ^ column.view(np.uint64)) + word)
    third = np.uint64(size // 3)
    found = [((_mix(mixed ^ keys[-4 + part]) >> np.uint64(32)) * third >> np.uint64(32)) + np.uint64(part) * third
             for part in range(3)]
    return np.stack(found).view(np.int64)


def _mix(values: Unsigned) -> Unsigned:
    """The finalizer of SplitMix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def require_unique(columns: Sequence[Words]) -> None:
    """Raises KeyViolated if two rows have one key."""
    if len(columns) == 1:
        ordered = np.sort(columns[0])
        repeated = bool((ordered[1:] == ordered[:-1]).any())
    else:
        order = np.lexsort(list(columns))
        equal = np.ones(max(len(order) - 1, 0), dtype=bool)
        for column in columns:
            ordered = column[order]
            equal &= ordered[1:] == ordered[:-1]
        repeated = bool(equal.any())
    if repeated:
        raise KeyViolated("The key of a join's unique side is not unique over its usable rows.",
                          advice="Declare a key that is unique, or join without keys=.")


def place(choices: Words, size: int) -> Words:
    """The key in every bin, or -1: a table in which each of [3, rows] keys has one of its bins.

    Raises DataError after ROUNDS rounds (at these sizes rarer than 2^-40).
    """
    rows = choices.shape[1]
    table = np.full(size, -1, dtype=np.int64)
    pending, turn = np.arange(rows), np.zeros(rows, dtype=np.int64)
    for step in range(ROUNDS):
        if not len(pending):
            return table
        wanted = choices[turn, pending]
        before = table[wanted]
        table[wanted] = pending
        won = table[wanted] == pending
        pending = np.concatenate([pending[~won], before[won & (before >= 0)]])
        turn = _next_turn(table, choices, pending, step)
    raise DataError("align: the keys of one party found no place in the table.",
                    advice="Run the query again.")


def _next_turn(table: Words, choices: Words, pending: Words, step: int) -> Words:
    """A third with a free bin if there is one, else any third."""
    turn = (_mix(pending.view(np.uint64) * np.uint64(ROUNDS) + np.uint64(step)) % np.uint64(3)).view(np.int64)
    free = table[choices[:, pending]] < 0
    for offset in (2, 1, 0):
        third = (turn + offset) % 3
        turn = np.where(free[third, np.arange(len(pending))], third, turn)
    return turn
