"""Strings as words: 7 UTF-8 bytes each, the first byte highest, zero-padded, then the length. numpy and pyarrow alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from sdh.errors import ProtocolError

BYTES_A_WORD = 7
TEXT_WIDTH = 8 * BYTES_A_WORD
LENGTH_WIDTH = 32
"""Bits of a word and of the length."""
ArrowArray = Any
"""pyarrow's stubs do not say which array a cast gives."""
pc: Any = pyarrow.compute
Words = np.ndarray[Any, np.dtype[Any]]


def words_for(width: int) -> int:
    """Words of a text of at most `width` bytes, without the length."""
    return -(-width // BYTES_A_WORD)


def constant_text(text: str) -> tuple[int, ...]:
    data = text.encode()
    count = words_for(len(data))
    padded = data.ljust(count * BYTES_A_WORD, b"\0")
    words = [int.from_bytes(padded[i * BYTES_A_WORD : (i + 1) * BYTES_A_WORD], "big") for i in range(count)]
    return (*words, len(data))


def longest(column: ArrowArray) -> int:
    """Greatest UTF-8 length, 0 of none."""
    offsets, _ = _buffers(column)
    return int(np.diff(offsets).max(initial=0))


def encode_text(column: ArrowArray, width: int) -> tuple[Words, ...]:
    """A string column (nulls as '') of at most `width` bytes as words int64 [rows] each."""
    offsets, data = _buffers(column)
    lengths = np.diff(offsets)
    count = words_for(width)
    table = np.zeros((len(lengths), count * BYTES_A_WORD), dtype=np.uint8)
    table[np.arange(table.shape[1]) < lengths[:, None]] = data[offsets[0] : offsets[-1]]
    words = []
    for start in range(0, table.shape[1], BYTES_A_WORD):
        word = np.zeros(len(lengths), dtype=np.int64)
        for byte in range(start, start + BYTES_A_WORD):
            word = (word << 8) | table[:, byte]
        words.append(word)
    return (*words, lengths.astype(np.int64))


def decode_text(words: list[Words], null: Words) -> ArrowArray:
    """The words int64 [rows] each, the length last, as a string column."""
    lengths = np.where(null, 0, words[-1])
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= (len(words) - 1) * BYTES_A_WORD:
        raise ProtocolError("A party sent shares of a text that is none.", advice="Nothing of it is shown.")
    table = np.zeros((len(lengths), (len(words) - 1) * BYTES_A_WORD), dtype=np.uint8)
    for place, word in enumerate(words[:-1]):
        for byte in range(BYTES_A_WORD):
            shift = 8 * (BYTES_A_WORD - 1 - byte)
            table[:, place * BYTES_A_WORD + byte] = (word >> shift) & 0xFF
    data = table[np.arange(table.shape[1]) < lengths[:, None]].tobytes()
    offsets: Words = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    large = pa.LargeStringArray.from_buffers(len(lengths), pa.py_buffer(offsets.tobytes()), pa.py_buffer(data))
    try:
        return _masked(large.cast(pa.string()), null)
    except pa.ArrowInvalid:
        raise ProtocolError("A party sent shares of a text that is none.", advice="Nothing of it is shown.") from None


def _masked(column: ArrowArray, null: Words) -> ArrowArray:

    return pc.if_else(pa.array(~null), column, pa.scalar(None, pa.string()))


def _buffers(column: ArrowArray) -> tuple[Words, Words]:
    large = column.cast(pa.large_string())
    _, offsets, data = large.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64)[large.offset : large.offset + len(large) + 1]
    if not len(starts):
        starts = np.zeros(1, dtype=np.int64)
    return starts, np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)
