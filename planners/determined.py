"""Functional dependencies within one owner's rows: what its keys and the joins in its fragment determine.

A customer's number determines the name that stands beside it in every order of that customer's.
"""

from __future__ import annotations

from typing import assert_never

from sdh.planners import logical
from sdh.planners.dependencies import Dependency, by_equality, closure
from sdh.planners.expressions import Apply, Expression, Ref, conjuncts, references, walk
from sdh.schema import FLOATING


def determined(node: logical.Node) -> tuple[Dependency, ...]:
    """Which of its fields determine which others, by number: the keys of any table in it, its group keys and equal columns.

    Each key has a column that is never NULL, so that all this holds beside rows of NULL from an outer join too.
    """
    numbers = frozenset(f.number for f in logical.fields(node))
    present = {f.number for f in logical.fields(node) if not f.nullable}
    found = holding(node)
    wanted = dict.fromkeys(key for key, _ in found if key <= numbers and key & present)
    pairs = ((key, closure(key, found) & numbers) for key in wanted)
    return tuple((key, others) for key, others in pairs if key < others)


def holding(node: logical.Node, present: frozenset[int] = frozenset()) -> tuple[Dependency, ...]:
    """In the rows that a subtree puts out, of all fields in it, put out or not: numbers are unique in a plan.

    present: fields that are NULL in none of the rows that are asked about.
    """
    match node:
        case logical.Scan(table, columns):   # a key says nothing of rows where it is NULL
            there = {name: f.number for name, f in columns if not f.nullable or f.number in present}
            keys = [frozenset(there[name] for name in key) for key in table.keys if all(name in there for name in key)]
            return tuple((key, frozenset(f.number for _, f in columns)) for key in keys)
        case logical.Filter(input, predicate):
            return holding(input, present | _there(predicate)) + by_equality(predicate)
        case logical.Project(input, outputs):
            renamed = frozenset(e.field.number for f, e in outputs if isinstance(e, Ref) and f.number in present)
            return holding(input, renamed) + tuple(one for f, e in outputs for one in _computed(f.number, e))
        case logical.Reused(_, input, outputs):   # another use has rows of its own: their fields are not the input's
            own = {its.number: f.number for f, its in outputs}
            found = ((key, others & own.keys()) for key, others in determined(input) if key <= own.keys())
            return tuple((_renamed(key, own), _renamed(others, own)) for key, others in found)
        case logical.Private():
            return holding(node.aggregate)
        case logical.Aggregate(input, keys, calls):
            named = tuple(one for f, e in keys for one in _computed(f.number, e))
            whole = frozenset(f.number for f, _ in keys) | {call.output.number for call in calls}
            return (*holding(input), *named, (frozenset(f.number for f, _ in keys), whole))
        case logical.Join("INNER", left, right, condition):
            met = present | _there(condition)
            return holding(left, met) + holding(right, met) + by_equality(condition)
        case logical.Join("RIGHT", _, right):
            return holding(right, present)
        case logical.Join("FULL"):
            return ()
        case logical.Join(_, left):   # the other side's rows may be padded with NULL
            return holding(left, present)
        case logical.Sort(input) | logical.Limit(input) | logical.Cut(input) | logical.Noised(input):
            return holding(input, present)
        case logical.OneRow() | logical.UnionAll():
            return ()
        case _:
            assert_never(node)


def _there(predicate: Expression | None) -> frozenset[int]:
    """Columns that are not NULL where a predicate is TRUE."""
    found: set[int] = set()
    for conjunct in conjuncts(predicate):
        match conjunct:
            case Apply("=", arguments) | Apply("NOT", (Apply("IS NULL", arguments),)):
                found |= {e.field.number for e in arguments if isinstance(e, Ref)}
    return frozenset(found)


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
