"""What an owner publishes of a table: types, and as far as its policy says, facts measured on the data.

Declared keys and bounds replace a measurement and are checked against the data. A key is unique over the rows in
which none of its columns is NULL, as a UNIQUE constraint is: a join never matches the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from typing import Any

import duckdb

from sdh.catalog import Facts
from sdh.connectors.opening import STORE, literal, quoted
from sdh.errors import BoundsViolated, KeyViolated, UnknownDeclaration
from sdh.schema import FLOATING, Column, Kind, Schema, Type, parse_type

Keys = Mapping[str, Any]
"""By table: a column's name, or several keys, each a column's name or a sequence of names."""
Repeats = Mapping[str, Any]
"""By table: keys, each a column's name or a sequence of names, and how often one may repeat; a mapping or pairs."""
Bounds = Mapping[str, Sequence[Any]]
"""By 'table.column': (low, high) in SQL units; dates and timestamps as ISO text or Python values."""
Key = tuple[str, ...]
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """Facts of one column, and whether a NULL is there. `extremes`: the range of its values, times 10^scale."""

    facts: Facts
    has_null: bool
    extremes: Range | None


def describe_columns(connection: duckdb.DuckDBPyConnection, table: str) -> Schema:
    """The columns of `table`, a quoted name."""
    rows = connection.sql(f"DESCRIBE {table}").fetchall()
    return tuple(Column(name, parse_type(kind), nullable == "YES") for name, kind, nullable, *_ in rows)


