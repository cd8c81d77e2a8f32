"""The door of this stage: text to a statement."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from difflib import get_close_matches
from typing import TypeVar

from sqlglot import exp
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from sdh.errors import ParseError, QuestionError, TooLarge
from sdh.parsers.accepted import AGGREGATES, STATEMENTS, SYMBOLS
from sdh.parsers.check import check_brackets, check_leftovers, check_names, check_tokens, check_tree
from sdh.parsers.convert import query
from sdh.parsers.grammar import StepsSpent, SyntaxFault, parse_tokens, tokenize
from sdh.parsers.privacy_clause import Taken, blanked, taken
from sdh.parsers.refuse import malformed, place_of, refuse, shown
from sdh.parsers.syntax import Describe, Explain, Position, Query, ShowTables, Statement, Table

MAXIMUM_BYTES = 1_000_000
MAXIMUM_TOKENS = 100_000
STACK_BYTES = 256 * 1024 * 1024
RECURSION_LIMIT = 20_000  # sqlglot needs about 25 frames for a level of nesting

QUERY_STARTS = frozenset({"SELECT", "WITH", "("})
T = TypeVar("T")
_one_at_a_time = threading.Lock()  # the stack size and the recursion limit belong to the whole process


def parse(text: str) -> Statement:
    """The statement that `text` says, every part of it understood.

    Raises ParseError (not SQL), TooLarge, Unsupported and UnknownFunction, with the place in the text.
    """
    try:
        _check_size(text)
        return _with_deep_stack(lambda: _statement(text))
    except QuestionError as error:
        error.sql = text
        raise


def _check_size(text: str) -> None:
    if len(text) > MAXIMUM_BYTES or len(text.encode(errors="replace")) > MAXIMUM_BYTES:
        raise TooLarge(f"The text is longer than {MAXIMUM_BYTES:,} bytes.", advice="Load long lists as a table.")


def _with_deep_stack(task: Callable[[], T]) -> T:
    """Run `task` in a thread whose stack is deep enough for sqlglot's recursion."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(task())
        except BaseException as error:
            result.set_exception(error)

    with _one_at_a_time:
        stack, recursion = threading.stack_size(STACK_BYTES), sys.getrecursionlimit()
        try:
            thread = threading.Thread(target=run, name="sdh-parse", daemon=True)
            sys.setrecursionlimit(max(recursion, RECURSION_LIMIT))
            thread.start()
            threading.stack_size(stack)
            thread.join()
        finally:
            sys.setrecursionlimit(recursion)
            threading.stack_size(stack)
    return result.result()


# --- tokens --------------------------------------------------------------------------------------


def _statement(text: str) -> Statement:
    tokens = _tokens(text)
    words = [token.text.upper() for token in tokens[:2]] + ["", ""]
    match words[0], words[1]:
        case "EXPLAIN", "ANALYZE":
            return Explain(_query(tokens[2:], text), analyze=True)
        case "EXPLAIN", _:
            return Explain(_query(tokens[1:], text))
        case ("DESCRIBE" | "DESC"), _:
            return Describe(_described(tokens[1:], text))
        case "SHOW", "TABLES" if len(tokens) == 2:
            return ShowTables()
        case "SHOW", _:
            raise refuse("SHOW of anything but TABLES", place_of(tokens[0]), "Write SHOW TABLES or DESCRIBE table.")
        case _:
            return _query(tokens, text)


def _tokens(text: str) -> list[Token]:
    try:
        tokens = tokenize(text)
    except TokenError:
        raise malformed("The text ends inside a string or a quoted name.", _end(text), "Close the quote.") from None
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    if len(tokens) > MAXIMUM_TOKENS:
        raise TooLarge(f"The text has more than {MAXIMUM_TOKENS:,} words and signs.",
                       advice="Load long lists as a table.")
    if not tokens:
        raise ParseError("The text holds no statement.", advice="Write SELECT ... FROM party.table.")
    return tokens




# --- statements ----------------------------------------------------------------------------------


