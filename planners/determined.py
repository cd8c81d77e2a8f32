"""Functional dependencies within one owner's rows: what its keys and the joins in its fragment determine.

A customer's number determines the name that stands beside it in every order of that customer's.
"""

from __future__ import annotations

from typing import assert_never

from sdh.planners import logical
from sdh.planners.dependencies import Dependency, closure
from sdh.planners.expressions import Apply, Expression, Ref, conjuncts, references, walk
from sdh.schema import FLOATING


def determined(node: logical.Node) -> tuple[Dependency, ...]:
    """Which of its fields determine which others, by number: the keys of any table in it, its group keys and equal columns.

    Each key has a column that is never NULL, so that all this holds beside rows of NULL from an outer join too.
    """
    numbers = frozenset(f.number for f in logical.fields(node))
    present = {f.number for f in logical.fields(node) if not f.nullable}
    found = _all(node)
    wanted = dict.fromkeys(key for key, _ in found if key <= numbers and key & present)
    pairs = ((key, closure(key, found) & numbers) for key in wanted)
    return tuple((key, others) for key, others in pairs if key < others)


def _all(node: logical.Node) -> tuple[Dependency, ...]:
    """Of all fields in a subtree, whether they are put out or not: numbers are unique in a plan."""
    match node:
        case logical.Scan(table, columns):
            present = {name: f.number for name, f in columns if not f.nullable}   # a key says nothing of rows where it is NULL
            keys = [frozenset(present[name] for name in key) for key in table.keys if all(name in present for name in key)]
            return tuple((key, frozenset(f.number for _, f in columns)) for key in keys)
        case logical.Filter(input, predicate):
            return _all(input) + _equal(predicate)
        case logical.Project(input, outputs):
            return _all(input) + tuple(one for f, e in outputs for one in _computed(f.number, e))
        case logical.Reused(_, input, outputs):   # another use has rows of its own: their fields are not the input's
            own = {its.number: f.number for f, its in outputs}
            found = ((key, others & own.keys()) for key, others in determined(input) if key <= own.keys())
            return tuple((_renamed(key, own), _renamed(others, own)) for key, others in found)
        case logical.Private():
            return _all(node.aggregate)
        case logical.Aggregate(input, keys, calls):
            named = tuple(one for f, e in keys for one in _computed(f.number, e))
            whole = frozenset(f.number for f, _ in keys) | {call.output.number for call in calls}
            return (*_all(input), *named, (frozenset(f.number for f, _ in keys), whole))
        case logical.Join("INNER", left, right, condition):
            return _all(left) + _all(right) + _equal(condition)
        case logical.Join("RIGHT", _, right):
            return _all(right)
        case logical.Join("FULL"):
            return ()
        case logical.Join(_, left):   # the other side's rows may be padded with NULL
            return _all(left)
        case logical.Sort(input) | logical.Limit(input) | logical.Cut(input) | logical.Noised(input):
            return _all(input)
        case logical.OneRow() | logical.UnionAll():
            return ()
        case _:
            assert_never(node)


def _renamed(numbers: frozenset[int], own: dict[int, int]) -> frozenset[int]:
    return frozenset(own[n] for n in numbers)


def _computed(number: int, e: Expression) -> tuple[Dependency, ...]:
    """A value is determined by what it is computed from, a renamed column the other way round too.

    Not by a DOUBLE: 0.0 and -0.0 are equal, what is computed from them need not be.
    """
    own, read = frozenset({number}), references(e)
    if isinstance(e, Ref):
        return (read, own), (own, read)
    floating = any(isinstance(part, Ref) and part.type.kind in FLOATING for part in walk(e))
    return () if floating or not read else ((read, own),)


def _equal(predicate: Expression | None) -> tuple[Dependency, ...]:
    found: list[Dependency] = []
    for conjunct in conjuncts(predicate):
        match conjunct:
            case Apply("=", (Ref(a), Ref(b))):
                found += [(frozenset({a.number}), frozenset({b.number})), (frozenset({b.number}), frozenset({a.number}))]
    return tuple(found)
