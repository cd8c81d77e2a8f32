"""SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS (...) and contribution_bounds_per_group => (low, high), as GoogleSQL has them.

sqlglot and DuckDB know neither, so both are taken out of the tokens before the parser, and out of the text, by spaces,
before the type oracle: what is left is ordinary SQL at the same places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlglot.tokenizer_core import Token, TokenType

from sdh.errors import ParseError
from sdh.parsers.refuse import malformed, place_of, shown
from sdh.parsers.syntax import Bounds, Name, Privacy
from sdh.privacy import LEAST_EPSILON, MOST_CONTRIBUTIONS, MOST_EPSILON, STRATEGIES, WAYS

CLAUSE = "DIFFERENTIAL_PRIVACY"
BOUNDS = {"contribution_bounds_per_group": "group", "contribution_bounds_per_row": "row"}
NUMBER = re.compile(r"(\d{1,40}\.?\d{0,40}|\.\d{1,40})([eE][+-]?\d{1,2})?")


@dataclass(slots=True)
class Taken:
    """privacy: by the first character of its SELECT. bounds: by that of their aggregate's name. spans: what was taken out."""

    privacy: dict[int, Privacy] = field(default_factory=dict)
    bounds: dict[int, Bounds] = field(default_factory=dict)
    spans: list[tuple[int, int]] = field(default_factory=list)


def taken(tokens: Sequence[Token]) -> tuple[list[Token], Taken]:
    """The other tokens, and what was taken out of them. Raises ParseError."""
    found, rest, place = Taken(), list[Token](), 0
    while place < len(tokens):
        end = _clause(tokens, place, found) or _bounds(tokens, place, found)
        if end:
            found.spans.append((tokens[place].start, tokens[end - 1].end))
        else:
            rest.append(tokens[place])
        place = end or place + 1
    return rest, found


def blanked(text: str, found: Taken) -> str:
    """The text with spaces where something was taken out of it, so that positions stay right."""
    for start, end in found.spans:
        text = text[:start] + re.sub(r"\S", " ", text[start:end + 1]) + text[end + 1:]
    return text


# --- the clause ----------------------------------------------------------------------------------


def _clause(tokens: Sequence[Token], place: int, found: Taken) -> int:
    """The end of a clause that starts here; 0 where none does."""
    if not (_is(tokens, place, "WITH") and _is(tokens, place + 1, CLAUSE) and place and _is(tokens, place - 1, "SELECT")):
        return 0
    at, end = place_of(tokens[place + 1]), place + 2
    values: dict[str, Any] = {}
    if _is(tokens, end, "OPTIONS"):
        end += 1
        for start, stop in _items(tokens, end):
            name, value = _option(tokens[start:stop])
            if name in values:
                raise malformed(f"The option {name} is given twice.", place_of(tokens[start]), "Give it once.")
            values[name] = value
        end = _closing(tokens, end) + 1
    found.privacy[tokens[place - 1].start] = Privacy(**{KEYS[name]: value for name, value in values.items()}, at=at)
    return end


def _option(tokens: Sequence[Token]) -> tuple[str, Any]:
    """name = literal."""
    name = tokens[0].text.lower()
    if name not in READERS:
        raise malformed(f"There is no option {shown(tokens[0].text)!r}.", place_of(tokens[0]),
                        f"There are {', '.join(READERS)}.")
    if len(tokens) < 3 or tokens[1].token_type != TokenType.EQ:
        raise malformed(f"The option {name} has no value.", place_of(tokens[0]), f"Write {name} = value.")
    return name, READERS[name](name, tokens[2:])


def _fraction(least: Fraction, most: Fraction) -> Callable[[str, Sequence[Token]], Fraction]:
    def read(name: str, tokens: Sequence[Token]) -> Fraction:
        value = number(tokens)
        if not least <= value <= most:
            raise _out_of_range(name, tokens, f"It is at least {float(least):g} and at most {float(most):g}.")
        return value

    return read


def _whole(name: str, tokens: Sequence[Token]) -> int:
    value = number(tokens)
    if value.denominator != 1 or not 1 <= value <= MOST_CONTRIBUTIONS:
        raise _out_of_range(name, tokens, f"It is a whole number from 1 to {MOST_CONTRIBUTIONS:,}.")
    return int(value)


def _out_of_range(name: str, tokens: Sequence[Token], advice: str) -> ParseError:
    value = shown("".join(token.text for token in tokens))
    return malformed(f"The option {name} cannot be {value}.", place_of(tokens[0]), advice)


def _word(words: tuple[str, ...]) -> Callable[[str, Sequence[Token]], str]:
    def read(name: str, tokens: Sequence[Token]) -> str:
        word = tokens[0].text.upper()
        if len(tokens) != 1 or word not in words:
            raise _out_of_range(name, tokens, f"It is {' or '.join(words)}.")
        return word

    return read


