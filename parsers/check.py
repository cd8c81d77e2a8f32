"""Checks before and after sqlglot: limits, what tokens alone tell, the list of nodes, and that no word was skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from sdh.errors import TooLarge
from sdh.parsers.accepted import (
    ARGUMENT_NAMES,
    ARGUMENTS,
    NOT_OF_DATA,
    PLAIN_WORDS,
    REFUSED_SYMBOLS,
    REFUSED_WORDS,
    RESERVED,
    SYMBOLS,
)
from sdh.parsers.refuse import FIXED, REWRITE, malformed, node_name, place, place_of, refuse, shown

MAXIMUM_BRACKETS = 200
MAXIMUM_DEPTH = 200  # so that the stages after this one may recurse within Python's usual limit

LABELS = frozenset({TokenType.DOT, TokenType.ALIAS})  # after these every word is a name
NAMELESS = SYMBOLS - {TokenType.IDENTIFIER, TokenType.STRING}
MINUS = frozenset({TokenType.INTERSECT, TokenType.EXCEPT})
FOLLOWING: Mapping[str, tuple[str, ...]] = {
    "UNION": ("BY",), "ALL": ("BY",), "BY": ("NAME",), **dict.fromkeys("*)", ("EXCLUDE", "REPLACE", "RENAME"))}
"""Plain words that are names anywhere but after these."""
HELD = frozenset({TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER, TokenType.PARAMETER})

# sqlglot skips or invents these in places; the tree must hold as many as the text.
COUNTED: Mapping[TokenType, tuple[str, tuple[type[exp.Expr], ...]]] = {
    TokenType.SELECT: ("FROM without SELECT, or SELECT", (exp.Select,)),
    TokenType.STAR: ("*", (exp.Star, exp.Mul)),
    TokenType.DISTINCT: ("DISTINCT", (exp.Distinct, exp.NullSafeEQ, exp.NullSafeNEQ)),
    TokenType.OFFSET: ("LIMIT a, b or OFFSET", (exp.Offset,)),
}

# --- tokens --------------------------------------------------------------------------------------


def check_brackets(tokens: Sequence[Token]) -> None:
    """Parentheses match, every WHEN has its THEN, and with CASE they are not nested too deep.

    Raises ParseError and TooLarge.
    """
    parentheses: list[Token] = []
    whens: list[Token] = []
    cases = 0
    for token in tokens:
        match token.token_type:
            case TokenType.L_PAREN:
                parentheses.append(token)
            case TokenType.R_PAREN if parentheses:
                parentheses.pop()
            case TokenType.R_PAREN:
                raise malformed("This ) closes nothing.", place_of(token), "Remove it, or open it.")
            case TokenType.CASE:
                cases += 1
            case TokenType.END:
                cases -= 1
            case TokenType.WHEN:
                whens.append(token)
            case TokenType.THEN if whens:
                whens.pop()
        if len(parentheses) + cases > MAXIMUM_BRACKETS:
            raise TooLarge(f"Parentheses and CASE are nested deeper than {MAXIMUM_BRACKETS} levels.",
                           advice="Move inner parts into WITH queries.", line=token.line, column=token.col)
    if parentheses:
        raise malformed("This ( is not closed.", place_of(parentheses[-1]), "Close it.")
    if whens:
        raise malformed("This WHEN has no THEN.", place_of(whens[-1]), "Write WHEN condition THEN value.")


def check_tokens(tokens: Sequence[Token]) -> None:
    """Refuse by the token what can be told from it alone: there the position is exact.

    Raises Unsupported.
    """
    for before, token in zip([tokens[0], *tokens], tokens, strict=False):
        if before.token_type == TokenType.SEMICOLON:
            raise refuse("More than one statement", place_of(token), "Send one statement at a time.")
        if before.token_type in MINUS and token.token_type == TokenType.ALL:
            raise refuse(f"{before.text.upper()} ALL", place_of(before), "Leave ALL out, or count the rows of each side.")
        if before.token_type == TokenType.PARAMETER and token.start > before.end + 1:
            raise refuse("A sign $ without a name", place_of(before), "Write $name without a space.")
        glued = before.token_type == TokenType.NUMBER and token.start == before.end + 1
        if glued and token.text[:1].isidentifier():
            number = shown(before.text + token.text)
            raise refuse(f"The number {number}", place_of(before), "Write it in decimal digits.")
        if token.token_type == TokenType.PARAMETER and token.text != "$":
            raise refuse(f"The sign {token.text}", place_of(token))
        if token.token_type in REFUSED_SYMBOLS:
            name, advice = REFUSED_SYMBOLS[token.token_type]
            raise refuse(name, place_of(token), advice)
        if token.token_type in SYMBOLS or before.token_type in LABELS:
            continue
        if not (token.text[:1].isalpha() or token.text[:1] == "_"):
            raise refuse(f"The sign {shown(token.text)}", place_of(token))
        if token.text.upper() in REFUSED_WORDS:
            raise refuse(REFUSED_WORDS[token.text.upper()], place_of(token))


# --- the tree ------------------------------------------------------------------------------------


def check_tree(tree: exp.Expr) -> None:
    """Walk the whole tree: every node and every set argument is on the list, and nothing is nested too deep.

    A chain of AND or of OR counts as one level, since it becomes a balanced tree.

    Raises Unsupported and TooLarge.
    """
    waiting: list[tuple[exp.Expr, int]] = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAXIMUM_DEPTH:
            at = place(node)
            raise TooLarge(f"The query is nested deeper than {MAXIMUM_DEPTH} levels.", line=at.line, column=at.column,
                           advice="Split long chains of operators and deep nesting into several WITH queries.")
        _check_arguments(node)
        if node.meta.get("plus"):
            raise refuse("A plus sign in front of a value", place(node), "Leave it out.")
        waiting += reversed([(child, _depth_below(node, child, depth)) for child in node.iter_expressions()])


def _depth_below(node: exp.Expr, child: exp.Expr, depth: int) -> int:
    chained = isinstance(node, (exp.And, exp.Or)) and type(child) is type(node)
    return depth if chained or isinstance(node, exp.Paren) else depth + 1


def _check_arguments(node: exp.Expr) -> None:
    accepted = ARGUMENTS.get(type(node))
    if accepted is None:
        fixed = isinstance(node, exp.Func) and node.sql_name().lower() in NOT_OF_DATA
        raise refuse(node_name(node), place(node), FIXED if fixed else REWRITE)
    for argument, value in node.args.items():
        if argument not in accepted and value is not None and value is not False and value != []:
            name = ARGUMENT_NAMES.get((type(node), argument), f"{node_name(node)} with {argument.strip('_')}")
            first = value[0] if isinstance(value, list) else value
            raise refuse(name, place(first if isinstance(first, exp.Expr) else node))


def check_leftovers(tokens: Sequence[Token], tree: exp.Expr) -> None:
    """Every name, literal and parameter of the text is in the tree, and every * too: sqlglot skips some words.

    Raises Unsupported.
    """
    nodes = list(tree.walk())
    starts = {node.meta["start"] for node in nodes if "start" in node.meta}
    for before, token in zip([tokens[0], *tokens], tokens, strict=False):
        fraction = before.token_type == TokenType.DOT and before.start in starts  # .5
        known = token.start in starts or token.text.upper() in PLAIN_WORDS or fraction
        known = known or token.text.upper() in FOLLOWING.get(before.text.upper(), ())
        if token.token_type in HELD and not known and before.token_type != TokenType.PARAMETER:
            raise refuse(f"{shown(token.text)!r} at this place", place_of(token))
    for kind, (name, classes) in COUNTED.items():
        found = [token for token in tokens if token.token_type == kind]
        if len(found) != sum(isinstance(node, classes) for node in nodes):
            raise refuse(f"{name} at this place", place_of(found[-1] if found else tokens[0]))


def check_names(tokens: Sequence[Token], tree: exp.Expr) -> None:
    """No reserved word of DuckDB is a name, unless quoted or after a dot or AS: sqlglot takes `a NULL` for an alias.

    Raises ParseError.
    """
    names = {name.meta["start"] for name in tree.find_all(exp.Identifier) if "start" in name.meta}
    for before, token in pairwise(tokens):
        if token.start in names and token.token_type in NAMELESS:
            raise malformed(f"{shown(token.text)!r} cannot be a name.", place_of(token), "Put it in double quotes.")
        word = token.token_type != TokenType.IDENTIFIER and token.text.lower() in RESERVED
        if word and token.start in names and before.token_type not in LABELS:
            raise malformed(f"{token.text} is a reserved word.", place_of(token),
                            "Put a name of that spelling in double quotes.")
