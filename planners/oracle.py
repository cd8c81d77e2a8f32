"""An in-memory DuckDB with the catalog's empty tables: what names and types mean is what DuckDB says."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any

import duckdb
import pyarrow as pa

from sdh.catalog import Catalog
from sdh.errors import (
    AmbiguousColumn,
    NotGrouped,
    ParameterError,
    ParseError,
    QuestionError,
    TypeMismatch,
    UnknownColumn,
    UnknownFunction,
    UnknownTable,
    Unsupported,
)
from sdh.planners.expressions import Field
from sdh.planners.render import literal, quote, table_sql
from sdh.schema import Column, Kind, Schema, Type, parse_type

SETTINGS = (
    "errors_as_json=true",
    "autoload_known_extensions=false",
    "autoinstall_known_extensions=false",
    "python_enable_replacements=false",
    "enable_external_access=false",
    "threads=1",
    "lock_configuration=true",
)


_WANTED = re.compile(r'(?:column named|Referenced column|Referenced table|Table with name) "?([^"\s!]+)')


RingValue = None | bool | int | float | str
WIDE = Context(prec=100)


class Oracle:
    """One locked connection per catalog; nothing in it but empty tables."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._connection = duckdb.connect(config={"threads": "1", "async_threads": "0"})
        tables = catalog.named
        databases = {name.lower(): name for name in (*catalog.names, *(table.party for table in tables if table.party))}
        for database in databases.values():
            self._connection.execute(f"CREATE SCHEMA {quote(database)}")
        for table in tables:
            columns = ", ".join(f"{quote(c.name)} {c.type}" for c in table.columns)
            self._connection.execute(f"CREATE TABLE {table_sql(table.party, table.name)} ({columns})")
        for setting in SETTINGS:
            self._connection.execute(f"SET {setting}")

    def describe(self, text: str, params: Mapping[str, object]) -> Schema:
        """Names and types of the result of a SELECT, as DuckDB gives them. Raises QuestionError classes."""
        described = self._described(text, params)
        names = self._names(text, params) or [column.name for column in described]
        return tuple(Column(name, column.type) for name, column in zip(names, described, strict=True))

    def _described(self, text: str, params: Mapping[str, object]) -> Schema:
        prefix = "DESCRIBE "
        try:
            values = {name: self._python(value) for name, value in params.items()}
            rows = self._connection.execute(prefix + text, values or None).fetchall()
        except duckdb.Error as error:
            raise self._question_error(error, text, len(prefix)) from None
        return tuple(Column(row[0], parse_type(row[1])) for row in rows)

    def _names(self, text: str, params: Mapping[str, object]) -> list[str]:
        """As a run over the empty tables gives them: DESCRIBE folds some. [] where a constant fails at run time."""
        try:
            values = {name: self._python(value) for name, value in params.items()}
            answer = self._connection.execute(text, values or None)
            names = [column[0] for column in answer.description or ()]
            answer.fetchall()
        except duckdb.Error:
            return []
        return names

    def types(self, expressions: Sequence[str], fields: Iterable[Field]) -> list[Type]:
        """The types of SQL expressions over fields (columns named c<number>). Raises QuestionError classes."""
        columns = ", ".join(f"CAST(NULL AS {field.type}) AS {field.sql}" for field in fields) or "0 AS nothing"
        text = f"SELECT {', '.join(expressions)} FROM (SELECT {columns})"
        return list(_cached_types(self, text))

    def common_types(self, sides: Sequence[Sequence[Type]]) -> list[Type]:
        """The types of the columns of a UNION of queries with these types. Raises TypeMismatch."""
        parts = (", ".join(f"CAST(NULL AS {type_}) AS c{i}" for i, type_ in enumerate(side)) for side in sides)
        return list(_cached_types(self, " UNION ALL ".join(f"SELECT {part}" for part in parts)))

    def value(self, expression: str) -> tuple[Type, RingValue]:
        """Type and value (as `Constant.value` holds it) of a constant SQL expression. Raises TypeMismatch."""
        try:
            table = self._connection.sql(f"SELECT typeof(x) AS t, x FROM (SELECT {expression} AS x)").to_arrow_table()
        except duckdb.Error as error:
            raise self._question_error(error, "", 0) from None
        type_ = parse_type(table.column(0)[0].as_py())
        return type_, _ring_value(type_, table.column(1).combine_chunks())

    def _python(self, value: object) -> object:
        """A parameter as DuckDB's Python takes it."""
        match value:
            case (str() as type_, str() as text):
                return self._connection.execute(f"SELECT CAST({literal(text)} AS {parse_type(type_)})").fetchall()[0][0]
            case _:
                return value

    def parameter(self, name: str, value: object) -> str:
        """A parameter's value as a typed SQL literal. Raises ParameterError."""
        match value:
            case None:
                return "NULL"
            case (str() as type_, str() as text):
                return f"CAST({literal(text)} AS {parse_type(type_)})"
            case bool() | int() | float():
                [(type_name,)] = self._connection.execute("SELECT typeof($x)", {"x": value}).fetchall()
                return f"CAST({literal(str(value))} AS {type_name})"
            case str():
                return literal(value)
            case _:
                raise ParameterError(
                    f"The parameter ${name} is of a type that SQL does not have.",
                    advice="Give None, a bool, int, float, str, Decimal, date or datetime.",
                )

    def _question_error(self, error: duckdb.Error, text: str, prefix: int) -> QuestionError:
        message, fields = _message_and_fields(error)
        line, column = _position(text, fields, prefix)
        kind, advice = _classify(message, fields)
        if kind in (UnknownColumn, UnknownTable):
            advice = self._nearest(message, kind)
        first = message.splitlines()[0].rstrip(" .!") + "."
        return kind(first, advice=advice, line=line, column=column, sql=text)

    def _nearest(self, message: str, kind: type[QuestionError]) -> str:
        found = _WANTED.search(message)
        wanted = found[1] if found else ""
        if kind is UnknownTable:
            return nearest_names(wanted, (table.full_name for table in self.catalog.named))
        return nearest_names(wanted, (column.name for table in self.catalog.named for column in table.columns))


