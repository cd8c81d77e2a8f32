"""Tables for generated queries: NULLs, negative numbers, extremes, duplicates, empty tables, keys with and without a match."""

from __future__ import annotations

import datetime
import random
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import pyarrow as pa

import sdh

DAY = datetime.date(1995, 1, 1)


@dataclass(frozen=True, slots=True)
class Column:
    """family: number, text, day, truth or double: columns of one family may be compared."""

    name: str
    type: pa.DataType
    family: str
    wide: bool = False
    """Values near the ends of 64 bits: fits comparisons, not sums."""


COLUMNS = (
    Column("id", pa.int32(), "number"),
    Column("k", pa.int64(), "number"),
    Column("small", pa.int8(), "number"),
    Column("n", pa.int32(), "number"),
    Column("big", pa.int64(), "number", wide=True),
    Column("money", pa.decimal128(15, 2), "number"),
    Column("rate", pa.decimal128(4, 3), "number"),
    Column("long", pa.decimal128(18, 4), "number", wide=True),
    Column("s", pa.string(), "text"),
    Column("d", pa.date32(), "day"),
    Column("t", pa.timestamp("us"), "time"),
    Column("b", pa.bool_(), "truth"),
    Column("f", pa.float64(), "double"),
    Column("r", pa.float32(), "double"),
    Column("never", pa.bool_(), "truth"),
)
TEXTS = ("", "a", "a\0", "ab", "abc", "MAIL", "SHIP", "REG AIR", "zürich", "a longer text than eight", "A")
DOUBLES = (0.0, -0.0, 1.5, -2.25, 1e300, -1e-300, float("inf"), float("-inf"), float("nan"), 3.0)


def table(rows: int, seed: int) -> pa.Table:
    """`rows` rows: id unique, k with duplicates and NULLs, the rest drawn from few values with NULLs and extremes."""
    draw = random.Random(seed)
    columns = {column.name: _values(column, rows, draw) for column in COLUMNS}
    fields = [pa.field(c.name, c.type, nullable=c.name != "id") for c in COLUMNS]
    return pa.table([pa.array(columns[c.name], c.type) for c in COLUMNS], schema=pa.schema(fields))


def _values(column: Column, rows: int, draw: random.Random) -> list[object]:
    if column.name == "id":
        return list(draw.sample(range(-5, 3 * rows + 5), rows))
    return [None if draw.random() < 0.15 else _value(column.name, draw) for _ in range(rows)]


def _value(name: str, draw: random.Random) -> object:
    match name:
        case "k":
            return draw.randint(-3, 25)
        case "small":
            return draw.choice([-128, 127, 0, 1, 2, -1, draw.randint(-128, 127)])
        case "n":
            return draw.choice([0, 1, -1, 7, draw.randint(-10_000, 10_000)])
        case "big":
            return draw.choice([-(2**63), 2**63 - 1, 0, -1, draw.randint(-(2**63), 2**63 - 1)])
        case "money":
            return Decimal(draw.choice([0, 1, -1, 100, draw.randint(-(10**7), 10**7)])) / 100
        case "rate":
            return Decimal(draw.randint(0, 1500)) / 1000
        case "long":
            return Decimal(draw.choice([10**18 - 1, 1 - 10**18, 0, 12_500, draw.randint(-(10**17), 10**17)])).scaleb(-4)
        case "s":
            return draw.choice(TEXTS)
        case "d":
            return DAY + datetime.timedelta(days=draw.choice([0, 1, -1, 31, draw.randint(-10_000, 10_000)]))
        case "t":
            return datetime.datetime(1995, 1, 1) + datetime.timedelta(
                microseconds=draw.choice([0, 1, draw.randint(-(10**15), 10**15)])
            )
        case "b":
            return draw.random() < 0.5
        case "never":
            return False
        case "f":
            return draw.choice(DOUBLES)
        case "r":
            return draw.choice([0.1, 1.5, -2.25, 16777216.0, 0.0, float("nan"), float("inf")])
        case _:
            raise AssertionError(name)


SIZES = {"bank": {"accounts": 17, "branches": 5}, "shop": {"orders": 23, "empty": 0}, "mill": {"sacks": 11}}
"""Rows by table by party."""


def tables(parties: int, seed: int) -> dict[str, dict[str, pa.Table]]:
    """The tables of the first `parties` parties."""
    names = list(SIZES)[:parties]
    return {party: {name: table(rows, hash_of(party, name, seed)) for name, rows in SIZES[party].items()} for party in names}


PARTS = {"bank": ("north", 9), "shop": ("south", 13)}
"""Tables and their rows, by party, whose id is unique over both; most of their rows have one k and one s."""


def parts(seed: int) -> dict[str, dict[str, pa.Table]]:
    """The tables of PARTS."""
    found = {}
    for place, (party, (name, rows)) in enumerate(PARTS.items()):
        whole = table(rows, hash_of(party, name, seed))
        columns: dict[str, list[object]] = {"id": [2 * i + place - 3 for i in range(rows)]}
        columns |= {c: [*(most if i % 4 else None for i in range(rows - 2)), *whole[c].to_pylist()[-2:]]
                    for c, most in MOST.items()}
        for column, values in columns.items():
            at = whole.schema.get_field_index(column)
            whole = whole.set_column(at, whole.schema.field(at), pa.array(values, whole.schema.field(at).type))
        found[party] = {name: whole}
    return found


MOST = {"k": 7, "s": "MAIL"}
"""What most rows of PARTS have."""


def hash_of(*parts: object) -> int:
    return random.Random(repr(parts)).randrange(1 << 30)


def public_table() -> pa.Table:
    return pa.table({"code": pa.array([0, 1, 2, 7, None], pa.int32()), "label": ["zero", "one", "two", "seven", "none"]})


def with_many(parties: int, seed: int, first: int, second: int) -> dict[str, dict[str, pa.Table]]:
    """The usual tables, and larger ones of these seeds: sorts of more than one stage."""
    found = tables(parties, seed)
    found["bank"]["many"], found["shop"]["many"] = table(600, first), table(700, second)
    return found


def open_hub(owned: dict[str, dict[str, pa.Table]], rows: str) -> sdh.Hub:
    """A hub whose parties grant the client all, with id as key of every table."""
    hub = sdh.connect(client="analyst")
    for party, found in owned.items():
        hub.attach(party, dict(found), policy=sdh.Policy.open(rows=rows), keys={name: [("id",)] for name in found})
    return hub


def plain(data: dict[str, dict[str, pa.Table]]) -> duckdb.DuckDBPyConnection:
    """One plain DuckDB that has these tables."""
    connection = duckdb.connect()
    for party, owned in data.items():
        connection.execute(f"CREATE SCHEMA {party}")
        for name, rows in owned.items():
            connection.register("rows_", rows)
            connection.execute(f"CREATE TABLE {party}.{name} AS FROM rows_")
            connection.unregister("rows_")
    return connection


def oracle(data: dict[str, dict[str, pa.Table]]) -> duckdb.DuckDBPyConnection:
    """The same with the public table, and what is federated of the usual ones."""
    connection = plain(data)
    connection.register("rows_", public_table())
    connection.execute("CREATE TABLE code AS FROM rows_")
    connection.execute("CREATE VIEW pooled AS FROM bank.accounts UNION ALL FROM shop.orders")
    if all(name in data[party] for party, (name, _) in PARTS.items()):
        connection.execute("CREATE VIEW ward AS FROM bank.north UNION ALL FROM shop.south")
    return connection
