"""Tables of up to 256 entries at a shared index: LIKE, IN and CASE on codes, joins with a small table.

Source: protocols.md section 2, 'Small public tables' (one-time truth tables, Ishai et al. 2013, dealt without the table).
The dealer draws r mod D = 2^d and deals its one-hot. With c = x + r public, entry i of x's one-hot is entry c - i mod D
of r's: local. A table is read by the XOR of the entries at which its bit is 1. Tables are padded with 0 to D entries.

Two parties, bytes a row sent / dealt / rounds, for an output of k bits: `lookup_public` d/8, (D - 1)/8, 1: at D = 256
1 / 31.9 / 1; `lookup_number` one of (d + k)/8, (D - 1)/8 + 8k, 2 or d/8, 8 (D - 1), 1; `lookup_private` d/8 by the
table's owner and (d + D)/8 by the other, (D - 1 + k)/8 dealt, 2 rounds. An index out of its range is the caller's fault:
it counts mod D, and in [domain, D) reads 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.arithmetic import to_arithmetic
from sdh.executors.bits import Bits, concat
from sdh.executors.correlations import INDEX_BITS, Correlation
from sdh.executors.jobs import CHUNK, Job, Opening, Rounds
from sdh.executors.messages import Masked
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, bits_of, planes, raw, unpack, words_of


def lookup_public(session: Session, x: Shared, columns: Sequence[Tensor], widths: Sequence[int]) -> list[list[Bits]]:
    """The low `width` bits, lowest first, of every column at the index x; columns are public, int64 [domain].

    1. Draw r and its one-hot; open c = x + r mod D. 2. x's one-hot, and the XOR of the entries where a table's bit is 1:
    local. d/8 bytes sent, (D - 1)/8 dealt, 1 round for any number of columns.
    """
    entries = _entry_bits(len(columns[0]) if columns else 1)
    tables = _tables(columns, widths, entries).to(session.device)
    jobs = [Job(("lookup", len(part), entries, len(tables)), partial(_public_chunk, session, part, entries, tables))
            for part in _chunks(raw(x))]
    return _columns(session.interleave(jobs), len(raw(x)), widths)


def lookup_number(session: Session, x: Shared, column: Tensor) -> ArithmeticSharedTensor:
    """A public column's value (any int64) at the index x, in the ring.

    As bits over the least value of the column, then as numbers; or, where there are no more entries than those values
    have bits, which is fewer bytes, by a one-hot that is dealt in the ring: the sum of column[i] times x's entry i.
    """
    entries, low = _entry_bits(len(column)), int(column.min())
    width = max(1, (int(column.max()) - low).bit_length())
    if (1 << entries) - 1 > width:
        return as_numbers(session, lookup_public(session, x, [column - low], [width]), [low])[0]
    table = torch.cat([column, column.new_zeros((1 << entries) - len(column))]).to(session.device)
    jobs = [Job(("lookup ring", len(part), entries), partial(_ring_chunk, session, part, entries, table))
            for part in _chunks(raw(x))]
    return arithmetic(torch.cat(session.interleave(jobs)))


def lookup_private(session: Session, x: Shared, domain: int, owner: int, columns: Sequence[Tensor] | None,
                   widths: Sequence[int]) -> list[list[Bits]]:
    """`lookup_public` in columns that only `owner` has (None elsewhere).

    1. As above to shares e of x's one-hot; with c is opened U = T ^ t, the table's shares under dealt masks t, once a
    chunk. 2. Every party but the owner sends it e ^ o, o dealt. The owner has E = e ^ o of all and takes <E, T>, the XOR
    of the entries where its table's bit is 1; everyone takes <o, U> and the dealt <o, t>:
    <e, T> = <E, T> ^ <o, U> ^ <o, t>. Every entry enters every table's sum, masked: time tells nothing of T.
    """
    if not columns and not widths:
        return []
    entries, rows = _entry_bits(domain), len(raw(x))
    tables = session.at(owner, lambda: _owned(columns, domain, widths))
    count, words = sum(widths), words_of(1 << entries)
    packed = None if tables is None else _pack_tables(tables)
    shared = session.share_bits(owner, packed, 64 * words * count).share.reshape(count, words)
    chunks = [_private_chunk(session, part, entries, owner, tables, shared) for part in _chunks(raw(x))]
    return _columns(chunks, rows, widths)


def as_numbers(session: Session, columns: Sequence[Sequence[Bits]], lows: Sequence[int]) -> list[ArithmeticSharedTensor]:
    """Ring numbers low + the value of bits from the lowest: 1 bit sent, 8 bytes dealt a bit, 1 round."""
    every = [bit for column in columns for bit in column]
    ring = iter(raw(to_arithmetic(session, concat(every))).reshape(len(every), -1).unbind())
    found = []
    for column, low in zip(columns, lows, strict=True):
        total = next(ring)
        for place in range(1, len(column)):
            total = total + (next(ring) << place)
        found.append(arithmetic(total + low if session.rank == 0 else total))
    return found


# --- chunks ---

def _chunks(x: Tensor) -> list[Tensor]:
    return [x[start:start + CHUNK] for start in range(0, max(len(x), 1), CHUNK)]


def _columns(chunks: Sequence[Tensor], rows: int, widths: Sequence[int]) -> list[list[Bits]]:
    """Planes [outputs, words] of all chunks as bits, by column."""
    found = iter(torch.cat(list(chunks), dim=1).unbind())
    return [[bits_of(next(found), rows) for _ in range(width)] for width in widths]


def _public_chunk(session: Session, x: Tensor, entries: int, tables: Tensor) -> Rounds[Tensor]:
    [[r, hot]] = session.draw(Correlation("equal", len(x), entries, entries))
    [c] = yield Opening([Masked(x + r, entries)], "masked index")
    return _inner(_turned(session, planes(c, entries), hot), tables)


def _ring_chunk(session: Session, x: Tensor, entries: int, table: Tensor) -> Rounds[Tensor]:
    [[r, hot]] = session.draw(Correlation("one_hot", len(x), count=entries))
    [c] = yield Opening([Masked(x + r, entries)], "masked index")
    last = (1 << entries) - 1
    start = table[c]
    total = start if session.rank == 0 else start.new_zeros(len(start))
    for place in range(1, last + 1):
        total = total + hot[place - 1] * (table[(c - place) & last] - start)
    return total


def _private_chunk(session: Session, x: Tensor, entries: int, owner: int, tables: Tensor | None, shared: Tensor) -> Tensor:
    count, size, words = len(shared), 1 << entries, words_of(len(x))
    [[r, hot], [o, t, met]] = session.draw(Correlation("equal", len(x), entries, entries),
                                           Correlation("inner", len(x), count, entries))
    c, public = session.open_masked([Masked(x + r, entries), Masked(shared ^ t, xor=True)], "masked index, masked table")
    hidden = _turned(session, planes(c, entries), hot) ^ o
    octets = hidden.reshape(-1).view(torch.uint8).reshape(size, 8 * words)
    _, theirs, _ = session.hand_over(owner, hidden.new_empty((size, 0)), octets, None, ((size, 0), (size, 8 * words), 0),
                                     "masked one-hot")
    out = met ^ _inner(o, _unpack_tables(public, size))
    if session.rank != owner or session.tracing:
        return out
    assert tables is not None
    opened = hidden ^ theirs.reshape(-1).view(torch.int64).reshape(hidden.shape)
    return out ^ _inner(opened, tables.to(session.device))


def _turned(session: Session, c: Tensor, hot: Tensor) -> Tensor:
    """Planes [D, words] of the one-hot of c - r, from those of r without entry 0: entry i is r's entry c - i mod D."""
    lowest = _folded(hot)
    if session.rank == 0:
        lowest = ~lowest
    found = torch.cat([lowest, hot.flip(0)])
    for place, bit in enumerate(c.unbind()):
        moved = torch.cat([found[-(1 << place):], found[:-(1 << place)]])
        found = found ^ (bit & (found ^ moved))
    return found


