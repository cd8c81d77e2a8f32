"""The ways to join two relations on shares: all pairs, keys that their owners know, keys sorted on shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sdh.errors import SdhError, Unsupported
from sdh.planners.check import check
from sdh.planners.expression_costs import nullable
from sdh.planners.expressions import Apply, Constant, Expression, Field, Ref, conjunction, conjuncts, references, walk
from sdh.planners.physical import (
    Align,
    Concat,
    Filter,
    NestedLoop,
    Node,
    SortMerge,
    equalities,
    key_limbs,
    traits,
)
from sdh.planners.placed import Combined
from sdh.planners.quotients import is_quotient
from sdh.planners.ranges import DIVISIONS, overflows
from sdh.schema import FLOATING, Kind

MOST_PAIRS = 1 << 25
"""Above this many pairs a nested loop is refused: it would not end in reasonable time."""
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
        predicate = conjunction(rest)
        yield node if predicate is None else Filter(node, _checked(predicate, node))
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


def _by_key(probe: Node, build: Node, here: Conjuncts, kind: str) -> Iterator[tuple[Align | SortMerge, Conjuncts]]:
    """The joins by the equalities among the conjuncts, and the conjuncts that are left. Sorting is for keys nobody knows."""
    found = False
    for probe_party, _ in traits(probe).known:
        for build_party, _ in traits(build).known:
            if probe_party != build_party:
                for one in _align(probe, build, here, probe_party, build_party):
                    found = True
                    yield one
    if not found:
        yield from _sort_merge(probe, build, here, kind)


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
    if pairs and any(key <= {f.number for _, f in pairs} for key in b.placed_keys):
        yield Align(probe, build, tuple(pairs), probe_party, build_party), tuple(rest)


def _same_words(a: Field, b: Field) -> bool:
    """Equal values of the two columns are equal ring integers, after scaling."""
    exact = a.type.is_exact and b.type.is_exact
    floating = a.type.kind in FLOATING and b.type.kind in FLOATING
    return exact or floating or (a.type.kind is b.type.kind and a.type.kind is not Kind.OTHER)


def _sort_merge(probe: Node, build: Node, here: Conjuncts, kind: str) -> Iterator[tuple[SortMerge, Conjuncts]]:
    pairs: list[tuple[Expression, Expression]] = []
    rest: list[Expression] = []
    for conjunct in here:
        pair = _sortable(conjunct, probe, build)
        if pair is None:
            rest.append(conjunct)
        else:
            pairs.append(pair)
    numbers = {e.field.number for _, e in pairs if isinstance(e, Ref)}
    unique = any(key <= numbers for key in traits(build).keys)
    if pairs and (unique or kind in OF_LEFT and not rest):
        yield SortMerge(probe, build, tuple(pairs)), tuple(rest)


def _sortable(conjunct: Expression, probe: Node, build: Node) -> tuple[Expression, Expression] | None:
    """The two sides of an equality, if each can be a key on shares."""
    match conjunct:
        case Apply("=", (one, two)):
            for pair in ((one, two), (two, one)):
                if all(_is_key(e, side) for e, side in zip(pair, (probe, build), strict=True)) and _sorted_alike(*pair):
                    try:
                        key_limbs(pair, traits(probe), traits(build))
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
        advice="Join on a key that its owner declares unique (keys=), or aggregate by the key first.",
    )
