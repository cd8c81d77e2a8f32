"""A placed plan: what runs in the clear at whom (Local), and what runs on shares above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from sdh.planners import logical
from sdh.planners.expressions import Expression, Field

PUBLIC = ""
"""The owner of public tables: any party."""


@dataclass(frozen=True, slots=True)
class Local:
    """A plaintext subtree and its owner (PUBLIC: any)."""

    party: str
    node: logical.Node


@dataclass(frozen=True, slots=True)
class Joined:
    """Relations on shares that inner joins bring together, with all conjuncts; the order is not chosen yet."""

    parts: tuple[Secure, ...]
    conjuncts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Filtered:
    input: Secure
    predicate: Expression


@dataclass(frozen=True, slots=True)
class Grouped:
    input: Secure
    keys: tuple[tuple[Field, Expression], ...]
    calls: tuple[logical.Call, ...]


Secure = Local | Joined | Filtered | Grouped
"""What runs on shares; its leaves are Local."""


@dataclass(frozen=True, slots=True)
class Top:
    """The root: the output expressions, how many of them are columns of the result, the order."""

    input: Secure
    outputs: tuple[tuple[Field, Expression], ...]
    visible: int
    order: tuple[tuple[int, bool, bool], ...]


def numbers_of(node: Secure) -> frozenset[int]:
    """Numbers of the fields that a node puts out."""
    match node:
        case Local(_, inner):
            return frozenset(f.number for f in logical.fields(inner))
        case Joined(parts):
            return frozenset().union(*(numbers_of(part) for part in parts))
        case Filtered(input):
            return numbers_of(input)
        case Grouped(_, keys, calls):
            return frozenset(f.number for f, _ in keys) | frozenset(c.output.number for c in calls)
        case _:
            assert_never(node)


def highest_number(top: Top) -> int:
    """The greatest field number anywhere in the plan."""
    own = [f.number for f, _ in top.outputs] + [call.output.number for call in _calls(top.input)]
    return max(own + [f.number for leaf in leaves_of(top) for n in logical.nodes(leaf.node) for f in logical.fields(n)])


def _calls(node: Secure) -> list[logical.Call]:
    match node:
        case Local():
            return []
        case Joined(parts):
            return [call for part in parts for call in _calls(part)]
        case Filtered(input):
            return _calls(input)
        case Grouped(input, _, calls):
            return [*calls, *_calls(input)]
        case _:
            assert_never(node)


def leaves_of(top: Top) -> tuple[Local, ...]:
    """The plaintext subtrees, from left to right, each once."""
    return tuple(dict.fromkeys(_locals(top.input)))


def _locals(node: Secure) -> list[Local]:
    match node:
        case Local():
            return [node]
        case Joined(parts):
            return [local for part in parts for local in _locals(part)]
        case Filtered(input) | Grouped(input):
            return _locals(input)
        case _:
            assert_never(node)