def _inner(entries: Tensor, tables: Tensor) -> Tensor:
    """[outputs, words]: the XOR of the entries [D, words] at which a table (0 or -1, [outputs, D, 1]) is set."""
    return torch.cat([_folded(entries & table) for table in tables.unbind()])


def _folded(found: Tensor) -> Tensor:
    """[1, words]: the XOR of all planes."""
    while len(found) > 1:
        half = len(found) // 2
        found = torch.cat([found[:half] ^ found[half:2 * half], found[2 * half:]])
    return found


# --- tables ---

def _entry_bits(domain: int) -> int:
    bits = max(1, (domain - 1).bit_length())
    if bits > INDEX_BITS:
        raise InternalError(f"A lookup takes tables of up to {1 << INDEX_BITS} entries.")
    return bits


def _tables(columns: Sequence[Tensor], widths: Sequence[int], entries: int) -> Tensor:
    """Every bit of every column as a table of 0 and -1: int64 [outputs, D, 1]."""
    bits = [-((column >> place) & 1) for column, width in zip(columns, widths, strict=True) for place in range(width)]
    found = torch.zeros((len(bits), 1 << entries, 1), dtype=torch.int64)
    for table, column in zip(found, bits, strict=True):
        table[:len(column), 0] = column
    return found


def _owned(columns: Sequence[Tensor] | None, domain: int, widths: Sequence[int]) -> Tensor:
    if columns is None or any(column.shape != (domain,) for column in columns):
        raise InternalError("The owner of a table gives its columns.")
    return _tables(columns, widths, _entry_bits(domain))


def _pack_tables(tables: Tensor) -> Tensor:
    """0/1 of all tables, each filled up to whole words."""
    out = torch.zeros((len(tables), 64 * words_of(tables.shape[1])), dtype=torch.uint8)
    out[:, :tables.shape[1]] = tables[:, :, 0] & 1
    return out.reshape(-1)


def _unpack_tables(packed: Tensor, size: int) -> Tensor:
    """Packed words [outputs, words] as tables [outputs, D, 1]."""
    flat = unpack(packed.reshape(-1), 64 * packed.numel()).reshape(len(packed), -1)
    return -(flat[:, :size].long().unsqueeze(2))
