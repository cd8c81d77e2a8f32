"""sqlglot's DuckDB parser, kept from rewriting what it reads.

Out of the box it renames functions, reorders their arguments and rewrites intervals, as a transpiler must. Here every
function stays as written (`exp.Anonymous`), every node that starts with a token of its own has that token's position,
and the work is bounded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from itertools import accumulate, takewhile
from typing import Any, ClassVar, TypeVar

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError as SqlglotError
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.tokenizer_core import Token, TokenType

from sdh.parsers.accepted import UNIT_PLURALS, UNITS

ADVANCES_PER_TOKEN = 100  # ordinary SQL needs under 10; backtracking without end needs them all

BEFORE_LITERAL = frozenset({TokenType.L_PAREN, TokenType.NUMBER, TokenType.COMMA, TokenType.R_PAREN})

E = TypeVar("E", bound=exp.Expr)
N = TypeVar("N", bound=exp.Expr | None)
T = TypeVar("T")


class StepsSpent(Exception):
    """The parser went back and forth too often: the text is nested in a way that costs exponential time."""


class SyntaxFault(SqlglotError):
    """sqlglot's complaint, without its rendering of the text."""

    def __init__(self, description: str, token: Token) -> None:
        super().__init__(description)
        self.description, self.token = description, token


class Tokenizer(DuckDB.Tokenizer):
    COMMANDS: ClassVar[set[TokenType]] = set()  # or the text after EXPLAIN would be one string


Tokenizer._COMMENTS = {start: end for start, end in Tokenizer._COMMENTS.items() if start in ("--", "/*")}


def tokenize(text: str) -> list[Token]:
    """The tokens of `text`, with line and column of their first characters, without comments.

    Raises sqlglot's TokenError.
    """
    starts = list(accumulate((len(line) for line in text.splitlines(keepends=True)), initial=0))
    return [_located(token, starts) for token in Tokenizer(dialect="duckdb").tokenize(text)]


def _located(token: Token, starts: list[int]) -> Token:
    line = bisect_right(starts, token.start)
    return Token(token.token_type, token.text, line, token.start - starts[line - 1] + 1, token.start, token.end)


def placed(node: N, token: Token) -> N:
    """The node with the position of `token`, unless it has one. Strings and lists pass."""
    if isinstance(node, exp.Expr) and token and "start" not in node.meta:
        node.update_positions(token)
    return node


