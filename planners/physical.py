"""Physical plan nodes of the secure part: what runs on shares. A tree is complete: all sizes and ranges follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import assert_never

from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts
from sdh.planners.logical import Call
from sdh.planners.ranges import BIT, Columns, Range, Shared, call_shared, range_of
from sdh.schema import Kind


@dataclass(frozen=True, slots=True)
class Input:
    """A fragment's rows, padded to `slots` and shared by its owner.

    keys: unique keys (field numbers) among rows whose key is not NULL. single: tables each of whose rows stands
    here at most once. exact: every slot holds a row, publicly.
    """

    fragment: int
    party: str
    slots: int
    columns: tuple[Shared, ...]
    keys: tuple[frozenset[int], ...] = ()
    single: frozenset[str] = frozenset()
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """The validity bit of each row AND the predicate is TRUE."""

    input: Node
    predicate: Expression


@dataclass(frozen=True, slots=True)
class NestedLoop:
    """All pairs, the left's row outermost; valid where both are and the condition is TRUE (None: always)."""

    left: Node
    right: Node
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Align:
    """Each probe row with the build row of equal key, if any (protocols.md, section 6).

    pairs: (probe field, build field); the build's are unique among its rows. Both parties know their keys in the clear.
    """

    probe: Node
    build: Node
    pairs: tuple[tuple[Field, Field], ...]
    probe_party: str
    build_party: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Groups: `owner_keys` that `party` knows in the clear (one programmed permutation), times every value of each
    of `domain_keys` (public, small). No keys at all: one row.
    """

    input: Node
    party: str
    owner_keys: tuple[tuple[Field, Field], ...]
    domain_keys: tuple[tuple[Field, Expression], ...]
    calls: tuple[Call, ...]

    @property
    def is_grouped(self) -> bool:
        return bool(self.owner_keys or self.domain_keys)


Node = Input | Filter | NestedLoop | Align | Aggregate


@dataclass(frozen=True, slots=True)
class Release:
    """The root: `outputs` of the valid rows go to the client, shuffled; then it sorts by `order`.

    `hidden` outputs after the first `visible` ones are sort keys only.
    """

    input: Node
    outputs: tuple[tuple[Field, Expression], ...]
    visible: int
    order: tuple[tuple[int, bool, bool], ...] = ()
    """(output index, descending, nulls first)."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What is public of a relation on shares.

    keys: unique among valid rows; placed_keys: among all rows that the party which knows them takes for real.
    known: for each party, numbers of the columns that it still knows in the clear, row by row.
    """

    slots: int
    columns: tuple[Shared, ...]
    known: tuple[tuple[str, frozenset[int]], ...]
    keys: tuple[frozenset[int], ...]
    single: frozenset[str]
    placed_keys: tuple[frozenset[int], ...] = ()

    @property
    def ranges(self) -> dict[int, Shared]:
        return {column.field.number: column for column in self.columns}

    def known_by(self, party: str) -> frozenset[int]:
        return dict(self.known).get(party, frozenset())

    def who_knows(self, numbers: frozenset[int]) -> str | None:
        """The first party that knows all these columns in the clear."""
        return next((party for party, known in self.known if numbers <= known), None)


def inputs(node: Node) -> tuple[Node, ...]:
    match node:
        case Input():
            return ()
        case Filter() | Aggregate():
            return (node.input,)
        case NestedLoop(left, right):
            return (left, right)
        case Align(probe, build):
            return (probe, build)
        case _:
            assert_never(node)


def has_validity(node: Node) -> bool:
    """Whether a bit on shares says which slots hold rows; else all do."""
    match node:
        case Input():
            return not node.exact
        case NestedLoop(left, right, condition):
            return condition is not None or has_validity(left) or has_validity(right)
        case Aggregate():
            return node.is_grouped
        case Filter() | Align():
            return True
        case _:
            assert_never(node)


def expressions(node: Node) -> tuple[Expression, ...]:
    """The expressions that a node itself evaluates over its inputs' columns."""
    match node:
        case Input() | Align():
            return ()
        case Filter(_, predicate):
            return (predicate,)
        case NestedLoop(_, _, condition):
            return () if condition is None else (condition,)
        case Aggregate(_, _, _, domain_keys, calls):
            found = [e for _, e in domain_keys] + [e for call in calls for e in call.arguments]
            return tuple(found + [call.filter for call in calls if call.filter is not None])
        case _:
            assert_never(node)


