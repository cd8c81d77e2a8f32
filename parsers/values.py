"""sqlglot's tree to SDH's: expressions, types and functions. What is not matched is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches

from sqlglot import exp

from sdh.errors import UnknownFunction
from sdh.parsers.accepted import (
    ADVICE,
    AGGREGATES,
    CHAINS,
    FUNCTIONS,
    LOOSE,
    NOT_OF_DATA,
    OPERATORS,
    ORDER_BOUND,
    PREDICATES,
    SPECIAL_FORMS,
    TRIMS,
    TYPES,
    UNITS,
    WINDOW_FUNCTIONS,
)
from sdh.parsers.refuse import FIXED, node_name, place, refuse, shown
from sdh.parsers.syntax import (
    Between,
    Binary,
    Boolean,
    Call,
    Case,
    Cast,
    Exists,
    Expression,
    InList,
    Interval,
    IsNull,
    Like,
    Name,
    Null,
    Number,
    Parameter,
    Position,
    Quantified,
    Query,
    ScalarQuery,
    String,
    Unary,
)

NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def optional(node: exp.Expr | None) -> Expression | None:
    return None if node is None else expression(node)


def expressions(nodes: Sequence[exp.Expr]) -> tuple[Expression, ...]:
    return tuple(expression(node) for node in nodes)


def expression(node: exp.Expr) -> Expression:
    """One value.

    Raises Unsupported, UnknownFunction and ParseError.
    """
    at = place(node)
    match node:
        case exp.Paren():
            return expression(node.this)
        case exp.Column() if not isinstance(node.this, exp.Star):
            return Name(name_parts(node), at)
        case exp.Literal():
            return String(str(node.this), at) if node.is_string else _number(node)
        case exp.Boolean():
            return Boolean(bool(node.this), at)
        case exp.Null():
            return Null(at)
        case exp.Placeholder():
            return _parameter(node)
        case exp.Interval():
            return _interval(node)
        case exp.Neg():
            return Unary("-", expression(node.this), at)
        case exp.Not():
            _check_not(node)
            return Unary("NOT", expression(node.this), at)
        case exp.And() | exp.Or():
            return _balanced(OPERATORS[type(node)], [expression(part) for part in _chain(node)])
        case exp.Is():
            return _is(node)
        case exp.Subquery():
            return ScalarQuery(_query(node), at)
        case exp.Exists():
            return Exists(_query(node.this), at)
        case exp.Binary() if isinstance(node.expression, (exp.Any, exp.All)):
            return _quantified(node)
        case exp.Binary() if type(node) in OPERATORS:
            _check_chain(node, CHAINS.get(type(node), ()))
            left = expression(node.this)
            return Binary(OPERATORS[type(node)], left, expression(node.expression), left.at)
        case exp.Between():
            _check_chain(node, PREDICATES)
            return Between(expression(node.this), expression(node.args["low"]), expression(node.args["high"]), at)
        case exp.In():
            _check_chain(node, PREDICATES)
            if isinstance(node.this, exp.Tuple) and node.this.expressions:
                return _row_in(node, at)
            if node.args.get("query"):
                return Quantified("=", "ANY", expression(node.this), _query(node.args["query"]), at)
            return InList(expression(node.this), expressions(node.expressions), at)
        case exp.Like() | exp.ILike():
            return _like(node, None)
        case exp.Escape() if isinstance(node.this, (exp.Like, exp.ILike)):
            return _like(node.this, node.expression)
        case exp.Case():
            branches = tuple((expression(each.this), expression(each.args["true"])) for each in node.args["ifs"])
            return Case(optional(node.this), branches, optional(node.args.get("default")), at)
        case exp.Cast():  # TryCast is one
            return Cast(expression(node.this), type_text(node.to), isinstance(node, exp.TryCast), at)
        case exp.Extract() | exp.Trim() | exp.Substring() | exp.StrPosition() | exp.Anonymous():
            return call(node)
        case exp.Filter():
            return _filtered(node)
        case _:
            raise refuse(node_name(node), at)


def _row_in(node: exp.In, at: Position) -> Expression:
    """(a, b) IN (SELECT ...), and IN ((1, 2), (3, 4)), for which, as for all values of rows in DuckDB, NULLs are equal."""
    first, *rest = expressions(node.this.expressions)
    if node.args.get("query"):
        return Quantified("=", "ANY", first, _query(node.args["query"]), at, tuple(rest))
    found: list[Expression] = []
    for row in node.expressions:
        if not isinstance(row, exp.Tuple) or len(row.expressions) != 1 + len(rest):
            raise refuse("A row value IN anything but a query or rows of its length", place(row))
        pairs = zip((first, *rest), expressions(row.expressions), strict=True)
        found.append(_balanced("AND", [Binary("IS NOT DISTINCT FROM", a, b, at) for a, b in pairs]))
    return _balanced("OR", found)


def _query(node: exp.Expr) -> Query:
    from sdh.parsers.convert import query  # a query stands in a value and values in a query

    return query(node)


def _quantified(node: exp.Binary) -> Expression:
    """operand operator ANY | ALL (query); SOME is ANY."""
    operator, found = OPERATORS.get(type(node), ""), node.expression
    name = "ALL" if isinstance(found, exp.All) else "ANY"
    if operator not in ("=", "<>", "<", "<=", ">", ">="):
        raise refuse(f"{name} beside anything but a comparison", place(found))
    if not isinstance(found.this, (exp.Query, exp.Subquery)):
        raise refuse(f"{name} of anything but a query", place(found))
    _check_chain(node, CHAINS.get(type(node), ()))
    left = expression(node.this)
    return Quantified(operator, name, left, _query(found.this), left.at)


def _check_not(node: exp.Not) -> None:
    """`a + NOT b = c` is no SQL, and `NOT a IS NULL + b` not what sqlglot takes it for.

    A NOT in front has a position; the one of NOT IN, NOT LIKE and IS NOT has none.
    """
    child, parent = _outside(node)
    binds_tighter = (isinstance(parent, (exp.Binary, exp.Between, exp.Neg)) and not isinstance(parent, LOOSE)
                     or isinstance(parent, exp.In) and child.arg_key == "this")
    if "line" in node.meta and binds_tighter:
        raise refuse("NOT as an operand", place(node), "Write parentheses around NOT and its operand.")


def _outside(node: exp.Expr) -> tuple[exp.Expr, exp.Expr | None]:
    """The parent, seen through parentheses that sqlglot added, and its child."""
    parent = node.parent
    if isinstance(parent, exp.Paren) and "line" not in parent.meta:
        return _outside(parent)
    return node, parent


def _bare(node: object) -> object:
    """The operand below parentheses that sqlglot added: only those of the text have a position."""
    while isinstance(node, exp.Paren) and "line" not in node.meta:
        node = node.this
    return node.this if isinstance(node, exp.Not) and "line" not in node.meta else node


def _check_chain(node: exp.Expr, kinds: tuple[type[exp.Expr], ...]) -> None:
    """DuckDB refuses a < b < c and a LIKE b IN (c), which would take a truth value for an operand."""
    if any(isinstance(_bare(operand), kinds) for operand in (node.this, node.args.get("expression"))):
        raise refuse("A chain of comparisons", place(node), "Join the comparisons by AND, or write parentheses.")


def name_parts(node: exp.Column) -> tuple[str, ...]:
    for part in node.parts:
        if not isinstance(part, exp.Identifier) and not (isinstance(part, exp.Star) and part is node.this):
            raise refuse(f"{node_name(part)} as a part of a name", place(part), "Put the name in double quotes.")
    return tuple(part.name for part in node.parts)


def _number(node: exp.Literal) -> Number:
    text, at = str(node.this), place(node)
    if not NUMBER.fullmatch(text):
        raise refuse(f"The number {shown(text)}", at, "Write it in decimal digits.")
    return Number(text, at)


def _parameter(node: exp.Placeholder) -> Parameter:
    name, at = node.name, place(node)
    if not name or name.isdigit():
        raise refuse(f"A parameter without a name (${name})", at, "Write $name and give its value by that name.")
    return Parameter(name, at)


def _interval(node: exp.Interval) -> Interval:
    unit = node.args["unit"].name
    if unit not in UNITS:
        raise refuse("This form of INTERVAL", place(node), "Write INTERVAL '3' DAY, or add several intervals.")
    return Interval(expression(node.this), unit, place(node))


def _chain(node: exp.Expr) -> Iterator[exp.Expr]:
    """The terms of a AND b AND c ..., from left to right, without recursion."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if type(found) is type(node):
            waiting += [found.expression, found.this]
        else:
            yield found


