"""The ways to join two relations on shares: all pairs, keys that their owners know, keys sorted on shares, tables.

Keys that repeat at both sides are joined in a public number of places, which only declarations give (repeats=).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_never

from sdh.errors import SdhError, Unsupported
from sdh.planners.check import check
from sdh.planners.columns import nullable
from sdh.planners.derive_traits import traits
from sdh.planners.expressions import Apply, Constant, Expression, Field, Ref, conjunction, conjuncts, references, walk
from sdh.planners.functions import DIVISIONS
from sdh.planners.join_traits import equalities
from sdh.planners.key_limbs import joint_limbs
from sdh.planners.overflow import overflows
from sdh.planners.physical import Align, ByKey, Concat, Expand, Filter, Input, Lookup, NestedLoop, Node, SortMerge
from sdh.planners.placed import Combined
from sdh.planners.quotients import is_quotient
from sdh.schema import FLOATING, Kind

MOST_PAIRS = 1 << 25
"""Above this many pairs a nested loop is refused: it would not end in reasonable time."""
LARGEST_TABLE = 8
"""Bits of the index of a table on shares (executors/lookup.py)."""
OF_LEFT = ("SEMI", "ANTI", "MARK")
"""Kinds that bring nothing of the right side: it may repeat its keys."""

Conjuncts = tuple[Expression, ...]


def inner(left: Node, right: Node, wanted: Conjuncts) -> Iterator[Node]:
    """With every conjunct that the two relations can decide together and neither alone; the left one is the probe."""
    a, b = frozenset(traits(left).ranges), frozenset(traits(right).ranges)
    here = tuple(c for c in wanted if references(c) <= a | b and not references(c) <= a and not references(c) <= b)
    yield from _inner(left, right, here)


def _inner(left: Node, right: Node, here: Conjuncts) -> Iterator[Node]:
    for node, rest in _by_key(left, right, here, "INNER"):
        yield _where(node, rest)
    for many, rest in _many_to_many(left, right, here):
        yield _where(many, rest)
    if traits(left).slots * traits(right).slots <= MOST_PAIRS:
        yield NestedLoop(left, right, _condition(here, left, right))


def combined(node: Combined, left: Node, right: Node, cheapest: Callable[[list[Node]], Node]) -> Iterator[Node]:
    """The same of a join that is not INNER. `cheapest` picks one of several that give the same rows."""
    here = conjuncts(node.condition)
    match node.kind:
        case "LEFT":
            yield from _of_left(left, right, here, "LEFT", None)
            yield from _appended(left, right, here, node.kind, cheapest)
        case "FULL":
            yield from _appended(left, right, here, node.kind, cheapest)
        case _:
            yield from _of_left(left, right, here, node.kind, _mark(node.mark, here, left, right))


def _mark(mark: Field | None, here: Conjuncts, left: Node, right: Node) -> Field | None:
    """The mark, which is NULL only where a part of the condition may be."""
    if mark is None:
        return None
    columns = traits(left).ranges | traits(right).ranges
    return Field(mark.number, mark.name, mark.type, any(nullable(c, columns) for c in here))


def _of_left(left: Node, right: Node, here: Conjuncts, kind: str, mark: Field | None) -> Iterator[Node]:
    """One row for each of the left's. At a unique key SINGLE is LEFT: there cannot be two."""
    keyed = "LEFT" if kind == "SINGLE" else kind
    for node, rest in _by_key(left, right, here, keyed):
        if kind == "MARK" and mark is not None and mark.nullable and (rest or len(node.pairs) > 1):
            continue   # which of the parts are NULL for some row: all pairs tell
        condition = _condition(rest, left, right)
        match node:
            case Align(probe, build, pairs, probe_party, build_party):
                yield Align(probe, build, pairs, probe_party, build_party, keyed, condition, mark)
            case SortMerge(probe, build, pairs):
                yield SortMerge(probe, build, pairs, keyed, condition, mark)
            case Lookup(probe, build, pairs, kept):
                yield Lookup(probe, build, pairs, kept, keyed, condition, mark)
            case _:
                assert_never(node)
    if kind != "LEFT" and traits(left).slots * traits(right).slots <= MOST_PAIRS:
        yield NestedLoop(left, right, _condition(here, left, right), kind, mark)


