"""Logical plan nodes: relational algebra over fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import assert_never

from sdh.catalog import TableFacts
from sdh.parsers.syntax import Bounds, Position, Privacy
from sdh.planners.expressions import Expression, Field, Ref
from sdh.planners.hashing import HashedOnce
from sdh.planners.mechanisms import Mechanism


@dataclass(frozen=True, slots=True)
class Scan(HashedOnce):
    """`columns` of a table, each as a field."""

    table: TableFacts
    columns: tuple[tuple[str, Field], ...]


@dataclass(frozen=True, slots=True)
class OneRow(HashedOnce):
    """The relation of one row without columns: SELECT without FROM."""


@dataclass(frozen=True, slots=True)
class Filter(HashedOnce):
    input: Node
    predicate: Expression


@dataclass(frozen=True, slots=True)
class Project(HashedOnce):
    input: Node
    outputs: tuple[tuple[Field, Expression], ...]


@dataclass(frozen=True, slots=True)
class Join(HashedOnce):
    """kind: INNER (CROSS is INNER without condition), LEFT, RIGHT, FULL: the left's fields, then the right's.

    SEMI, ANTI: the left's rows that some, or no, right row meets. MARK: the left's fields, then `mark`, a BOOLEAN: TRUE
    where a right row meets the condition, else NULL where the condition is NULL for one, else FALSE. SINGLE: as LEFT,
    and an error where two right rows meet a left one.
    """

    kind: str
    left: Node
    right: Node
    condition: Expression | None
    mark: Field | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """An aggregate: function by its DuckDB name ('count_star' without argument) into `output`."""

    output: Field
    function: str
    arguments: tuple[Expression, ...]
    distinct: bool = False
    filter: Expression | None = None
    within: tuple[int, int] | None = None
    """Of partial sums: what their total lies in, by what is known of the rows they stand for."""


@dataclass(frozen=True, slots=True)
class Aggregate(HashedOnce):
    """Group by `keys` (none: one group that exists over nothing too). Output: keys, then calls."""

    input: Node
    keys: tuple[tuple[Field, Expression], ...]
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class SortKey:
    expression: Expression
    descending: bool
    nulls_first: bool


@dataclass(frozen=True, slots=True)
class Sort(HashedOnce):
    input: Node
    keys: tuple[SortKey, ...]


@dataclass(frozen=True, slots=True)
class Limit(HashedOnce):
    input: Node
    limit: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class UnionAll(HashedOnce):
    """The rows of all inputs: the n-th output takes the n-th field of every input, cast to its type.

    keys: sets of outputs, by number, that the client declared unique over all rows. Their owners cannot vouch for it, so
    no floor counts on them.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Field, ...]
    keys: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True, slots=True)
class Reused(HashedOnce):
    """One of several uses of a common table expression, whose rows are worked out once: `outputs` are (own, its) fields.

    number: of the expression. All uses of one number have one input: rules change it for all of them or for none.
    """

    number: int
    input: Node
    outputs: tuple[tuple[Field, Field], ...]

    @property
    def renaming(self) -> Project:
        """The same rows, for what does not ask where they are worked out."""
        return Project(self.input, tuple((own, Ref(its)) for own, its in self.outputs))


@dataclass(frozen=True, slots=True)
class Cut(HashedOnce):
    """Of the rows that agree in `keys` (NULLs are equal), at most `most`, whichever."""

    input: Node
    keys: tuple[Expression, ...]
    most: int


@dataclass(frozen=True, slots=True)
class Noise:
    """`output` is `input`, an integer or DECIMAL, plus one fresh draw a row."""

    input: Field
    output: Field
    mechanism: Mechanism


@dataclass(frozen=True, slots=True)
class Noised(HashedOnce):
    """The input's rows, with noise on some fields. What is above it is post-processing, and free."""

    input: Node
    noises: tuple[Noise, ...]


@dataclass(frozen=True, slots=True)
class PrivateCall:
    """An aggregate of a private block, the bounds of what a unit adds to it, and where it stands."""

    call: Call
    bounds: Bounds | None
    at: Position


@dataclass(frozen=True, slots=True)
class Private(HashedOnce):
    """An Aggregate that is to be released by differential privacy (privatise). unit: the column that tells units apart.

    units: numbers of the columns that equal it in every row, its own among them.
    """

    input: Node
    keys: tuple[tuple[Field, Expression], ...]
    calls: tuple[PrivateCall, ...]
    unit: Field
    terms: Privacy
    units: frozenset[int]

    @property
    def aggregate(self) -> Aggregate:
        """The same without noise."""
        return Aggregate(self.input, self.keys, tuple(one.call for one in self.calls))