def _balanced(operator: str, terms: Sequence[Expression]) -> Expression:
    """A tree of logarithmic depth: AND and OR are associative, in three-valued logic too."""
    if len(terms) == 1:
        return terms[0]
    middle = (len(terms) + 1) // 2
    left = _balanced(operator, terms[:middle])
    return Binary(operator, left, _balanced(operator, terms[middle:]), left.at)


def _is(node: exp.Is) -> Expression:
    operand, at = expression(node.this), place(node)
    match node.expression:
        case exp.Null():
            return IsNull(operand, at)
        case exp.Boolean() as truth:
            # DuckDB casts: 5 IS TRUE holds, while 5 IS NOT DISTINCT FROM TRUE does not
            return Binary("IS NOT DISTINCT FROM", Cast(operand, "BOOLEAN", at=operand.at), expression(truth), at)
        case other:
            raise refuse("IS with anything but NULL, TRUE or FALSE", place(other), "Write IS NOT DISTINCT FROM.")


def _like(node: exp.Like | exp.ILike, escape: exp.Expr | None) -> Expression:
    at = place(node)
    _check_chain(node, PREDICATES)
    like = Like("ILIKE" if isinstance(node, exp.ILike) else "LIKE", expression(node.this),
                expression(node.expression), optional(escape), at)
    return Unary("NOT", like, at) if node.args.get("negate") else like


