"""The client's end: payloads of all parties to rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import duckdb
import numpy as np
import pyarrow as pa

from sdh.errors import DataError, InternalError, ProtocolError
from sdh.executors.codes import codes_of_doubles, doubles_of_codes
from sdh.executors.layout import (
    Column,
    NumberColumn,
    QuotientColumn,
    TextColumn,
    TruthColumn,
    bit_count,
    layout,
    word_count,
)
from sdh.executors.local import from_stream
from sdh.executors.packing import unpack_bits, words_of
from sdh.executors.text import ArrowArray, Words, decode_text, pc
from sdh.planners.derive_traits import traits
from sdh.planners.last_steps import Step
from sdh.planners.physical import Release
from sdh.planners.placed import Top
from sdh.planners.plan import Plan
from sdh.planners.render import expression_sql
from sdh.schema import NULL, Kind, Schema, Type


def assemble(plan: Plan, payloads: list[bytes]) -> pa.Table:
    """The result: shares added up, rows that are not there dropped, values decoded, ordered.

    payloads: one per party in rank order; for a local plan one Arrow IPC stream. Raises DataError if the error bit is
    set, ProtocolError for a payload of another length than planned.
    """
    if plan.root is None:
        return named(from_stream(payloads[0]), plan.placed.schema)
    words, flags, failed = _added(plan, plan.root, payloads)
    if failed:
        raise DataError(
            "An operator of the query failed on the data, as it would in DuckDB: an overflow or a division by zero.",
            advice="Which rows and parties is not told; cast to a wider type, or divide by nullif(..., 0).",
        )
    keep = flags[-1]
    columns, word, flag = [], 0, 0
    for column in layout(plan.root):
        mine = [one[keep] for one in words[word : word + word_count(column)]]
        bits = [one[keep] for one in flags[flag : flag + bit_count(column)]]
        word, flag = word + len(mine), flag + len(bits)
        columns.append(_decoded(column, mine, bits))
    top = plan.placed.top
    columns = _worked_out(columns, top.steps) if isinstance(top, Top) and top.steps else columns
    visible = [_as(column, c.type) for column, c in zip(columns, plan.placed.schema, strict=False)]
    hidden = columns[len(visible) :]
    index = _order(plan.root, [*visible, *hidden])
    table = pa.Table.from_arrays(visible, names=[str(i) for i in range(len(visible))])
    return named(table if index is None else table.take(index), plan.placed.schema)


def named(table: pa.Table, schema: Schema) -> pa.Table:
    """The columns under the result's names, which need not be distinct."""
    return table.rename_columns([column.name for column in schema])


def _added(plan: Plan, root: Release, payloads: Sequence[bytes]) -> tuple[list[Words], list[Words], bool]:
    """Words int64 [slots] each, bits bool [slots] each (validity last), and the error bit."""
    slots = traits(root.input).slots
    columns = layout(root)
    count, flags = sum(map(word_count, columns)), sum(map(bit_count, columns)) + 1
    packed = words_of(slots)
    error = 1 if plan.may_fail else 0
    if any(len(payload) != 8 * (error + count * slots + flags * packed) for payload in payloads):
        raise ProtocolError("A party sent a result of another size than planned.", advice="Nothing was released.")
    shares = [np.frombuffer(payload, dtype=np.int64) for payload in payloads]
    border = error + count * slots
    ring = np.zeros(count * slots, dtype=np.int64)
    binary = np.zeros(flags * packed, dtype=np.int64)
    failed = 0
    for share in shares:
        failed ^= int(share[0]) & 1 if error else 0
        ring += share[error:border]
        binary ^= share[border:]
    words = [ring[i * slots : (i + 1) * slots] for i in range(count)]
    bits = [unpack_bits(binary[i * packed : (i + 1) * packed], slots).astype(bool) for i in range(flags)]
    return words, bits, bool(failed)


def _decoded(column: Column, words: list[Words], bits: list[Words]) -> ArrowArray:
    match column:
        case NumberColumn(type_):
            return _number(words[0], bits[0], type_)
        case TextColumn():
            return decode_text(words, bits[0])
        case TruthColumn():
            return pa.array(bits[0], mask=~(bits[0] | bits[1]))
        case QuotientColumn():
            return pa.array(_quotient(words, bits), mask=bits[0])
        case _:
            assert_never(column)


def _worked_out(columns: list[ArrowArray], steps: Sequence[Step]) -> list[ArrowArray]:
    """The client's own steps, by DuckDB: they are arithmetic on DOUBLEs that it has. Raises DataError as DuckDB does."""
    released = pa.table({step.input.sql: columns[step.place] for step in steps})
    with duckdb.connect(config={"threads": 1, "python_enable_replacements": "false"}) as connection:
        connection.register("released", released)
        try:
            values = ", ".join(expression_sql(step.value) for step in steps)
            made = connection.sql(f"SELECT {values} FROM released").to_arrow_table()
        except duckdb.Error as error:
            said = str(error).splitlines()[0].partition(": ")[2].partition(" when casting")[0].rstrip(".!")
            raise DataError(f"{said}.", advice="Guard what is worked out of a quotient, as with greatest(..., 0).") from None
    by_place = {step.place: made.column(i).combine_chunks() for i, step in enumerate(steps)}
    return [by_place.get(place, column) for place, column in enumerate(columns)]


