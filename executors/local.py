"""Plaintext subtrees: one SQL text each for its owner's DuckDB, rows out as an Arrow table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType
from pyarrow import ipc

from sdh.accounting import EXACT
from sdh.errors import Cancelled, DataError, InternalError, SdhError, StaleFact, memory_exceeded
from sdh.executors.discrete_noise import draws
from sdh.planners.logical import Noise
from sdh.planners.plan import Fragment, Placed
from sdh.planners.render import noise_function
from sdh.schema import Schema, parse_type

PUBLIC = "the public tables"


def run_fragment(connection: duckdb.DuckDBPyConnection, fragment: Fragment) -> pa.Table:
    """Run the fragment once; columns are named and typed as `fragment.schema` says, in DuckDB's own Arrow mapping.

    Raises DataError (operator and party, never DuckDB's text), StaleFact (a file of the store changed or went),
    Cancelled (after `connection.interrupt()`), MemoryExceeded, InternalError (not the planner's promise).
    """
    party = fragment.party or PUBLIC
    try:
        _require_select(connection, fragment.sql)
        with _noise_functions(connection, fragment.noises):
            relation = connection.sql(fragment.sql)
            _require_types(relation, fragment.schema)
            table: pa.Table = relation.to_arrow_table()
    except duckdb.Error as error:
        raise told(error, party) from None
    return table.rename_columns([column.name for column in fragment.schema])


@contextmanager
def _noise_functions(connection: duckdb.DuckDBPyConnection, noises: Sequence[Noise]) -> Iterator[None]:
    """While inside, the owner's DuckDB has a function for each noise: its argument plus a fresh draw, never worked out twice."""
    names = [noise_function(noise) for noise in noises]
    for noise, name in zip(noises, names, strict=True):
        kind = str(noise.input.type)
        # SPECIAL: the function sees NULL too
        connection.create_function(name, partial(_with_noise, noise), [kind], kind, type=PythonUDFType.ARROW,
                                   side_effects=True, null_handling=FunctionNullHandling.SPECIAL)
    try:
        yield
    finally:
        for name in names:
            connection.remove_function(name)


def _with_noise(noise: Noise, column: Any) -> Any:
    """The column's integers, times 10^scale of its type, plus exact draws. NULL, a sum of nothing, is 0: it would be exact."""
    mechanism, scale = noise.mechanism, noise.input.type.scale
    drawn = draws(mechanism.kind, mechanism.scale, len(column))
    values = [EXACT.add(Decimal(0 if value is None else value), Decimal(one).scaleb(-scale, EXACT))
              for value, one in zip(column.to_pylist(), drawn, strict=True)]
    return pa.array(values, pa.decimal128(38, scale)).cast(column.type)


def run_local(connection: duckdb.DuckDBPyConnection, placed: Placed) -> bytes:
    """A question that one owner, or nobody, has all tables of: its only fragment is the result, as an Arrow IPC stream.

    Raises what `run_fragment` does.
    """
    if len(placed.fragments) != 1:
        raise InternalError(f"A plan of {len(placed.fragments)} fragments was run as a local one.")
    return to_stream(run_fragment(connection, placed.fragments[0]))


def to_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_stream(stream: bytes) -> pa.Table:
    """The table that `to_stream` wrote."""
    return ipc.open_stream(stream).read_all()


def _require_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """A fragment reads. The lock allows the store's own files to be opened, so COPY could write to them."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise InternalError("A fragment is not one SELECT.")


def _require_types(relation: duckdb.DuckDBPyRelation, schema: Schema) -> None:
    got = [parse_type(str(kind)) for kind in relation.types]
    if got != [column.type for column in schema]:
        promised = ", ".join(str(column.type) for column in schema)
        raise InternalError(f"A fragment has columns of types {', '.join(map(str, got))}; the plan says {promised}.")


# DuckDB's errors by its fixed words: what follows them quotes values and is never looked at.
_OPERATORS = (
    (re.compile(r"Division by zero"), "a division by zero"),
    (re.compile(r"More than one row returned by a subquery"), "a scalar subquery of more than one row"),
    (re.compile(r"Overflow in (addition|subtraction|multiplication|division|negation)\b"), "an overflow in {}"),
    (re.compile(r"Overflow on (abs)\b"), "an overflow in {}"),
)


def told(error: duckdb.Error, party: str) -> SdhError:
    """What may be told of DuckDB's error at `party`: which operator failed, not on what."""
    match error:
        case duckdb.InterruptException():
            return Cancelled("The query was cancelled.")
        case duckdb.OutOfMemoryException():
            return memory_exceeded(party, "a fragment")
        case (duckdb.ParserException() | duckdb.BinderException() | duckdb.CatalogException()
              | duckdb.InternalException()):
            return InternalError(f"DuckDB at {party} refused a fragment ({type(error).__name__}).",
                                 advice="Please report the query.")
        case duckdb.IOException() | duckdb.PermissionException():
            return StaleFact(f"A file of {party} changed or went away since it was attached.",
                             advice="Detach it and attach it again.")
        case _:
            return DataError(f"The query failed on the data of {party}: {_operator(error)}.",
                             advice="Values are not told; guard the operator with CASE or TRY_CAST.")


def _operator(error: duckdb.Error) -> str:
    text = str(error).partition(": ")[2]
    for pattern, name in _OPERATORS:
        if found := pattern.match(text):
            return name.format(*found.groups())
    match error:
        case duckdb.ConversionException():
            return "a CAST of a value that does not fit its type"
        case duckdb.OutOfRangeException():
            return "a value outside the range of its type"
        case _:
            return "a function that a value is not allowed for"