def type_text(node: exp.DataType) -> str:
    """DuckDB's text for a type.

    Raises Unsupported.
    """
    parameters = [str(parameter.this.this) for parameter in node.expressions if isinstance(parameter.this, exp.Literal)]
    plain = len(parameters) == len(node.expressions) and not node.find(exp.Column)
    if node.this == exp.DType.DECIMAL and plain and len(parameters) <= 2:
        return f"DECIMAL({', '.join([*parameters, '0'][:2] if parameters else ('18', '3'))})"
    lengthless = node.this in (exp.DType.TEXT, exp.DType.VARCHAR) and plain and len(parameters) == 1
    if node.this not in TYPES or node.expressions and not lengthless:
        name = shown(node.sql("duckdb"))
        raise refuse(f"The type {name}", place(node), "Cast to a number, DECIMAL, VARCHAR, BOOLEAN, DATE or TIMESTAMP.")
    return TYPES[node.this]  # DuckDB too ignores the length in VARCHAR(10)


# --- functions -----------------------------------------------------------------------------------


def call(node: exp.Expr) -> Call:
    """A function with its arguments as DuckDB takes them."""
    at = place(node)
    match node:
        case exp.Extract():
            return Call("date_part", (String(node.this.name.lower(), place(node.this)), expression(node.expression)),
                        at=at)
        case exp.Trim():
            operands = [each for each in (node.this, node.expression) if isinstance(each, exp.Expr)]
            return Call(TRIMS[node.args.get("position") or ""], expressions(operands), at=at)
        case exp.Substring():
            operands = [node.args[name] for name in ("this", "start", "length") if node.args.get(name)]
            return Call("substring", expressions(operands), at=at)
        case exp.StrPosition():
            return Call("strpos", expressions([node.this, node.args["substr"]]), at=at)
        case _:
            return _named_call(node, at)


def _named_call(node: exp.Expr, at: Position) -> Call:
    name, arguments = node.name.lower(), node.expressions
    if name in ("grouping", "grouping_id") and arguments:
        return Call("grouping", expressions(arguments), at=at)
    check_function(name, at)
    distinct = bool(arguments) and isinstance(arguments[0], exp.Distinct)
    if name == "count" and (not arguments or len(arguments) == 1 and _is_bare_star(arguments[0])):
        return Call("count_star", (), at=at, bounds=node.meta.get("bounds"))
    if distinct and (name not in AGGREGATES or len(arguments) > 1):
        raise refuse(f"DISTINCT in {name}()", at)
    found = expressions(arguments[0].expressions if distinct else arguments)
    if name == "ifnull":
        return Call("coalesce", found, at=at)
    return Call(name, found, distinct, at=at, bounds=node.meta.get("bounds"))


def _is_bare_star(node: exp.Expr) -> bool:
    return isinstance(node, exp.Star) and not any(node.args.values())


def _filtered(node: exp.Filter) -> Call:
    if not isinstance(node.this, exp.Anonymous):
        raise refuse(node_name(node), place(node))
    function = call(node.this)
    if function.function not in AGGREGATES:
        raise refuse(f"FILTER after {function.function}()", function.at)
    return replace(function, filter=expression(node.expression.this))


def check_function(name: str, at: Position) -> None:
    """Raises Unsupported for a function that DuckDB has and SDH refuses, UnknownFunction for one nobody has."""
    if name in FUNCTIONS:
        return
    if name in NOT_OF_DATA:
        raise refuse(f"{name}()", at, FIXED)
    if name in ORDER_BOUND:
        raise refuse(f"{name}()", at, ADVICE.get(f"{name}()", "Its answer depends on the order of the rows."))
    if name in SPECIAL_FORMS:
        raise refuse(f"{name.upper()}(...)", at)
    if name in WINDOW_FUNCTIONS:
        raise refuse(f"The window function {name}()", at)
    if name in duckdb_functions():
        raise refuse(f"The function {shown(name)}()", at)
    nearest = get_close_matches(name[:60], sorted(FUNCTIONS), n=3)
    raise UnknownFunction(f"There is no function {shown(name)}().", line=at.line, column=at.column,
                          advice=f"The nearest names are {', '.join(nearest)}." if nearest else "")


def duckdb_functions() -> frozenset[str]:
    """Every function name of DuckDB itself, asked only where a name is refused."""
    import duckdb

    with duckdb.connect() as connection:
        rows = connection.execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions()").fetchall()
    return frozenset(str(name) for name, in rows)