def _number(values: Words, null: Words, type_: Type) -> ArrowArray:
    match type_.kind:
        case Kind.DOUBLE | Kind.FLOAT:
            return pa.array(doubles_of_codes(values), mask=null)
        case Kind.DATE:
            return pa.array(values.astype(np.int32), mask=null).cast(pa.date32())
        case Kind.TIMESTAMP:
            return pa.array(values, mask=null).cast(pa.timestamp("us"))
        case Kind.DECIMAL | Kind.HUGEINT | Kind.UHUGEINT:
            return _decimal(values, null, type_.scale if type_.kind is Kind.DECIMAL else 0)
        case _:
            return pa.array(values, mask=null)


def _decimal(values: Words, null: Words, scale: int) -> ArrowArray:
    """int64 times 10^scale as decimal128(38, scale)."""
    halves = np.empty((len(values), 2), dtype=np.int64)
    halves[:, 0], halves[:, 1] = values, values >> 63
    whole = pa.Array.from_buffers(pa.decimal128(38, scale), len(values), [None, pa.py_buffer(halves.tobytes())])
    return pc.if_else(pa.array(~null), whole, pa.scalar(None, whole.type))


def _quotient(words: list[Words], bits: list[Words]) -> Words:
    """float64 nearest to the quotient: 57 bits, the last of which says whether more were cut off, times a power of two."""
    mantissa, exponent = words
    _, negative, no_divisor, no_dividend = bits
    value = np.ldexp(mantissa.astype(np.float64), exponent.astype(np.int32))
    value = np.where(no_divisor, np.where(no_dividend, np.nan, np.inf), value)
    return np.where(negative, -value, value)


def _as(column: ArrowArray, type_: Type) -> ArrowArray:
    return pa.nulls(len(column)) if type_ == NULL else column.cast(arrow_type(type_))


def arrow_type(type_: Type) -> Any:
    """DuckDB's Arrow type of a SQL type."""
    match type_.kind:
        case Kind.BOOLEAN:
            return pa.bool_()
        case Kind.TINYINT:
            return pa.int8()
        case Kind.SMALLINT:
            return pa.int16()
        case Kind.INTEGER:
            return pa.int32()
        case Kind.BIGINT:
            return pa.int64()
        case Kind.UTINYINT:
            return pa.uint8()
        case Kind.USMALLINT:
            return pa.uint16()
        case Kind.UINTEGER:
            return pa.uint32()
        case Kind.UBIGINT:
            return pa.uint64()
        case Kind.HUGEINT | Kind.UHUGEINT:
            return pa.decimal128(38, 0)
        case Kind.DECIMAL:
            return pa.decimal128(type_.precision, type_.scale)
        case Kind.FLOAT:
            return pa.float32()
        case Kind.DOUBLE:
            return pa.float64()
        case Kind.DATE:
            return pa.date32()
        case Kind.TIMESTAMP:
            return pa.timestamp("us")
        case Kind.VARCHAR:
            return pa.string()
        case Kind.OTHER if type_ == NULL:
            return pa.null()  # as DuckDB gives a column of NULL alone
        case Kind.OTHER:
            raise InternalError(f"{type_} does not travel on shares.")
        case _:
            assert_never(type_.kind)


def _order(root: Release, columns: list[ArrowArray]) -> Any:
    """The index that sorts the rows as the query says, None if it does not say. NULLs last unless it says first."""
    if not root.order:
        return None
    keys: list[tuple[str, Any]] = []
    data: dict[str, ArrowArray] = {}
    for i, (output, descending, nulls_first) in enumerate(root.order):
        column = _sortable(columns[output])
        null = pc.is_null(column)
        data[f"n{i}"] = pc.cast(pc.invert(null) if nulls_first else null, pa.int8())
        data[f"v{i}"] = column
        keys += [(f"n{i}", "ascending"), (f"v{i}", "descending" if descending else "ascending")]
    return pc.sort_indices(pa.table(data), sort_keys=keys)


def _sortable(column: ArrowArray) -> ArrowArray:
    """DuckDB sorts NaN above infinity, whichever way; pyarrow puts it at the end: the order code decides."""
    if not pa.types.is_floating(column.type):
        return column
    null = column.is_null().to_numpy(zero_copy_only=False)
    codes = codes_of_doubles(pc.fill_null(column, 0.0).cast(pa.float64()).to_numpy(zero_copy_only=False))
    return pa.array(codes, mask=null)
