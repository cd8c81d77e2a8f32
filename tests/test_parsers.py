"""The parser: every accepted form means what DuckDB takes it for, everything else is refused by name and place.

A mark ¦ in a text stands before the token at which the error has to point.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import pytest

from sdh.errors import ParseError, QuestionError, SdhError, TooLarge, UnknownFunction, Unsupported
from sdh.parsers.accepted import AGGREGATES, FUNCTIONS, NOT_OF_DATA, ORDER_BOUND, SCALARS
from sdh.parsers.check import MAXIMUM_BRACKETS, MAXIMUM_DEPTH
from sdh.parsers.grammar import Parser, StepsSpent, tokenize
from sdh.parsers.parse import MAXIMUM_BYTES, parse
from sdh.parsers.syntax import (
    Between,
    Binary,
    Boolean,
    Call,
    Case,
    Cast,
    CommonTable,
    Derived,
    Describe,
    Exists,
    Explain,
    Expression,
    InList,
    Interval,
    IsNull,
    Item,
    Join,
    Like,
    Name,
    Null,
    Number,
    OrderKey,
    Parameter,
    Position,
    Quantified,
    Query,
    Relation,
    ScalarQuery,
    Select,
    SetOperation,
    ShowTables,
    Star,
    String,
    Table,
    Unary,
)

# --- the tree as SQL again -----------------------------------------------------------------------


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text_of(node: Expression) -> str:
    """An expression as DuckDB's SQL, every operator in parentheses."""
    match node:
        case Name(parts):
            return ".".join(quoted(part) for part in parts)
        case Number(text):
            return text
        case String(value):
            return "'" + value.replace("'", "''") + "'"
        case Boolean(value):
            return str(value).upper()
        case Null():
            return "NULL"
        case Parameter(name):
            return f"${name}"
        case Interval(amount, unit):
            return f"(INTERVAL ({text_of(amount)}) {unit})"
        case Unary(operator, operand):
            return f"({operator} {text_of(operand)})"
        case Binary(operator, left, right):
            return f"({text_of(left)} {operator} {text_of(right)})"
        case IsNull(operand):
            return f"({text_of(operand)} IS NULL)"
        case Between(operand, low, high):
            return f"({text_of(operand)} BETWEEN {text_of(low)} AND {text_of(high)})"
        case InList(operand, items):
            return f"({text_of(operand)} IN ({texts_of(items)}))"
        case Like(operator, operand, pattern, escape):
            ending = f" ESCAPE {text_of(escape)}" if escape else ""
            return f"({text_of(operand)} {operator} {text_of(pattern)}{ending})"
        case Case(operand, branches, default):
            words = ["CASE", text_of(operand) if operand else ""]
            words += [f"WHEN {text_of(condition)} THEN {text_of(value)}" for condition, value in branches]
            words += [f"ELSE {text_of(default)}" if default else "", "END"]
            return " ".join(words)
        case Cast(operand, kind, attempt):
            return f"{'TRY_CAST' if attempt else 'CAST'}({text_of(operand)} AS {kind})"
        case Call(function, arguments, distinct, condition):
            call = f"{function}({'DISTINCT ' if distinct else ''}{texts_of(arguments)})"
            return call + (f" FILTER (WHERE {text_of(condition)})" if condition else "")
        case ScalarQuery(query):
            return f"({query_text(query)})"
        case Exists(query):
            return f"EXISTS ({query_text(query)})"
        case Quantified(operator, quantifier, operand, query):
            if node.more:
                return f"(({texts_of((operand, *node.more))}) IN ({query_text(query)}))"
            return f"({text_of(operand)} {operator} {quantifier} ({query_text(query)}))"
    raise AssertionError(node)


def texts_of(nodes: tuple[Expression, ...]) -> str:
    return ", ".join(text_of(node) for node in nodes)


def alias_text(alias: str, columns: tuple[str, ...]) -> str:
    return f" AS {quoted(alias)}{column_list(columns)}" if alias else ""


def column_list(columns: tuple[str, ...]) -> str:
    return f"({', '.join(map(quoted, columns))})" if columns else ""


def relation_text(node: Relation) -> str:
    match node:
        case Table(parts, alias, columns):
            return ".".join(map(quoted, parts)) + alias_text(alias, columns)
        case Derived(query, alias, columns):
            return f"({query_text(query)}){alias_text(alias, columns)}"
        case Join(kind, left, right, on, using):
            condition = f" ON {text_of(on)}" if on else f" USING ({', '.join(map(quoted, using))})" if using else ""
            return f"({relation_text(left)} {kind} JOIN {relation_text(right)}{condition})"


def item_text(item: Item) -> str:
    if isinstance(item.expression, Star):
        return ".".join([*map(quoted, item.expression.qualifier), "*"]) + star_text(item.expression)
    return text_of(item.expression) + alias_text(item.alias, ())


def star_text(star: Star) -> str:
    lists = {"EXCLUDE": [text_of(name) for name in star.exclude],
             "REPLACE": [f"{text_of(value)} AS {quoted(name)}" for value, name in star.replace],
             "RENAME": [f"{text_of(name)} AS {quoted(new)}" for name, new in star.rename]}
    return "".join(f" {word} ({', '.join(found)})" for word, found in lists.items() if found)


def key_text(key: OrderKey) -> str:
    nulls = {None: "", True: " NULLS FIRST", False: " NULLS LAST"}[key.nulls_first]
    return f"{'ALL' if key.every else text_of(key.expression)}{' DESC' if key.descending else ''}{nulls}"


def query_text(query: Query) -> str:
    return select_text(query) if isinstance(query, Select) else set_operation_text(query)


def set_operation_text(query: SetOperation) -> str:
    word = (query.operator if query.distinct else f"{query.operator} ALL") + " BY NAME" * query.by_name
    sides = [f"({query_text(side)})" for side in (query.left, query.right)]
    return " ".join(part for part in [with_text(query), f" {word} ".join(sides), *ending(query)] if part)


def with_text(query: Query) -> str:
    common = [f"{quoted(each.name)}{column_list(each.columns)} AS ({query_text(each.query)})" for each in query.common]
    return "WITH " + ", ".join(common) if common else ""


def ending(query: Query) -> list[str]:
    return [
        "ORDER BY " + ", ".join(map(key_text, query.order_by)) if query.order_by else "",
        f"LIMIT {text_of(query.limit)}" if query.limit else "",
        f"OFFSET {text_of(query.offset)}" if query.offset else "",
    ]


def select_text(query: Select) -> str:
    parts = [
        with_text(query),
        "SELECT DISTINCT" if query.distinct else "SELECT",
        ", ".join(item_text(item) for item in query.items),
        f"FROM {relation_text(query.source)}" if query.source else "",
        f"WHERE {text_of(query.where)}" if query.where else "",
        "GROUP BY ALL" if query.group_all else sets_text(query) if query.grouping_sets
        else f"GROUP BY {texts_of(query.group_by)}" if query.group_by else "",
        f"HAVING {text_of(query.having)}" if query.having else "",
        *ending(query),
    ]
    return " ".join(part for part in parts if part)


