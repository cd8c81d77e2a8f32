"""Rule: what all branches of an OR share leaves it, and every table and owner gets the part of an OR that it implies.

`(k = j AND a) OR (k = j AND b)` has a join key only as `k = j AND (a OR b)`; and no row passes `(x = 1 AND y = 2) OR
(x = 3 AND y = 4)` whose x is neither 1 nor 3, which x's owner can tell alone.
"""

from __future__ import annotations

from sdh.planners.expressions import (
    COMPARISONS,
    CONNECTIVES,
    DISTINCTIONS,
    Apply,
    Constant,
    Expression,
    Ref,
    children,
    conjunction,
    conjuncts,
    disjunction,
    references,
)
from sdh.planners.logical import Filter, Join, Node, Scan, bottom_up, nodes

TOTAL = COMPARISONS | CONNECTIVES | DISTINCTIONS | {"BETWEEN", "IN", "LIKE", "ILIKE", "IS NULL"}
"""Functions that fail on no value: they may be asked of rows that the query does not ask them of."""


def factor_predicates(node: Node) -> Node:
    """WHERE, HAVING and the conditions of INNER joins, factored, with what they imply for each table and owner."""
    return bottom_up(node, _factored)


def is_total(e: Expression) -> bool:
    """Whether `e` fails on no row."""
    match e:
        case Ref() | Constant():
            return True
        case Apply(function, arguments):
            return function in TOTAL and all(map(is_total, arguments))
        case _:
            return False


def disjuncts(e: Expression) -> tuple[Expression, ...]:
    """The branches of nested ORs, from left to right."""
    return tuple(part for child in children(e) for part in disjuncts(child)) if _is_or(e) else (e,)


def _factored(node: Node) -> Node:
    match node:
        case Filter(input, predicate):
            return Filter(input, _whole(predicate, input))
        case Join("INNER", left, right, condition) if condition is not None:
            return Join("INNER", left, right, _whole(condition, node))
        case _:
            return node


def _whole(predicate: Expression, below: Node) -> Expression:
    parts = [part for c in conjuncts(predicate) for part in conjuncts(_without_common(c))]
    groups = _groups(below)
    implied = [one for part in parts for group in groups for one in _implied(part, group)]
    found = conjunction(list(dict.fromkeys([*parts, *implied])))
    assert found is not None
    return found


def _without_common(e: Expression) -> Expression:
    if not _is_or(e):
        return e
    branches = [[part for c in conjuncts(branch) for part in conjuncts(_without_common(c))] for branch in disjuncts(e)]
    shared = set.intersection(*({_canonical(c) for c in branch} for branch in branches))
    if not shared:
        return e
    common = list({_canonical(c): c for c in branches[0] if _canonical(c) in shared}.values())
    rests = [conjunction([c for c in branch if _canonical(c) not in shared]) for branch in branches]
    left = disjunction([rest for rest in rests if rest is not None])
    whole = conjunction(common if None in rests or left is None else [*common, left])  # A OR (A AND b) is A
    assert whole is not None
    return whole


def _implied(part: Expression, group: frozenset[int]) -> list[Expression]:
    """What an OR says of the fields of `group` alone: [] where it says nothing, or speaks of nothing else."""
    if not _is_or(part) or references(part) <= group:
        return []
    branches = [conjunction([c for c in conjuncts(branch) if _tells(c, group)]) for branch in disjuncts(part)]
    own = [branch for branch in branches if branch is not None]
    found = disjunction(list(dict.fromkeys(own)))
    return [] if len(own) < len(branches) or found is None else [found]


def _tells(c: Expression, group: frozenset[int]) -> bool:
    return bool(references(c)) and references(c) <= group and is_total(c)


def _groups(below: Node) -> list[frozenset[int]]:
    """Field numbers by table, and by owner where one has several tables."""
    scans = [n for n in nodes(below) if isinstance(n, Scan)]
    by_table = [frozenset(f.number for _, f in scan.columns) for scan in scans]
    owners = dict.fromkeys(scan.table.party for scan in scans if scan.table.party)
    by_owner = [frozenset(f.number for s in scans if s.table.party == owner for _, f in s.columns) for owner in owners]
    return list(dict.fromkeys([*by_table, *by_owner]))


def _canonical(c: Expression) -> Expression:
    """An equality is the same from either side."""
    match c:
        case Apply("=", (a, b)) if repr(b) < repr(a):
            return Apply("=", (b, a), c.type, c.nullable)
        case _:
            return c


def _is_or(e: Expression) -> bool:
    return isinstance(e, Apply) and e.function == "OR"