def _appended(left: Node, right: Node, here: Conjuncts, kind: str, cheapest: Callable[[list[Node]], Node]) -> Iterator[Node]:
    """The rows that meet, then those of the left that met none, and for FULL those of the right too."""
    met = [*_inner(left, right, here), *_inner(right, left, here)]
    rest = [list(_of_left(left, right, here, "ANTI", None))]
    kept = list(_of_left(left, right, here, "LEFT", None)) if kind == "FULL" else []
    if kept:   # it has the left's rows that met none
        met, rest = kept, []
    if kind == "FULL":
        rest.append(list(_of_left(right, left, here, "ANTI", None)))
    if met and all(rest):
        yield _concat([cheapest(met), *map(cheapest, rest)], left, right)


def _concat(parts: list[Node], left: Node, right: Node) -> Node:
    """One after the other, NULL in the columns that a part does not have."""
    outputs = [column.field for side in (left, right) for column in traits(side).columns]
    values = [tuple(Ref(f) if f.number in traits(part).ranges else _null(f) for f in outputs) for part in parts]
    return Concat(tuple(parts), tuple(outputs), tuple(values))


def _null(field: Field) -> Expression:
    return Constant(field.type, None, f"CAST(NULL AS {field.type})")


# --- by key --------------------------------------------------------------------------------------


def _by_key(probe: Node, build: Node, here: Conjuncts, kind: str) -> Iterator[tuple[ByKey, Conjuncts]]:
    """The joins by the equalities among the conjuncts, and the conjuncts that are left. Sorting is for keys nobody knows."""
    aligned = [one for one in _aligned(probe, build, here) if one[0].repeats == 1]
    yield from aligned
    if not aligned:
        yield from _sort_merge(probe, build, here, kind)
    yield from _lookup(probe, build, here, kind)


def _many_to_many(left: Node, right: Node, here: Conjuncts) -> Iterator[tuple[Align | Expand, Conjuncts]]:
    """By keys that are unique at neither side, where a declaration bounds the pairs: sorted on shares, or the left as probe."""
    a, b = traits(left), traits(right)
    if b.placed_repeats:
        yield from (one for one in _aligned(left, right, here) if one[0].repeats > 1)
    if a.repeats or b.repeats:
        yield from _expand(left, right, here)


def _aligned(probe: Node, build: Node, here: Conjuncts) -> Iterator[tuple[Align, Conjuncts]]:
    for probe_party, _ in traits(probe).known:
        for build_party, _ in traits(build).known:
            if probe_party != build_party:
                yield from _align(probe, build, here, probe_party, build_party)


def _align(probe: Node, build: Node, here: Conjuncts, probe_party: str, build_party: str) -> Iterator[tuple[Align, Conjuncts]]:
    a, b = traits(probe), traits(build)
    known_a, known_b = a.known_by(probe_party), b.known_by(build_party)
    pairs: list[tuple[Field, Field]] = []
    rest: list[Expression] = []
    for conjunct in here:
        found = [
            pair
            for pair in equalities(conjunct, a, b)
            if pair[0].number in known_a and pair[1].number in known_b and _same_words(*pair)
        ]
        if found:
            pairs += found
        else:
            rest.append(conjunct)
    times = b.placed_times(frozenset(f.number for _, f in pairs))
    if pairs and times is not None:
        yield Align(probe, build, tuple(pairs), probe_party, build_party, repeats=times), tuple(rest)


def _same_words(a: Field, b: Field) -> bool:
    """Equal values of the two columns are equal ring integers, after scaling."""
    exact = a.type.is_exact and b.type.is_exact
    floating = a.type.kind in FLOATING and b.type.kind in FLOATING
    return exact or floating or (a.type.kind is b.type.kind and a.type.kind is not Kind.OTHER)


def _sort_merge(probe: Node, build: Node, here: Conjuncts, kind: str) -> Iterator[tuple[SortMerge, Conjuncts]]:
    pairs, rest = _sortable_pairs(probe, build, here)
    if pairs and (traits(build).times(_columns(pairs, 1)) == 1 or kind in OF_LEFT and not rest):
        yield SortMerge(probe, build, pairs), rest