def sets_text(query: Select) -> str:
    sets = [f"({texts_of(tuple(query.group_by[i] for i in one))})" for one in query.grouping_sets]
    return f"GROUP BY GROUPING SETS ({', '.join(sets)})"


# --- DuckDB's own parser as the judge ------------------------------------------------------------

SKIPPED = {"qualified_name", "named_param_map", "is_operator", "materialized", "aggregate_handling", "is_implicit"}
NEGATED = {"OPERATOR_IS_NOT_NULL": "OPERATOR_IS_NULL", "COMPARE_NOT_IN": "COMPARE_IN",
           "COMPARE_NOT_BETWEEN": "COMPARE_BETWEEN", "COMPARE_DISTINCT_FROM": "COMPARE_NOT_DISTINCT_FROM"}
NEGATED_FUNCTIONS = {"!~~": "~~", "!~~*": "~~*", "not_like_escape": "like_escape",
                     "not_ilike_escape": "ilike_escape"}


def duckdb_tree(connection: duckdb.DuckDBPyConnection, text: str) -> Any:
    """What DuckDB's parser makes of the text, spelled one way where it has two; None where it is no SQL."""
    (answer,), = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    parsed = json.loads(answer)
    return None if parsed["error"] else normal(parsed["statements"][0]["node"])


