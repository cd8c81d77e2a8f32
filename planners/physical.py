"""Physical plan nodes of the secure part: what runs on shares. A tree is complete: all sizes and ranges follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from sdh.errors import WidthError
from sdh.planners.expression_costs import nullable
from sdh.planners.expressions import Apply, Expression, Field, Ref, conjuncts, references
from sdh.planners.logical import Call, Noise, SortKey, call_expressions
from sdh.planners.mechanisms import reach
from sdh.planners.ranges import BIT, Columns, Range, Shared, bytes_of, call_shared, range_of, scale_of, shared_of, together
from sdh.planners.remembering import remembering
from sdh.planners.repeats import Repeats, most_rows, repeated, summed
from sdh.schema import Kind

MOST_PARTIES = 16
"""Whose draws the widths of noised columns have room for."""
SORTED, GIVEN, ALONE = "sorted", "given", "alone"
"""Of a GroupAggregate's rows: it sorts them; they come from a MarkDistinct by these keys; each is a group by itself."""


@dataclass(frozen=True, slots=True)
class Input:
    """A fragment's rows, padded to `slots` and shared by its owner.

    keys: unique keys (field numbers) among rows whose key is not NULL. single: tables each of whose rows stands
    here at most once. exact: every slot holds a row, publicly. dependencies: columns (field numbers) that determine others.
    repeats: keys that are not unique, and the most rows that agree on one without NULL.
    late: columns (field numbers) that stay with their owner until a Fetch; `place` is then each row's number among the slots.
    """

    fragment: int
    party: str
    slots: int
    columns: tuple[Shared, ...]
    keys: tuple[frozenset[int], ...] = ()
    single: frozenset[str] = frozenset()
    exact: bool = False
    dependencies: tuple[tuple[frozenset[int], frozenset[int]], ...] = ()
    repeats: Repeats = ()
    late: frozenset[int] = frozenset()
    place: Field | None = None

    @property
    def shared(self) -> tuple[Shared, ...]:
        """The columns that go onto shares."""
        place = () if self.place is None else (Shared(self.place, 0, max(self.slots - 1, 0)),)
        return (*(column for column in self.columns if column.field.number not in self.late), *place)


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
    repeats: of an INNER join, how often a key stands among the build's rows at most; each probe row has as many places.
    """

    probe: Node
    build: Node
    pairs: tuple[tuple[Field, Field], ...]
    probe_party: str
    build_party: str
    kind: str = "INNER"
    condition: Expression | None = None
    mark: Field | None = None
    repeats: int = 1


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
class Lookup:
    """As SortMerge by one key of few public values: the build's owner holds a table of them all in the clear (section 2).

    pairs: one, (expression over the probe, column of the build). `kept`: numbers of the build's columns that go on.
    """

    probe: Node
    build: Input
    pairs: tuple[tuple[Expression, Expression], ...]
    kept: frozenset[int]
    kind: str = "INNER"
    condition: Expression | None = None
    mark: Field | None = None


@dataclass(frozen=True, slots=True)
class Expand:
    """All pairs of valid rows of equal keys, whoever knows them, in `slots` places; more are an error, not a cut.

    pairs: (expression over the left, expression over the right). `kept`: numbers of the columns that go on.
    """

    left: Node
    right: Node
    pairs: tuple[tuple[Expression, Expression], ...]
    slots: int
    kept: frozenset[int]


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
class Project:
    """The input's rows; `outputs` alone are columns: computed, or the input's under other numbers, known where it was."""

    input: Node
    outputs: tuple[tuple[Field, Expression], ...]


@dataclass(frozen=True, slots=True)
class Unique:
    """The input's rows; an error bit where two valid ones agree in `key` and it has no NULL. What was declared is proven."""

    input: Node
    key: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """Of the valid rows that agree in `keys` (NULLs are equal), all but `most`, drawn at random, are wiped.

    Rows come out sorted by validity and keys. `kept`: numbers of the columns that go on.
    """

    input: Node
    keys: tuple[Expression, ...]
    most: int
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class Noised:
    """The input's rows; one fresh draw for each slot is added to each noised column (planners/mechanisms.py)."""

    input: Node
    noises: tuple[Noise, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """The rows with columns that stayed with the owner of `source`, in the stead of their places there.

    columns: each as it is put out, and as it stands in the fragment. Nobody learns which rows are fetched.
    """

    input: Node
    source: Input
    columns: tuple[tuple[Shared, Shared], ...]


Node = (
    Input | Filter | NestedLoop | Align | SortMerge | Lookup | Expand | Aggregate | Concat | GroupAggregate | MarkDistinct | TopK
    | Unique | Project | Cut | Noised | Fetch
)
WIDEST = 62
"""Bits of a key word that is one number on shares."""
ByKey = Align | SortMerge | Lookup
"""Joins that give the probe's rows."""


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

    keys: unique among valid rows; placed_keys: among all rows that the party which knows them takes for real; so repeats.
    known: for each party, numbers of the columns that it still knows in the clear, row by row.
    """

    slots: int
    columns: tuple[Shared, ...]
    known: tuple[tuple[str, frozenset[int]], ...]
    keys: tuple[frozenset[int], ...]
    single: frozenset[str]
    placed_keys: tuple[frozenset[int], ...] = ()
    repeats: Repeats = ()
    placed_repeats: Repeats = ()

    def times(self, numbers: frozenset[int]) -> int | None:
        """The most valid rows that agree on these columns, none NULL. None: nothing is known."""
        return most_rows(self.keys, self.repeats, numbers)

    def placed_times(self, numbers: frozenset[int]) -> int | None:
        """The same of all rows that the party which knows them takes for real."""
        return most_rows(self.placed_keys, self.placed_repeats, numbers)

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
        case (Filter() | Aggregate() | GroupAggregate() | MarkDistinct() | TopK() | Unique() | Project() | Cut() | Noised()
              | Fetch()):
            return (node.input,)
        case NestedLoop(left, right) | Expand(left, right):
            return (left, right)
        case Align(probe, build) | SortMerge(probe, build) | Lookup(probe, build):
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
        case (Align(probe, kind="LEFT" | "MARK") | SortMerge(probe, kind="LEFT" | "MARK")
              | Lookup(probe, kind="LEFT" | "MARK")):
            return has_validity(probe)
        case Aggregate():
            return node.is_grouped
        case Cut() | Filter() | Align() | SortMerge() | Lookup() | Expand():
            return True
        case GroupAggregate(_, _, _, _, arrangement):
            return arrangement != ALONE or has_validity(node.input)
        case MarkDistinct(input) | TopK(input) | Unique(input) | Project(input) | Noised(input) | Fetch(input):
            return has_validity(input)
        case Concat(parts):
            return any(has_validity(part) for part in parts)
        case _:
            assert_never(node)


def expressions(node: Node) -> tuple[Expression, ...]:
    """The expressions that a node itself evaluates over its inputs' columns."""
    match node:
        case Input() | Fetch():
            return ()
        case Filter(_, predicate):
            return (predicate,)
        case NestedLoop(condition=condition) | Align(condition=condition):
            return () if condition is None else (condition,)
        case SortMerge(pairs=pairs, condition=condition) | Lookup(pairs=pairs, condition=condition):
            return (*(e for pair in pairs for e in pair), *(() if condition is None else (condition,)))
        case Expand(_, _, pairs):
            return tuple(e for pair in pairs for e in pair)
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
        case Cut(_, keys):
            return keys
        case Noised():
            return ()
        case Project(_, outputs):
            return tuple(e for _, e in outputs)
        case _:
            assert_never(node)


@remembering
def traits(node: Node) -> Traits:
    """Slots, columns with their ranges, who knows what, unique keys. Raises WidthError."""
    match node:
        case Input():
            return _input(node)
        case Fetch():
            return _fetch(traits(node.input), node)
        case Filter(input):
            return traits(input)
        case NestedLoop():
            return _nested_loop(traits(node.left), traits(node.right), node)
        case Align(probe, build):
            return _keyed(traits(probe), traits(build), node, node.pairs)
        case SortMerge(probe, build) | Lookup(probe, build):
            return _keyed(traits(probe), traits(build), node, _columns(node.pairs))
        case Expand():
            return _expand(traits(node.left), traits(node.right), node)
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
        case Cut():
            return _cut(traits(node.input), node)
        case Noised(input, noises):
            return _noised(traits(input), noises)
        case Unique(input, key):
            below = traits(input)
            return replace(below, keys=(*below.keys, frozenset(f.number for f in key)))
        case Project():
            return _project(traits(node.input), node)
        case _:
            assert_never(node)


def _input(node: Input) -> Traits:
    known = frozenset(column.field.number for column in node.shared)
    keys = tuple(key for key in node.keys if key <= known)
    repeats = tuple(one for one in node.repeats if one[0] <= known)
    return Traits(node.slots, node.shared, ((node.party, known),), keys, node.single, keys, repeats, repeats)


def _fetch(input: Traits, node: Fetch) -> Traits:
    assert node.source.place is not None
    left = tuple(column for column in input.columns if column.field.number != node.source.place.number)
    return Traits(input.slots, left + tuple(column for column, _ in node.columns), (), input.keys, input.single)


def _nested_loop(left: Traits, right: Traits, node: NestedLoop) -> Traits:
    if node.kind != "INNER":
        return _of_kind(left, right, node.kind, node.mark)
    pairs = equalities(node.condition, left, right)
    known = _merged(left.known + right.known)
    return replace(_many(left, right, pairs), slots=left.slots * right.slots, known=known)


def _expand(left: Traits, right: Traits, node: Expand) -> Traits:
    """No party knows which rows stand where."""
    columns = tuple(column for column in left.columns + right.columns if column.field.number in node.kept)
    return _kept(replace(_many(left, right, _columns(node.pairs)), slots=node.slots), columns)


def _columns(pairs: tuple[tuple[Expression, Expression], ...]) -> tuple[tuple[Field, Field], ...]:
    return tuple((a.field, b.field) for a, b in pairs if isinstance(a, Ref) and isinstance(b, Ref))


def _kept(whole: Traits, columns: tuple[Shared, ...]) -> Traits:
    """With these columns, and what is known of them alone."""
    numbers = frozenset(column.field.number for column in columns)
    return replace(whole, columns=columns, keys=tuple(key for key in whole.keys if key <= numbers),
                   repeats=tuple(one for one in whole.repeats if one[0] <= numbers))


def _many(left: Traits, right: Traits, pairs: tuple[tuple[Field, Field], ...]) -> Traits:
    """The pairs of rows that are equal in `pairs`: a row of either side comes as often as the other's keys repeat."""
    left_times, right_times = _times(left, right, pairs)
    keys = (left.keys if right_times == 1 else ()) + (right.keys if left_times == 1 else ())
    keys = keys or tuple(a | b for a in left.keys for b in right.keys)
    single = (left.single if right_times == 1 else frozenset()) | (right.single if left_times == 1 else frozenset())
    repeats = repeated(left.keys, left.repeats, right_times) + repeated(right.keys, right.repeats, left_times)
    return Traits(0, left.columns + right.columns, (), keys, single, (), repeats)


def _times(left: Traits, right: Traits, pairs: tuple[tuple[Field, Field], ...]) -> tuple[int | None, int | None]:
    """How often a key repeats at either side."""
    return left.times(frozenset(a.number for a, _ in pairs)), right.times(frozenset(b.number for _, b in pairs))


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
    if isinstance(node, Expand):
        return True   # there may be more pairs than places
    if isinstance(node, Unique):
        return traits(node).slots > 1
    return isinstance(node, NestedLoop) and node.kind == "SINGLE" and traits(node.right).slots > 1


def carried(node: NestedLoop | ByKey) -> frozenset[int]:
    """The right (build) side's columns that its rows bring to the left's: all, or those that the condition reads."""
    _, build = inputs(node)
    numbers = frozenset(traits(build).ranges)
    if isinstance(node, Lookup):
        numbers &= node.kept | references(node.condition)
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


def numbered(widths: list[int], repeats: int) -> list[int]:
    """Bits of key words, of which the last also holds which of up to `repeats` equal keys it is, or one more word does."""
    more = (repeats - 1).bit_length()
    if not more:
        return widths
    return [*widths[:-1], widths[-1] + more] if widths[-1] + more < WIDEST else [*widths, more]


def table_bits(column: Shared) -> tuple[int, ...]:
    """Of a column in a table on shares: bits of its words as numbers; -1 for each bit that stays one (TRUE, FALSE, NULL)."""
    null = (-1,) if column.field.nullable else ()
    match column.field.type.kind:
        case Kind.BOOLEAN:
            return (-1, *null)
        case Kind.VARCHAR:
            return (56,) * -(-column.bytes // 7) + (max(column.bytes.bit_length(), 1), *null)
        case _:
            return (max((column.high - column.low).bit_length(), 1), *null)


def _keyed(probe: Traits, build: Traits, node: ByKey, pairs: tuple[tuple[Field, Field], ...]) -> Traits:
    if isinstance(node, Lookup):
        build = _kept(build, tuple(column for column in build.columns if column.field.number in carried(node)))
    if node.kind != "INNER":
        return _of_kind(probe, build, node.kind, node.mark)
    found = _many(probe, build, pairs)
    times = node.repeats if isinstance(node, Align) else 1
    if times > 1:
        return replace(found, slots=times * probe.slots, known=probe.known,
                       placed_repeats=repeated(probe.placed_keys, probe.placed_repeats, times))
    probe_times = _times(probe, build, pairs)[0]
    single = probe.single | (build.single if probe_times == 1 else frozenset())
    keys = probe.keys + (build.keys if probe_times == 1 else ())
    repeats = probe.repeats + repeated(build.keys, build.repeats, probe_times)
    return replace(found, slots=probe.slots, known=probe.known, keys=keys, single=single, repeats=repeats,
                   placed_keys=probe.placed_keys, placed_repeats=probe.placed_repeats)


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


def _cut(input: Traits, node: Cut) -> Traits:
    numbers = frozenset(e.field.number for e in node.keys if isinstance(e, Ref))
    cut = ((numbers, node.most),) if len(numbers) == len(node.keys) and numbers <= node.kept else ()
    columns = tuple(column for column in input.columns if column.field.number in node.kept)
    keys = tuple(key for key in (*input.keys, *(one for one, most in cut if most == 1)) if key <= node.kept)
    repeats = tuple((key, most) for key, most in (*input.repeats, *cut) if key <= node.kept and most > 1)
    return Traits(input.slots, columns, (), keys, input.single, repeats=repeats)


def _noised(input: Traits, noises: tuple[Noise, ...]) -> Traits:
    """What is noised no owner knows, and it is no key."""
    by_number = {noise.input.number: noise for noise in noises}
    gone = frozenset(by_number)
    columns = tuple(_with_noise(column, by_number.get(column.field.number)) for column in input.columns)
    known = tuple((party, numbers - gone) for party, numbers in input.known)
    return replace(input, columns=columns, known=known, keys=tuple(key for key in input.keys if not key & gone),
                   placed_keys=tuple(key for key in input.placed_keys if not key & gone),
                   repeats=tuple(one for one in input.repeats if not one[0] & gone),
                   placed_repeats=tuple(one for one in input.placed_repeats if not one[0] & gone))


def _with_noise(column: Shared, noise: Noise | None) -> Shared:
    if noise is None:
        return column
    more = reach(noise.mechanism, MOST_PARTIES)
    return Shared(noise.output, column.low - more, column.high + more)


def _top_k(input: Traits, node: TopK) -> Traits:
    columns = tuple(column for column in input.columns if column.field.number in node.kept)
    keys = tuple(key for key in input.keys if key <= node.kept)
    return Traits(places(input.slots, node.limit, node.offset), columns, (), keys, input.single)


def places(slots: int, limit: int | None, offset: int) -> int:
    """Of so many slots, those that LIMIT and OFFSET leave."""
    last = slots if limit is None else min(slots, offset + limit)
    return last - min(last, offset)


def renamed(outputs: tuple[tuple[Field, Expression], ...]) -> dict[int, int]:
    """The outputs that are columns of the input: its numbers, and theirs."""
    return {e.field.number: field.number for field, e in outputs if isinstance(e, Ref)}


def _project(input: Traits, node: Project) -> Traits:
    ranges, new = input.ranges, renamed(node.outputs)
    columns = tuple(shared_of(replace(f, nullable=nullable(e, ranges)), e, ranges) for f, e in node.outputs)
    known = tuple((party, frozenset(new[n] for n in numbers & new.keys())) for party, numbers in input.known)
    keys, placed = (tuple(frozenset(new[n] for n in key) for key in some if key <= new.keys())
                    for some in (input.keys, input.placed_keys))
    repeats, placed_repeats = (tuple((frozenset(new[n] for n in key), times) for key, times in some if key <= new.keys())
                               for some in (input.repeats, input.placed_repeats))
    return Traits(input.slots, columns, known, keys, input.single, placed, repeats, placed_repeats)


def _concat(node: Concat) -> Traits:
    """No owner knows the rows of all."""
    below = [traits(part) for part in node.inputs]
    columns = []
    for place, field in enumerate(node.outputs):
        column = [row[place] for row in node.values]
        null = any(nullable(e, one.ranges) for e, one in zip(column, below, strict=True))
        output = replace(field, nullable=null)
        columns.append(together(output, [shared_of(output, e, one.ranges) for e, one in zip(column, below, strict=True)]))
    return Traits(sum(one.slots for one in below), tuple(columns), (), (), frozenset(), (), _in_all(node, below))


def _in_all(node: Concat, below: list[Traits]) -> Repeats:
    """Keys of the first input that are keys of all: they repeat as often as in all together."""
    sources = [{f.number: e.field.number for f, e in zip(node.outputs, row, strict=True)
                if isinstance(e, Ref) and e.type == f.type} for row in node.values]
    return summed([(source, one.keys, one.repeats) for source, one in zip(sources, below, strict=True)])


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
