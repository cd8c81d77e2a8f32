"""Bytes and seconds for people."""

from __future__ import annotations


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
