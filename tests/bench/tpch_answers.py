"""DuckDB's answers to the TPC-H queries, and whether a result is one of them.

Rows are compared as multisets, the keys of ORDER BY in order; under LIMIT any of the tied rows will do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from tests import compare
from tests.compare import Row, rows_of, same, sort_key

TEXTS = Path(__file__).parent / "tpch"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
LIMIT = re.compile(r"\blimit\s+(\d+)\s*$")


@dataclass(frozen=True, slots=True)
class Ordered:
    """A query without its last LIMIT: the columns that its ORDER BY names, by place, and the limit (None: no LIMIT)."""

    sql: str
    keys: tuple[int, ...]
    limit: int | None


class Answers:
    """DuckDB over one folder of TPC-H's Parquet files, in whatever subfolders they lie."""

    def __init__(self, folder: Path) -> None:
        self._connection = duckdb.connect()
        for file in folder.glob("*/*.parquet"):
            self._connection.read_parquet(str(file)).create_view(file.stem)

    def difference(self, query: int, found: pa.Table) -> str:
        """'' where `found` answers the query, else what differs."""
        text = PLACEHOLDER.sub(r"\1", (TEXTS / f"q{query:02}.sql").read_text())
        ordered = parsed(text, found.column_names)
        return difference(found, self._connection.sql(ordered.sql).to_arrow_table(), ordered)


def parsed(text: str, columns: Sequence[str]) -> Ordered:
    """ORDER BY names columns of the result, in all 22."""
    limit = LIMIT.search(text)
    sql = text if limit is None else text[: limit.start()]
    keys = re.search(r"\border by\s+([\w\s,]+)$", sql)
    listed = [] if keys is None else [key.split()[0] for key in keys.group(1).split(",")]
    return Ordered(sql, tuple(columns.index(name) for name in listed), None if limit is None else int(limit.group(1)))


def difference(found: pa.Table, everything: pa.Table, ordered: Ordered) -> str:
    """`everything`: DuckDB's rows without LIMIT, in order."""
    if ordered.limit is None:
        return compare.difference(found, everything, ordered=False) or _order(rows_of(found), rows_of(everything), ordered)
    if found.schema.names != everything.schema.names or found.schema.types != everything.schema.types:
        return f"schema {found.schema} for {everything.schema}"
    mine, theirs = rows_of(found), rows_of(everything)
    if len(mine) != min(len(theirs), ordered.limit):
        return f"{len(mine)} rows for {min(len(theirs), ordered.limit)}"
    return _order(mine, theirs[: ordered.limit], ordered) or _among(mine, theirs)


def _order(mine: Sequence[Row], theirs: Sequence[Row], ordered: Ordered) -> str:
    for row, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        keys = [(a[key], b[key]) for key in ordered.keys]
        if not all(same(x, y) for x, y in keys):
            return f"row {row} is ordered by {[x for x, _ in keys]} for {[y for _, y in keys]}"
    return ""


def _among(mine: Sequence[Row], theirs: Sequence[Row]) -> str:
    """Every row is one of DuckDB's, none more often than there."""
    left = sorted(theirs, key=sort_key)
    for row in sorted(mine, key=sort_key):
        place = next((i for i, other in enumerate(left) if all(same(x, y) for x, y in zip(row, other, strict=True))), None)
        if place is None:
            return f"row {row} is none of DuckDB's"
        del left[place]
    return ""
