"""A placed plan: what runs in the clear at whom (Local), and what runs on shares above it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from sdh.planners import logical
from sdh.planners.expressions import Expression, Field
from sdh.planners.hashing import HashedOnce
from sdh.planners.last_steps import Step

PUBLIC = ""
"""The owner of public tables: any party."""


@dataclass(frozen=True, slots=True)
class Local(HashedOnce):
    """A plaintext subtree and its owner (PUBLIC: any)."""

    party: str
    node: logical.Node


@dataclass(frozen=True, slots=True)
class Joined(HashedOnce):
    """Relations on shares that inner joins bring together, with all conjuncts; the order is not chosen yet."""

    parts: tuple[Secure, ...]
    conjuncts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Combined(HashedOnce):
    """A join of two relations on shares that is not INNER: LEFT, FULL, SEMI, ANTI, MARK, SINGLE (logical.Join).

    LEFT of a right side that repeats keys, and FULL, take rows that met none from a join of their own.
    """

    kind: str
    left: Secure
    right: Secure
    condition: Expression | None
    mark: Field | None = None


@dataclass(frozen=True, slots=True)
class Filtered(HashedOnce):
    input: Secure
    predicate: Expression


@dataclass(frozen=True, slots=True)
class Grouped(HashedOnce):
    input: Secure
    keys: tuple[tuple[Field, Expression], ...]
    calls: tuple[logical.Call, ...]


@dataclass(frozen=True, slots=True)
class Appended(HashedOnce):
    """The rows of all inputs (UNION ALL). values: for every input, the expressions over it that its outputs are.

    keys: sets of outputs, by number, that the client declared unique over all rows.
    """

    inputs: tuple[Secure, ...]
    outputs: tuple[Field, ...]
    values: tuple[tuple[Expression, ...], ...]
    keys: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True, slots=True)
class Limited(HashedOnce):
    """The first `limit` rows (None: all) after `offset` others, in order of `keys` (none: any rows)."""

    input: Secure
    keys: tuple[logical.SortKey, ...]
    limit: int | None
    offset: int


@dataclass(frozen=True, slots=True)
class Computed(HashedOnce):
    """The rows of the input; `outputs` alone are columns, which may be computed from its columns or be these renamed.

    What several read is one Computed below the renaming ones of its readers: equal nodes are one node, which runs once.
    """

    input: Secure
    outputs: tuple[tuple[Field, Expression], ...]


@dataclass(frozen=True, slots=True)
class Cut(HashedOnce):
    """Of the rows that agree in `keys`, at most `most`, whichever."""

    input: Secure
    keys: tuple[Expression, ...]
    most: int


@dataclass(frozen=True, slots=True)
class Noised(HashedOnce):
    """The input's rows, with noise on columns that it has itself."""

    input: Secure
    noises: tuple[logical.Noise, ...]


Secure = Local | Joined | Combined | Filtered | Grouped | Appended | Limited | Computed | Cut | Noised
"""What runs on shares; its leaves are Local."""


@dataclass(frozen=True, slots=True)
class Top:
    """The root: the output expressions, how many of them are columns of the result, the order.

    steps: what the client works out of these outputs, and shows in their place.
    """

    input: Secure
    outputs: tuple[tuple[Field, Expression], ...]
    visible: int
    order: tuple[tuple[int, bool, bool], ...]
    steps: tuple[Step, ...] = ()


def numbers_of(node: Secure) -> frozenset[int]:
    """Numbers of the fields that a node puts out."""
    match node:
        case Local(_, inner):
            return frozenset(f.number for f in logical.fields(inner))
        case Joined(parts):
            return frozenset().union(*(numbers_of(part) for part in parts))
        case Combined("SEMI" | "ANTI" | "MARK", left, _, _, mark):
            return numbers_of(left) | (frozenset() if mark is None else {mark.number})
        case Combined(_, left, right):
            return numbers_of(left) | numbers_of(right)
        case Filtered(input) | Limited(input) | Cut(input):
            return numbers_of(input)
        case Noised(input, noises):
            return numbers_of(input) - {one.input.number for one in noises} | {one.output.number for one in noises}
        case Grouped(_, keys, calls):
            return frozenset(f.number for f, _ in keys) | frozenset(c.output.number for c in calls)
        case Appended(_, outputs):
            return frozenset(f.number for f in outputs)
        case Computed(_, named):
            return frozenset(f.number for f, _ in named)
        case _:
            assert_never(node)


