"""A small relation as a table by its key: what its owner holds in the clear, and the values that are looked up in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdh.errors import InternalError, KeyViolated
from sdh.executors.bits import Bits
from sdh.executors.lookup import as_numbers
from sdh.executors.runtime import Session
from sdh.executors.shares import raw
from sdh.executors.values import Clear, Number, Relation, Text, Truth, Value
from sdh.planners.expressions import Ref
from sdh.planners.intervals import Shared
from sdh.planners.key_words import table_bits
from sdh.planners.physical import Lookup
from sdh.planners.ranges import scale_of
from sdh.schema import Kind


def private_table(node: Lookup, build: Relation, low: int, domain: int, columns: Sequence[Shared]) -> list[Tensor]:
    """At the owner: int64 [domain] each, whether there is a row of the key low + i, then its columns as `table_bits` says.

    Raises KeyViolated if a key that brings something is not unique.
    """
    keys, rows = _keys(node, build, low)
    if (columns or node.kind in ("INNER", "LEFT")) and len(torch.unique(keys)) < len(keys):
        raise KeyViolated("The key of a join's unique side is not unique over its usable rows.",
                          advice="Declare a key that is unique, or join without keys=.")
    found = [torch.zeros(domain, dtype=torch.int64).index_fill_(0, keys, 1)]
    for column in columns:
        for part in _parts(column, build.clear[column.field.number]):
            found.append(torch.zeros(domain, dtype=torch.int64).index_put_((keys,), part[rows]))
    return found


def _keys(node: Lookup, build: Relation, low: int) -> tuple[Tensor, Tensor]:
    """The places of usable rows in the table, and the rows."""
    [(probe, own)] = node.pairs
    if build.real is None or not isinstance(own, Ref):
        raise InternalError("The owner of a table knows its rows and their key.")
    clear = build.clear[own.field.number]
    usable = build.real if clear.null is None else build.real & ~clear.null
    rows = torch.nonzero(usable).flatten()
    factor = 10 ** (max(scale_of(e.type) for e in (probe, own)) - scale_of(own.type))
    return clear.words[0][rows] * factor - low, rows


def _parts(column: Shared, clear: Clear) -> list[Tensor]:
    null = [] if clear.null is None else [clear.null.long()]
    if column.field.nullable and not null:
        null = [torch.zeros_like(clear.words[0])]
    match column.field.type.kind:
        case Kind.BOOLEAN:
            true = (clear.words[0] == 1).long()
            known = [] if not column.field.nullable else [1 - true - null[0]]
            return [true, *known]
        case Kind.VARCHAR:
            return [*clear.words, *null]
        case _:
            return [clear.words[0] - column.low, *null]


def table_values(session: Session, columns: Sequence[Shared], parts: Sequence[Sequence[Bits]]) -> dict[int, Value]:
    """The columns of the rows found, whose bits these are; without a row anything. A round a word: its bits are words each."""
    sizes = [size for column in columns for size in table_bits(column)]
    lows = [low for column in columns for low in _lows(column)]
    wanted = [(part, low) for part, low, size in zip(parts, lows, sizes, strict=True) if size > 0]
    numbers = iter([as_numbers(session, [part], [low])[0] for part, low in wanted])
    found, rest = dict[int, Value](), iter(parts)
    for column in columns:
        own = [(size, next(rest)) for size in table_bits(column)]
        words = [raw(next(numbers)) for size, _ in own if size > 0]
        flags = [part[0] for size, part in own if size < 0]
        found[column.field.number] = _value(column, words, flags)
    return found


def _lows(column: Shared) -> list[int]:
    """What is added to each part: of a number its least value."""
    number = column.field.type.kind not in (Kind.BOOLEAN, Kind.VARCHAR)
    return [column.low if number and size > 0 else 0 for size in table_bits(column)]


def _value(column: Shared, words: list[Tensor], flags: list[Bits]) -> Value:
    match column.field.type.kind:
        case Kind.BOOLEAN:
            return Truth(flags[0], flags[1] if column.field.nullable else None)
        case Kind.VARCHAR:
            return Text(tuple(words), flags[0] if flags else None)
        case _:
            return Number(words[0], flags[0] if flags else None)
