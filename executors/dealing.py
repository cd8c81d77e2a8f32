"""Correlated randomness: what the parties draw, and how the dealer completes it.

Source: protocols.md, sections 1-3. Every party shares a seed with the dealer. An *item* of the dealing list is an
address and a group of correlations that one protocol draws together.

1. Each party expands its shares of the item's *free* values from its stream at the address; the dealer expands all
   parties' streams and adds them up.
2. The *dependent* values are a function of the free ones. All parties but one (the item's holder) expand their
   shares of them likewise; the holder's share is the correction the dealer sends: value - sum of the others' shares.
   A permutation of rows is dealt a group of columns at a time, each with masks and a message of its own.
3. The holder alternates with the item's index, except that a permutation's correction goes to the party that knows
   the permutation. The dealer receives nothing but the list: kinds, sizes and addresses.

The kinds and their sizes are in correlations.py. NumPy and cryptography only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdh.executors.correlations import KINDS, Correlation, Part, correction_bytes, layout, malformed
from sdh.executors.streams import Source, Stream, Words

__all__ = ["NUMPY", "Correlation", "DealingList", "Engine", "Item", "RowMasks", "correction_bytes", "count_dealt", "deal",
           "draw", "draw_address", "expand", "layout", "list_digest", "list_from_json", "list_to_json", "masks_of", "masks_off",
           "masks_on", "serve"]


@dataclass(frozen=True, slots=True)
class Item:
    """Correlations drawn together at one address; `holder` is the party that gets the correction."""

    address: str
    group: tuple[Correlation, ...]
    holder: int

    @property
    def correction_bytes(self) -> int:
        return sum(self.messages)

    @property
    def messages(self) -> tuple[int, ...]:
        """Bytes of each message that brings the correction: one, or one for each group of columns that is permuted."""
        sizes = tuple(correction_bytes(correlation) for correlation in self.group)
        return sizes if self.permutes else (sum(sizes),)

    @property
    def permutes(self) -> bool:
        return bool(self.group) and self.group[0].kind == "permute"

    @property
    def is_noise(self) -> bool:
        """Drawn before all else is dealt: how long a draw takes tells of its value."""
        return any(correlation.kind == "noise" for correlation in self.group)

    def to_json(self) -> list[Any]:
        return [self.address, self.holder, [correlation.to_json() for correlation in self.group]]

    @staticmethod
    def from_json(values: Sequence[Any], parties: int) -> Item:
        try:
            address, holder, group = values
            found = tuple(Correlation.from_json(part) for part in group)
        except (TypeError, ValueError):
            raise malformed() from None
        if not isinstance(address, str) or type(holder) is not int or not 0 <= holder < parties:
            raise malformed()
        one = {(part.kind, part.owner, part.rows, part.total) for part in found}
        if any(part.kind == "permute" and (part.owner != holder or len(one) > 1) for part in found):
            raise malformed()
        return Item(address, found, holder)


DealingList = list[Item]


def list_to_json(items: Iterable[Item]) -> list[Any]:
    return [item.to_json() for item in items]


def list_from_json(values: Any, parties: int) -> DealingList:
    """Raises ProtocolError unless every item is well-formed for `parties` parties."""
    if not isinstance(values, list):
        raise malformed()
    return [Item.from_json(value, parties) for value in values]


def list_digest(items: Iterable[Item]) -> bytes:
    """SHA-256 of the list's JSON, for the parties to compare before the dealer gets it."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(item.to_json(), separators=(",", ":")).encode() + b"\n")
    return digest.digest()


# --- the parties' side ---

def expand(group: Sequence[Correlation], stream: Stream, correction: bytearray | None) -> list[list[Words]]:
    """A party's shares of every correlation (free parts, then dependent ones). The holder passes its correction."""
    shares, taken = draw(group, stream, dependent=correction is None), 0
    if correction is not None:
        for correlation, found in zip(group, shares, strict=True):
            for part in layout(correlation)[1]:
                found.append(stream.words_of(correction, taken, part.size).reshape(part.shape))
                taken += 8 * part.size
    return shares


def draw(group: Sequence[Correlation], stream: Any, *, dependent: bool) -> list[list[Any]]:
    """The parts of every correlation that come from a party's stream: the free ones, and all at who is not the holder."""
    parts = [[*free, *(rest if dependent else ())] for free, rest in map(layout, group)]
    drawn = iter(stream.parts([part.size for found in parts for part in found]))
    return [[next(drawn).reshape(part.shape) for part in found] for found in parts]


def _draw(stream: Stream, part: Part) -> Words:
    return stream.words(part.size).reshape(part.shape)


@dataclass(frozen=True, slots=True)
class RowMasks:
    """Masks of a group of columns: words [rows, columns] add mod 2^64, octets [rows, width] by XOR.

    Of a dealt permutation g (gather form: row q of the output is row g[q] of the input) every party j but the owner has, for
    each group, A_j for the `rows` rows that are not padding, then B_j for all places; the owner, who has g from its stream
    (`Stream.permutation`), gets C = g(sum A) - sum B.
    """

    words: Any
    octets: Any


