"""Functions of texts that no owner has whole: as choices between functions that one owner can compute, or as comparisons.

lower(CASE WHEN c THEN a ELSE b END) is CASE WHEN c THEN lower(a) ELSE lower(b) END, of COALESCE and NULLIF too; a LIKE of a
plain beginning says that the text is no less than it and less than the next beginning of that length.
"""

from __future__ import annotations

from functools import lru_cache

from sdh.catalog import Catalog
from sdh.planners.expressions import NULL_OF_NULLS, Apply, Case, Constant, Expression, is_constant, walk
from sdh.planners.oracle import oracle
from sdh.planners.render import expression_sql, literal
from sdh.schema import BOOLEAN, VARCHAR, Kind, Type

TEXTUAL = frozenset({
    "LIKE", "ILIKE", "starts_with", "prefix", "ends_with", "suffix", "contains", "strpos", "instr", "lower", "lcase", "upper",
    "ucase", "length", "len", "strlen", "substring", "substr", "left", "right", "trim", "ltrim", "rtrim", "replace", "reverse",
    "||", "concat",
})  # fmt: skip
"""Functions of texts that shares do not compute. Each gives a value or NULL for any arguments."""
MOST_BRANCHES = 64
BEGINNINGS = frozenset({"starts_with", "prefix"})
LAST = 0x10FFFF
SURROGATES = range(0xD800, 0xE000)


def is_textual(e: Expression) -> bool:
    return isinstance(e, Apply) and e.function in TEXTUAL and any(a.type.kind is Kind.VARCHAR for a in e.arguments)


def spread(e: Apply) -> Expression:
    """A function of choices as a choice of functions; as it is where no argument is one, or there would be too many."""
    if e.function == "concat" and all(a.type.kind is Kind.VARCHAR for a in e.arguments):
        return _joined(e)   # NULL counts as ''
    for place, argument in enumerate(e.arguments):
        choice = _choice(argument)
        if choice is not None:
            branches = tuple((when, _with(e, place, then)) for when, then in choice.branches)
            otherwise = _null(argument.type) if choice.default is None else choice.default
            found = Case(branches, _with(e, place, otherwise), e.type)
            return found if sum(1 for one in walk(found) if isinstance(one, Case)) <= MOST_BRANCHES else e
    return e


def _with(e: Apply, place: int, argument: Expression) -> Expression:
    arguments = (*e.arguments[:place], argument, *e.arguments[place + 1 :])
    null = any(isinstance(one, Constant) and one.value is None for one in arguments)
    if null and e.function in NULL_OF_NULLS:
        return _null(e.type)
    found = Apply(e.function, arguments, e.type, any(one.nullable for one in arguments))
    if is_constant(found):
        return folded(found)
    return spread(found) if _choice(argument) is not None else found


def _choice(e: Expression) -> Case | None:
    match e:
        case Case():
            return e
        case Apply("coalesce", (*first, last)):
            return Case(tuple((_not_null(one), one) for one in first), last, e.type) if first else None
        case Apply("nullif", (value, other)) if value.type == other.type:
            return Case(((Apply("=", (value, other), BOOLEAN), _null(e.type)),), value, e.type)
        case _:
            return None


def _not_null(e: Expression) -> Expression:
    return Apply("NOT", (Apply("IS NULL", (e,), BOOLEAN, nullable=False),), BOOLEAN, nullable=False)


def _joined(e: Apply) -> Expression:
    """concat(a, b) as COALESCE(a, '') || COALESCE(b, '')."""
    parts = [Apply("coalesce", (a, _text("")), VARCHAR, nullable=False) if a.nullable else a for a in e.arguments]
    whole: Expression = parts[0]
    for part in parts[1:]:
        whole = Apply("||", (whole, part), VARCHAR, nullable=False)
    return whole


def compared(e: Apply) -> Expression:
    """LIKE 'abc%' and LIKE 'abc' as comparisons, which shares compute; as it is where it asks for more."""
    match e:
        case Apply("LIKE", (text, Constant(_, str() as pattern), *escape)):
            match _plain(pattern, escape):
                case None:
                    return e
                case start, True:
                    return _begins(text, start, e)
                case whole, _:
                    return Apply("=", (text, _text(whole)), BOOLEAN, e.nullable)
        case Apply(function, (text, Constant(_, str() as start))) if function in BEGINNINGS:
            return _begins(text, start, e)
        case _:
            return e


def _plain(pattern: str, escape: list[Expression]) -> tuple[str, bool] | None:
    """What a pattern's texts are, or begin with where all that follows is %; None for any other pattern."""
    signs = [one.value if isinstance(one, Constant) else None for one in escape]
    start, rest = "", iter(pattern)
    for sign in rest:
        if sign in signs:
            literally = next(rest, None)
            if literally is None:
                return None   # DuckDB has an error for it
            start += literally
        elif sign == "%":
            return None if "".join(rest).strip("%") else (start, True)
        elif sign == "_":
            return None
        else:
            start += sign
    return None if None in signs else (start, False)


def _begins(text: Expression, start: str, like: Apply) -> Expression:
    above = _next(start)
    found = Apply(">=", (text, _text(start)), BOOLEAN, like.nullable)
    if not above:
        return found
    return Apply("AND", (found, Apply("<", (text, _text(above)), BOOLEAN, like.nullable)), BOOLEAN, like.nullable)


def _next(start: str) -> str:
    """The least text above all that begin so: UTF-8 is in the order of code points. '' where there is none."""
    kept = start.rstrip(chr(LAST))
    if not kept:
        return ""
    code = ord(kept[-1]) + 1
    return kept[:-1] + chr(SURROGATES.stop if code in SURROGATES else code)


def _text(value: str) -> Constant:
    return Constant(VARCHAR, value, literal(value))


def _null(type_: Type) -> Constant:
    return Constant(type_, None, f"CAST(NULL AS {type_})")


@lru_cache(maxsize=1024)
def folded(e: Expression) -> Constant:
    """A constant expression's value, as DuckDB has it."""
    text = expression_sql(e)
    return Constant(e.type, oracle(Catalog((), ())).value(text)[1], text)
