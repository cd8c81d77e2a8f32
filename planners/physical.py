"""Physical plan nodes of the secure part: what runs on shares. A tree is complete: all sizes and ranges follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import assert_never

from sdh.errors import WidthError
from sdh.planners.expression_costs import nullable
from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts, references
from sdh.planners.logical import Call, SortKey
from sdh.planners.ranges import BIT, Columns, Range, Shared, bytes_of, call_shared, range_of, scale_of, shared_of, together
from sdh.schema import Kind

SORTED, GIVEN, ALONE = "sorted", "given", "alone"
"""Of a GroupAggregate's rows: it sorts them; they come from a MarkDistinct by these keys; each is a group by itself."""


@dataclass(frozen=True, slots=True)
class Input:
    """A fragment's rows, padded to `slots` and shared by its owner.

    keys: unique keys (field numbers) among rows whose key is not NULL. single: tables each of whose rows stands
    here at most once. exact: every slot holds a row, publicly. dependencies: columns (field numbers) that determine others.
    """

    fragment: int
    party: str
    slots: int
    columns: tuple[Shared, ...]
    keys: tuple[frozenset[int], ...] = ()
    single: frozenset[str] = frozenset()
    exact: bool = False
    dependencies: tuple[tuple[frozenset[int], frozenset[int]], ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """The validity bit of each row AND the predicate is TRUE."""

    input: Node
    predicate: Expression


@dataclass(frozen=True, slots=True)
class NestedLoop:
    """All pairs, the left's row outermost; valid where both are and the condition is TRUE (None: always).

    kind: INNER; or SEMI, ANTI, MARK, SINGLE: the left's rows, by what all pairs of each say (logical.Join).
    """

    left: Node
    right: Node
    condition: Expression | None
    kind: str = "INNER"
    mark: Field | None = None


@dataclass(frozen=True, slots=True)
class Align:
    """Each probe row with the build row of equal key, if any (protocols.md, section 6).

    pairs: (probe field, build field); the build's are unique among its rows. Both parties know their keys in the clear.
    kind: INNER, LEFT (the probe's rows all stay), SEMI, ANTI, MARK; condition: what else a match must meet.
    """

    probe: Node
    build: Node
    pairs: tuple[tuple[Field, Field], ...]
    probe_party: str
    build_party: str
    kind: str = "INNER"
    condition: Expression | None = None
    mark: Field | None = None


@dataclass(frozen=True, slots=True)
class SortMerge:
    """As Align, where nobody need know a key: both sides are sorted together on shares (protocols.md, section 6).

    pairs: (expression over the probe, expression over the build); the build's are unique among its valid rows, or kind is
    SEMI, ANTI or MARK without a further condition.
    """

    probe: Node
    build: Node
    pairs: tuple[tuple[Expression, Expression], ...]
    kind: str = "INNER"
    condition: Expression | None = None
    mark: Field | None = None


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


@dataclass(frozen=True, slots=True)
class Concat:
    """The rows of all inputs, one input after the other; `values` of each are the outputs, brought to one shape.

    keys: sets of outputs, by number, that the client declared unique over all rows: a fact where Unique has proven it.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Field, ...]
    values: tuple[tuple[Expression, ...], ...]
    keys: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True, slots=True)
class GroupAggregate:
    """Groups by keys that no owner need know: rows are sorted on shares and the last row of each group kept.

    carried: columns that the keys determine. arrangement: how equal keys come to be neighbours.
    """

    input: Node
    keys: tuple[tuple[Field, Expression], ...]
    carried: tuple[tuple[Field, Expression], ...]
    calls: tuple[Call, ...]
    arrangement: str = SORTED


@dataclass(frozen=True, slots=True)
class MarkDistinct:
    """Rows in order of validity and `keys`; `mark` is TRUE in one row of each value of (keys, argument) that is counted.

    Counted is what is there, meets `filter` and has an argument that is not NULL. `kept`: numbers of the columns that go on.
    """

    input: Node
    keys: tuple[Expression, ...]
    argument: Expression
    filter: Expression | None
    mark: Field
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class TopK:
    """The first `limit` (None: all) valid rows after `offset` others, in order of `keys`; without keys any of them.

    Valid rows come first, so that which places are cut off is public. `kept`: numbers of the columns that go on.
    """

    input: Node
    keys: tuple[SortKey, ...]
    limit: int | None
    offset: int
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class Unique:
    """The input's rows; an error bit where two valid ones agree in `key` and it has no NULL. What was declared is proven."""

    input: Node
    key: tuple[Field, ...]


Node = (
    Input | Filter | NestedLoop | Align | SortMerge | Aggregate | Concat | GroupAggregate | MarkDistinct | TopK | Unique
)


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
        case Filter() | Aggregate() | GroupAggregate() | MarkDistinct() | TopK() | Unique():
            return (node.input,)
        case NestedLoop(left, right):
            return (left, right)
        case Align(probe, build) | SortMerge(probe, build):
            return (probe, build)
        case Concat(parts):
            return parts
        case _:
            assert_never(node)


def has_validity(node: Node) -> bool:
    """Whether a bit on shares says which slots hold rows; else all do."""
    match node:
        case Input():
            return not node.exact
        case NestedLoop(left, _, _, "MARK" | "SINGLE"):
            return has_validity(left)
        case NestedLoop(_, _, _, "SEMI" | "ANTI"):
            return True
        case NestedLoop(left, right, condition):
            return condition is not None or has_validity(left) or has_validity(right)
        case Align(probe, kind="LEFT" | "MARK") | SortMerge(probe, kind="LEFT" | "MARK"):
            return has_validity(probe)
        case Aggregate():
            return node.is_grouped
        case Filter() | Align() | SortMerge():
            return True
        case GroupAggregate(_, _, _, _, arrangement):
            return arrangement != ALONE or has_validity(node.input)
        case MarkDistinct(input) | TopK(input) | Unique(input):
            return has_validity(input)
        case Concat(parts):
            return any(has_validity(part) for part in parts)
        case _:
            assert_never(node)


def expressions(node: Node) -> tuple[Expression, ...]:
    """The expressions that a node itself evaluates over its inputs' columns."""
    match node:
        case Input():
            return ()
        case Filter(_, predicate):
            return (predicate,)
        case NestedLoop(condition=condition) | Align(condition=condition):
            return () if condition is None else (condition,)
        case SortMerge(_, _, pairs, _, condition):
            return (*(e for pair in pairs for e in pair), *(() if condition is None else (condition,)))
        case Aggregate(_, _, _, domain_keys, calls):
            found = [e for _, e in domain_keys] + [e for call in calls for e in call.arguments]
            return tuple(found + [call.filter for call in calls if call.filter is not None])
        case Concat(_, _, values):
            return tuple(e for row in values for e in row)
        case GroupAggregate(_, keys, carried, calls):
            return (*(e for _, e in (*keys, *carried)), *(e for call in calls for e in call_expressions(call)))
        case MarkDistinct(_, keys, argument, condition):
            return (*keys, argument, *(() if condition is None else (condition,)))
        case TopK(_, keys):
            return tuple(key.expression for key in keys)
        case Unique(_, key):
            return tuple(Ref(f) for f in key)
        case _:
            assert_never(node)


def call_expressions(call: Call) -> tuple[Expression, ...]:
    return (*call.arguments, *(() if call.filter is None else (call.filter,)))


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
            return _keyed(traits(probe), traits(build), node, node.pairs)
        case SortMerge(probe, build):
            refs = tuple((a.field, b.field) for a, b in node.pairs if isinstance(a, Ref) and isinstance(b, Ref))
            return _keyed(traits(probe), traits(build), node, refs)
        case Aggregate():
            return _aggregate(traits(node.input), node)
        case Concat():
            return _concat(node)
        case GroupAggregate():
            return _group_aggregate(traits(node.input), node)
        case MarkDistinct():
            return _mark_distinct(traits(node.input), node)
        case TopK():
            return _top_k(traits(node.input), node)
        case Unique(input, key):
            below = traits(input)
            return replace(below, keys=(*below.keys, frozenset(f.number for f in key)))
        case _:
            assert_never(node)


def _nested_loop(left: Traits, right: Traits, node: NestedLoop) -> Traits:
    if node.kind != "INNER":
        return _of_kind(left, right, node.kind, node.mark)
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


def _of_kind(left: Traits, right: Traits, kind: str, mark: Field | None) -> Traits:
    """The left's rows in their order, with what a join that is not INNER adds to them."""
    match kind:
        case "SEMI" | "ANTI":
            return left
        case "MARK":
            assert mark is not None
            return replace(left, columns=(*left.columns, Shared(mark, 0, 1)))
        case _:
            return replace(left, columns=left.columns + tuple(map(padded, right.columns)))


def padded(column: Shared) -> Shared:
    """A column with NULL, and 0 under it, in rows that an outer join adds."""
    return replace(column, field=replace(column.field, nullable=True), low=min(column.low, 0), high=max(column.high, 0))


def may_be_several(node: Node) -> bool:
    """Whether two rows may meet one, or agree in a key, where only one is allowed: an error bit on shares."""
    if isinstance(node, Unique):
        return traits(node).slots > 1
    return isinstance(node, NestedLoop) and node.kind == "SINGLE" and traits(node.right).slots > 1


def carried(node: NestedLoop | Align | SortMerge) -> frozenset[int]:
    """The right (build) side's columns that its rows bring to the left's: all, or those that the condition reads."""
    _, build = inputs(node)
    numbers = frozenset(traits(build).ranges)
    return numbers & references(node.condition) if node.kind in ("SEMI", "ANTI", "MARK") else numbers


def key_limbs(pair: tuple[Expression, Expression], probe: Traits, build: Traits) -> tuple[tuple[int, int], ...]:
    """Of a key that is sorted on shares, limb by limb: what is subtracted so that none is below 0, and the bits that hold
    a difference of two. Texts are their words and their length. Raises WidthError.
    """
    if pair[0].type.kind is Kind.VARCHAR:
        most = max(bytes_of(e, side.ranges) for e, side in zip(pair, (probe, build), strict=True))
        return ((0, 57),) * -(-most // 7) + ((0, max(most.bit_length(), 1) + 1),)
    finest = max(scale_of(e.type) for e in pair)
    a, b = (range_of(e, side.ranges).times(10 ** (finest - scale_of(e.type)))
            for e, side in zip(pair, (probe, build), strict=True))
    whole = a | b
    if (whole.high - whole.low).bit_length() > 63:
        raise WidthError("A join key of more than 63 bits cannot be sorted on shares.",
                         advice="Declare tighter bounds= for its columns, or grant facts='measured'.")
    return ((whole.low, max((whole.high - whole.low).bit_length(), 1) + 1),)


def _keyed(probe: Traits, build: Traits, node: Align | SortMerge, pairs: tuple[tuple[Field, Field], ...]) -> Traits:
    if node.kind != "INNER":
        return _of_kind(probe, build, node.kind, node.mark)
    probe_unique = any(key <= {a.number for a, _ in pairs} for key in probe.keys)
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


def _group_aggregate(input: Traits, node: GroupAggregate) -> Traits:
    """Which rows are which groups no owner knows."""
    columns = [shared_of(field, e, input.ranges) for field, e in (*node.keys, *node.carried)]
    columns += [call_shared(call, input.ranges, 1 if node.arrangement == ALONE else input.slots) for call in node.calls]
    key = frozenset(field.number for field, _ in node.keys)
    return Traits(group_slots(node), tuple(columns), (), (key,), frozenset())


def group_slots(node: GroupAggregate) -> int:
    """The most groups: as many as rows, or as the keys have values."""
    below, values = traits(node.input), 1
    for _, e in node.keys:
        values *= (1 << 62 if e.type.kind is Kind.VARCHAR else domain_of(e, below.ranges).size) + nullable(e, below.ranges)
    return below.slots if node.arrangement == ALONE else min(below.slots, values)


def _mark_distinct(input: Traits, node: MarkDistinct) -> Traits:
    columns = tuple(column for column in input.columns if column.field.number in node.kept)
    keys = tuple(key for key in input.keys if key <= node.kept)
    return Traits(input.slots, (*columns, Shared(node.mark, 0, 1)), (), keys, input.single)


def _top_k(input: Traits, node: TopK) -> Traits:
    columns = tuple(column for column in input.columns if column.field.number in node.kept)
    keys = tuple(key for key in input.keys if key <= node.kept)
    return Traits(places(input.slots, node.limit, node.offset), columns, (), keys, input.single)


def places(slots: int, limit: int | None, offset: int) -> int:
    """Of so many slots, those that LIMIT and OFFSET leave."""
    last = slots if limit is None else min(slots, offset + limit)
    return last - min(last, offset)


def _concat(node: Concat) -> Traits:
    """No owner knows the rows of all."""
    below = [traits(part) for part in node.inputs]
    columns = []
    for place, field in enumerate(node.outputs):
        column = [row[place] for row in node.values]
        null = any(nullable(e, one.ranges) for e, one in zip(column, below, strict=True))
        output = replace(field, nullable=null)
        columns.append(together(output, [shared_of(output, e, one.ranges) for e, one in zip(column, below, strict=True)]))
    return Traits(sum(one.slots for one in below), tuple(columns), (), (), frozenset())


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