def _expand(left: Node, right: Node, here: Conjuncts) -> Iterator[tuple[Expand, Conjuncts]]:
    """In as many places as the sides that are declared allow; never fewer than there may be pairs, whatever the data."""
    pairs, rest = _sortable_pairs(left, right, here)
    a, b = traits(left), traits(right)
    declared = (a.slots, b.times(_columns(pairs, 1))), (b.slots, a.times(_columns(pairs, 0)))
    bounds = [rows * times for rows, times in declared if times is not None]
    if pairs and bounds and 1 not in (times for _, times in declared):
        yield Expand(left, right, pairs, min(*bounds, a.slots * b.slots), frozenset((*a.ranges, *b.ranges))), rest


def _lookup(probe: Node, build: Node, here: Conjuncts, kind: str) -> Iterator[tuple[Lookup, Conjuncts]]:
    """By a key of few values that the build's owner has in the clear with all that it brings."""
    if not isinstance(build, Input):
        return
    for place, conjunct in enumerate(here):
        pair, rest = _sortable(conjunct, probe, build), (*here[:place], *here[place + 1:])
        if pair is None or not isinstance(pair[1], Ref) or pair[1].type.kind is Kind.VARCHAR:
            continue
        [bits] = joint_limbs(pair, traits(probe), traits(build)).bits
        unique = traits(build).times(frozenset({pair[1].field.number})) == 1
        if bits <= LARGEST_TABLE and (unique or kind in OF_LEFT and not rest):
            yield Lookup(probe, build, (pair,), frozenset(traits(build).ranges)), rest


def _sortable_pairs(probe: Node, build: Node, here: Conjuncts) -> tuple[tuple[tuple[Expression, Expression], ...], Conjuncts]:
    """The sides of the equalities that can be keys on shares, and the conjuncts that are left."""
    found = [(conjunct, _sortable(conjunct, probe, build)) for conjunct in here]
    return tuple(pair for _, pair in found if pair is not None), tuple(c for c, pair in found if pair is None)


def _columns(pairs: tuple[tuple[Expression, Expression], ...], side: int) -> frozenset[int]:
    return frozenset(e.field.number for pair in pairs if isinstance(e := pair[side], Ref))


def _sortable(conjunct: Expression, probe: Node, build: Node) -> tuple[Expression, Expression] | None:
    """The two sides of an equality, if each can be a key on shares."""
    match conjunct:
        case Apply("=", (one, two)):
            for pair in ((one, two), (two, one)):
                if all(_is_key(e, side) for e, side in zip(pair, (probe, build), strict=True)) and _sorted_alike(*pair):
                    try:
                        joint_limbs(pair, traits(probe), traits(build))
                    except SdhError:
                        return None
                    return pair
    return None


def _is_key(e: Expression, side: Node) -> bool:
    """Over one side alone, and of no value outside its range: what stands under an error might be."""
    columns = traits(side).ranges
    if not references(e) or not references(e) <= columns.keys() or is_quotient(e):
        return False
    try:
        check(e, columns)
    except SdhError:
        return False
    divides = any(isinstance(part, Apply) and part.function in DIVISIONS for part in walk(e))
    return not divides and not any(overflows(part, columns) for part in walk(e))


def _sorted_alike(a: Expression, b: Expression) -> bool:
    alike = a.type.kind is b.type.kind and a.type.kind in (Kind.VARCHAR, Kind.DATE, Kind.TIMESTAMP)
    return alike or a.type.is_exact and b.type.is_exact and Kind.BOOLEAN not in (a.type.kind, b.type.kind)


# --- conditions ----------------------------------------------------------------------------------


def _where(node: Node, rest: Conjuncts) -> Node:
    predicate = conjunction(rest)
    return node if predicate is None else Filter(node, _checked(predicate, node))


def _checked(predicate: Expression, input: Node) -> Expression:
    check(predicate, traits(input).ranges)
    return predicate


def _condition(here: Conjuncts, left: Node, right: Node) -> Expression | None:
    condition = conjunction(here)
    if condition is not None:
        check(condition, traits(left).ranges | traits(right).ranges)
    return condition


def too_many_pairs(kind: str) -> Unsupported:
    """No way was found."""
    word = "" if kind == "INNER" else f"{kind} "
    return Unsupported(
        f"No {word}join of these relations stays under {MOST_PAIRS} pairs.",
        advice="Join on a key that its owner declares unique (keys=) or to repeat at most so often (repeats=), or aggregate by "
        "the key first.",
    )
