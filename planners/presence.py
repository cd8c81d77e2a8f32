"""In which rows an owner's rows are: what a floor counts where a union or an outer join has rows without them."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import assert_never

from sdh.planners.expressions import FALSE, TRUE, Apply, Expression, Field, Ref
from sdh.planners.logical import (
    Aggregate,
    Cut,
    Filter,
    Join,
    Limit,
    Node,
    Noised,
    OneRow,
    Private,
    Project,
    Reused,
    Scan,
    Sort,
    UnionAll,
    fields,
    inputs,
    with_inputs,
)
from sdh.schema import BOOLEAN

PADDED = {"LEFT": (False, True), "SINGLE": (False, True), "RIGHT": (True, False), "FULL": (True, True)}
"""Which sides of a join have rows of NULL in its output."""


def mark_presence(node: Node, party: str, numbers: count[int]) -> tuple[Node, Expression]:
    """The node with columns added, and a condition over its fields that is TRUE where a row of the party stands in a row."""
    match node:
        case Scan(table):
            return node, TRUE if table.party == party else FALSE
        case OneRow() | Aggregate() | Noised() | Private():  # a group is nobody's row
            return node, FALSE
        case Filter() | Sort() | Limit() | Cut():
            (part,) = inputs(node)
            below, present = mark_presence(part, party, numbers)
            return with_inputs(node, (below,)), present
        case Project(input, outputs):
            below, present = mark_presence(input, party, numbers)
            if present in (TRUE, FALSE):
                return Project(below, outputs), present
            mark = Field(next(numbers), "present", BOOLEAN, present.nullable)
            return Project(below, (*outputs, (mark, present))), Ref(mark)
        case Reused():
            raise AssertionError("where a floor holds nothing is shared")
        case Join():
            return _join(node, party, numbers)
        case UnionAll(parts, outputs):
            found = [mark_presence(part, party, numbers) for part in parts]
            first = found[0][1]
            if first in (TRUE, FALSE) and all(present == first for _, present in found):
                return with_inputs(node, tuple(below for below, _ in found)), first
            mark = Field(next(numbers), "present", BOOLEAN, any(present.nullable for _, present in found))
            same = tuple(_with_column(below, len(outputs), present, numbers) for below, present in found)
            return replace(node, inputs=same, outputs=(*outputs, mark)), Ref(mark)
        case _:
            assert_never(node)


def _with_column(node: Node, width: int, present: Expression, numbers: count[int]) -> Node:
    """The first `width` fields, then the condition."""
    same = tuple((f, Ref(f)) for f in fields(node)[:width])
    return Project(node, (*same, (Field(next(numbers), "present", BOOLEAN, present.nullable), present)))


def _join(join: Join, party: str, numbers: count[int]) -> tuple[Node, Expression]:
    sides: list[Node] = []
    marks: list[Expression] = []
    for side, padded in zip((join.left, join.right), PADDED.get(join.kind, (False, False)), strict=True):
        below, present = mark_presence(side, party, numbers)
        if padded and present != FALSE:
            mark = Field(next(numbers), "present", BOOLEAN)  # NULL where the row is one of NULLs
            below, present = Project(below, (*((f, Ref(f)) for f in fields(below)), (mark, present))), Ref(mark)
        sides.append(below)
        marks.append(present)
    whole = replace(join, left=sides[0], right=sides[1])
    if join.kind in ("SEMI", "ANTI", "MARK"):  # no row of the right is in the output
        return whole, marks[0]
    return whole, _either(*marks)


def _either(a: Expression, b: Expression) -> Expression:
    if TRUE in (a, b):
        return TRUE
    if FALSE in (a, b):
        return a if b == FALSE else b
    return Apply("OR", (a, b), BOOLEAN, a.nullable or b.nullable)
