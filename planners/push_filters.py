"""Rule: move every conjunct of WHERE, HAVING and ON as far down as it means the same."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from sdh.planners.expressions import Cast, Expression, Field, Ref, conjunction, conjuncts, references, substitute
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
    with_inputs,
)

Conjuncts = tuple[Expression, ...]


def push_filters(node: Node) -> Node:
    """Conjuncts over one side of a join go to that side; those over both become the join's condition."""
    return _push(node, ())


def _push(node: Node, wanted: Conjuncts) -> Node:
    match node:
        case Filter(input, predicate):
            return _push(input, (*wanted, *conjuncts(predicate)))
        case Project(input, outputs):
            values = {field.number: e for field, e in outputs}
            return Project(_push(input, tuple(substitute(c, values) for c in wanted)), outputs)
        case Sort(input):
            return with_inputs(node, (_push(input, wanted),))
        case Join():
            return _push_join(node, wanted)
        case UnionAll():
            return _push_union(node, wanted)
        case Aggregate(input, keys, calls):
            by_key = {field.number: e for field, e in keys}
            below = tuple(c for c in wanted if references(c) and references(c) <= by_key.keys())
            inner = _push(input, tuple(substitute(c, by_key) for c in below))
            return _filtered(Aggregate(inner, keys, calls), tuple(c for c in wanted if c not in below))
        case Cut(input) | Noised(input) | Private(input):  # which rows are cut, and what is noised, is of all of them
            return _filtered(with_inputs(node, (_push(input, ()),)), wanted)
        case Limit(input) | Reused(_, input):  # other uses read the other rows
            return _filtered(with_inputs(node, (_push(input, ()),)), wanted)
        case Scan() | OneRow():
            return _filtered(node, wanted)
        case _:
            assert_never(node)


def _push_join(join: Join, wanted: Conjuncts) -> Node:
    left, right = (frozenset(f.number for f in fields(side)) for side in (join.left, join.right))
    on: Conjuncts = conjuncts(join.condition)
    to_left: Conjuncts = ()
    to_right: Conjuncts = ()
    above: Conjuncts = ()
    match join.kind:
        case "INNER":
            on = (*on, *wanted)
            to_left = to_right = on
        case "LEFT":
            to_left, to_right = wanted, on
            above = tuple(c for c in wanted if not _over(c, left))
        case "RIGHT":
            to_left, to_right = on, wanted
            above = tuple(c for c in wanted if not _over(c, right))
        case "SEMI" | "ANTI" | "SINGLE":
            to_left, to_right = (*wanted, *(on if join.kind == "SEMI" else ())), on
            above = tuple(c for c in wanted if not _over(c, left))
        case "MARK":  # a conjunct of the right that is NULL marks NULL, so it stays
            to_left = wanted
            above = tuple(c for c in wanted if not _over(c, left))
        case _:
            above = wanted
    down_left = tuple(c for c in to_left if _over(c, left))
    down_right = tuple(c for c in to_right if _over(c, right))
    rest = tuple(c for c in on if c not in down_left and c not in down_right)
    pushed = replace(join, left=_push(join.left, down_left), right=_push(join.right, down_right), condition=conjunction(rest))
    return _filtered(pushed, above)


def _push_union(union: UnionAll, wanted: Conjuncts) -> UnionAll:
    """Every input keeps the rows that the union would keep of it."""
    parts: list[Node] = []
    for part in union.inputs:
        pairs = zip(union.outputs, fields(part), strict=True)
        values: dict[int, Expression] = {new.number: _cast(old, new) for new, old in pairs}
        parts.append(_push(part, tuple(substitute(c, values) for c in wanted)))
    return replace(union, inputs=tuple(parts))


def _cast(old: Field, new: Field) -> Expression:
    return Ref(old) if old.type == new.type else Cast(Ref(old), new.type)


def _over(conjunct: Expression, numbers: frozenset[int]) -> bool:
    return bool(references(conjunct)) and references(conjunct) <= numbers


def _filtered(node: Node, wanted: Conjuncts) -> Node:
    predicate = conjunction(wanted)
    return node if predicate is None else Filter(node, predicate)