def highest_number(top: Top) -> int:
    """The greatest field number anywhere in the plan."""
    own = [f.number for f, _ in top.outputs] + [f.number for f in _made(top.input)]
    return max(own + [f.number for leaf in leaves_of(top) for n in logical.nodes(leaf.node) for f in logical.fields(n)])


def _made(node: Secure) -> list[Field]:
    """The fields that nodes above the leaves make."""
    match node:
        case Local():
            return []
        case Joined(parts):
            return [field for part in parts for field in _made(part)]
        case Combined(_, left, right, _, mark):
            return [*([] if mark is None else [mark]), *_made(left), *_made(right)]
        case Filtered(input) | Limited(input) | Cut(input):
            return _made(input)
        case Noised(input, noises):
            return [*(one.output for one in noises), *_made(input)]
        case Grouped(input, _, calls):
            return [*(call.output for call in calls), *_made(input)]
        case Appended(inputs, outputs):
            return [*outputs, *(field for part in inputs for field in _made(part))]
        case Computed(input, named):
            return [*(field for field, _ in named), *_made(input)]
        case _:
            assert_never(node)


def appended_of(node: Secure) -> tuple[Appended, ...]:
    """Every Appended, each before those in its inputs."""
    match node:
        case Local():
            return ()
        case Joined(parts):
            return tuple(one for part in parts for one in appended_of(part))
        case Appended(inputs):
            return (node, *(one for part in inputs for one in appended_of(part)))
        case Combined(_, left, right):
            return (*appended_of(left), *appended_of(right))
        case Filtered(input) | Grouped(input) | Limited(input) | Computed(input) | Cut(input) | Noised(input):
            return appended_of(input)
        case _:
            assert_never(node)


def rewritten(node: Secure, change: Callable[[Secure], Secure], done: dict[Secure, Secure] | None = None) -> Secure:
    """Apply `change` to every node, inputs first; once to what is computed for several readers (`done`: what came of it)."""
    done = {} if done is None else done
    match node:
        case Local():
            return change(node)
        case Joined(parts):
            return change(replace(node, parts=tuple(rewritten(part, change, done) for part in parts)))
        case Appended(inputs):
            return change(replace(node, inputs=tuple(rewritten(part, change, done) for part in inputs)))
        case Combined(_, left, right):
            return change(replace(node, left=rewritten(left, change, done), right=rewritten(right, change, done)))
        case Filtered(input) | Grouped(input) | Limited(input) | Cut(input) | Noised(input):
            return change(replace(node, input=rewritten(input, change, done)))
        case Computed(input):
            if node not in done:
                done[node] = change(replace(node, input=rewritten(input, change, done)))
            return done[node]
        case _:
            assert_never(node)


def computed_of(node: Secure) -> tuple[Computed, ...]:
    """Every Computed once, each after those below it."""
    match node:
        case Local():
            return ()
        case Joined(parts) | Appended(parts):
            found = [one for part in parts for one in computed_of(part)]
        case Combined(_, left, right):
            found = [*computed_of(left), *computed_of(right)]
        case Filtered(input) | Grouped(input) | Limited(input) | Cut(input) | Noised(input):
            found = [*computed_of(input)]
        case Computed(input):
            found = [*computed_of(input), node]
        case _:
            assert_never(node)
    return tuple(dict.fromkeys(found))


def leaves_of(top: Top) -> tuple[Local, ...]:
    """The plaintext subtrees, from left to right, each once."""
    return tuple(dict.fromkeys(locals_of(top.input)))


def locals_of(node: Secure) -> list[Local]:
    """The plaintext subtrees below a node, from left to right."""
    match node:
        case Local():
            return [node]
        case Joined(parts):
            return [local for part in parts for local in locals_of(part)]
        case Combined(_, left, right):
            return [*locals_of(left), *locals_of(right)]
        case Appended(inputs):
            return [local for part in inputs for local in locals_of(part)]
        case Filtered(input) | Grouped(input) | Limited(input) | Computed(input) | Cut(input) | Noised(input):
            return locals_of(input)
        case _:
            assert_never(node)
