"""Refusals: the SQL name of what is refused, and its place in the text."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from sdh.errors import ParseError, Unsupported
from sdh.parsers.accepted import ADVICE, NODE_NAMES
from sdh.parsers.syntax import NOWHERE, Position

REWRITE = "Rewrite the query without it."
FIXED = "The answer would not be a function of the data: pass the value as a $parameter."


def place(node: object) -> Position:
    """Where a node stands: its own token, else its first descendant's, else its last token, else its ancestors'."""
    if not isinstance(node, exp.Expr):
        return NOWHERE
    for found in node.walk(bfs=False):
        if "line" in found.meta:
            return Position(found.meta["line"], found.meta["col"])
    if "near" in node.meta:
        return Position(*node.meta["near"])
    return place(node.parent)


def shown(text: str) -> str:
    """Text of the user's for a message, cut where it is long."""
    return text if len(text) <= 60 else f"{text[:60]}..."


def refuse(name: str, at: Position, advice: str = REWRITE) -> Unsupported:
    advice = ADVICE.get(name, advice) if advice == REWRITE else advice
    return Unsupported(f"{name} is not supported.", advice=advice, line=at.line, column=at.column)


def malformed(message: str, at: Position, advice: str) -> ParseError:
    return ParseError(message, advice=advice, line=at.line, column=at.column)


def place_of(token: Token) -> Position:
    return Position(token.line, token.col)


def node_name(node: exp.Expr) -> str:
    if isinstance(node, exp.Func) and type(node) not in NODE_NAMES:
        return f"{node.sql_name()}()"
    return NODE_NAMES.get(type(node), f"{node.key.upper()}")
