"""Measured lines as a Markdown table and as a plot (SVG, by hand: two panels of lines on log axes)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from xml.sax.saxutils import escape

from tests.bench.measuring import LINEAR, OPERATIONS, Measured

NAMES = {
    "lt32": "`<`, 32-bit columns of two owners",
    "lt64": "`<`, full-range BIGINT of two owners, two limbs",
    "lt64shares": "`<`, shares of values in [-2^62, 2^62)",
    "eq64": "`=`, 64-bit shares",
    "mul64": "`*`, 64-bit shares",
    "div64": "`//`, 64-bit shares by 32-bit divisors, exact",
    "shuffle": "shuffle, rows of 32 bytes",
    "sort64": "sort, 64-bit keys",
    "sort32": "sort, 32-bit keys",
    "topk": "top 100, 64-bit keys",
    "align": "join, keys known to their owners (`align`), 8-byte payload",
    "sortmerge": "join, keys on shares (`sortmerge`), 8-byte payload",
    "casesum": "`SUM(CASE WHEN a.x > b.y THEN a.x * b.z END)` from Parquet",
    "crypten-lt": "CrypTen's `<` on the rows of `lt32`",
    "crypten-mul": "CrypTen's `*` on the rows of `mul64`",
}
PEERS = {"lt32": "crypten-lt", "mul64": "crypten-mul"}


def line(measured: Measured) -> str:
    """One JSON object on one line."""
    return json.dumps(asdict(measured))


def read(file: Path) -> list[Measured]:
    """The last line of every operation and row count, in the order of OPERATIONS."""
    found = {}
    for text in file.read_text().splitlines():
        measured = Measured(**json.loads(text))
        found[measured.op, measured.n] = measured
    return sorted(found.values(), key=lambda one: (OPERATIONS.index(one.op), one.n))


# --- table ---


def count(rows: int) -> str:
    """2^22 and 10^8 as such, other numbers in digits."""
    for base in (2, 10):
        power = round(math.log(rows, base))
        if base**power == rows and rows >= 1024:
            return f"{base}^{power}"
    return f"{rows:,}"


def table(measured: Sequence[Measured]) -> str:
    """A Markdown table that can be read as it is; then how much faster than CrypTen where both were measured."""
    heads = ("operation", "rows", "seconds", "M rows/s", "bytes a row: sent, dealt", "rounds", "peak MiB")
    rows = [(f"`{one.op}`: {NAMES[one.op]}", count(one.n), f"{one.seconds:.2f}", f"{one.rows_per_s / 1e6:.2f}",
             f"{one.online_bytes_per_row:,.1f}, {one.dealer_bytes_per_row:,.1f}", str(one.rounds),
             f"{one.peak_rss_bytes / 2**20:,.0f}") for one in measured]
    wide = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [_row(heads, wide), "|".join(["", "-" * (wide[0] + 2), *("-" * (w + 1) + ":" for w in wide[1:]), ""])]
    return "\n".join([*lines, *(_row(row, wide) for row in rows), *_ratios(measured)])


def _row(cells: Sequence[str], wide: Sequence[int]) -> str:
    first, *rest = cells
    return "| " + " | ".join([first.ljust(wide[0]), *(cell.rjust(w) for cell, w in zip(rest, wide[1:], strict=True))]) + " |"


def _ratios(measured: Sequence[Measured]) -> list[str]:
    speed = {(one.op, one.n): one.rows_per_s for one in measured}
    found = [f"`{own}`: {speed[own, rows] / speed[peer, rows]:.1f} times CrypTen at {count(rows)} rows."
             for own, peer in PEERS.items() for op, rows in speed if op == own and (peer, rows) in speed]
    return ["", *found] if found else []


# --- plot ---

_WIDTH, _HEIGHT = 900, 400
_TOP, _BOTTOM = 52, 354
_INK, _FAINT, _GRID = "#1f2328", "#656d76", "#e4e7eb"
_COLORS = ("#2a78d6", "#eb6834", "#1baf7a", "#4a3aa7", "#eda100", "#e87ba4")


class _Log:
    """A log axis between two places, with a mark at every power of ten, or at 1, 2, 5 where there are few."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        steps = (1, 2, 5) if max(values) <= 30 * min(values) else (1,)
        marks = [step * 10.0**power for power in range(-9, 15) for step in steps]
        low = max(mark for mark in marks if mark <= min(values))
        high = min(mark for mark in marks if mark >= max(values) and mark > low)
        self.marks = [mark for mark in marks if low <= mark <= high]
        self._low, self._scale, self._start = math.log(low), (end - start) / math.log(high / low), start

    def __call__(self, value: float) -> float:
        return self._start + self._scale * (math.log(value) - self._low)


