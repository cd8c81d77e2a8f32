"""GROUP BY to keys and grouping sets: ROLLUP, CUBE, GROUPING SETS and () as the sets that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

from sqlglot import exp

from sdh.parsers.refuse import place, refuse
from sdh.parsers.syntax import Expression
from sdh.parsers.values import expression, expressions

MOST_SETS = 64
Group = tuple[Expression, ...]


def group_by(nodes: Sequence[exp.Expr]) -> tuple[Group, tuple[tuple[int, ...], ...]]:
    """The distinct keys, and the sets as their positions; no sets for a plain list of keys. Raises Unsupported."""
    if not any(_is_set(node) for node in nodes):
        return expressions(nodes), ()
    parts = [_sets(node) for node in nodes]
    count = 1
    for part in parts:
        count *= len(part)
    if count > MOST_SETS:
        raise refuse(f"More than {MOST_SETS} grouping sets", place(nodes[0]), "Write fewer, or several queries.")
    sets = [tuple(dict.fromkeys(key for one in chosen for key in one)) for chosen in product(*parts)]
    keys = tuple(dict.fromkeys(key for one in sets for key in one))
    return keys, tuple(tuple(keys.index(key) for key in one) for one in sets)


def _is_set(node: exp.Expr) -> bool:
    return isinstance(node, (exp.Rollup, exp.Cube, exp.GroupingSets)) or isinstance(node, exp.Tuple) and not node.expressions


def _sets(node: exp.Expr) -> list[Group]:
    match node:
        case exp.Rollup():
            units = [_unit(one) for one in node.expressions]
            return [_joined(units[:length]) for length in range(len(units), -1, -1)]
        case exp.Cube():
            units = [_unit(one) for one in node.expressions[:MOST_SETS.bit_length()]]   # of more there are too many sets
            return [_joined(chosen) for length in range(len(units), -1, -1) for chosen in combinations(units, length)]
        case exp.GroupingSets():
            return [one for part in node.expressions for one in (_sets(part) if _is_set(part) else [_unit(part)])]
        case exp.Tuple() if not node.expressions:
            return [()]
        case _:
            return [(expression(node),)]


def _unit(node: exp.Expr) -> Group:
    return expressions(node.expressions) if isinstance(node, exp.Tuple) else (expression(node),)


def _joined(units: Sequence[Group]) -> Group:
    return tuple(key for unit in units for key in unit)
