"""Physical plan nodes of the secure part: what runs on shares. A tree is complete: all sizes and ranges follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.hashing import HashedOnce
from sdh.planners.intervals import Shared
from sdh.planners.logical import Call, Noise, SortKey, call_expressions
from sdh.planners.repeats import Repeats

SORTED, GIVEN, ALONE = "sorted", "given", "alone"
"""Of a GroupAggregate's rows: it sorts them; they come from a MarkDistinct by these keys; each is a group by itself."""


@dataclass(frozen=True, slots=True)
class Input(HashedOnce):
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
class Filter(HashedOnce):
    """The validity bit of each row AND the predicate is TRUE."""

    input: Node
    predicate: Expression


@dataclass(frozen=True, slots=True)
class NestedLoop(HashedOnce):
    """All pairs, the left's row outermost; valid where both are and the condition is TRUE (None: always).

    kind: INNER; or SEMI, ANTI, MARK, SINGLE: the left's rows, by what all pairs of each say (logical.Join).
    """

    left: Node
    right: Node
    condition: Expression | None
    kind: str = "INNER"
    mark: Field | None = None


@dataclass(frozen=True, slots=True)
class Align(HashedOnce):
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
class SortMerge(HashedOnce):
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
class Lookup(HashedOnce):
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
class Expand(HashedOnce):
    """All pairs of valid rows of equal keys, whoever knows them, in `slots` places; more are an error, not a cut.

    pairs: (expression over the left, expression over the right). `kept`: numbers of the columns that go on.
    """

    left: Node
    right: Node
    pairs: tuple[tuple[Expression, Expression], ...]
    slots: int
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class Aggregate(HashedOnce):
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
class Concat(HashedOnce):
    """The rows of all inputs, one input after the other; `values` of each are the outputs, brought to one shape.

    keys: sets of outputs, by number, that the client declared unique over all rows: a fact where Unique has proven it.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Field, ...]
    values: tuple[tuple[Expression, ...], ...]
    keys: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True, slots=True)
class GroupAggregate(HashedOnce):
    """Groups by keys that no owner need know: rows are sorted on shares and the last row of each group kept.

    carried: columns that the keys determine. arrangement: how equal keys come to be neighbours.
    """

    input: Node
    keys: tuple[tuple[Field, Expression], ...]
    carried: tuple[tuple[Field, Expression], ...]
    calls: tuple[Call, ...]
    arrangement: str = SORTED


@dataclass(frozen=True, slots=True)
class MarkDistinct(HashedOnce):
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
class TopK(HashedOnce):
    """The first `limit` (None: all) valid rows after `offset` others, in order of `keys`; without keys any of them.

    Valid rows come first, so that which places are cut off is public. `kept`: numbers of the columns that go on.
    """

    input: Node
    keys: tuple[SortKey, ...]
    limit: int | None
    offset: int
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class Project(HashedOnce):
    """The input's rows; `outputs` alone are columns: computed, or the input's under other numbers, known where it was."""

    input: Node
    outputs: tuple[tuple[Field, Expression], ...]


@dataclass(frozen=True, slots=True)
class Unique(HashedOnce):
    """The input's rows; an error bit where two valid ones agree in `key` and it has no NULL. What was declared is proven."""

    input: Node
    key: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Cut(HashedOnce):
    """Of the valid rows that agree in `keys` (NULLs are equal), all but `most`, drawn at random, are wiped.

    Rows come out sorted by validity and keys. `kept`: numbers of the columns that go on.
    """

    input: Node
    keys: tuple[Expression, ...]
    most: int
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class Noised(HashedOnce):
    """The input's rows; one fresh draw for each slot is added to each noised column (planners/mechanisms.py)."""

    input: Node
    noises: tuple[Noise, ...]


@dataclass(frozen=True, slots=True)
class Fetch(HashedOnce):
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
ByKey = Align | SortMerge | Lookup
"""Joins that give the probe's rows."""


@dataclass(frozen=True, slots=True)
class Release(HashedOnce):
    """The root: `outputs` of the valid rows go to the client, shuffled; then it sorts by `order`.

    `hidden` outputs after the first `visible` ones are sort keys only.
    """

    input: Node
    outputs: tuple[tuple[Field, Expression], ...]
    visible: int
    order: tuple[tuple[int, bool, bool], ...] = ()
    """(output index, descending, nulls first)."""


def operator_name(node: Node | Release) -> str:
    """For people."""
    return "nested_loop" if isinstance(node, NestedLoop) else type(node).__name__.lower()


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