def plot(measured: Sequence[Measured]) -> str:
    """Seconds over rows, and rows a second over rows, a line for each operation of LINEAR. SystemExit if there is none."""
    lines = {op: found for op in LINEAR if (found := [one for one in measured if one.op == op])}
    if not lines:
        raise SystemExit(f"There is nothing to plot: no line is of {', '.join(LINEAR)}.")
    colors: dict[str, str] = dict(zip(LINEAR, _COLORS, strict=True))
    left = _panel(lines, colors, 56, 380, "seconds", lambda one: one.seconds, labels=False)
    right = _panel(lines, colors, 456, 780, "million rows a second", lambda one: one.rows_per_s / 1e6, labels=True)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, DejaVu Sans, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *left, *right, "</svg>", ""])


def _panel(lines: dict[str, list[Measured]], colors: Mapping[str, str], left: int, right: int, title: str,
           value: Callable[[Measured], float], *, labels: bool) -> list[str]:
    every = [one for found in lines.values() for one in found]
    x, y = _Log([one.n for one in every], left, right), _Log([value(one) for one in every], _BOTTOM, _TOP)
    out = [_text(left, _TOP - 22, title, _INK, weight=600)]
    for mark in y.marks:
        out += [_line(left, y(mark), right, y(mark), _GRID), _text(left - 8, y(mark) + 4, f"{mark:g}", _FAINT, anchor="end")]
    for mark in x.marks:
        out += [_line(x(mark), _TOP, x(mark), _BOTTOM, _GRID), _power(x(mark), _BOTTOM + 20, round(math.log10(mark)))]
    out.append(_text((left + right) / 2, _BOTTOM + 38, "rows", _FAINT, anchor="middle"))
    for op, found in lines.items():
        places = [(x(one.n), y(value(one))) for one in found]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colors[op]}" stroke-width="2" stroke-linejoin="round"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colors[op]}" stroke="#ffffff" stroke-width="1.5"/>'
                for a, b in places]
    if labels:
        ends = sorted((y(value(found[-1])), op) for op, found in lines.items())
        for place, (end, op) in zip(_apart([end for end, _ in ends], 18), ends, strict=True):
            out += [_line(right + 6, end, right + 18, place, colors[op]), _text(right + 22, place + 4, op, _INK)]
    return out


def _apart(places: Sequence[float], least: float) -> list[float]:
    """Rising places moved as little as need be, so that neighbours are `least` apart and none lies below the panel."""
    found: list[float] = []
    for place in places:
        found.append(max([place, *(found[-1:] and [found[-1] + least])]))
    limit = float(_BOTTOM)
    for index in reversed(range(len(found))):
        found[index] = min(found[index], limit)
        limit = found[index] - least
    return found


def _line(x: float, y: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _text(x: float, y: float, text: str, color: str, *, anchor: str = "start", weight: int = 400) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{escape(text)}</text>")


def _power(x: float, y: float, power: int) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{_FAINT}" text-anchor="middle">10'
            f'<tspan dy="-5" font-size="9">{power}</tspan></text>')
