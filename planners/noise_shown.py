"""Which columns of a result show a noisy number as it was released, and with what noise.

A column is followed down through renamings and exact casts to the noise that made its field. What is computed from noisy
numbers (AVG, VAR, a sum of two) has an error that depends on the values: nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

from sdh.planners import logical, placed
from sdh.planners.expressions import Cast, Expression, Field, Ref
from sdh.planners.mechanisms import Mechanism, interval
from sdh.planners.ranges import scale_of


@dataclass(frozen=True, slots=True)
class Shown:
    """column: its place in the result. scale: decimals of the noise's unit, 10^-scale. parties: who take part."""

    column: int
    mechanism: Mechanism
    scale: int
    parties: int

    @property
    def half_width(self) -> int | Decimal:
        """The noise is within it in 95% of answers; in the column's units."""
        units = interval(self.mechanism, self.parties)
        return Decimal(units).scaleb(-self.scale) if self.scale else units


def shown(found: placed.Top | placed.Local, visible: int, parties: int) -> tuple[Shown, ...]:
    """Of the first `visible` columns, those that are noisy numbers. parties: who take part."""
    sources, noises = dict[int, Expression](), dict[int, logical.Noise]()
    for one in _nodes(found):
        match one:
            case logical.Noise():
                noises[one.output.number] = one
            case (field, value) if value != Ref(field):   # else it is passed on
                sources[field.number] = value
            case _:
                pass
    outputs = _outputs(found)[:visible]
    traced = [(place, noises.get(_source(e, sources))) for place, e in enumerate(outputs)]
    return tuple(Shown(place, noise.mechanism, scale_of(noise.output.type), parties)
                 for place, noise in traced if noise is not None)  # fmt: skip


def _outputs(found: placed.Top | placed.Local) -> list[Expression]:
    match found:
        case placed.Top(_, outputs):
            return [value for _, value in outputs]
        case placed.Local(_, node):
            return [Ref(field) for field in logical.fields(node)]
        case _:
            assert_never(found)


def _source(e: Expression, sources: dict[int, Expression]) -> int:
    """The number of the field that `e` is another name of; 0, which no field has, where it is none."""
    match e:
        case Ref(field):
            return _source(sources[field.number], sources) if field.number in sources else field.number
        case Cast(operand, target) if operand.type.is_exact and target.is_exact and scale_of(target) >= scale_of(operand.type):
            return _source(operand, sources)
        case _:
            return 0


def _nodes(found: placed.Top | placed.Secure) -> Iterator[logical.Noise | tuple[Field, Expression]]:
    """Every noise, and every (output, value) of what only renames and computes."""
    match found:
        case placed.Top(input):
            yield from _nodes(input)
        case placed.Local(_, node):
            yield from _of_plaintext(node)
        case placed.Joined(parts) | placed.Appended(parts):
            for part in parts:
                yield from _nodes(part)
        case placed.Combined(_, left, right):
            yield from _nodes(left)
            yield from _nodes(right)
        case placed.Noised(input, noises):
            yield from noises
            yield from _nodes(input)
        case placed.Computed(input, named):
            yield from named
            yield from _nodes(input)
        case placed.Filtered(input) | placed.Grouped(input) | placed.Limited(input) | placed.Cut(input):
            yield from _nodes(input)
        case _:
            assert_never(found)


def _of_plaintext(node: logical.Node) -> Iterator[logical.Noise | tuple[Field, Expression]]:
    for one in logical.nodes(node):
        match one:
            case logical.Noised(_, noises):
                yield from noises
            case logical.Project(_, outputs):
                yield from outputs
            case logical.Reused():
                yield from one.renaming.outputs
            case _:
                pass