@lru_cache(maxsize=4096)
def traits(node: Node) -> Traits:
    """Slots, columns with their ranges, who knows what, unique keys. Raises WidthError."""
    match node:
        case Input(_, party, slots, columns, keys, single, _):
            known = ((party, frozenset(c.field.number for c in columns)),)
            return Traits(slots, columns, known, keys, single, keys)
        case Filter(input):
            return traits(input)
        case NestedLoop():
            return _nested_loop(traits(node.left), traits(node.right), node)
        case Align(probe, build):
            return _align(traits(probe), traits(build), node)
        case Aggregate():
            return _aggregate(traits(node.input), node)
        case _:
            assert_never(node)


def _nested_loop(left: Traits, right: Traits, node: NestedLoop) -> Traits:
    pairs = equalities(node.condition, left, right)
    left_unique = any(key <= {a.number for a, _ in pairs} for key in left.keys)
    right_unique = any(key <= {b.number for _, b in pairs} for key in right.keys)
    keys = (left.keys if right_unique else ()) + (right.keys if left_unique else ())
    keys = keys or tuple(a | b for a in left.keys for b in right.keys)
    single = (left.single if right_unique else frozenset()) | (right.single if left_unique else frozenset())
    known = _merged(left.known + right.known)
    return Traits(left.slots * right.slots, left.columns + right.columns, known, keys, single)


def _merged(known: tuple[tuple[str, frozenset[int]], ...]) -> tuple[tuple[str, frozenset[int]], ...]:
    merged: dict[str, frozenset[int]] = {}
    for party, numbers in known:
        merged[party] = merged.get(party, frozenset()) | numbers
    return tuple(merged.items())


def _align(probe: Traits, build: Traits, node: Align) -> Traits:
    probe_unique = any(key <= {a.number for a, _ in node.pairs} for key in probe.keys)
    single = probe.single | (build.single if probe_unique else frozenset())
    keys = probe.keys + (build.keys if probe_unique else ())
    return Traits(probe.slots, probe.columns + build.columns, probe.known, keys, single, probe.placed_keys)


def _aggregate(input: Traits, node: Aggregate) -> Traits:
    slots = groups_bound(node)
    by_number = input.ranges
    columns = [replace(by_number[old.number], field=new) for new, old in node.owner_keys]
    for field, expression in node.domain_keys:
        domain = domain_of(expression, by_number)
        slots *= domain.size + expression.nullable
        columns.append(Shared(field, domain.low, domain.high))
    columns += [call_shared(call, by_number, input.slots) for call in node.calls]
    key = frozenset(field.number for field, _ in (*node.owner_keys, *node.domain_keys))
    known_keys = frozenset(field.number for field, _ in node.owner_keys)
    known = ((node.party, known_keys),) if node.owner_keys and not node.domain_keys else ()
    return Traits(slots, tuple(columns), known, (key,) if key else (), frozenset(), (key,) if known else ())


def domain_of(key: Expression, columns: Columns) -> Range:
    """The values of a small-domain key: FALSE and TRUE, whichever were measured."""
    return BIT if key.type.kind is Kind.BOOLEAN else range_of(key, columns)


def groups_bound(node: Aggregate) -> int:
    """The most groups by the keys that one owner knows: as many as rows, or as the keys' ranges have values."""
    if not node.owner_keys:
        return 1
    below = traits(node.input)
    values = 1
    for _, old in node.owner_keys:
        column = below.ranges[old.number]
        values *= (1 << 62 if old.type.kind is Kind.VARCHAR else column.range.size) + old.nullable
    return min(below.slots, values)


def equalities(condition: Expression | None, left: Traits, right: Traits) -> tuple[tuple[Field, Field], ...]:
    """The conjuncts `left column = right column`, as (left field, right field)."""
    found: list[tuple[Field, Field]] = []
    for conjunct in conjuncts(condition):
        match conjunct:
            case Apply("=", (Ref(a), Ref(b))) if a.number in left.ranges and b.number in right.ranges:
                found.append((a, b))
            case Apply("=", (Ref(b), Ref(a))) if a.number in left.ranges and b.number in right.ranges:
                found.append((a, b))
    return tuple(found)
