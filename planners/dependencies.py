"""Functional dependencies of a relation on shares: which columns determine which, in all valid rows (NULL equals NULL)."""

from __future__ import annotations

from typing import assert_never

from sdh.planners.derive_traits import renamed, traits
from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts, references
from sdh.planners.intervals import Columns
from sdh.planners.physical import (
    Aggregate,
    Align,
    ByKey,
    Concat,
    Cut,
    Expand,
    Fetch,
    Filter,
    GroupAggregate,
    Input,
    Lookup,
    MarkDistinct,
    NestedLoop,
    Node,
    Noised,
    Project,
    SortMerge,
    TopK,
    Unique,
    inputs,
)
from sdh.schema import Kind

Dependency = tuple[frozenset[int], frozenset[int]]
"""Rows that agree in all of the first columns agree in the second, by number."""
Key = tuple[Field, Expression]


def least_keys(keys: tuple[Key, ...], input: Node) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Group keys as those to sort by and those that they determine. The widest go first."""
    found, columns = dependencies(input), traits(input).ranges
    kept = list(keys)
    for key in sorted(keys, key=lambda key: -_width(key[1], columns)):
        others = [one for one in kept if one is not key]
        if references(key[1]) <= closure(_numbers(others), found) and others:
            kept = others
    return tuple(kept), tuple(key for key in keys if key not in kept)


def is_unique(keys: tuple[Expression, ...], input: Node) -> bool:
    """Whether no two valid rows agree in these expressions."""
    found = traits(input)
    known = closure(frozenset(e.field.number for e in keys if isinstance(e, Ref)), dependencies(input))
    return any(key <= known and not any(found.ranges[n].field.nullable for n in key) for key in found.keys)


def closure(numbers: frozenset[int], found: tuple[Dependency, ...]) -> frozenset[int]:
    """All columns that these determine."""
    while True:
        more = numbers.union(*(determined for key, determined in found if key <= numbers))
        if more == numbers:
            return numbers
        numbers = more


def dependencies(node: Node) -> tuple[Dependency, ...]:
    """What the keys of inputs and groups determine, and columns that a join or filter holds equal."""
    match node:
        case Input(_, _, _, columns, keys):
            everything = frozenset(column.field.number for column in columns)
            nullable = frozenset(column.field.number for column in columns if column.field.nullable)
            return (*((key, everything) for key in keys if not key & nullable), *node.dependencies)
        case Filter(input, predicate):
            return dependencies(input) + by_equality(predicate)
        case NestedLoop() | Align() | SortMerge() | Lookup():
            return _joined(node)
        case Expand(left, right, pairs):
            return dependencies(left) + dependencies(right) + _met(pairs)
        case Aggregate():
            fields = (*node.owner_keys, *node.domain_keys)
            return ((frozenset(field.number for field, _ in fields), frozenset(traits(node).ranges)),)
        case GroupAggregate(_, keys):
            return ((frozenset(field.number for field, _ in keys), frozenset(traits(node).ranges)),)
        case MarkDistinct(input) | TopK(input) | Fetch(input) | Cut(input):
            return dependencies(input)
        case Noised(input, noises):
            gone = frozenset(noise.input.number for noise in noises)
            return tuple((key, found - gone) for key, found in dependencies(input) if not key & gone)
        case Unique(input, key):
            null = {column.field.number for column in traits(input).columns if column.field.nullable}
            numbers = frozenset(f.number for f in key)
            return dependencies(input) + (() if numbers & null else ((numbers, frozenset(traits(node).ranges)),))
        case Concat():
            return ()   # a declared key is nobody's proof
        case Project(input, outputs):
            return tuple(_under(renamed(outputs), one) for one in dependencies(input) if one[0] <= renamed(outputs).keys())
        case _:
            assert_never(node)


def _joined(node: NestedLoop | ByKey) -> tuple[Dependency, ...]:
    """In rows that an outer join adds, all of the other side is NULL, its key too, which elsewhere is not."""
    left, right = map(dependencies, inputs(node))
    match node.kind:
        case "INNER":
            pairs = () if isinstance(node, NestedLoop) else node.pairs
            return left + right + _met(pairs) + by_equality(node.condition)
        case "SEMI" | "ANTI" | "MARK":
            return left
        case _:
            return tuple(one for one in left + right if one[0])


def _under(new: dict[int, int], one: Dependency) -> Dependency:
    """With other numbers, of the columns that have any."""
    return frozenset(new[n] for n in one[0]), frozenset(new[n] for n in one[1] & new.keys())


def _met(pairs: tuple[tuple[Field | Expression, Field | Expression], ...]) -> tuple[Dependency, ...]:
    met = [(a if isinstance(a, Field) else _field(a), b if isinstance(b, Field) else _field(b)) for a, b in pairs]
    return tuple(one for a, b in met if a is not None and b is not None for one in _both(a, b))


def by_equality(predicate: Expression | None) -> tuple[Dependency, ...]:
    """Columns that are equal determine each other."""
    found: list[Dependency] = []
    for conjunct in conjuncts(predicate):
        match conjunct:
            case Apply("=", (Ref(a), Ref(b))):
                found += _both(a, b)
    return tuple(found)


def _both(a: Field, b: Field) -> tuple[Dependency, Dependency]:
    one, other = frozenset({a.number}), frozenset({b.number})
    return (one, other), (other, one)


def _field(e: Expression) -> Field | None:
    return e.field if isinstance(e, Ref) else None


def _numbers(keys: list[Key]) -> frozenset[int]:
    return frozenset(e.field.number for _, e in keys if isinstance(e, Ref))


def _width(e: Expression, columns: Columns) -> int:
    """Bits of a column; of what is computed, more than of any."""
    if not isinstance(e, Ref):
        return 1 << 30
    column = columns[e.field.number]
    return 8 * column.bytes + 64 if e.type.kind is Kind.VARCHAR else column.range.bits
