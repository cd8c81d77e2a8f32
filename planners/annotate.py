"""Types for bound expressions: DuckDB says them all, one DESCRIBE for a whole SELECT; constants are folded by it too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from sdh.errors import QuestionError, TypeMismatch
from sdh.parsers.syntax import Position
from sdh.planners.expressions import (
    COMPARISONS,
    DISTINCTIONS,
    Apply,
    Case,
    Cast,
    Constant,
    Expression,
    Ref,
    children,
    is_constant,
    rebuild,
    walk,
)
from sdh.planners.oracle import Oracle
from sdh.planners.render import expression_sql
from sdh.schema import BIGINT, BOOLEAN, DOUBLE, FLOAT, FLOATING, INTEGER, TIMESTAMP, VARCHAR, Kind, Type, parse_type

_WHOLE = re.compile("[0-9]{1,19}")
_TEXT = re.compile("'((?:[ -&(-~]|'')*)'")
"""Of printable ASCII."""
UNTYPED = Type(Kind.OTHER, text="?")
"""Stands in an expression until `Typer.typed` has asked DuckDB."""


class Typer:
    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def constant(self, sql: str) -> Constant:
        """A literal's value and type. Raises TypeMismatch."""
        return plain(sql) or _constant(self.oracle, sql)

    def type(self, text: str, at: Position) -> Type:
        """The type that a CAST names. Raises TypeMismatch."""
        try:
            return _named_type(self.oracle, text)
        except QuestionError:
            raise TypeMismatch(f"There is no type {text}.", line=at.line, column=at.column) from None

    def typed(self, expressions: Sequence[Expression]) -> list[Expression]:
        """The expressions with every type filled in, comparisons cast to a common type and constants folded.

        Raises TypeMismatch and the oracle's other errors.
        """
        parts = list(dict.fromkeys(node for e in expressions for node in walk(e) if not isinstance(node, (Ref, Constant))))
        if not parts:
            return list(expressions)
        types = self.types([expression_sql(part) for part in parts], parts)
        known: dict[Expression, Type] = dict(zip(parts, types, strict=True))
        return [self._rebuilt(e, known) for e in expressions]

    def types(self, texts: Sequence[str], expressions: Sequence[Expression | None]) -> list[Type]:
        """The types of SQL texts over the columns that the expressions read."""
        read = {node.field.number: node.field for e in expressions if e is not None for node in walk(e) if isinstance(node, Ref)}
        return self.oracle.types(texts, read.values()) if texts else []

    def _rebuilt(self, e: Expression, known: dict[Expression, Type]) -> Expression:
        if isinstance(e, (Ref, Constant)):
            return e
        parts = tuple(self._rebuilt(child, known) for child in children(e))
        match rebuild(e, parts):
            case Apply("AND" | "OR" | "NOT" as function, arguments, _, nullable):
                result: Expression = Apply(function, tuple(condition(a) for a in arguments), known[e], nullable)
            case Apply(function, arguments, _, nullable):
                result = Apply(function, self._comparable(function, arguments), known[e], nullable)
            case Case(branches, default, _):
                result = Case(tuple((condition(when), then) for when, then in branches), default, known[e])
            case Cast(operand, type_, attempt):
                result = operand if operand.type == type_ else Cast(operand, type_, attempt)
            case other:
                result = other
        return self._folded(result)

    def _comparable(self, function: str, arguments: tuple[Expression, ...]) -> tuple[Expression, ...]:
        if function not in COMPARISONS | DISTINCTIONS | {"BETWEEN", "IN"}:
            return arguments
        common = common_type(tuple(a.type for a in arguments if not _is_null(a)))
        return arguments if common is None else tuple(self._cast(a, common) for a in arguments)

    def _cast(self, e: Expression, type_: Type) -> Expression:
        return e if e.type.kind is type_.kind or _is_null(e) else self._folded(Cast(e, type_))

    def _folded(self, e: Expression) -> Expression:
        if isinstance(e, (Ref, Constant)) or not is_constant(e) or e.type.kind is Kind.OTHER:
            return e
        try:
            return Constant(e.type, _constant(self.oracle, expression_sql(e)).value, expression_sql(e))
        except QuestionError:
            if isinstance(e, Cast):
                raise
            return e  # 1 // 0 may stand behind a CASE that never reaches it


def condition(e: Expression) -> Expression:
    """What stands as a condition as a BOOLEAN: a number is TRUE where it is not 0."""
    if e.type.kind is Kind.BOOLEAN or _is_null(e):
        return e
    if e.type.is_exact:
        return Apply("<>", (e, Constant(INTEGER, 0, "0")), BOOLEAN, e.nullable)
    return Cast(e, BOOLEAN)


def common_type(types: tuple[Type, ...]) -> Type | None:
    """The type that a comparison casts its sides to where they are of different families; None where none is needed."""
    kinds = {t.kind for t in types}
    others = [t for t in types if t.kind is not Kind.VARCHAR]
    if Kind.VARCHAR in kinds and others:
        return common_type(tuple(others)) or others[0]
    if kinds & FLOATING and len(kinds) > 1:
        return DOUBLE if Kind.DOUBLE in kinds else FLOAT
    if kinds == {Kind.DATE, Kind.TIMESTAMP}:
        return TIMESTAMP
    if Kind.BOOLEAN in kinds and len(kinds) > 1:
        return next(t for t in types if t.kind is not Kind.BOOLEAN)
    return None


def _is_null(e: Expression) -> bool:
    return isinstance(e, Constant) and e.value is None


def plain(sql: str) -> Constant | None:
    """A whole number or plain text: DuckDB need not be asked 10,000 times for a list of them. None: it must be."""
    if text := _TEXT.fullmatch(sql):
        return Constant(VARCHAR, text[1].replace("''", "'"), sql)
    value = int(sql) if _WHOLE.fullmatch(sql) else 1 << 63
    if value >= 1 << 63:
        return None
    return Constant(INTEGER if value < 1 << 31 else BIGINT, value, sql)


@lru_cache(maxsize=4096)
def _constant(oracle: Oracle, sql: str) -> Constant:
    type_, value = oracle.value(sql)
    return Constant(type_, value, sql)


@lru_cache(maxsize=1024)
def _named_type(oracle: Oracle, text: str) -> Type:
    type_, _ = oracle.value(f"CAST(NULL AS {parse_type(text)})")
    return type_
