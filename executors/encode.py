"""A fragment's Arrow table as ring integers, checked against what its owner published. In the clear, at the owner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from sdh.errors import StaleFact
from sdh.executors.codes import codes_of_doubles
from sdh.executors.text import ArrowArray, Words, encode_text, longest, pc
from sdh.executors.values import Clear
from sdh.planners.intervals import Shared
from sdh.planners.physical import Input
from sdh.schema import Kind


@dataclass(frozen=True, slots=True)
class Encoded:
    """An own fragment: `count` rows, padded with 0 to the slots."""

    count: int
    columns: dict[int, Clear]


def encode_table(table: pa.Table, node: Input) -> Encoded:
    """Columns of a fragment in the order of the input's. Raises StaleFact where a value lies outside the facts."""
    count = table.num_rows
    if count > node.slots:
        raise StaleFact(f"{node.party} has more rows than were published.", advice="Detach the store and attach it again.")
    columns = {}
    for shared, chunked in zip(node.columns, table.columns[: len(node.columns)], strict=True):
        column = chunked.combine_chunks() if isinstance(chunked, pa.ChunkedArray) else chunked
        columns[shared.field.number] = _padded(_encoded(column, shared, node.party), node.slots)
    if node.place is not None:
        columns[node.place.number] = Clear((torch.arange(node.slots),))
    return Encoded(count, columns)


def _padded(clear: Clear, slots: int) -> Clear:
    def pad(values: torch.Tensor) -> torch.Tensor:
        return torch.cat([values, values.new_zeros(slots - len(values))])

    return Clear(tuple(pad(word) for word in clear.words), None if clear.null is None else pad(clear.null))


def _encoded(column: ArrowArray, shared: Shared, party: str) -> Clear:
    null = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else np.zeros(len(column), dtype=bool)
    if not shared.field.nullable and column.null_count:
        raise _stale(shared, party)
    kept = torch.from_numpy(null) if shared.field.nullable else None
    if shared.field.type.kind is Kind.VARCHAR:
        filled = pc.fill_null(column, "")
        if longest(filled) > shared.bytes:
            raise _stale(shared, party)
        return Clear(tuple(map(torch.from_numpy, encode_text(filled, shared.bytes))), kept)
    values = ring_integers(column, shared.field.type.kind)
    if values is None:
        raise _stale(shared, party)
    values = np.where(null, 0, values)
    if shared.field.type.kind not in (Kind.DOUBLE, Kind.FLOAT) and len(values):
        present = values[~null]
        if len(present) and (int(present.min()) < shared.low or int(present.max()) > shared.high):
            raise _stale(shared, party)
    return Clear((torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)),), kept)


def _stale(shared: Shared, party: str) -> StaleFact:
    return StaleFact(
        f"A value of {shared.field.name or 'a computed column'} at {party} lies outside what was published of it.",
        advice="Detach the store and attach it again, with bounds= that hold.",
    )


def ring_integers(column: ArrowArray, kind: Kind) -> Words | None:
    """int64 [rows], anything under NULL; None where a value does not fit."""
    match kind:
        case Kind.BOOLEAN:
            return _int64(pc.fill_null(column, False))
        case Kind.DOUBLE | Kind.FLOAT:
            return codes_of_doubles(pc.fill_null(column, 0.0).cast(pa.float64()).to_numpy(zero_copy_only=False))
        case Kind.DATE:
            return _int64(pc.fill_null(column.cast(pa.int32()), 0))
        case Kind.TIMESTAMP:
            return _int64(pc.fill_null(column.cast(pa.timestamp("us")).cast(pa.int64()), 0))
    if pa.types.is_decimal(column.type):
        return _unscaled(column)
    values: Words = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    if values.dtype == np.uint64 and len(values) and int(values.max()) > (1 << 63) - 1:
        return None
    return values.astype(np.int64)


def _int64(column: ArrowArray) -> Words:
    values: Words = column.to_numpy(zero_copy_only=False)
    return values.astype(np.int64)


def _unscaled(column: ArrowArray) -> Words | None:
    """The integers behind a decimal128 column, None where one does not fit 64 bits."""
    wide = column.cast(pa.decimal128(38, column.type.scale))
    halves = np.frombuffer(wide.buffers()[1], dtype=np.int64).reshape(-1, 2)[wide.offset : wide.offset + len(wide)]
    low, high = halves[:, 0], halves[:, 1]
    present = ~column.is_null().to_numpy(zero_copy_only=False)
    if bool(np.any((high != low >> 63) & present)):
        return None
    whole: Words = low.copy()
    return whole