@lru_cache(maxsize=16)
def oracle(catalog: Catalog) -> Oracle:
    """The oracle of a catalog; kept, since a hub asks many questions of one catalog."""
    return Oracle(catalog)


@lru_cache(maxsize=4096)
def _cached_types(source: Oracle, text: str) -> tuple[Type, ...]:
    return tuple(column.type for column in source._described(text, {}))


def nearest_names(wanted: str, names: Iterable[str]) -> str:
    """'Did you mean a, b?' with the nearest names, or the first few."""
    unique = sorted(set(names))
    by_lower = {name.lower(): name for name in unique}
    near = difflib.get_close_matches(wanted.lower(), by_lower, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {', '.join(by_lower[name] for name in near)}?"
    return f"There are: {', '.join(unique[:8])}{', ...' if len(unique) > 8 else ''}." if unique else "There are none."


def _ring_value(type_: Type, column: Any) -> RingValue:
    """The one value of an Arrow column: DATE and TIMESTAMP as days and microseconds, beyond Python's years too."""
    if not column[0].is_valid:
        return None
    match type_.kind:
        case Kind.DATE:
            return int(column.cast(pa.int32())[0].as_py())
        case Kind.TIMESTAMP:
            return int(column.cast(pa.int64())[0].as_py())
        case Kind.OTHER:
            return str(column[0])
    value = column[0].as_py()
    if isinstance(value, Decimal):
        return int(value.scaleb(type_.scale, WIDE))
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _message_and_fields(error: duckdb.Error) -> tuple[str, dict[str, str]]:
    text = str(error)
    start = text.find("{")
    try:
        fields = json.loads(text[start:])
        return str(fields.get("exception_message", text)), fields
    except (ValueError, AttributeError):
        return text.split("Error: ", 1)[-1], {}


def _position(text: str, fields: dict[str, str], prefix: int) -> tuple[int, int]:
    if not text or "position" not in fields:
        return 0, 0
    before = text.encode()[: max(0, int(fields["position"]) - prefix)].decode(errors="ignore")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _classify(message: str, fields: dict[str, str]) -> tuple[type[QuestionError], str]:
    kind, subtype = fields.get("type", ""), fields.get("error_subtype", "")
    candidates = fields.get("candidates", "").split("\n")[0]
    if subtype == "COLUMN_NOT_FOUND" or "does not have a column" in message or "Referenced table" in message:
        return UnknownColumn, ""
    if message.startswith("Table with name") or kind == "Table":
        return UnknownTable, ""
    if "Function" in kind:
        return UnknownFunction, f"Did you mean {candidates}?" if candidates else ""
    if fields.get("exception_type") == "Parser":
        return ParseError, ""
    if "Ambiguous reference" in message:
        return AmbiguousColumn, "Name the table before the column."
    if "GROUP BY" in message and "must appear" in message:
        return NotGrouped, "Add it to GROUP BY or put it in an aggregate."
    if fields.get("exception_type") == "Not implemented":
        return Unsupported, ""
    return TypeMismatch, "Cast one side to the other's type." if "No function matches" in message else ""
