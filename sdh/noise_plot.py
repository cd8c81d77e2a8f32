"""Noisy answers as a plot (SVG, by hand): each value with its interval, and how likely noise of which size is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from sdh.planners.mechanisms import GAUSSIAN, Mechanism, tail
from sdh.planners.noise_shown import Shown

MOST_ROWS = 40
"""Values of a column that are drawn."""
_WIDTH, _ROW, _HEAD, _FOOT, _DENSITY = 760, 20, 44, 34, 120
_LEFT, _RIGHT = 180, 720
_INK, _FAINT, _GRID, _BLUE, _PALE = "#1f2328", "#656d76", "#e4e7eb", "#2a78d6", "#d4e4f7"
_POINTS = 60


@dataclass(frozen=True, slots=True)
class Drawn:
    """A column. rows: (label, value) of each row that is not NULL."""

    name: str
    rows: Sequence[tuple[str, float]]
    shown: Shown

    @property
    def half(self) -> float:
        return float(self.shown.half_width)


class _Axis:
    """A linear axis between two places, with round marks."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._scale = low, (_RIGHT - _LEFT) / (high - low)
        step = _round((high - low) / 6)
        self.marks = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]

    def __call__(self, value: float) -> float:
        return _LEFT + self._scale * (value - self._low)


def _round(least: float) -> float:
    """1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def plot(columns: Sequence[Drawn]) -> str:
    """An SVG text, the columns below each other."""
    panels, top = list[str](), 0
    for one in columns:
        lines, height = _panel(one, top)
        panels += lines
        top += height
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}" '
        'font-family="system-ui, DejaVu Sans, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>', *panels, "</svg>", ""])  # fmt: skip


def _panel(one: Drawn, top: int) -> tuple[list[str], int]:
    """Lines of SVG, and how high they are."""
    rows = one.rows[:MOST_ROWS]
    values = [value for _, value in rows] or [0.0]
    reach = max(one.half, 1e-9)
    low, high = min(0.0, min(values) - reach), max(0.0, max(values) + reach)
    axis = _Axis(low - 0.02 * (high - low), high + 0.02 * (high - low))
    left_out = f", the first {MOST_ROWS} of {len(one.rows):,} rows" if len(one.rows) > MOST_ROWS else ""
    title = f"{one.name}: noise within ± {one.shown.half_width:,} in 95% of answers{left_out}"
    out = [_text(16, top + 24, title, _INK, weight=600)]
    bottom = top + _HEAD + _ROW * len(rows)
    out += _marks(axis, top + _HEAD - 6, bottom)
    for place, (label, value) in enumerate(rows):
        out += _value(axis, top + _HEAD + _ROW * place + _ROW / 2, label, value, one.half)
    return [*out, *_noise(one, bottom + _FOOT)], bottom + _FOOT + _DENSITY + _FOOT - top


def _value(axis: _Axis, y: float, label: str, value: float, half: float) -> list[str]:
    shown = label if len(label) <= 24 else f"{label[:23]}…"
    dot = f'<circle cx="{axis(value):.1f}" cy="{y:.1f}" r="4" fill="{_BLUE}" stroke="#ffffff" stroke-width="1.5"/>'
    span = _line(axis(value - half), y, axis(value + half), y, _BLUE, 2)
    return [_text(_LEFT - 12, y + 4, shown, _INK, anchor="end"), span, dot]


def _noise(one: Drawn, top: float) -> list[str]:
    """The density of the noise on an axis of its own, the 95% darker."""
    reach = 2.2 * max(one.half, 0.5 * 10.0**-one.shown.scale)
    axis, base = _Axis(-reach, reach), top + _DENSITY
    unit = 10.0**one.shown.scale
    sizes = sorted({round(unit * reach * k / _POINTS) for k in range(-_POINTS, _POINTS + 1)})
    heights = [likelihood(one.shown.mechanism, one.shown.parties, abs(size)) for size in sizes]
    most = max(heights)
    points = [(axis(size / unit), base - (_DENSITY - 24) * height / most, abs(size) <= one.half * unit)
              for size, height in zip(sizes, heights, strict=True)]  # fmt: skip
    inside = [f"{x:.1f},{y:.1f}" for x, y, near in points if near]
    outline = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    out = [_text(_LEFT - 12, top + _DENSITY / 2, "chance of noise", _FAINT, anchor="end"), *_marks(axis, top + 12, base)]
    if len(inside) > 1:
        first, last = inside[0].split(",")[0], inside[-1].split(",")[0]
        out.append(f'<polygon points="{first},{base:.1f} {" ".join(inside)} {last},{base:.1f}" fill="{_PALE}"/>')
    return [*out, f'<polyline points="{outline}" fill="none" stroke="{_BLUE}" stroke-width="2" stroke-linejoin="round"/>']


def likelihood(mechanism: Mechanism, parties: int, size: int) -> float:
    """P(X = size) of the noise, in units of the ring; of a Gaussian up to a factor."""
    draws = mechanism.draws(parties)
    if mechanism.kind == GAUSSIAN:
        return math.exp(-size * size / (2 * float(mechanism.scale) * draws))
    above = [tail(mechanism.scale, draws, m) for m in (max(size, 1), size + 1)]
    return float(above[0] - above[1] if size else 1 - 2 * above[1])


def _marks(axis: _Axis, top: float, bottom: float) -> list[str]:
    found = []
    for mark in axis.marks:
        found += [_line(axis(mark), top, axis(mark), bottom, _FAINT if mark == 0 else _GRID, 1),
                  _text(axis(mark), bottom + 16, _number(mark), _FAINT, anchor="middle")]  # fmt: skip
    return found


def _number(mark: float) -> str:
    return f"{mark:,.0f}" if mark == round(mark) else f"{mark:,g}"


def _line(x: float, y: float, x2: float, y2: float, color: str, width: int) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, color: str, *, anchor: str = "start", weight: int = 400) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{escape(text)}</text>")
