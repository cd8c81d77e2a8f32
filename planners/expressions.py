"""Bound expressions: every name is a field, every node has its SQL type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import assert_never

from sdh.planners.hashing import HashedOnce
from sdh.schema import BOOLEAN, Type


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a relation. `number` is unique in a plan; `name` is for people."""

    number: int
    name: str
    type: Type
    nullable: bool = True

    @property
    def sql(self) -> str:
        return f"c{self.number}"


@dataclass(frozen=True, slots=True)
class Ref(HashedOnce):
    field: Field

    @property
    def type(self) -> Type:
        return self.field.type

    @property
    def nullable(self) -> bool:
        return self.field.nullable


@dataclass(frozen=True, slots=True)
class Constant(HashedOnce):
    """`sql` is the literal's text. value: None (NULL), bool, str, int (times 10^scale; days; microseconds), or
    float for DOUBLE; an OTHER type has its text alone."""

    type: Type
    value: None | bool | int | float | str
    sql: str

    @property
    def nullable(self) -> bool:
        return self.value is None


@dataclass(frozen=True, slots=True)
class Apply(HashedOnce):
    """An operator (`+`, `AND`, `IS NULL`, `BETWEEN`, `IN`, ...) or function by its DuckDB name, lower case."""

    function: str
    arguments: tuple[Expression, ...]
    type: Type
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Case(HashedOnce):
    branches: tuple[tuple[Expression, Expression], ...]
    default: Expression | None
    type: Type

    @property
    def nullable(self) -> bool:
        return self.default is None or self.default.nullable or any(value.nullable for _, value in self.branches)


@dataclass(frozen=True, slots=True)
class Cast(HashedOnce):
    operand: Expression
    type: Type
    attempt: bool = False

    @property
    def nullable(self) -> bool:
        return self.operand.nullable or self.attempt


Expression = Ref | Constant | Apply | Case | Cast

COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})
DISTINCTIONS = frozenset({"IS DISTINCT FROM", "IS NOT DISTINCT FROM"})
CONNECTIVES = frozenset({"AND", "OR", "NOT"})
MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
STRICT = (
    COMPARISONS
    | CONNECTIVES
    | {
        "+",
        "-",
        "*",
        "//",
        "divide",
        "%",
        "mod",
        "negate",
        "BETWEEN",
        "IN",
        "LIKE",
        "ILIKE",
        "||",
        "abs",
        "lower",
        "upper",
        "length",
        "round",
        "floor",
        "ceil",
    }
)
"""Functions that are NULL only where an argument is."""
NULL_OF_NULLS = (STRICT - CONNECTIVES - {"IN", "BETWEEN"}) | {
    "/", "average", "substring", "substr", "left", "right", "trim", "ltrim", "rtrim", "year", "month", "day", "starts_with",
    "prefix", "ends_with", "suffix", "contains", "strpos", "instr", "lcase", "ucase", "len", "strlen", "replace", "reverse",
}  # fmt: skip
"""Functions that are NULL wherever an argument is."""


def null_of_nulls(expression: Expression) -> bool:
    """Whether an expression is surely NULL where all columns that it reads are."""
    match expression:
        case Ref():
            return True
        case Apply(function, arguments) if function in NULL_OF_NULLS:
            return any(null_of_nulls(argument) for argument in arguments)
        case Apply("IN" | "BETWEEN", arguments):
            return null_of_nulls(arguments[0])
        case Cast(operand):
            return null_of_nulls(operand)
        case _:
            return False


def children(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Ref() | Constant():
            return ()
        case Apply(_, arguments):
            return arguments
        case Case(branches, default):
            pairs = tuple(part for branch in branches for part in branch)
            return pairs if default is None else (*pairs, default)
        case Cast(operand):
            return (operand,)
        case _:
            assert_never(expression)


def rebuild(expression: Expression, parts: tuple[Expression, ...]) -> Expression:
    """The same node over other children, given in the order of `children`."""
    match expression:
        case Ref() | Constant():
            return expression
        case Apply(function):
            nullable = any(part.nullable for part in parts) if function in STRICT else expression.nullable
            return replace(expression, arguments=parts, nullable=nullable)
        case Case(branches, default):
            count = len(branches)
            pairs = tuple((parts[2 * i], parts[2 * i + 1]) for i in range(count))
            return replace(expression, branches=pairs, default=None if default is None else parts[-1])
        case Cast():
            return replace(expression, operand=parts[0])
        case _:
            assert_never(expression)


def walk(expression: Expression) -> Iterator[Expression]:
    """All nodes, children first, from left to right."""
    found, left = list[Expression](), [expression]
    while left:
        one = left.pop()
        found.append(one)
        left += children(one)
    return reversed(found)


def transform(expression: Expression, change: Callable[[Expression], Expression | None]) -> Expression:
    """From the top: where `change` gives an expression it stands; elsewhere the children are transformed."""
    changed = change(expression)
    if changed is not None:
        return changed
    parts = tuple(transform(child, change) for child in children(expression))
    return expression if parts == children(expression) else rebuild(expression, parts)


def substitute(expression: Expression, values: dict[int, Expression]) -> Expression:
    """References to fields whose number is in `values` replaced."""
    return transform(expression, lambda e: values.get(e.field.number) if isinstance(e, Ref) else None)


def references(*expressions: Expression | None) -> frozenset[int]:
    """Numbers of the fields that are referred to."""
    return frozenset(node.field.number for e in expressions if e is not None for node in walk(e) if isinstance(node, Ref))


def conjuncts(predicate: Expression | None) -> tuple[Expression, ...]:
    """The parts of nested ANDs, from left to right."""
    match predicate:
        case None:
            return ()
        case Apply("AND", arguments):
            return tuple(part for argument in arguments for part in conjuncts(argument))
        case _:
            return (predicate,)


def conjunction(parts: tuple[Expression, ...] | list[Expression]) -> Expression | None:
    """The AND of all parts; None for none."""
    return _connected("AND", parts)


def disjunction(parts: tuple[Expression, ...] | list[Expression]) -> Expression | None:
    """The OR of all parts; None for none."""
    return _connected("OR", parts)


def _connected(function: str, parts: tuple[Expression, ...] | list[Expression]) -> Expression | None:
    whole: Expression | None = None
    for part in parts:
        whole = part if whole is None else Apply(function, (whole, part), BOOLEAN, whole.nullable or part.nullable)
    return whole


def is_constant(expression: Expression) -> bool:
    return not references(expression)


TRUE = Constant(BOOLEAN, True, "TRUE")
FALSE = Constant(BOOLEAN, False, "FALSE")
