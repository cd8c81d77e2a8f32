"""What each row weighs in an aggregate: whether each call counts it, what it adds, and its candidates for extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sdh.executors import bits
from sdh.executors.arithmetic import mux_many, to_arithmetic_many
from sdh.executors.bits import Bits
from sdh.executors.evaluate import as_number, evaluate, truth
from sdh.executors.key_limbs import Coded, extreme_limbs
from sdh.executors.runtime import Session
from sdh.executors.scope import Scope
from sdh.executors.shares import raw
from sdh.executors.text_extremes import Candidates
from sdh.executors.values import Value, null_of
from sdh.planners.expressions import Expression
from sdh.planners.key_limbs import Limbs
from sdh.planners.logical import Call
from sdh.planners.ranges import range_of
from sdh.schema import Kind


@dataclass(slots=True)
class Weighed:
    """What is computed of every row of a cell: counts by weight bit, sums, extremes."""

    weights: list[Bits | None] = field(default_factory=list)
    sums: dict[int, Tensor] = field(default_factory=dict)
    extremes: dict[int, tuple[Tensor, Bits | None]] = field(default_factory=dict)
    texts: dict[int, Coded] = field(default_factory=dict)
    """Extremes of several limbs."""


def weigh(calls: Sequence[Call], rows: Bits | None, scope: Scope) -> Weighed:
    """weights[0] is the rows; weights[1 + i] those that call i counts. Equal arguments are evaluated once."""
    columns = Weighed([rows])
    arguments = dict.fromkeys(argument for call in calls for argument in call.arguments)
    values = {argument: evaluate(argument, scope) for argument in arguments}
    weights: dict[tuple[Expression | None, Expression | None], Bits | None] = {}
    for call in calls:
        counted = next((a for a in call.arguments if null_of(values[a], scope.session) is not None), None)
        if (call.filter, counted) not in weights:
            weights[call.filter, counted] = weight_of(rows, call.filter, None if counted is None else values[counted], scope)
        columns.weights.append(weights[call.filter, counted])
    for i, (call, weight) in enumerate(zip(calls, columns.weights[1:], strict=True)):
        if call.function in ("sum", "sum_count"):
            columns.sums[i] = as_number(values[call.arguments[0]], scope).share
        elif call.function in ("min", "max") and call.output.type.kind is Kind.VARCHAR:
            columns.texts[i] = extreme_limbs(call.arguments[0], values[call.arguments[0]], scope, weight,
                                             call.function == "max")  # fmt: skip
        elif call.function in ("min", "max"):
            null = None if weight is None else bits.not_(scope.session, weight)
            columns.extremes[i] = (as_number(values[call.arguments[0]], scope).share, null)
    _weigh_sums(columns, scope.session)
    return columns


def weight_of(rows: Bits | None, condition: Expression | None, counted: Value | None, scope: Scope) -> Bits | None:
    """The rows that meet the condition and whose counted value is not NULL. None: all."""
    weight = rows
    if condition is not None:
        weight = _both(weight, truth(condition, scope).true, scope)
    null = None if counted is None else null_of(counted, scope.session)
    return weight if null is None else _both(weight, bits.not_(scope.session, null), scope)


def _weigh_sums(columns: Weighed, session: Session) -> None:
    """What a row that does not count has to add becomes 0."""
    pairs = [(i, weight) for i in columns.sums if (weight := columns.weights[1 + i]) is not None]
    weighed = mux_many(session, [(weight, [columns.sums[i]]) for i, weight in pairs]) if pairs else []
    for (i, _), [share] in zip(pairs, weighed, strict=True):
        columns.sums[i] = raw(share)


def _both(a: Bits | None, b: Bits, scope: Scope) -> Bits:
    return b if a is None else bits.and_(scope.session, a, b)


def counts_of(session: Session, columns: Weighed, scope: Scope) -> list[Tensor]:
    """Each weight as 0 or 1 in the ring; equal weights once."""
    distinct = {id(weight): weight for weight in columns.weights if weight is not None}
    ring = dict(zip(distinct, to_arithmetic_many(session, list(distinct.values())), strict=True)) if distinct else {}
    return [scope.constant(1) if weight is None else raw(ring[id(weight)]) for weight in columns.weights]


def candidates(call: Call, coded: Coded, limbs: Sequence[Tensor] = ()) -> Candidates:
    """The rows of a text's extreme, or others of its shape."""
    return Candidates(tuple(limbs) or coded.shares, tuple(width for _, width in coded.limbs), call.function == "max")


def some_row(found: Candidates, shape: Limbs, scope: Scope) -> Candidates:
    """The candidates, or of no rows one that is no value."""
    if found.rows:
        return found
    blank = 0 if found.greatest else shape.tops[0] + 1
    first = torch.full((1,), blank if scope.session.rank == 0 else 0, dtype=torch.int64, device=scope.session.device)
    return replace(found, limbs=(first, *(torch.zeros_like(first) for _ in found.limbs[1:])))


def extreme_width(call: Call, scope: Scope) -> int:
    return min(64, range_of(call.arguments[0], scope.columns).bits)