def normal(node: Any) -> Any:
    if isinstance(node, list):
        return [normal(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: normal(value) for key, value in node.items()
            if not key.startswith("query_location") and key not in SKIPPED}
    kind, function = node.get("type"), node.get("function_name")
    if "group_sets" in node:   # in any order
        node["group_sets"] = sorted(map(sorted, node["group_sets"]))
    if kind == "OPERATOR_NOT":
        return negation(node["children"][0], node["alias"])
    if kind in NEGATED:
        return negation({**node, "type": NEGATED[kind], "alias": ""}, node["alias"])
    if function in NEGATED_FUNCTIONS:
        return negation({**node, "function_name": NEGATED_FUNCTIONS[function], "alias": ""}, node["alias"])
    if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR"):
        parts = [each[kind] if isinstance(each, dict) and kind in each else [each] for each in node["children"]]
        return {kind: list(itertools.chain(*parts)), "alias": node["alias"]}
    return normal_call(node, function) if function else {**node, **normal_words(node)}


def negation(node: Any, alias: str) -> Any:
    return {"NOT": node, "alias": alias}


def normal_words(node: dict[str, Any]) -> dict[str, Any]:
    match node.get("type"):
        case "TYPE":
            return {"type_name": node["type_name"].upper()}
        case "ASCENDING":
            return {"type": "ORDER_DEFAULT"}
    return {}


def normal_call(node: dict[str, Any], function: str) -> Any:
    arguments = [each["expression"] for each in node["arguments"]]
    match function, arguments:
        case "-", [{"class": "CONSTANT", "literal": {"kind": "INTEGER" | "DECIMAL" as kind, "text": text}} as constant]:
            return {**constant, "alias": node["alias"], "literal": {"kind": kind, "text": "-" + text}}
        case "+", [{"class": "CONSTANT", "literal": {"kind": "INTEGER" | "DECIMAL"}} as constant]:
            return {**constant, "alias": node["alias"]}
        case "count", [] | [{"class": "STAR"}]:
            return {**node, "function_name": "count_star", "arguments": []}
        case ("position" | "instr"), _:
            return {**node, "function_name": "strpos"}
        case "date_part", [{"literal": literal}, *_]:
            literal["text"] = literal["text"].lower()
    return node


def same_for_duckdb(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    query = parse(text)
    assert isinstance(query, (Select, SetOperation))
    expected = duckdb_tree(connection, text)
    assert expected is not None, f"not SQL for DuckDB: {text}"
    assert duckdb_tree(connection, query_text(query)) == expected, query_text(query)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("""
        CREATE TABLE t AS SELECT * FROM (VALUES
            (1, 2.50, 'abc', DATE '2024-01-31', TRUE, 1.5::DOUBLE, TIMESTAMP '2024-02-29 13:14:15.678'),
            (-7, 0.00, '', DATE '1969-12-31', FALSE, -0.0::DOUBLE, TIMESTAMP '2001-01-01 00:00:00'),
            (3, -1.25, 'Zebra é', DATE '2023-07-04', NULL, 2.5::DOUBLE, TIMESTAMP '1969-07-20 20:17:40'),
            (NULL, NULL, NULL, NULL, NULL, NULL, NULL)) AS rows(i, n, s, d, b, x, m)
        """)
    return connection


def expression_of(text: str) -> Expression:
    query = parse(f"SELECT {text}")
    assert isinstance(query, Select)
    found = query.items[0].expression
    assert not isinstance(found, Star)
    return found


def failure(text: str) -> SdhError:
    """The error for a text, with its position checked against the mark ¦."""
    plain = text.replace("¦", "")
    with pytest.raises(QuestionError) as caught:
        parse(plain)
    error = caught.value
    assert error.sql == plain
    if "¦" in text:
        before = text[:text.index("¦")].splitlines() or [""]
        assert (error.line, error.column) == (len(before), len(before[-1]) + 1), error
    assert "\n" not in error.message + error.advice
    assert "\x1b" not in str(error)
    return error


# --- accepted ------------------------------------------------------------------------------------

A, B, C = Name(("a",)), Name(("b",)), Name(("c",))
ONE, TWO = Number("1"), Number("2")

TREES: dict[str, Expression] = {
    "a": A,
    "t.a": Name(("t", "a")),
    "p.t.a": Name(("p", "t", "a")),
    '"A ""b"""': Name(('A "b"',)),
    "1": ONE,
    "2.50": Number("2.50"),
    "1e3": Number("1e3"),
    ".5": Number("0.5"),
    "'it''s'": String("it's"),
    "'\\n'": String("\\n"),
    "TRUE": Boolean(True),
    "null": Null(),
    "$limit": Parameter("limit"),
    "- - a": Unary("-", Unary("-", A)),
    "NOT NOT a": Unary("NOT", Unary("NOT", A)),
    "+1": ONE,
    "((a))": A,
    "a == b": Binary("=", A, B),
    "a != b": Binary("<>", A, B),
    "a // b": Binary("//", A, B),
    "a % b": Binary("%", A, B),
    "a || b || c": Binary("||", Binary("||", A, B), C),
    "a - b - c": Binary("-", Binary("-", A, B), C),
    "a + b * c": Binary("+", A, Binary("*", B, C)),
    "a AND b OR c": Binary("OR", Binary("AND", A, B), C),
    "a AND b AND c": Binary("AND", Binary("AND", A, B), C),
    "a IS DISTINCT FROM b": Binary("IS DISTINCT FROM", A, B),
    "a IS NOT DISTINCT FROM b": Binary("IS NOT DISTINCT FROM", A, B),
    "a IS NULL": IsNull(A),
    "a ISNULL": IsNull(A),
    "a IS NOT NULL": Unary("NOT", IsNull(A)),
    "a IS UNKNOWN": IsNull(A),
    "a IS TRUE": Binary("IS NOT DISTINCT FROM", Cast(A, "BOOLEAN"), Boolean(True)),
    "a IS NOT FALSE": Unary("NOT", Binary("IS NOT DISTINCT FROM", Cast(A, "BOOLEAN"), Boolean(False))),
    "a BETWEEN 1 AND 2": Between(A, ONE, TWO),
    "a NOT BETWEEN 1 AND 2": Unary("NOT", Between(A, ONE, TWO)),
    "a IN (1, 2)": InList(A, (ONE, TWO)),
    "a NOT IN (1)": Unary("NOT", InList(A, (ONE,))),
    "a LIKE b": Like("LIKE", A, B),
    "a NOT ILIKE b": Unary("NOT", Like("ILIKE", A, B)),
    "a LIKE b ESCAPE '!'": Like("LIKE", A, B, String("!")),
    "a NOT LIKE b ESCAPE '!'": Unary("NOT", Like("LIKE", A, B, String("!"))),
    "CASE WHEN a THEN 1 END": Case(None, ((A, ONE),), None),
    "CASE a WHEN 1 THEN 2 WHEN b THEN c ELSE 1 END": Case(A, ((ONE, TWO), (B, C)), ONE),
    "CAST(a AS int)": Cast(A, "INTEGER"),
    "a::varchar(10)": Cast(A, "VARCHAR"),
    "a::decimal(15,2)": Cast(A, "DECIMAL(15, 2)"),
    "a::numeric(9)": Cast(A, "DECIMAL(9, 0)"),
    "a::decimal": Cast(A, "DECIMAL(18, 3)"),
    "a::timestamp without time zone": Cast(A, "TIMESTAMP"),
    "TRY_CAST(a AS hugeint)": Cast(A, "HUGEINT", attempt=True),
    "DATE '2024-01-01'": Cast(String("2024-01-01"), "DATE"),
    "DATE '2024-01-01'::VARCHAR": Cast(Cast(String("2024-01-01"), "DATE"), "VARCHAR"),
    "TIMESTAMP '2024-01-01 10:00'": Cast(String("2024-01-01 10:00"), "TIMESTAMP"),
    "INTERVAL '1' day": Interval(String("1"), "DAY"),
    "INTERVAL 3 MONTHS": Interval(Number("3"), "MONTH"),
    "INTERVAL (a) hour": Interval(A, "HOUR"),
    "INTERVAL '90 days'": Interval(String("90"), "DAY"),
    "a + INTERVAL 1 year": Binary("+", A, Interval(ONE, "YEAR")),
    "EXTRACT(Year FROM a)": Call("date_part", (String("year"), A)),
    "EXTRACT('month' FROM a)": Call("date_part", (String("month"), A)),
    "SUBSTRING(a FROM 1 FOR 2)": Call("substring", (A, ONE, TWO)),
    "SUBSTRING(a FOR 2)": Call("substring", (A, ONE, TWO)),
    "substr(a, 1)": Call("substr", (A, ONE)),
    "TRIM(a)": Call("trim", (A,)),
    "TRIM(BOTH 'x' FROM a)": Call("trim", (A, String("x"))),
    "TRIM(LEADING FROM a)": Call("ltrim", (A,)),
    "TRIM(TRAILING 'x' FROM a)": Call("rtrim", (A, String("x"))),
    "POSITION('x' IN a)": Call("strpos", (A, String("x"))),
    "COUNT(*)": Call("count_star", ()),
    "count()": Call("count_star", ()),
    "COUNT(DISTINCT a)": Call("count", (A,), distinct=True),
    "SUM(ALL a)": Call("sum", (A,)),
    "SUM(a) FILTER (WHERE b)": Call("sum", (A,), filter=B),
    "(SELECT 1)": ScalarQuery(Select((Item(ONE),))),
    "a + ((SELECT 1))": Binary("+", A, ScalarQuery(Select((Item(ONE),)))),
    "EXISTS (SELECT 1)": Exists(Select((Item(ONE),))),
    "NOT EXISTS (SELECT 1 UNION ALL SELECT 2)": Unary(
        "NOT", Exists(SetOperation("UNION", Select((Item(ONE),)), Select((Item(TWO),)), False))),
    "a IN (SELECT 1)": Quantified("=", "ANY", A, Select((Item(ONE),))),
    "a NOT IN (SELECT 1)": Unary("NOT", Quantified("=", "ANY", A, Select((Item(ONE),)))),
    "a < ANY (SELECT 1)": Quantified("<", "ANY", A, Select((Item(ONE),))),
    "a <> SOME (SELECT 1)": Quantified("<>", "ANY", A, Select((Item(ONE),))),
    "a + 1 >= ALL (SELECT 1)": Quantified(">=", "ALL", Binary("+", A, ONE), Select((Item(ONE),))),
    "Coalesce(a, b)": Call("coalesce", (A, B)),
    "IF(a, 1, 2)": Call("if", (A, ONE, TWO)),
    "log(a, b)": Call("log", (A, B)),
    "date_diff('day', a, b)": Call("date_diff", (String("day"), A, B)),
    "strftime(a, '%Y-%m')": Call("strftime", (A, String("%Y-%m"))),
}


@pytest.mark.parametrize("text", TREES)
def test_expression_trees(text: str) -> None:
    assert expression_of(text) == TREES[text]


QUERIES = [
    "SELECT * FROM t",
    "SELECT t.*, a AS b, a c, a AS \"X y\", a AS 'z' FROM t",
    "SELECT DISTINCT a, b FROM p.t AS u",
    "SELECT ALL a FROM t u(x, y)",
    "SELECT a FROM t WHERE a > 1 GROUP BY a, 2 HAVING count(*) > 1 ORDER BY a DESC NULLS FIRST, b ASC, 3 NULLS LAST",
    "SELECT a, sum(b) FROM t GROUP BY ALL LIMIT 3 OFFSET 1 + 1",
    "SELECT a FROM t LIMIT $n OFFSET $m",
    "SELECT 1 FROM a, b, c",
    "SELECT 1 FROM a, b LEFT JOIN c ON b.x = c.x, d",
    "SELECT 1 FROM a JOIN b USING (x) LEFT OUTER JOIN c USING (x, y) FULL JOIN d ON TRUE RIGHT JOIN e ON a.z = e.z",
    "SELECT 1 FROM a INNER JOIN (b CROSS JOIN c) ON a.x = b.x",
    "SELECT 1 FROM (a JOIN b ON a.x = b.x) JOIN c ON TRUE",
    "SELECT 1 FROM a JOIN b JOIN c ON b.x = c.x ON a.x = b.x",
    "SELECT 1 FROM (SELECT 2 AS x) AS u(y), (SELECT 3)",
    "SELECT 1 FROM ((SELECT 2 AS x)) u",
    "SELECT 1 UNION ALL SELECT 2",
    "SELECT a FROM t UNION SELECT b FROM u UNION ALL SELECT 3 ORDER BY 1 DESC LIMIT 3 OFFSET 1",
    "SELECT 1 UNION ALL (SELECT a FROM t ORDER BY a LIMIT 1) ORDER BY 1",
    "(SELECT 1 UNION SELECT 2) UNION ALL SELECT 3",
    "SELECT 1 EXCEPT SELECT 2 INTERSECT SELECT 3 UNION ALL SELECT 4 EXCEPT SELECT 5 ORDER BY 1 LIMIT 2",
    "SELECT a FROM t INTERSECT (SELECT 1 EXCEPT SELECT 2) INTERSECT SELECT 3",
    "SELECT 1 FROM a SEMI JOIN b USING (x) ANTI JOIN c ON a.x = c.x JOIN d ON TRUE",
    "SELECT 1 AS semi FROM a, b ANTI JOIN (c SEMI JOIN d ON TRUE) ON a.x = c.x",
    "WITH c AS (SELECT 1 AS x UNION ALL SELECT 2) SELECT x FROM c UNION ALL SELECT x + 1 FROM c",
    "SELECT * FROM (SELECT 1 UNION ALL SELECT 2) AS u(x) WHERE x IN (SELECT 1 UNION SELECT 2)",
    "SELECT (SELECT max(x) FROM c WHERE c.a = t.a) AS m FROM t WHERE EXISTS (SELECT * FROM c WHERE c.a > t.a)"
    " OR a = ANY (SELECT 1)",
    "SELECT a FROM t GROUP BY a HAVING sum(b) > ALL (SELECT x FROM c) ORDER BY (SELECT 1), a",
    "SELECT 1 FROM a JOIN b ON a.x IN (SELECT x FROM c) AND NOT (b.y NOT IN (SELECT y FROM c))",
    "WITH c AS (SELECT 1 AS x), d(y) AS MATERIALIZED (SELECT x FROM c) SELECT * FROM d",
    "WITH c AS NOT MATERIALIZED (WITH d AS (SELECT 1) SELECT * FROM d) SELECT * FROM c",
    "SELECT 1 /* a /* nested */ comment */ + 2 -- and one more\n FROM t",
    "SELECT year, date, data, t.left FROM t",
    "SELECT * EXCLUDE (a, t.b) REPLACE (c + 1 AS c, 2 AS d) RENAME (e AS f), u.* EXCLUDE g, * EXCLUDE (name) FROM t, u",
    "SELECT a, b FROM t UNION BY NAME SELECT b FROM u UNION ALL BY NAME (SELECT c FROM v) ORDER BY ALL DESC NULLS FIRST",
    "SELECT a FROM t ORDER BY ALL LIMIT 2",
    "SELECT a FROM t WHERE (a, b + 1) IN (SELECT x, y FROM u) AND (a, b) NOT IN (SELECT 1, 2)",
    *(f"SELECT a, grouping(a, b) FROM t GROUP BY {sets} HAVING grouping(a) = 0" for sets in (
        "ROLLUP (a, b)", "CUBE (a, b)", "GROUPING SETS ((a, b), a, ())", "a, ROLLUP (b, c)", "()", "a, ()",
        "ROLLUP ((a, b), c)", "GROUPING SETS (ROLLUP (a, b), CUBE (c))", "a + 1, CUBE (b), GROUPING SETS ((a, c), ())")),
]


# Another spelling of the same value: these are compared by value instead.
RESPELLED = {"INTERVAL '90 days'", ".5", "+1", "a::varchar(10)", "a::numeric(9)", "a::decimal"}


@pytest.mark.parametrize("text", [*QUERIES, *(f"SELECT {text} FROM t" for text in TREES if text not in RESPELLED)])
def test_duckdb_reads_the_same(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    same_for_duckdb(connection, text)


OPERATORS = ["+", "-", "*", "//", "||", "=", "<", "AND", "OR", "IS DISTINCT FROM", "LIKE", "NOT ILIKE"]
ENDINGS = ["IS NULL", "IS NOT NULL", "IS TRUE", "NOTNULL", "BETWEEN p AND q", "NOT BETWEEN p AND q", "IN (p)",
           "NOT IN (p)", "::INTEGER", "LIKE p ESCAPE '!'"]


def test_precedence(connection: duckdb.DuckDBPyConnection) -> None:
    """Every two operators side by side: accepted as DuckDB nests them, or refused."""
    tails = [(f"{operator} ", True) for operator in OPERATORS] + [(f"{ending} ", False) for ending in ENDINGS]
    accepted = 0
    for (first, first_is_binary), (second, second_is_binary) in itertools.product(tails, tails):
        signs = itertools.product(["", "NOT ", "- "], ["", "NOT ", "- "] if second_is_binary else [""])
        for front, last in signs:
            middle, end = "b " if first_is_binary else "", "c" if second_is_binary else ""
            text = f"SELECT {front}a {first}{middle}{second}{last}{end}"
            try:
                parse(text)
            except QuestionError:
                continue
            same_for_duckdb(connection, text)
            accepted += 1
    assert accepted > 1000


def test_mutations_never_mean_something_else(connection: duckdb.DuckDBPyConnection) -> None:
    """Words dropped, doubled and put in at random: no crash; what is accepted DuckDB reads the same or not at all."""
    generator = random.Random(7)
    words = [word for text in QUERIES for word in text.split()]
    words += ["FOR", "UPDATE", "OVER", "()", "UNION", "EXISTS", "[", "ROWS", "TIES", "INTO", "SAMPLE", "~", ";", "!"]
    accepted = 0
    for _ in range(1500):
        changed = generator.choice(QUERIES).replace("\n", " ").split()
        place = generator.randrange(len(changed))
        if generator.random() < 0.3:
            del changed[place]
        else:
            changed.insert(place, generator.choice(words))
        text = " ".join(changed)
        try:
            query = parse(text)
        except QuestionError:
            continue
        expected = duckdb_tree(connection, text)
        if expected is not None and isinstance(query, (Select, SetOperation)):
            assert duckdb_tree(connection, query_text(query)) == expected, text
            accepted += 1
    assert accepted > 150


def test_shapes_of_queries() -> None:
    query = parse("WITH c(x) AS (SELECT 1) SELECT DISTINCT u.*, a + 1 AS b FROM p.t u, c LEFT JOIN d USING (x)"
                  " WHERE a GROUP BY ALL HAVING b ORDER BY a DESC, b NULLS LAST LIMIT $n OFFSET 2")
    assert query == Select(
        items=(Item(Star(("u",))), Item(Binary("+", A, ONE), "b")),
        source=Join("CROSS", Table(("p", "t"), "u"), Join("LEFT", Table(("c",)), Table(("d",)), None, ("x",))),
        where=A, group_by=(), group_all=True, having=B, distinct=True,
        order_by=(OrderKey(A, descending=True), OrderKey(B, nulls_first=False)),
        limit=Parameter("n"), offset=TWO,
        common=(CommonTable("c", ("x",), Select((Item(ONE),))),))
    assert parse("SELECT 1 FROM (SELECT a) AS u(x)") == Select(
        (Item(ONE),), Derived(Select((Item(A),)), "u", ("x",)))


def test_statements() -> None:
    one = Select((Item(ONE),))
    assert parse("select 1;") == parse("(SELECT 1);;") == parse("((select 1))") == one
    assert parse("EXPLAIN SELECT 1") == Explain(one)
    assert parse("explain analyze select 1") == Explain(one, analyze=True)
    assert parse("DESCRIBE SELECT 1") == Describe(one)
    assert parse("DESCRIBE bank.accounts") == Describe(Table(("bank", "accounts")))
    assert parse('DESC "a b"') == Describe(Table(("a b",)))
    assert parse("SHOW TABLES") == ShowTables()


def test_positions() -> None:
    query = parse("EXPLAIN\nSELECT a,\n  foo.b + sum(c)\nFROM p.t")
    assert isinstance(query, Explain)
    assert isinstance(query.query, Select)
    total = query.query.items[1].expression
    assert isinstance(total, Binary)
    assert isinstance(query.query.source, Table)
    assert total.at == total.left.at == Position(3, 3)
    assert total.right.at == Position(3, 11)
    assert query.query.source.at.line == 4
    assert query.query.at == Position(2, 1)
    case = expression_of("NOT (TRUE AND $x = CASE WHEN NULL THEN CAST(1 AS INT) END)")
    assert isinstance(case, Unary)
    assert isinstance(case.operand, Binary)
    assert isinstance(case.operand.right, Binary)
    assert [node.at.column for node in (case, case.operand.left, case.operand.right.left, case.operand.right.right)] \
        == [8, 13, 22, 27]


# --- values --------------------------------------------------------------------------------------

CALLS = """
    abs(i) | sign(n) | round(n) | round(n, 1) | round(x) | floor(n) | ceil(x) | ceiling(x) | trunc(x) | sqrt(abs(i))
    cbrt(x) | exp(i) | ln(abs(i) + 1) | log(abs(i) + 1) | log(2, 8) | log10(abs(i) + 1) | log2(abs(i) + 1) | pow(i, 2)
    power(2, i) | mod(i, 3) | i % 3 | pi() | gcd(i, 12) | lcm(abs(i), 4) | factorial(3) | even(x) | sin(x) | atan2(x, i)
    radians(x) | degrees(x) | fmod(i, 4) | fdiv(i, 2) | add(i, 1) | subtract(i, 1) | multiply(i, 2) | divide(i, 2)
    xor(i, 5) | bit_count(i) | isnan(x) | isfinite(x) | isinf(x) | signbit(x) | greatest(i, 2, n) | least(i, 2)
    coalesce(i, 0) | nullif(i, 1) | ifnull(i, 9) | if(b, 1, 2) | lower(s) | upper(s) | lcase(s) | ucase(s) | length(s)
    len(s) | strlen(s) | char_length(s) | character_length(s) | bit_length(s) | trim(s) | trim(s, 'Z') | ltrim(s, 'a')
    rtrim(s, 'c') | trim(both 'a' from s) | trim(leading 'Z' from s) | trim(trailing 'c' from s) | substring(s, 2)
    substring(s, 2, 1) | substring(s from 2 for 2) | substr(s, 1, 2) | left(s, 2) | right(s, 2) | replace(s, 'b', 'x')
    reverse(s) | repeat(s, 2) | lpad(s, 5, '*') | rpad(s, 5, '*') | concat(s, i, NULL) | concat_ws('-', s, NULL, i)
    s || i | starts_with(s, 'a') | ends_with(s, 'c') | contains(s, 'b') | prefix(s, 'a') | suffix(s, 'c')
    position('b' in s) | strpos(s, 'b') | instr(s, 'b') | ascii(s) | ord(s) | unicode(s) | chr(65 + abs(i))
    translate(s, 'ab', 'xy') | split_part(s, 'b', 1) | regexp_matches(s, '^[a-z]') | regexp_full_match(s, '[a-z]+')
    regexp_replace(s, '[a-c]', 'x') | regexp_replace(s, '[a-c]', 'x', 'g') | regexp_extract(s, '([a-z])([a-z])', 2)
    regexp_escape(s) | levenshtein(s, 'abd') | editdist3(s, 'x') | jaccard(s || 'a', 'abc') | hamming('abc', 'abd')
    jaro_similarity(s, 'abd') | jaro_winkler_similarity(s, 'abd') | strip_accents(s) | md5(s) | sha1(s) | sha256(s)
    hex(s) | to_hex(abs(i)) | bin(abs(i)) | to_binary(abs(i)) | to_base(abs(i), 3) | url_encode(s) | url_decode('a%20b')
    year(d) | month(d) | day(d) | hour(m) | minute(m) | second(m) | millisecond(m) | microsecond(m) | quarter(d)
    week(d) | dayofweek(d) | dayofmonth(d) | dayofyear(d) | weekday(d) | weekofyear(d) | isodow(d) | isoyear(d)
    yearweek(d) | decade(d) | century(d) | millennium(d) | era(d) | dayname(d) | monthname(d) | last_day(d)
    days_in_month(d) | date_part('month', d) | datepart('day', d) | extract(year from d) | extract('epoch' from m)
    extract(dow from d) | extract(microseconds from m) | date_trunc('month', d) | datetrunc('hour', m)
    date_diff('month', d, DATE '2024-02-01') | date_diff('week', d, DATE '2024-02-01') | datediff('day', d, m::DATE)
    date_sub('month', d, DATE '2024-02-01') | datesub('day', d, DATE '2024-02-01') | date_add(d, INTERVAL 1 month)
    strftime(d, '%d.%m.%y %A') | strftime(m, '%H:%M:%S.%f') | strptime('2024-01-02', '%Y-%m-%d')
    try_strptime(s, '%Y') | make_date(2024, 2, abs(i)) | make_timestamp(2024, 1, 2, 3, 4, 5.5) | epoch(m) | epoch_ms(m)
    epoch_us(m) | epoch_ns(m) | time_bucket(INTERVAL '7 days', d) | julian(d) | to_years(i) | to_months(i) | to_weeks(i)
    to_days(i) | to_hours(i) | to_minutes(i) | to_seconds(x) | d + INTERVAL 1 month | d - INTERVAL '2' day | d - 1
    d + INTERVAL (i) days | i IS TRUE | b IS NOT TRUE | b IS UNKNOWN | i IN (1, NULL) | i NOT IN (1, 3) | s LIKE '%b%'
    s ILIKE 'ABC' | s LIKE 'a!%' ESCAPE '!' | CASE i WHEN 1 THEN 'x' ELSE s END | CASE WHEN i > 0 THEN n END | -i // 2
    i::VARCHAR || 'x' | TRY_CAST(s AS INT) | n::DECIMAL(5, 1) | x::INT
    DATE '2024-01-31'::VARCHAR | NOT b OR i = 1 | cosh(x) | tanh(x)
    i BETWEEN -7 AND 1 | i NOT BETWEEN 0 AND 2 | i / 2 | i // 2 | n * n | - - i | .5 + 1e1
    mismatches('abc', 'abd') | cot(1.5) | tan(x) | cos(x) | asin(0.5) | acos(0.5) | atan(x) | sinh(x)
    """

AGGREGATE_CALLS = """
    sum(i) | sum(n) | sum(DISTINCT i) | avg(n) | count(*) | count() | count(i) | count(DISTINCT s) | count_if(i > 0)
    countif(b) | min(s) | max(d) | median(n) | mode(i) | product(i) | var_samp(i) | var_pop(i) | variance(n) | stddev(i)
    stddev_samp(i) | stddev_pop(x) | bool_and(b) | bool_or(b) | bit_and(i) | bit_or(i) | bit_xor(i) | covar_pop(i, x)
    covar_samp(i, x) | corr(i, x) | skewness(i) | kurtosis(i) | quantile_cont(n, 0.25) | quantile_disc(i, 0.5)
    quantile(i, 0.5) | arg_min(s, i) | arg_max(s, i) | argmin(s, i) | argmax(s, i) | min_by(s, i) | max_by(s, i)
    sum(i) FILTER (WHERE i > 0) | count(*) FILTER (WHERE s LIKE 'a%') | sum(CASE WHEN b THEN n END) / count(i)
    """


def listed(texts: str) -> list[str]:
    return [each.strip() for line in texts.strip().splitlines() for each in line.split(" | ")]


@pytest.mark.parametrize("text", listed(CALLS) + listed(AGGREGATE_CALLS))
def test_same_values(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """The tree, rendered, gives the same values and types on the sample rows as the text."""
    query = parse(f"SELECT {text} AS v FROM t")
    assert isinstance(query, Select)
    written, rendered = connection.sql(f"SELECT {text} AS v FROM t"), connection.sql(select_text(query))
    assert written.types == rendered.types
    assert repr(written.fetchall()) == repr(rendered.fetchall())


def test_every_function_is_tried() -> None:
    tried = " ".join(listed(CALLS) + listed(AGGREGATE_CALLS))
    assert not [name for name in sorted(FUNCTIONS) if f"{name}(" not in tried and name != "count_star"]
    assert not AGGREGATES & SCALARS
    assert not FUNCTIONS & (NOT_OF_DATA | ORDER_BOUND)


def test_aggregates_are_duckdbs(connection: duckdb.DuckDBPyConnection) -> None:
    rows = connection.execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions()"
                              " WHERE function_type = 'aggregate'").fetchall()
    aggregates = {name for name, in rows}
    assert aggregates >= AGGREGATES
    assert not aggregates & SCALARS


TYPES = ["int", "integer", "int4", "int8", "int2", "int1", "bigint", "smallint", "tinyint", "hugeint", "int128",
         "uhugeint",
         "utinyint", "usmallint", "uinteger", "ubigint", "float", "float4", "real", "float8", "double",
         "double precision", "decimal", "numeric", "decimal(10)", "decimal(10,2)", "dec(4,1)", "varchar", "text",
         "string", "char", "bpchar", "char(3)", "varchar(5)", "character varying", "boolean", "bool", "logical", "date",
         "time", "timestamp", "datetime", "timestamp without time zone", "timestamptz", "timestamp with time zone",
         "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp_us", "interval", "uuid", "long", "short", "signed"]


@pytest.mark.parametrize("kind", TYPES)
def test_same_types(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    cast = expression_of(f"CAST(NULL AS {kind})")
    assert isinstance(cast, Cast)
    assert cast == expression_of(f"NULL::{kind}")
    written, rendered = connection.sql(f"SELECT NULL::{kind}"), connection.sql(f"SELECT NULL::{cast.type}")
    assert written.types == rendered.types


# --- refused -------------------------------------------------------------------------------------

REFUSALS = {
    "SELECT * FROM t FOR ¦UPDATE": "FOR UPDATE",
    "SELECT a FROM t ORDER BY a LIMIT 5 WITH ¦TIES": "WITH TIES",
    "SELECT a ¦INTO b FROM t": "SELECT INTO",
    "SELECT * FROM t ¦TABLESAMPLE 10%": "TABLESAMPLE",
    "SELECT * FROM t USING SAMPLE ¦10": "USING SAMPLE",
    "SELECT * FROM t ¦PIVOT (sum(a) FOR b IN (1))": "PIVOT",
    "SELECT * FROM t ¦UNPIVOT (a FOR b IN (c))": "UNPIVOT",
    "SELECT a FROM t ¦QUALIFY 1": "QUALIFY",
    "SELECT a FROM t ¦WINDOW w AS (ORDER BY a)": "WINDOW",
    "SELECT * FROM ¦read_csv('x.csv')": "read_csv()",
    "SELECT * FROM ¦range(3)": "range()",
    "SELECT * FROM ¦'file.parquet'": "A file",
    "SELECT * FROM a JOIN ¦'file.parquet' f ON TRUE": "A file",
    "SELECT 1; ¦SELECT 2": "More than one statement",
    "SELECT ¦sum(a) OVER () FROM t": "A window function",
    "SELECT ¦row_number() FROM t": "window function row_number()",
    "SELECT 1 ¦INTERSECT ALL SELECT 2": "INTERSECT ALL",
    "SELECT a IN (SELECT 1 ¦EXCEPT ALL SELECT 2)": "EXCEPT ALL",
    "¦SELECT 1 EXCEPT BY NAME SELECT 2": "EXCEPT BY NAME",
    "SELECT 1 UNION ¦DISTINCT SELECT 2": "DISTINCT",
    "SELECT (¦VALUES (1))": "VALUES",
    "SELECT ¦exists(a)": "EXISTS",
    "SELECT a > ¦ANY (1, 2)": "ANY of anything but a query",
    "SELECT ¦(a, b) = (1, 2)": "A row value",
    "SELECT (a, b) IN ((1, 2), ¦(3, 4, 5))": "A row value IN anything but a query or rows of its length",
    "SELECT (a, b) IN (¦1, 2)": "A row value IN anything but a query or rows of its length",
    "SELECT count(¦(a, b)) FROM t": "A row value",
    "SELECT a FROM t GROUP BY ¦(a, b)": "A row value",
    "SELECT a FROM t GROUP BY CUBE (¦a, b, c, d, e, f, g)": "More than 64 grouping sets",
    "SELECT count(¦* EXCLUDE (a)) FROM t": "* at this place",
    "SELECT a IN (¦VALUES (1)) FROM t": "VALUES",
    "¦SELECT 1 INTERSECT BY NAME SELECT 2": "INTERSECT BY NAME",
    "SELECT a > ¦ALL (b)": "ALL",
    "SELECT a + ¦ANY (SELECT 1)": "ANY beside anything but a comparison",
    "SELECT ¦ANY (SELECT 1) = a": "ANY",
    "SELECT ¦a < b = ANY (SELECT 1)": "A chain of comparisons",
    "SELECT a FROM t GROUP BY a WITH ¦ROLLUP": "ROLLUP",
    "SELECT a FROM t GROUP BY ¦DISTINCT a": "DISTINCT",
    "SELECT * FROM a ¦LEFT SEMI JOIN b ON TRUE": "LEFT SEMI JOIN",
    "SELECT * FROM a ¦ASOF JOIN b ON a.x > b.x": "ASOF JOIN",
    "SELECT * FROM a ¦POSITIONAL JOIN b": "POSITIONAL JOIN",
    "SELECT * FROM a, ¦LATERAL (SELECT 1)": "LATERAL",
    "SELECT DISTINCT ON (¦a) a FROM t": "DISTINCT ON",
    "SELECT ¦[1, 2]": "A list",
    "SELECT a¦[1]": "A list",
    "SELECT ¦{'a': 1}": "A struct",
    "SELECT list_transform(a, x ¦-> x + 1)": "The arrow ->",
    "SELECT list_transform(a, ¦lambda x: x)": "A lambda",
    "SELECT a ¦->> 'x'": "The arrow ->>",
    "SELECT ¦columns(*) FROM t": "COLUMNS(...)",
    "SELECT t.*.p FROM t": "as a part of a name",
    "SELECT p.t.* FROM p.t": "party.table.*",
    "WITH RECURSIVE c AS (SELECT 1) SELECT * FROM c": "WITH RECURSIVE",
    "SELECT a FROM t LIMIT 40¦%": "PERCENT",
    "SELECT a FROM t LIMIT ¦(SELECT 1)": "LIMIT of a subquery",
    "SELECT a FROM t LIMIT ¦a": "LIMIT of a column",
    "SELECT a FROM t LIMIT 1, 2": "LIMIT a, b",
    "SELECT a FROM t ¦FETCH FIRST 3 ROWS ONLY": "FETCH",
    "SELECT ¦#1 FROM t": "position",
    "SELECT ¦?": "without a name",
    "SELECT ¦$1": "without a name",
    "SELECT ¦$ a": "without a name",
    "SELECT ¦:a": "The colon",
    "SELECT ¦@a": "The sign @",
    "SELECT a ¦^ 2": "The operator ^",
    "SELECT a ¦** 2": "The operator **",
    "SELECT a ¦& 2": "The operator &",
    "SELECT a ¦~ 'x'": "The operator ~",
    "SELECT ¦a << 2": "The operator <<",
    "SELECT ¦a SIMILAR TO 'x'": "SIMILAR TO",
    "SELECT a ¦GLOB 'x'": "GLOB",
    "SELECT a ¦COLLATE nocase": "COLLATE",
    "SELECT a BETWEEN ¦SYMMETRIC 1 AND 2": "BETWEEN SYMMETRIC",
    "SELECT ¦a AT TIME ZONE 'UTC'": "AT TIME ZONE",
    "SELECT a IS ¦5": "IS with anything but",
    "SELECT a + ¦NOT b": "NOT as an operand",
    "SELECT ¦NOT a IS NULL + b": "NOT as an operand",
    "SELECT ¦a < b < c": "A chain of comparisons",
    "SELECT ¦a LIKE b LIKE c": "A chain of comparisons",
    "SELECT +¦a": "A plus sign",
    "SELECT ¦(a, b)": "A row value",
    "SELECT ¦row(1, 2)": "ROW(...)",
    "SELECT ¦0x1F": "The number 0x1F",
    "SELECT ¦$$x$$": "A string in $$",
    "SELECT ¦E'x'": "escapes",
    "SELECT ¦'a' 'b'": "Adjacent strings",
    "SELECT sum(¦a ORDER BY b) FROM t": "ORDER BY in a function call",
    "SELECT ¦first(a) IGNORE NULLS FROM t": "IGNORE NULLS",
    "SELECT ¦median(a) WITHIN GROUP (ORDER BY a) FROM t": "WITHIN GROUP",
    "SELECT count(DISTINCT ¦*) FROM t": "* at this place",
    "SELECT ¦lower(DISTINCT a)": "DISTINCT in lower()",
    "SELECT ¦lower(a) FILTER (WHERE b)": "FILTER after lower()",
    "SELECT lower(a ¦:= 1)": "The sign :=",
    "SELECT ¦random()": "random()",
    "SELECT ¦now()": "now()",
    "SELECT ¦uuid()": "uuid()",
    "SELECT ¦nextval('s')": "nextval()",
    "SELECT ¦today()": "today()",
    "SELECT ¦current_date": "CURRENT_DATE",
    "SELECT ¦current_timestamp": "CURRENT_TIMESTAMP",
    "SELECT ¦list(a) FROM t": "list()",
    "SELECT ¦any_value(a) FROM t": "any_value()",
    "SELECT ¦regexp_split_to_array(a, 'x')": "regexp_split_to_array()",
    "SELECT ¦hash(a)": "hash()",
    "SELECT ¦unnest(a)": "UNNEST(...)",
    "SELECT a::json": "The type JSON",
    "SELECT a::struct(x int)": "nested type",
    "SELECT ¦INTERVAL '1 day 2 hours'": "This form of INTERVAL",
    "SELECT * FROM ¦a.b.c": "A table name of three parts",
    "SELECT ¦a.b.c.d": "A column name of four parts",
    "SELECT * FROM (a JOIN b USING (x)) AS ¦c": "An alias of a join",
    "SELECT * FROM (FROM t)": "FROM without SELECT",
    "¦FROM t": "FROM before SELECT",
    "(SELECT 1) LIMIT ¦1": "LIMIT after a parenthesis",
    "SELECT 1 ¦|> WHERE 1": "The sign |>",
    "SHOW ALL TABLES": "SHOW",
    "DESCRIBE a.b.¦c": "A table name of three parts",
}


@pytest.mark.parametrize("text", REFUSALS)
def test_refused_by_name_and_place(text: str) -> None:
    error = failure(text)
    assert isinstance(error, Unsupported)
    assert REFUSALS[text].lower() in error.message.lower()


@pytest.mark.parametrize("word", ["INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "COPY", "ATTACH", "SET",
                                  "PRAGMA",
                                  "CALL", "VALUES", "TABLE", "SUMMARIZE", "PIVOT", "INSTALL", "LOAD", "BEGIN", "USE",
                                  "EXPORT", "PREPARE", "EXECUTE", "MERGE", "TRUNCATE", "GRANT"])
@pytest.mark.parametrize("front", ["", "EXPLAIN ", "EXPLAIN ANALYZE "])
def test_other_statements_are_refused_by_name(word: str, front: str) -> None:
    error = failure(f"{front}¦{word} INTO t SELECT 1")
    assert isinstance(error, Unsupported)
    assert error.message == f"{word} is not supported."


def test_what_is_not_of_the_data_asks_for_a_parameter() -> None:
    for text in ("random()", "now()", "current_date", "current_timestamp", "uuid()"):
        assert "$parameter" in failure(f"SELECT {text}").advice


def test_unknown_functions_get_nearest_names() -> None:
    error = failure("SELECT 1,\n  ¦substrin(a, 1)")
    assert isinstance(error, UnknownFunction)
    assert "substring" in error.advice
    assert str(error).endswith("  substrin(a, 1)\n    ^")


NOT_SQL = [
    "", "   ", ";", "-- nothing", "¦SELCT 1", "¦x", "¦1", "SELECT 1 FROM¦", "SELECT a b ¦c", "SELECT a,¦",
    "SELECT ¦(1", "SELECT 1¦)", "SELECT 'abc¦",
    'SELECT "abc¦', "SELECT CASE ¦WHEN a END", "SELECT a BETWEEN 1 ¦2", "SELECT * FROM a ¦JOIN b",
    "SELECT * FROM a ¦CROSS JOIN b ON TRUE", "SELECT a AS ¦1", "SELECT a ¦NULL", "SELECT 1 FROM ¦true", "¦SELECT",
    "EXPLAIN¦", "EXPLAIN ANALYZE¦", "DESCRIBE¦", "DESCRIBE ¦a b", "DESCRIBE ¦'t'", "SELECT sum(a,¦) FROM t",
    "SELECT extract(year¦, a)", "SELECT position('a'¦, b)", "SELECT 1 WHERE¦",
]


@pytest.mark.parametrize("text", NOT_SQL)
def test_not_sql(text: str) -> None:
    assert isinstance(failure(text), ParseError)


# --- limits --------------------------------------------------------------------------------------


def nested(front: str, middle: str, end: str, count: int) -> str:
    return "SELECT " + front * count + middle + end * count


DEEP = {
    "parentheses": ("(", "1", ")"), "calls": ("abs(", "1", ")"), "cases": ("CASE WHEN a THEN ", "1", " END"),
    "operands": ("CASE ", "1", " WHEN 1 THEN 2 END"), "casts": ("CAST(", "1", " AS INT)"),
    "lists": ("x IN (", "1", ")"),
    "dates": ("date(", "1", ")"), "decimals": ("decimal(", "1", ")"), "intervals": ("INTERVAL (", "1", ") day"),
    "open": ("(", "1", ""), "open calls": ("f(", "1", ""), "negations": ("NOT ", "1", ""), "signs": ("- ", "1", ""),
    "sums": ("1 + ", "1", ""), "texts": ("a || ", "a", ""), "conversions": ("", "1", "::INT"),
    "queries": ("1 FROM (SELECT ", "1", ")"), "substrings": ("substring(", "a", " FROM 1)"),
    "joins": ("", "1 FROM t", ", t"), "usings": ("", "1 FROM t", " JOIN t USING (a)"), "nulls": ("", "a", " IS NULL"),
    "alternatives": ("a OR b AND ", "c", ""), "columns": ("a, ", "a", ""), "dots": ("", "a", ".a"),
}


NOT_ALL_SQL = {"open", "open calls", "dots", "dates", "decimals", "intervals"}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("count", [10, 50, 150, 1000, 5000])
def test_depth_is_bounded(kind: str, count: int) -> None:
    """Whatever is nested or chained, the outcome is a tree that Python can walk or one of SDH's errors, soon."""
    started = time.monotonic()
    try:
        statement = parse(nested(*DEEP[kind], count))
    except QuestionError as error:
        outcome: object = error
    else:
        outcome = hash(statement), repr(statement)
    if isinstance(outcome, TooLarge):
        assert count >= 150
    elif isinstance(outcome, QuestionError):
        assert kind in NOT_ALL_SQL
    assert time.monotonic() - started < 5


def test_flat_chains_are_fine() -> None:
    query = expression_of(" AND ".join(f"a{number}" for number in range(3000)))
    leaves: list[Expression] = []

    def walk(node: Expression, depth: int) -> None:
        assert depth < 15
        if isinstance(node, Binary):
            walk(node.left, depth + 1)
            walk(node.right, depth + 1)
        else:
            leaves.append(node)

    walk(query, 0)
    assert leaves == [Name((f"a{number}",)) for number in range(3000)]


def test_limits_are_stated() -> None:
    assert isinstance(failure(nested("(", "1", ")", MAXIMUM_BRACKETS + 1)), TooLarge)
    assert parse(nested("(", "1", ")", MAXIMUM_BRACKETS)) == Select((Item(ONE),))
    error = failure(nested("1 + ", "1", "", MAXIMUM_DEPTH + 1))
    assert isinstance(error, TooLarge)
    assert error.line == 1
    parse(nested("abs(", "1", ")", MAXIMUM_DEPTH - 10))


def test_long_texts() -> None:
    started = time.monotonic()
    assert isinstance(failure("SELECT '" + "é" * (MAXIMUM_BYTES // 2) + "'"), TooLarge)
    assert isinstance(failure("SELECT " + "1+" * MAXIMUM_BYTES + "1"), TooLarge)
    assert time.monotonic() - started < 1
    assert isinstance(failure("SELECT " + "1," * 60_000 + "1"), TooLarge)
    assert len(str(failure("SELECT " + "a" * 900_000 + "(1)"))) < 400
    assert len(str(failure("a" * 900_000))) < 400


def test_the_parser_counts_its_steps() -> None:
    parser = Parser(steps=10)
    with pytest.raises(StepsSpent):
        parser.parse(tokenize("SELECT 1 + 2 + 3 + 4 + 5 + 6"), "")


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\x0b", "\u2028"])
def test_lines_are_counted_as_the_caret_counts_them(separator: str) -> None:
    failure(f"SELECT 1,{separator}  ¦foo(1)")
    failure(f"SELECT '{separator}', ¦foo(1)")


@pytest.fixture
def own_recursion_limit() -> Iterator[int]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(3456)
    yield 3456
    sys.setrecursionlimit(before)


def test_the_process_is_left_as_it_was(own_recursion_limit: int) -> None:
    before = threading.stack_size(), threading.active_count()
    parse("SELECT 1")
    for text in ("SELECT", nested("f(", "1", ")", 100), nested("NOT ", "1", "", 5000)):
        failure(text)
    assert sys.getrecursionlimit() == own_recursion_limit
    assert (threading.stack_size(), threading.active_count()) == before


def test_many_threads_at_once(own_recursion_limit: int) -> None:
    text = nested("abs(", "1", ")", 150)
    expected = parse(text)
    with ThreadPoolExecutor(16) as pool:
        assert all(each == expected for each in pool.map(parse, [text] * 60))
    assert sys.getrecursionlimit() == own_recursion_limit