Node = Scan | OneRow | Filter | Project | Join | Aggregate | Sort | Limit | UnionAll | Reused | Cut | Noised | Private


def inputs(node: Node) -> tuple[Node, ...]:
    match node:
        case Scan() | OneRow():
            return ()
        case Join(_, left, right):
            return (left, right)
        case UnionAll(parts):
            return parts
        case Filter() | Project() | Aggregate() | Sort() | Limit() | Reused() | Cut() | Noised() | Private():
            return (node.input,)
        case _:
            assert_never(node)


def with_inputs(node: Node, parts: tuple[Node, ...]) -> Node:
    match node:
        case Scan() | OneRow():
            return node
        case Join():
            return replace(node, left=parts[0], right=parts[1])
        case UnionAll():
            return replace(node, inputs=parts)
        case Filter() | Project() | Aggregate() | Sort() | Limit() | Reused() | Cut() | Noised() | Private():
            return replace(node, input=parts[0])
        case _:
            assert_never(node)


def fields(node: Node) -> tuple[Field, ...]:
    """What the node puts out, in order. Outer joins make the other side's fields nullable."""
    match node:
        case Scan(_, columns):
            return tuple(field for _, field in columns)
        case OneRow():
            return ()
        case Project(_, outputs) | Reused(_, _, outputs):
            return tuple(field for field, _ in outputs)
        case Aggregate(_, keys, calls):
            return tuple(field for field, _ in keys) + tuple(call.output for call in calls)
        case Join(kind, left, right, _, mark):
            first, second = fields(left), fields(right)
            if kind in ("SEMI", "ANTI", "MARK"):
                return first if mark is None else (*first, mark)
            if kind in ("RIGHT", "FULL"):
                first = tuple(replace(field, nullable=True) for field in first)
            if kind in ("LEFT", "FULL", "SINGLE"):
                second = tuple(replace(field, nullable=True) for field in second)
            return first + second
        case UnionAll(parts, outputs):
            same = zip(outputs, *map(fields, parts), strict=True)
            return tuple(replace(f, nullable=any(one.nullable for one in column)) for f, *column in same)
        case Noised(input, noises):
            noised = {noise.input.number: noise.output for noise in noises}
            return tuple(noised.get(field.number, field) for field in fields(input))
        case Private():
            return fields(node.aggregate)
        case Filter() | Sort() | Limit() | Cut():
            return fields(node.input)
        case _:
            assert_never(node)


def bottom_up(node: Node, change: Callable[[Node], Node], reused: dict[int, Node] | None = None) -> Node:
    """Apply `change` to every node, inputs first; once to what several uses share (`reused`: what it was changed to)."""
    reused = {} if reused is None else reused
    if isinstance(node, Reused):
        if node.number not in reused:
            reused[node.number] = bottom_up(node.input, change, reused)
        return change(replace(node, input=reused[node.number]))
    parts = tuple(bottom_up(part, change, reused) for part in inputs(node))
    return change(node if parts == inputs(node) else with_inputs(node, parts))


def nodes(node: Node) -> Iterator[Node]:
    """All nodes, inputs first, from left to right."""
    found, left = list[Node](), [node]
    while left:
        one = left.pop()
        found.append(one)
        left += inputs(one)
    return reversed(found)


def call_expressions(call: Call) -> tuple[Expression, ...]:
    return (*call.arguments, *(() if call.filter is None else (call.filter,)))


def expressions(node: Node) -> tuple[Expression, ...]:
    """The expressions that a node itself evaluates."""
    match node:
        case Scan() | OneRow() | Limit() | UnionAll() | Noised():
            return ()
        case Cut(_, keys):
            return keys
        case Private(unit=unit):
            return (Ref(unit), *expressions(node.aggregate))
        case Filter(_, predicate):
            return (predicate,)
        case Project(_, outputs):
            return tuple(expression for _, expression in outputs)
        case Reused(_, _, renamed):
            return tuple(Ref(field) for _, field in renamed)
        case Join(_, _, _, condition):
            return () if condition is None else (condition,)
        case Aggregate(_, keys, calls):
            return (*(expression for _, expression in keys), *(e for call in calls for e in call_expressions(call)))
        case Sort(_, keys):
            return tuple(key.expression for key in keys)
        case _:
            assert_never(node)
