"""The Parquet files of `casesum`: written once, DuckDB's answer over them, and read in slices of a public size.

x and y take all INTEGER values, z is small, so that the sum fits 63 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench import columns
from tests.bench.columns import Column

OWNED = ("x",), ("y", "z")
"""Columns of the owners' files, by rank."""
_DRAWN = {"x": (0, 32), "y": (1, 32), "z": (2, 5)}
"""Which column of columns.words, and its bits."""
_GROUP = 1_000_000
"""Rows of a row group: its borders are none of the slices'."""
_BATCH = 1 << 17
"""Rows decoded at a time."""

QUERY = """SELECT sum(CASE WHEN a.x > b.y THEN a.x::BIGINT * b.z END)
           FROM read_parquet('{}') a POSITIONAL JOIN read_parquet('{}') b"""


def path(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.parquet"


def make(folder: Path, rows: int) -> int | None:
    """Write the files; DuckDB's answer over them."""
    import duckdb

    for rank, names in enumerate(OWNED):
        schema = pa.schema([(name, pa.int32()) for name in names])
        with pq.ParquetWriter(path(folder, rank), schema) as writer:
            for index, size in enumerate(columns.sizes(rows)):
                made = [pa.array(columns.words(_DRAWN[name][0], index, size, _DRAWN[name][1]).astype(np.int32)) for name in names]
                writer.write_table(pa.Table.from_arrays(made, schema=schema), row_group_size=_GROUP)
    with duckdb.connect() as database:
        [(total,)] = database.execute(QUERY.format(path(folder, 0), path(folder, 1))).fetchall()
    return None if total is None else int(total)


def slices(folder: Path, rank: int, rows: int, step: int) -> Iterator[list[Column]]:
    """An owner's columns as int64 slices of `step` rows, the last shorter, whatever batches the reader returns."""
    names = OWNED[rank]
    file = pq.ParquetFile(path(folder, rank), pre_buffer=False)  # else it holds all of the file in the end
    batches = file.iter_batches(_BATCH, columns=list(names), use_threads=False)
    left = [np.empty(0, dtype=np.int32) for _ in names]
    for size in columns.sizes(rows, step):
        out = [np.empty(size, dtype=np.int64) for _ in names]
        filled = 0
        while filled < size:
            if not len(left[0]):
                left = [np.asarray(column) for column in next(batches).columns]
            taken = min(size - filled, len(left[0]))
            for into, column in zip(out, left, strict=True):
                into[filled:filled + taken] = column[:taken]
            left, filled = [column[taken:] for column in left], filled + taken
        yield out