def stated_keys(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[Key, ...]:
    """The PRIMARY KEY and UNIQUE constraints that a .duckdb file states for its table `name`."""
    listing = ("SELECT constraint_column_names FROM duckdb_constraints() "
               f"WHERE starts_with(database_name, {literal(STORE)}) AND table_name = {literal(name)} "
               "AND constraint_type IN ('PRIMARY KEY', 'UNIQUE') ORDER BY constraint_index")
    return tuple(tuple(names) for (names,) in connection.sql(listing).fetchall())


def unique_columns(connection: duckdb.DuckDBPyConnection, table: str, columns: Schema) -> tuple[Key, ...]:
    """The columns no two of whose rows, NULL aside, agree: found by looking, so for tables that everyone holds."""
    plain = [column.name for column in columns if column.type.kind is not Kind.OTHER]
    counts = ", ".join(f"count(DISTINCT {quoted(name)}) = count({quoted(name)})" for name in plain)
    found = _one(connection, f"SELECT {counts} FROM {table}") if plain else ()
    return tuple((name,) for name, unique in zip(plain, found, strict=True) if unique)


def count_rows(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(_one(connection, f"SELECT count(*) FROM {table}")[0])


def measure(connection: duckdb.DuckDBPyConnection, table: str, columns: Schema) -> tuple[Measured, ...]:
    """Facts of `columns` by one aggregate query. Raises duckdb.Error if the data cannot be read."""
    parts = [part for column in columns for part in _aggregates(column)]
    values = _one(connection, f"SELECT {', '.join(parts)} FROM {table}") if parts else ()
    return tuple(_measured(column.type, *values[3 * i:3 * i + 3]) for i, column in enumerate(columns))


def _aggregates(column: Column) -> tuple[str, str, str]:
    """Number of NULLs, least and greatest value (of a VARCHAR: no least, the greatest length in bytes)."""
    name = quoted(column.name)
    nulls = f"count(*) - count({name})"
    match column.type:
        case Type(kind=Kind.VARCHAR):
            return nulls, "NULL", f"max(strlen({name}))"
        case Type(kind=Kind.OTHER):
            return nulls, "NULL", "NULL"
        case Type(kind=Kind.BOOLEAN):
            return nulls, f"min({name})::INT", f"max({name})::INT"
        case Type(kind=Kind.DATE):   # an infinite date counts as the days DuckDB stores for it
            return nulls, f"min({name}) - DATE '1970-01-01'", f"max({name}) - DATE '1970-01-01'"
        case Type(kind=Kind.TIMESTAMP):
            return nulls, _microseconds(f"min({name})"), _microseconds(f"max({name})")
        case kind if kind.kind in FLOATING:
            # Of a Parquet file DuckDB 2.0 takes MIN and MAX from statistics, which leave NaN out.
            greatest = f"CASE WHEN bool_or(NOT isfinite({name})) THEN 'nan' ELSE max({name}) END"
            return nulls, f"min({name})::DOUBLE", f"({greatest})::DOUBLE"
        case _:
            return nulls, f"min({name})::VARCHAR", f"max({name})::VARCHAR"


def _microseconds(value: str) -> str:
    """epoch_us of an infinite timestamp is NULL in DuckDB 2.0; it is stored as the ends of 64 bits."""
    least, greatest = Type(Kind.TIMESTAMP).range()
    return (f"CASE {value} WHEN TIMESTAMP 'infinity' THEN {greatest} "
            f"WHEN TIMESTAMP '-infinity' THEN {least} ELSE epoch_us({value}) END")


def _measured(kind: Type, nulls: int, low: Any, high: Any) -> Measured:
    if kind.kind is Kind.OTHER:
        return Measured(Facts(), nulls > 0, None)
    if kind.kind is Kind.VARCHAR:
        return Measured(Facts(bytes=-(-int(high or 0) // 8) * 8), nulls > 0, None)
    if high is None:
        return Measured(Facts(bits=0), nulls > 0, None)
    if kind.kind in FLOATING:
        if not (math.isfinite(low) and math.isfinite(high)):
            return Measured(Facts(), nulls > 0, None)
        extremes = math.floor(low), math.ceil(high)
    else:
        extremes = _scaled_text(low, kind.scale), _scaled_text(high, kind.scale)
    return Measured(Facts(bits=_bits(extremes)), nulls > 0, extremes)


def _scaled_text(value: Any, scale: int) -> int:
    return int(Decimal(str(value)).scaleb(scale)) if scale else int(value)


def _bits(extremes: Range) -> int:
    return max(abs(extremes[0]), abs(extremes[1])).bit_length()


def check_key(connection: duckdb.DuckDBPyConnection, table: str, label: str, key: Key) -> None:
    """Raises KeyViolated if two rows without NULL in `key` agree on all of it."""
    if _stands_more_often(connection, table, key, 1):
        raise KeyViolated(f"The declared key ({', '.join(key)}) of {label} is not unique.",
                          advice="Leave it out of keys=, or mend the data.")


def check_repeats(connection: duckdb.DuckDBPyConnection, table: str, label: str, key: Key, times: int) -> None:
    """Raises KeyViolated if more than `times` rows without NULL in `key` agree on all of it."""
    if _stands_more_often(connection, table, key, times):
        raise KeyViolated(f"A value of ({', '.join(key)}) stands in more than {times:,} rows of {label}.",
                          advice="Declare more in repeats=, or leave it out.")


def _stands_more_often(connection: duckdb.DuckDBPyConnection, table: str, key: Key, times: int) -> bool:
    names = ", ".join(quoted(name) for name in key)
    present = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in key)
    again = f"SELECT 1 FROM {table} WHERE {present} GROUP BY {names} HAVING count(*) > {times} LIMIT 1"
    return bool(connection.sql(again).fetchall())


def check_bounds(label: str, kind: Type, bounds: Range, measured: Measured) -> Facts:
    """The facts that declared `bounds` publish in place of what was measured.

    Raises BoundsViolated, without the value, if the data is outside; of a DOUBLE, inf and NaN always are.
    """
    low, high = bounds
    unmeasurable = kind.kind in FLOATING and measured.facts.bits is None
    outside = measured.extremes is not None and not (low <= measured.extremes[0] and measured.extremes[1] <= high)
    if unmeasurable or outside:
        raise BoundsViolated(f"A value of {label} lies outside its declared bounds.",
                             advice="Widen bounds=, or leave the column out of it.")
    return Facts(bits=_bits(bounds), low=low, high=high)


def bounds_of(label: str, kind: Type, declared: Sequence[Any]) -> Range:
    """Declared (low, high) in SQL units as integers times 10^scale: the range narrows to what the type can hold,
    except for a DOUBLE, where it widens to whole numbers. Raises UnknownDeclaration."""
    wrong = UnknownDeclaration(f"The bounds of {label} are not a (low, high) pair of its type {kind}.")
    if kind.kind in (Kind.VARCHAR, Kind.OTHER):
        raise UnknownDeclaration(f"Bounds of {label} say nothing: its type is {kind}.")
    try:
        low, high = (_in_units(value, kind) for value in declared)
        widen = kind.kind in FLOATING
        scaled = (int(low.to_integral_value(ROUND_FLOOR if widen else ROUND_CEILING)),
                  int(high.to_integral_value(ROUND_CEILING if widen else ROUND_FLOOR)))
    except (ValueError, TypeError, InvalidOperation, OverflowError):
        raise wrong from None
    if scaled[0] > scaled[1]:
        raise wrong
    return scaled


def _in_units(value: Any, kind: Type) -> Decimal:
    """`value` times 10^scale, in days for DATE and microseconds for TIMESTAMP. Not always a whole number."""
    if kind.is_temporal:
        moment = value if isinstance(value, date) else datetime.fromisoformat(str(value))
        if not isinstance(moment, datetime):
            moment = datetime(moment.year, moment.month, moment.day)
        passed = moment.replace(tzinfo=None) - datetime(1970, 1, 1)
        microseconds = (passed.days * 86400 + passed.seconds) * 10**6 + passed.microseconds
        return Decimal(microseconds) / (86400 * 10**6) if kind.kind is Kind.DATE else Decimal(microseconds)
    number = Decimal(str(int(value) if isinstance(value, bool) else value))
    if not number.is_finite():
        raise ValueError(value)
    return number.scaleb(kind.scale)


def keys_of(declared: Any) -> tuple[Key, ...]:
    """'id' or ['id', ('a', 'b')] as tuples of column names. Raises UnknownDeclaration."""
    if isinstance(declared, str):
        return ((declared,),)
    keys = tuple((key,) if isinstance(key, str) else tuple(key) for key in declared)
    if not all(key and all(isinstance(name, str) for name in key) for key in keys):
        raise UnknownDeclaration(f"{declared!r} is not a list of keys.", advice='Write keys={"accounts": [("id",)]}.')
    return keys


def repeats_of(declared: Any) -> tuple[tuple[Key, int], ...]:
    """{'customer': 20} or {('a', 'b'): 3}, or pairs of the same, as tuples of column names with a count.

    Raises UnknownDeclaration.
    """
    pairs = declared.items() if isinstance(declared, Mapping) else declared
    found = [(key, times) for one, times in pairs for key in keys_of([one])]
    if not all(type(times) is int and times >= 1 for _, times in found):
        raise UnknownDeclaration(f"{declared!r} does not say how often keys repeat.",
                                 advice='Write repeats={"orders": {("customer",): 20}}.')
    return tuple(found)


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    return tuple(connection.sql(sql).fetchall()[0])
