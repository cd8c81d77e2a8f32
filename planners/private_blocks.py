"""The blocks WITH DIFFERENTIAL_PRIVACY of a query: each is evaluated, and charged, once; nothing private is outside of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sdh.errors import Unsupported
from sdh.parsers import syntax
from sdh.parsers.accepted import AGGREGATES
from sdh.planners.logical import Limit, Node, Private, Scan, Sort, inputs, nodes
from sdh.privacy import DP


def blocks_of(node: Node) -> tuple[Private, ...]:
    """The blocks, inputs first; one that is read twice stands here twice."""
    return tuple(one for one in nodes(node) if isinstance(one, Private))


def scans_outside(node: Node) -> Iterator[Scan]:
    """The tables of owners that are read outside of every block."""
    yield from (one for one in outside(node) if isinstance(one, Scan) and one.table.party)


def outside(node: Node) -> Iterator[Node]:
    """The nodes above blocks and beside them."""
    yield node
    if not isinstance(node, Private):
        for part in inputs(node):
            yield from outside(part)


def check_blocks(node: Node) -> None:
    """Raises Unsupported where a block is read twice, or stands beside exact output of private tables."""
    blocks = blocks_of(node)
    for i, block in enumerate(blocks):
        at = block.terms.at
        if any(at == other.terms.at for other in blocks[:i]):
            raise _refused("WITH DIFFERENTIAL_PRIVACY in a WITH query that is read twice is not supported", at,
                           "Read it once: two draws of noise would be two answers.")
        if any(isinstance(one, Limit) and not isinstance(one.input, Sort) and block in nodes(one) for one in outside(node)):
            raise _refused("LIMIT without ORDER BY above WITH DIFFERENTIAL_PRIVACY is not supported", at,
                           "Add ORDER BY: the order in which groups come is not noisy.")
        for scan in scans_outside(node):
            raise _refused(f"A query WITH DIFFERENTIAL_PRIVACY cannot show {scan.table.full_name} exactly beside it", at,
                           "Read private tables inside of the block alone.")


def with_privacy(query: syntax.Query, privacy: DP) -> syntax.Query:
    """The query with the clause on its outermost SELECT that aggregates. Raises Unsupported."""
    found = _clothed(query, privacy)
    if found is None:
        raise _refused("privacy= needs a query whose outermost aggregate is in one SELECT", query.at,
                       "Write SELECT WITH DIFFERENTIAL_PRIVACY where it is meant.")
    return found


def _clothed(query: syntax.Query, privacy: DP) -> syntax.Query | None:
    if not isinstance(query, syntax.Select):
        return None
    if query.privacy is not None:
        raise _refused("privacy= and WITH DIFFERENTIAL_PRIVACY at once are not supported", query.privacy.at, "Give one of them.")
    if query.group_by or query.group_all or any(_aggregates(item.expression) for item in query.items) or query.having is not None:
        return replace(query, privacy=_clause(privacy, query.at))
    match query.source:
        case syntax.Derived(inner) as source:
            below = _clothed(inner, privacy)
            return None if below is None else replace(query, source=replace(source, query=below))
        case syntax.Table((name,)):
            return _in_common(query, name.lower(), privacy)
        case _:
            return None


def _in_common(query: syntax.Select, name: str, privacy: DP) -> syntax.Query | None:
    for i, table in enumerate(query.common):
        if table.name.lower() == name:
            below = _clothed(table.query, privacy)
            if below is not None:
                return replace(query, common=(*query.common[:i], replace(table, query=below), *query.common[i + 1:]))
    return None


def _aggregates(e: object) -> bool:
    """Whether an aggregate stands in an expression, and not in a subquery of it."""
    match e:
        case syntax.Call(function) if function in AGGREGATES:
            return True
        case syntax.Call(_, arguments):
            return any(map(_aggregates, arguments))
        case syntax.Unary(_, operand) | syntax.IsNull(operand) | syntax.Cast(operand):
            return _aggregates(operand)
        case syntax.Binary(_, left, right):
            return _aggregates(left) or _aggregates(right)
        case syntax.Case(operand, branches, default):
            return any(_aggregates(part) for part in (operand, default, *(part for pair in branches for part in pair)))
        case _:
            return False


def _clause(privacy: DP, at: syntax.Position) -> syntax.Privacy:
    unit = syntax.Name(tuple(privacy.unit.split(".")), at) if privacy.unit else None
    return syntax.Privacy(privacy.epsilon, privacy.delta, privacy.groups, privacy.rows, unit, privacy.strategy, privacy.noise, at)


def _refused(what: str, at: syntax.Position, advice: str) -> Unsupported:
    return Unsupported(f"{what}.", advice=advice, line=at.line, column=at.column)