class Parser(DuckDBParser):
    FUNCTIONS: ClassVar[dict[str, Callable[..., Any]]] = {}
    FUNCTION_PARSERS: ClassVar[dict[str, Callable[..., Any]]] = {
        "CAST": lambda self: self._parse_cast(True),
        "TRY_CAST": lambda self: self._parse_cast(False, safe=True),
        "EXTRACT": lambda self: self._parse_extract_from(),
        "POSITION": lambda self: self._parse_position_in(),
        "SUBSTRING": lambda self: self._parse_substring(),
        "TRIM": lambda self: self._parse_trim(),
    }
    TYPE_CONVERTERS: ClassVar[dict[exp.DType, Callable[..., Any]]] = {}
    NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Callable[..., Any]]] = {
        "ANY": lambda self: self.expression(exp.Any(this=self._parse_bitwise())),
        "CASE": lambda self: self._parse_case(),
    }

    UNARY_PARSERS: ClassVar[dict[TokenType, Callable[..., Any]]] = {
        **DuckDBParser.UNARY_PARSERS,
        TokenType.PLUS: lambda self: self._parse_plus(),
    }

    def __init__(self, steps: int) -> None:
        super().__init__(dialect="duckdb")
        self.steps = steps

    def _advance(self, times: int = 1) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise StepsSpent
        super()._advance(times)

    def raise_error(self, message: str, token: Token | None = None) -> None:
        raise SyntaxFault(message, token or self._curr or Token(TokenType.SENTINEL, ""))

    def expression(self, instance: E, token: Token | None = None, comments: list[str] | None = None) -> E:
        """A new node. Where nothing better is known, its last token tells roughly where it stands."""
        node = super().expression(instance, token)
        node.meta.setdefault("near", (self._prev.line, self._prev.col))
        return node

    def _parse_unary(self) -> exp.Expr | None:
        token = self._curr
        return placed(super()._parse_unary(), token)

    def _parse_primary(self) -> exp.Expr | None:
        token = self._curr
        return placed(super()._parse_primary(), token)

    def _parse_placeholder(self) -> exp.Expr | None:
        token = self._curr
        return placed(super()._parse_placeholder(), token)

    def _parse_function_call(self, functions: dict[str, Callable[..., Any]] | None = None, anonymous: bool = False,
                             optional_parens: bool = True, any_token: bool = False) -> exp.Expr | None:
        token = self._curr
        return placed(super()._parse_function_call(functions, anonymous, optional_parens, any_token), token)

    def _parse_select_query(self, nested: bool = False, table: bool = False, parse_subquery_alias: bool = True,
                            parse_set_operation: bool = True) -> exp.Expr | None:
        token = self._curr
        return placed(super()._parse_select_query(nested, table, parse_subquery_alias, parse_set_operation), token)

    def _parse_join(self, skip_join_token: bool = False, parse_bracket: bool = False,
                    alias_tokens: Collection[TokenType] | None = None) -> exp.Join | None:
        token = self._curr
        join = super()._parse_join(skip_join_token, parse_bracket, alias_tokens)
        if join is not None:
            placed(join, token).meta["comma"] = token.token_type == TokenType.COMMA
        return join

    def _parse_csv(self, parse_method: Callable[[], T | None], sep: TokenType = TokenType.COMMA) -> list[T]:
        """Items between commas; sqlglot drops an empty one."""
        item = parse_method()
        items = [] if item is None else [item]
        while self._match(sep):
            following = parse_method() if item is not None else None
            if following is None:
                self.raise_error("Expecting something between the commas")
                break
            items.append(following)
        return items

    def _parse_plus(self) -> exp.Expr | None:
        """sqlglot drops a plus sign in front. That is right for a number only: +'x' is an error in DuckDB."""
        operand = self._parse_unary()
        if operand is not None and not operand.is_number:
            operand.meta["plus"] = True
        return operand

    def _parse_between(self, this: exp.Expr | None) -> exp.Between:
        low = self._parse_bitwise()
        if not self._match(TokenType.AND):
            self.raise_error("Expecting AND")
        return self.expression(exp.Between(this=this, low=low, high=self._parse_bitwise()))

    def _parse_string_as_identifier(self) -> exp.Identifier | None:
        """A string in place of a name: an alias may be one, a table may not."""
        name = super()._parse_string_as_identifier()
        if name is not None:
            name.meta["string"] = True
        return name

    def _parse_ordered(self, parse_method: Callable[[], exp.Expr | None] | None = None) -> exp.Ordered | None:
        """sqlglot fills NULLS LAST in where the text does not say."""
        ordered = super()._parse_ordered(parse_method)
        if ordered and self._tokens[self._index - 2].text.upper() != "NULLS":
            ordered.set("nulls_first", None)
        return ordered

    def _parse_type(self, parse_interval: bool = True, fallback_to_identifier: bool = False) -> exp.Expr | None:
        """DATE '...'::VARCHAR is (DATE '...')::VARCHAR; sqlglot reads DATE ('...'::VARCHAR).

        And date(date(...)) it tries as a type first, at every level: that costs exponential time.
        """
        token = self._curr
        if token.token_type not in self.TYPE_TOKENS or token.token_type == TokenType.INTERVAL:
            return placed(super()._parse_type(parse_interval, fallback_to_identifier), token)
        if self._literal_follows():
            kind = self._parse_types(check_func=True, allow_identifiers=False)
            if kind is not None and self._match(TokenType.STRING):
                literal = placed(exp.Literal.string(self._prev.text), self._prev)
                return self._parse_column_ops(placed(self.expression(exp.Cast(this=literal, to=kind)), token))
            self.raise_error("Expecting a string after the type")
        if self._next.token_type == TokenType.L_PAREN:
            return placed(self._parse_column(), token)
        return placed(super()._parse_type(parse_interval, fallback_to_identifier), token)

    def _literal_follows(self) -> bool:
        """A type and a string, perhaps with DECIMAL's numbers between: DATE '...', DECIMAL(10, 2) '...'."""
        following = iter(self._tokens[self._index + 1:self._index + 8])
        kinds = [token.token_type for token in takewhile(lambda token: token.token_type in BEFORE_LITERAL, following)]
        closed = not kinds or kinds[0] == TokenType.L_PAREN and kinds[-1] == TokenType.R_PAREN
        end = self._index + 1 + len(kinds)
        return closed and end < self._tokens_size and self._tokens[end].token_type == TokenType.STRING

    def _parse_interval(self, require_interval: bool = True, parse_function_unit: bool = True) -> exp.Interval | None:
        """INTERVAL then 'text', a number or (expression), then a unit; or INTERVAL '3 days'."""
        index, token = self._index, self._curr
        if not self._match(TokenType.INTERVAL):
            return None
        amount = self._interval_amount()
        unit, last = _unit(self._curr.text) if amount else "", self._prev
        if unit:
            last = self._curr
            self._advance()
        elif isinstance(amount, exp.Literal) and amount.is_string:
            number, _, word = amount.name.strip().partition(" ")
            unit = _unit(word.strip())
            amount = placed(exp.Literal.string(number), last)
        if not amount:
            self._retreat(index)
            return None
        interval = self.expression(exp.Interval(this=amount, unit=exp.var(unit or "?")))
        placed(interval.args["unit"], last)  # the constructor makes a unit of its own
        return placed(interval, token)

    def _parse_position_in(self) -> exp.StrPosition:
        needle = self._parse_bitwise()
        if not self._match(TokenType.IN):
            self.raise_error("Expecting IN")
        return self.expression(exp.StrPosition(this=self._parse_bitwise(), substr=needle))

    def _parse_extract_from(self) -> exp.Extract:
        part = self._curr
        if part.token_type in (TokenType.NUMBER, TokenType.L_PAREN):
            self.raise_error("Expecting a part of a date")
        self._advance()
        if not self._match(TokenType.FROM):
            self.raise_error("Expecting FROM")
        value = self._parse_disjunction()
        return self.expression(exp.Extract(this=placed(exp.var(part.text), part), expression=value))

    def _interval_amount(self) -> exp.Expr | None:
        if self._match(TokenType.STRING):
            return placed(exp.Literal.string(self._prev.text), self._prev)
        if self._match(TokenType.NUMBER):
            return placed(exp.Literal.number(self._prev.text), self._prev)
        return self._parse_paren() if self._curr.token_type == TokenType.L_PAREN else None


def _unit(word: str) -> str:
    upper = word.upper()
    return upper if upper in UNITS else UNIT_PLURALS.get(upper, "")


def parse_tokens(tokens: Iterable[Token], text: str) -> exp.Expr:
    """One statement's tree.

    Raises SyntaxFault, StepsSpent, and RecursionError where the stack ends.
    """
    listed = list(tokens)
    tree, = Parser(ADVANCES_PER_TOKEN * len(listed) + 1000).parse(listed, text)
    assert tree is not None
    return tree
