"""Bind subqueries: those that filter rows become joins, all others values beside the rows."""

from __future__ import annotations

from sdh.planners import decorrelate
from sdh.planners import expressions as bound
from sdh.planners.binding import Binder, Pending, Pendings, placed
from sdh.planners.decorrelate import Subquery
from sdh.planners.expressions import Expression, Ref, conjunction, conjuncts, references, substitute
from sdh.planners.logical import Filter, Node


def filtered(
    binder: Binder, node: Node, predicate: Expression, pendings: Pendings, kept: frozenset[int] = frozenset()
) -> tuple[Node, dict[int, Expression]]:
    """The rows that meet the predicate. Subqueries that are conjuncts filter; others, and those `kept`, get values."""
    if not pendings:
        return Filter(node, predicate), {}
    outputs = {p.output.number for p in pendings.values()}
    rest = [c for c in conjuncts(predicate) if references(c) & outputs]
    plain = conjunction([c for c in conjuncts(predicate) if not references(c) & outputs])
    node = node if plain is None else Filter(node, plain)
    values: dict[int, Expression] = {}
    for pending in _wanted(pendings, references(predicate)):
        alone = _alone(pending, rest, pendings)
        if alone is not None and pending.output.number not in kept:
            joined = _joined(binder, node, pending, values, negated=isinstance(alone, bound.Apply))
            if joined is not None:
                node = joined
                rest.remove(alone)
                continue
        node, values = valued(binder, node, pendings, frozenset({pending.output.number}), values)
    whole = conjunction(rest)
    return node if whole is None else Filter(node, substitute(whole, values)), values


def _joined(binder: Binder, node: Node, pending: Pending, values: dict[int, Expression], negated: bool) -> Node | None:
    with placed(pending.at):
        return decorrelate.as_filter(node, subquery_of(binder, pending, values), negated)


def valued(
    binder: Binder, node: Node, pendings: Pendings, read: frozenset[int], values: dict[int, Expression]
) -> tuple[Node, dict[int, Expression]]:
    """The rows with what the values of the subqueries in `read` need beside them, and those values by number."""
    for pending in _wanted(pendings, read):
        if pending.output.number not in values:
            with placed(pending.at):
                node, value = decorrelate.as_value(node, subquery_of(binder, pending, values), binder.numbers)
            values = values | {pending.output.number: value}
    return node, values


def subquery_of(binder: Binder, pending: Pending, values: dict[int, Expression]) -> Subquery:
    """With its comparison typed, over the values of the subqueries before it."""
    compared = None
    if pending.comparison is not None:
        compared = substitute(binder.typer.typed([pending.comparison])[0], values)
    return Subquery(pending.output, pending.kind, pending.plan, compared)


def _wanted(pendings: Pendings, read: frozenset[int]) -> list[Pending]:
    """Those whose values are read, and those that they read, each after what it reads."""
    found: list[Pending] = []
    for pending in reversed(pendings.values()):
        if pending.output.number in read:
            found.append(pending)
            read |= references(pending.comparison)
    return found[::-1]


def _alone(pending: Pending, rest: list[Expression], pendings: Pendings) -> Expression | None:
    """The conjunct that is nothing but this EXISTS or IN, perhaps negated, where nothing else reads it."""
    number = pending.output.number
    reading = [c for c in rest if number in references(c)]
    compared = any(number in references(other.comparison) for other in pendings.values())
    if len(reading) != 1 or compared or pending.kind == "SCALAR":
        return None
    match reading[0]:
        case Ref() | bound.Apply("NOT", (Ref(),)):
            return reading[0]
        case _:
            return None