def _column(name: str, tokens: Sequence[Token]) -> Name:
    parts, dots = tokens[::2], tokens[1::2]
    plain = all(part.token_type in (TokenType.IDENTIFIER, TokenType.VAR) or part.text.isidentifier() for part in parts)
    if any(dot.token_type != TokenType.DOT for dot in dots) or len(parts) != len(dots) + 1 or len(parts) > 3 or not plain:
        raise _out_of_range(name, tokens, "It is a column of FROM: table.column.")
    return Name(tuple(part.text for part in parts), place_of(tokens[0]))


READERS: dict[str, Callable[[str, Sequence[Token]], Any]] = {
    "epsilon": _fraction(LEAST_EPSILON, MOST_EPSILON),
    "delta": _fraction(Fraction(0), Fraction(1, 2)),
    "max_groups_contributed": _whole,
    "max_rows_contributed": _whole,
    "privacy_unit_column": _column,
    "group_selection_strategy": _word(STRATEGIES),
    "noise": _word(WAYS),
}
KEYS = {"epsilon": "epsilon", "delta": "delta", "max_groups_contributed": "groups", "max_rows_contributed": "rows",
        "privacy_unit_column": "unit", "group_selection_strategy": "strategy", "noise": "noise"}


# --- bounds of an aggregate ----------------------------------------------------------------------


def _bounds(tokens: Sequence[Token], place: int, found: Taken) -> int:
    """The end of `, contribution_bounds_per_group => (low, high)` that starts here; 0 where none does."""
    named = place + 1 < len(tokens) and tokens[place].token_type == TokenType.COMMA and tokens[place + 1].text.lower() in BOUNDS
    if not named or place + 2 >= len(tokens) or tokens[place + 2].token_type != TokenType.FARROW:
        return 0
    name, at = tokens[place + 1].text.lower(), place_of(tokens[place + 1])
    items = _items(tokens, place + 3)
    if len(items) != 2:
        raise malformed(f"{name} takes two numbers.", at, f"Write {name} => (low, high).")
    low, high = (number(tokens[start:stop]) for start, stop in items)
    if low > high:
        raise malformed(f"The bounds of {name} are the wrong way round.", at, "Write the lower one first.")
    function = _function(tokens, place)
    if function.start in found.bounds:
        raise malformed("An aggregate has bounds twice.", at, "Give them per group or per row.")
    found.bounds[function.start] = Bounds(BOUNDS[name], low, high, at)
    return _closing(tokens, place + 3) + 1


def _function(tokens: Sequence[Token], place: int) -> Token:
    """The name before the parenthesis that is open at `place`."""
    depth = 0
    for i in range(place - 1, 0, -1):
        if tokens[i].token_type == TokenType.R_PAREN:
            depth += 1
        elif tokens[i].token_type == TokenType.L_PAREN:
            if depth == 0:
                return tokens[i - 1]
            depth -= 1
    raise malformed("Bounds stand in an aggregate.", place_of(tokens[place + 1]), "Write SUM(x, name => (low, high)).")


# --- tokens --------------------------------------------------------------------------------------


def number(tokens: Sequence[Token]) -> Fraction:
    """A literal, exactly. Raises ParseError for anything else: names, `inf`, expressions."""
    signs = [token for token in tokens[:-1] if token.token_type == TokenType.DASH]
    last = tokens[-1]
    plain = last.token_type == TokenType.NUMBER and NUMBER.fullmatch(last.text) is not None
    if not plain or len(signs) != len(tokens) - 1 or len(signs) > 1:
        raise malformed(f"{shown(' '.join(token.text for token in tokens))} is not a number.", place_of(tokens[0]),
                        "Write it in decimal digits: the privacy of an answer is a literal.")
    value = Fraction(Decimal(last.text))
    return -value if signs else value


def _is(tokens: Sequence[Token], place: int, word: str) -> bool:
    plain = place < len(tokens) and tokens[place].token_type not in (TokenType.IDENTIFIER, TokenType.STRING)
    return plain and tokens[place].text.upper() == word


def _closing(tokens: Sequence[Token], place: int) -> int:
    """Where the parenthesis that opens at `place` closes. Raises ParseError."""
    depth = 0
    for i in range(place, len(tokens)):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(tokens[i].token_type, 0)
        if depth == 0:
            break
    else:
        i = len(tokens)
    if i == len(tokens) or i == place:
        raise malformed("A list in parentheses is missing or not closed.", place_of(tokens[min(place, len(tokens) - 1)]),
                        "Write (...).")
    return i


def _items(tokens: Sequence[Token], place: int) -> list[tuple[int, int]]:
    """The stretches between the commas of a list in parentheses. Raises ParseError."""
    end, starts = _closing(tokens, place), [place + 1]
    starts += [i + 1 for i in range(place, end) if tokens[i].token_type == TokenType.COMMA]
    found = list(zip(starts, [*(start - 1 for start in starts[1:]), end], strict=True))
    for start, stop in found:
        if start == stop:
            raise malformed("Something is missing in this list.", place_of(tokens[start]), "Write a value between the commas.")
    return found
