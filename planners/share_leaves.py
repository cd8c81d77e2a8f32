"""Fragments of one owner that are alike but for the numbers of their columns are one: its rows are shared once.

As in a self-join across another owner's table, and in what of a common table expression its owner works out alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import assert_never

from sdh.planners.expressions import Expression, Field, Ref, transform
from sdh.planners.logical import (
    Aggregate,
    Call,
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
from sdh.planners.placed import Computed, Local, Secure, Top, leaves_of, rewritten

Change = Callable[[Expression], Expression]


def share_leaves(top: Top) -> Top:
    """The plan whose leaves that are alike are one leaf; the others are its columns under their own numbers."""
    first: dict[Local, Local] = {}
    values: dict[Local, Secure] = {}
    for leaf in leaves_of(top):
        same = first.setdefault(Local(leaf.party, _canonical(leaf.node)), leaf)
        if same != leaf:
            pairs = zip(fields(leaf.node), fields(same.node), strict=True)
            values[leaf] = Computed(same, tuple((own, Ref(its)) for own, its in pairs))
    if not values:
        return top
    return replace(top, input=rewritten(top.input, lambda node: values.get(node, node) if isinstance(node, Local) else node))


def _canonical(node: Node) -> Node:
    """Fields without names, numbered in the order in which they are met."""
    numbers, new = count(1), dict[int, int]()

    def renamed(field: Field) -> Field:
        if field.number not in new:
            new[field.number] = next(numbers)
        return replace(field, number=new[field.number], name="")

    return renumbered(node, renamed)


def renumbered(node: Node, renamed: Callable[[Field], Field]) -> Node:
    """The same rows with other fields; what is shared with other uses is not among them."""

    def change(e: Expression) -> Expression:
        return transform(e, lambda part: Ref(renamed(part.field)) if isinstance(part, Ref) else None)

    return _renumbered(node, renamed, change)


def _renumbered(node: Node, renamed: Callable[[Field], Field], change: Change) -> Node:
    node = with_inputs(node, tuple(_renumbered(part, renamed, change) for part in inputs(node)))
    match node:
        case Scan(table, columns):
            return Scan(table, tuple((name, renamed(f)) for name, f in columns))
        case OneRow() | Limit():
            return node
        case Filter(input, predicate):
            return Filter(input, change(predicate))
        case Project(input, outputs):
            return Project(input, tuple((renamed(f), change(e)) for f, e in outputs))
        case Join():
            condition = None if node.condition is None else change(node.condition)
            return replace(node, condition=condition, mark=None if node.mark is None else renamed(node.mark))
        case Aggregate(input, keys, calls):
            groups = tuple((renamed(f), change(e)) for f, e in keys)
            return Aggregate(input, groups, tuple(_call(call, renamed, change) for call in calls))
        case Sort(input, order):
            return Sort(input, tuple(replace(key, expression=change(key.expression)) for key in order))
        case UnionAll(parts, made, unique):
            declared = tuple(frozenset(renamed(f).number for f in made if f.number in key) for key in unique)
            return UnionAll(parts, tuple(map(renamed, made)), declared)
        case Cut(input, by, most):
            return Cut(input, tuple(map(change, by)), most)
        case Noised(input, noises):
            return Noised(input, tuple(replace(n, input=renamed(n.input), output=renamed(n.output)) for n in noises))
        case Private():
            raise AssertionError("a private block is rewritten before")
        case Reused(number, input, pairs):
            return Reused(number, input, tuple((renamed(own), renamed(its)) for own, its in pairs))
        case _:
            assert_never(node)


def _call(call: Call, renamed: Callable[[Field], Field], change: Change) -> Call:
    only = None if call.filter is None else change(call.filter)
    return replace(call, output=renamed(call.output), arguments=tuple(map(change, call.arguments)), filter=only)