def _query(tokens: Sequence[Token], text: str) -> Query:
    _check_start(tokens, text)
    tokens, private = taken(tokens)
    check_brackets(tokens)
    check_tokens(tokens)
    try:
        tree = parse_tokens(tokens, text)
        check_tree(tree)
        check_leftovers(tokens, tree)
        check_names(tokens, tree)
        _attach(private, tree)
        return query(tree)
    except SyntaxFault as fault:
        raise _syntax_error(fault, text) from None
    except (StepsSpent, RecursionError):
        raise TooLarge("The query is nested too deep to be read.", advice="Move inner parts into WITH queries.",
                       line=tokens[0].line, column=tokens[0].col) from None


def _attach(private: Taken, tree: exp.Expr) -> None:
    """The clauses and bounds of differential privacy to the nodes that they stand in. Raises ParseError."""
    clauses, bounds = dict(private.privacy), dict(private.bounds)
    for node in tree.find_all(exp.Select):
        node.meta["privacy"] = clauses.pop(_start(node), None)
    for call in tree.find_all(exp.Anonymous):
        if call.name.lower() in AGGREGATES:
            call.meta["bounds"] = bounds.pop(call.meta.get("start", -1), None)
    for stray in bounds.values():
        raise malformed("Bounds of contributions stand in an aggregate.", stray.at, "Write SUM(x, name => (low, high)).")
    assert not clauses, "each stands after a SELECT"


def _start(select: exp.Select) -> int:
    """Its first character: the set operation that it begins has it, if it begins one."""
    node: exp.Expr = select
    while "start" not in node.meta and isinstance(node.parent, exp.SetOperation) and node.parent.this is node:
        node = node.parent
    return int(node.meta.get("start", -1))


def without_privacy(text: str) -> str:
    """The text that DuckDB understands: clauses and bounds of differential privacy blanked. Raises ParseError."""
    return blanked(text, taken(_tokens(text))[1])


def _check_start(tokens: Sequence[Token], text: str) -> None:
    if not tokens:
        raise malformed("The text ends before the query.", _end(text), "Write SELECT ... FROM party.table.")
    word, at = tokens[0].text.upper(), place_of(tokens[0])
    if word in QUERY_STARTS:
        return
    if word == "FROM":
        raise refuse("FROM before SELECT", at, "Write SELECT * FROM party.table.")
    if word in STATEMENTS:
        raise refuse(word, at, "SDH only reads: SELECT, WITH, EXPLAIN, DESCRIBE and SHOW TABLES.")
    nearest = get_close_matches(word[:60], [*QUERY_STARTS, "EXPLAIN", "DESCRIBE", "SHOW"], n=1)
    raise malformed(f"A statement cannot start with {shown(tokens[0].text)!r}.", at,
                    f"Did you mean {nearest[0]}?" if nearest else "Write SELECT ... FROM party.table.")


def _end(text: str) -> Position:
    lines = text.splitlines() or [""]
    return Position(len(lines), len(lines[-1]) + 1)


def _syntax_error(fault: SyntaxFault, text: str) -> ParseError:
    token = fault.token
    if not token:
        return malformed("Syntax error at the end of the text.", _end(text), "Something is missing there.")
    expected = fault.description.removeprefix("Expecting ").removeprefix("Expected ")
    advice = f"Expected {expected}." if expected != fault.description else "Look at what stands before it."
    return malformed(f"Syntax error at {shown(token.text)!r}.", place_of(token), advice)


def _described(tokens: Sequence[Token], text: str) -> Table | Query:
    if not tokens or tokens[0].text.upper() in QUERY_STARTS:
        return _query(tokens, text)
    check_tokens(tokens)
    names, dots = tokens[::2], tokens[1::2]
    if any(dot.token_type != TokenType.DOT for dot in dots) or len(names) == len(dots) or not all(map(_is_name, names)):
        raise malformed("DESCRIBE takes a table or a query.", place_of(tokens[0]), "Write DESCRIBE party.table.")
    if len(names) > 2:
        raise refuse("A table name of three parts", place_of(names[2]), "Write party.table.")
    return Table(tuple(name.text for name in names), at=place_of(tokens[0]))


def _is_name(token: Token) -> bool:
    return token.token_type == TokenType.IDENTIFIER or token.token_type not in SYMBOLS
