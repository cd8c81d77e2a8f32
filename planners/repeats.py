"""How often keys repeat: what an owner declares (repeats=) beside unique keys, through joins and appends.

A join of many rows with many has a public size by it alone, before anything runs: never by the data.
"""

from __future__ import annotations

from collections.abc import Sequence

Keys = tuple[frozenset[int], ...]
"""Unique keys, as numbers of fields."""
Repeats = tuple[tuple[frozenset[int], int], ...]
"""Keys that are not unique, and the most rows that agree on one and have no NULL in it."""


def most_rows(keys: Keys, repeats: Repeats, numbers: frozenset[int]) -> int | None:
    """That agree on these columns, none NULL. None: nothing is known."""
    if any(key <= numbers for key in keys):
        return 1
    return min((times for key, times in repeats if key <= numbers), default=None)


def repeated(keys: Keys, repeats: Repeats, times: int | None) -> Repeats:
    """What stands of a relation's keys where each row comes up to `times` (None: any number of times)."""
    if times is None:
        return ()
    return (*((key, most * times) for key, most in repeats), *((key, times) for key in keys if times > 1))


def summed(parts: Sequence[tuple[dict[int, int], Keys, Repeats]]) -> Repeats:
    """Of the rows of all parts. Each: the column of every output that is one, the keys, and how often others repeat."""
    source, keys, repeats = parts[0]
    outputs = {own: output for output, own in source.items()}
    found: dict[frozenset[int], int] = {}
    for key in (*keys, *(key for key, _ in repeats)):
        wanted = frozenset(outputs[n] for n in key if n in outputs)
        if not key or len(wanted) < len(key):
            continue
        times = [_times_of(part, wanted) for part in parts]
        known = [one for one in times if one is not None]
        if len(known) == len(parts):
            found[wanted] = sum(known)
    return tuple(found.items())


def _times_of(part: tuple[dict[int, int], Keys, Repeats], outputs: frozenset[int]) -> int | None:
    source, keys, repeats = part
    return most_rows(keys, repeats, frozenset(source[n] for n in outputs)) if outputs <= source.keys() else None
