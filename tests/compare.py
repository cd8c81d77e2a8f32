"""Is a result DuckDB's? Types and names exactly, rows as multisets (in order of the keys where the query orders), DOUBLE
within 2 ulp (and -0.0 as 0.0: shares do not tell them apart)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

Row = tuple[Any, ...]


def difference(found: pa.Table, expected: pa.Table, *, ordered: bool) -> str:
    """'' where the results are equal, else what differs."""
    schemas = [[(f.name, f.type) for f in table.schema] for table in (found, expected)]
    if schemas[0] != schemas[1]:
        return f"schema {schemas[0]} for {schemas[1]}"
    mine, theirs = rows_of(found), rows_of(expected)
    if len(mine) != len(theirs):
        return f"{len(mine)} rows for {len(theirs)}: {mine[:5]} for {theirs[:5]}"
    if not ordered:
        mine, theirs = sorted(mine, key=sort_key), sorted(theirs, key=sort_key)
    for a, b in zip(mine, theirs, strict=True):
        if not all(same(x, y) for x, y in zip(a, b, strict=True)):
            return f"row {a} for {b}"
    return ""


def rows_of(table: pa.Table) -> list[Row]:
    if not table.num_columns:
        return []
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def sort_key(row: Sequence[Any]) -> list[Any]:
    """DOUBLE values a rounding apart sort alike, by 12 digits."""
    return [
        (value is None, "" if value is None else f"{value + 0.0:.12e}" if isinstance(value, float) else str(value))
        for value in row
    ]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or abs(a - b) <= 2 * math.ulp(b)
    return bool(a == b)