def masks_off(correlation: Correlation, stream: Any) -> RowMasks:
    """A_j, the next of the stream at a party that does not know the permutation."""
    return _row_masks(correlation, stream, correlation.rows)


def masks_on(correlation: Correlation, stream: Any) -> RowMasks:
    """B_j, which follows A_j in the stream."""
    return _row_masks(correlation, stream, correlation.total)


def _row_masks(correlation: Correlation, stream: Any, rows: int) -> RowMasks:
    words = stream.words(rows * correlation.count).reshape(rows, correlation.count)
    return RowMasks(words, stream.octets(rows * correlation.width).reshape(rows, correlation.width))


def masks_of(correlation: Correlation, stream: Any, correction: Any) -> RowMasks:
    """C, from the message that brought it; `stream` says how it is read."""
    count, width, total = correlation.count, correlation.width, correlation.total
    words = stream.words_of(correction, 0, total * count).reshape(total, count)
    return RowMasks(words, stream.octets_of(correction, 8 * total * count, total * width).reshape(total, width))


# --- the dealer's side ---

def deal(item: Item, streams: Sequence[Stream]) -> Iterator[bytes]:
    """The messages for the item's holder (Item.messages); `streams` are all parties' at the item's address, by rank."""
    if item.permutes:
        order = streams[item.holder].permutation(item.group[0].total)
        yield from (_deal_columns(correlation, order, streams) for correlation in item.group)
    else:
        yield b"".join(_deal_one(correlation, streams, item.holder) for correlation in item.group)


def _deal_one(correlation: Correlation, streams: Sequence[Stream], holder: int) -> bytes:
    free, dependent = layout(correlation)
    values = KINDS[correlation.kind](correlation, _sums(free, streams))
    for rank, stream in enumerate(streams):
        if rank != holder:
            for part, value in zip(dependent, values, strict=True):
                share = _draw(stream, part)
                (np.bitwise_xor if part.xor else np.subtract)(value, share, out=value)
    return b"".join(value.tobytes() for value in values)


def _sums(parts: Sequence[Part], streams: Sequence[Stream]) -> list[Words]:
    """All free values: a stream fills its parts in order, so the streams are read one after the other."""
    totals = [_draw(streams[0], part) for part in parts]
    for stream in streams[1:]:
        for part, total in zip(parts, totals, strict=True):
            (np.bitwise_xor if part.xor else np.add)(total, _draw(stream, part), out=total)
    return totals


def _deal_columns(correlation: Correlation, order: Words, streams: Sequence[Stream]) -> bytes:
    """g(sum A) - sum B of one group of columns."""
    rows, count, width, total = correlation.rows, correlation.count, correlation.width, correlation.total
    words, octets = np.zeros((total, count), "<i8"), np.zeros((total, width), np.uint8)
    others = [stream for rank, stream in enumerate(streams) if rank != correlation.owner]
    for stream in others:
        off = masks_off(correlation, stream)
        words[:rows] += off.words
        octets[:rows] ^= off.octets
    words, octets = words[order], octets[order]
    for stream in others:
        on = masks_on(correlation, stream)
        words -= on.words
        octets ^= on.octets
    return words.tobytes() + octets.tobytes()


@dataclass(frozen=True, slots=True)
class Engine:
    """Where a dealer computes: what makes the stream of a key, and `deal` on such streams."""

    stream: Callable[[bytes], Any]
    deal: Callable[[Item, Sequence[Any]], Iterator[Any]]


NUMPY = Engine(Stream, deal)


def serve(items: Iterable[Item], seeds: Sequence[bytes], send: Callable[[int, str, bytes], None],
          engine: Engine = NUMPY) -> None:
    """Deal every item in order: `send(holder, address, correction)`; another engine deals the same bytes.

    `seeds` are the dealer's with each party, by rank. Memory is that of one message; `send` blocks when the party is
    behind (Link.send_paced), which holds the dealer back.
    """
    sources = [Source(seed, engine.stream) for seed in seeds]

    def dealt(item: Item) -> Iterator[Any]:
        return engine.deal(item, [source.open(draw_address(item.address)) for source in sources])

    try:
        listed = list(items)
        noise = {item.address: list(dealt(item)) for item in listed if item.is_noise}
        for item in listed:
            for correction in noise.pop(item.address) if item.is_noise else dealt(item):
                send(item.holder, item.address, correction)
    finally:
        for source in sources:
            source.erase()


def draw_address(address: str) -> str:
    """The stream address of the draw at `address`."""
    return address + "/draw"


def count_dealt(items: Iterable[Item]) -> Mapping[int, int]:
    """Bytes of corrections by holder."""
    counted: dict[int, int] = {}
    for item in items:
        counted[item.holder] = counted.get(item.holder, 0) + item.correction_bytes
    return counted
