"""Bytes, seconds and lines for people."""

from __future__ import annotations

import textwrap

TERMINAL = 120
"""Columns of a line."""
NARROWEST = 60
"""Columns of a line's text, however deep it stands."""


def wrapped(text: str, first: str, rest: str) -> list[str]:
    """The text in lines, each after its indentation; words stay whole."""
    width = max(TERMINAL, len(rest) + NARROWEST)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest,
                         break_long_words=False, break_on_hyphens=False)


def size(count: int) -> str:
    """512 B, 1.5 kB, 23.4 MB: powers of 1000."""
    found, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while found >= 999.5:
        found, unit = found / 1000, next(units, "PB")
    return f"{count} B" if unit == "B" else f"{found:.{0 if found >= 100 else 1}f} {unit}"


def duration(seconds: float) -> str:
    """0.35 ms, 12.0 ms, 1.23 s: about three digits."""
    number, unit = (seconds, "s") if seconds >= 0.9995 else (seconds * 1000, "ms")
    return f"{number:.{2 if number < 10 else 1 if number < 99.95 else 0}f} {unit}"
