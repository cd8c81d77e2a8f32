"""Moving rows by permutations that one party knows, shuffles by all, and copies of rows.

A *record* is a list of columns of one row count: ring shares (mod 2^64) and `Bits`. It is routed as packed rows:
ring columns as words, bits as octets. Source: protocols.md section 3 (permutation correlations from a dealer).
Bytes of a row w = 8 a ring column + 1 for up to 8 bit columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.bits import Bits
from sdh.executors.devices import fused
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, bits_of, pack, raw, unpack

Record = Sequence[Shared | Bits]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A record as rows: int64 [rows, ring columns] and uint8 [rows, ceil(bit columns / 8)]."""

    words: Tensor
    octets: Tensor

    @property
    def rows(self) -> int:
        return self.words.shape[0]


def permute(session: Session, owner: int, destination: Tensor | None, record: Record, rows_out: int, *,
            keeps_all: bool = False) -> list[ArithmeticSharedTensor | Bits]:
    """Row i goes to `destination[i]` (distinct, in [0, rows_out)), or nowhere if -1; other output rows are 0.

    Only `owner` knows `destination`. With `keeps_all` (public: no -1, and rows_out >= rows) the dealt permutation has
    rows_out positions, else rows + rows_out = T. Protocol of `_route`; a party but the owner sends rows * w, the owner
    4 * rows_out bytes to each; T * w dealt; 1 round.
    """
    packed = _to_rows(session, record)
    rows, total = packed.rows, rows_out if keeps_all else packed.rows + rows_out
    if total < rows:
        raise InternalError("Rows that are all kept need as many places.")
    source = session.at(owner, lambda: _inverse(destination, rows, rows_out))
    return _to_record(session, _route(session, owner, source, packed, rows_out, total), record)


def shuffle(session: Session, record: Record) -> list[ArithmeticSharedTensor | Bits]:
    """A permutation that no n-1 parties know: every party in turn permutes by one the dealer drew for it.

    In turn s: 1. Each j but s sends s d_j = x_j - A_j. 2. j keeps B_j, s keeps pi(x_s + sum d_j) + C. n rounds, in
    each of which n-1 parties send rows * w bytes; n * rows * w dealt.
    """
    packed = _to_rows(session, record)
    for owner in range(session.count):
        packed = _turn(session, owner, packed)
    return _to_record(session, packed, record)


def _turn(session: Session, owner: int, x: _Rows) -> _Rows:
    rows, count, width = x.rows, x.words.shape[1], x.octets.shape[1]
    dealt = session.draw_permutation(owner, rows, rows, count, width)
    hidden = _mask(session, owner, x, dealt.words_in, dealt.octets_in)
    words, octets, _ = session.hand_over(owner, hidden.words, hidden.octets, None, ((rows, count), (rows, width), 0),
                                         "permutation masks")
    if session.rank != owner or session.tracing:
        return _Rows(dealt.words_out, dealt.octets_out)
    assert dealt.order is not None
    if fused(words):
        from sdh.executors.kernels_rows import move

        return _Rows(move(words, x.words, dealt.order, dealt.words_out), move(octets, x.octets, dealt.order, dealt.octets_out))
    return _Rows(words.add_(x.words).index_select(0, dealt.order).add_(dealt.words_out),
                 octets.bitwise_xor_(x.octets).index_select(0, dealt.order).bitwise_xor_(dealt.octets_out))


def _mask(session: Session, owner: int, x: _Rows, words: Tensor | None, octets: Tensor | None) -> _Rows:
    if session.rank == owner or session.tracing:
        return x
    assert words is not None
    assert octets is not None
    return _Rows(x.words - words, x.octets ^ octets)


def _route(session: Session, owner: int, source: Tensor | None, x: _Rows, rows_out: int, total: int) -> _Rows:
    """Output row o is input row source[o] (each at most once), or 0 where source[o] = -1.

    The input counts as padded with public zeros to `total` rows; g is the dealt permutation of `total` positions.
    1. Each party j but s sends s d_j = x_j - A_j for the real rows. 2. s sends tau with g[tau[o]] = source[o] (an
    unused zero row for -1): distinct positions, uniform since g is. 3. j outputs B_j[tau], s outputs
    (x_s + sum d)[source] + C[tau]. All rows of the input may be kept, or dropped, by what s alone knows.
    """
    rows, count, width = x.rows, x.words.shape[1], x.octets.shape[1]
    dealt = session.draw_permutation(owner, rows, total, count, width)
    source = None if source is None else source.to(session.device)
    tau = session.live(owner, lambda: _conjugate(dealt.order, source, rows, total))
    hidden = _mask(session, owner, x, dealt.words_in, dealt.octets_in)
    words, octets, told = session.hand_over(owner, hidden.words, hidden.octets, tau,
                                            ((rows, count), (rows, width), rows_out), "permutation masks")
    if session.tracing:
        return _Rows(words.new_empty((rows_out, count)), octets.new_empty((rows_out, width)))
    if session.rank != owner:
        return _Rows(dealt.words_out.index_select(0, told), dealt.octets_out.index_select(0, told))
    assert tau is not None
    assert source is not None
    if fused(words):
        from sdh.executors.kernels_rows import move

        return _Rows(move(words, x.words, source, dealt.words_out, tau), move(octets, x.octets, source, dealt.octets_out, tau))
    out = _Rows(dealt.words_out.index_select(0, tau), dealt.octets_out.index_select(0, tau))
    real = torch.where(source < 0, rows, source)
    out.words.add_(_with_zero_row(words.add_(x.words)).index_select(0, real))
    out.octets.bitwise_xor_(_with_zero_row(octets.bitwise_xor_(x.octets)).index_select(0, real))
    return out


def _with_zero_row(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_zeros((1, rows.shape[1]))])


def _conjugate(order: Tensor | None, source: Tensor | None, rows: int, total: int) -> Tensor:
    assert order is not None
    assert source is not None
    empty = source < 0
    full = torch.where(empty, rows - 1 + torch.cumsum(empty, 0), source)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(total, device=order.device)
    return inverse[full]


def _inverse(destination: Tensor | None, rows: int, rows_out: int) -> Tensor:
    if destination is None or destination.shape != (rows,):
        raise InternalError("The owner of a permutation gives a destination for every row.")
    kept = destination >= 0
    source = torch.full((rows_out,), -1, dtype=torch.int64)
    source[destination[kept]] = torch.arange(rows)[kept]
    if int((source >= 0).sum()) != int(kept.sum()):
        raise InternalError("Two rows go to one place.")
    return source


def duplicate(session: Session, owner: int, source_index: Tensor | None, record: Record,
              rows_out: int) -> list[ArithmeticSharedTensor | Bits]:
    """Output row o is a copy of row source_index[o], or 0 where it is -1. Only `owner` knows `source_index`.

    1. Permute the rows that are used to the front, in order. 2. Adjacent differences (XOR for bits), local.
    3. Permute each difference to the start of its run of copies, in sorted order of outputs; dropped if unused.
    4. Prefix sums (XORs), local: every run holds its row; outputs of -1 come first and stay 0. 5. Permute to output
    order. With m rows in and M out, a party but the owner sends (2m + M) w, the owner 4 (m + 2M) bytes;
    (2m + 2M) w dealt; 3 rounds.
    """
    x = _to_rows(session, record)
    rows = x.rows
    routes = session.at(owner, lambda: _copy_routes(source_index, rows, rows_out))
    first, second, third = routes if routes is not None else (None, None, None)
    x = _route(session, owner, first, x, rows, rows)
    x = _route(session, owner, second, _differences(x), rows_out, rows + rows_out)
    x = _route(session, owner, third, _prefixes(x), rows_out, rows_out)
    return _to_record(session, x, record)


def _copy_routes(source_index: Tensor | None, rows: int, rows_out: int) -> tuple[Tensor, Tensor, Tensor]:
    if source_index is None or source_index.shape != (rows_out,):
        raise InternalError("The owner of a duplication gives a source for every output row.")
    index = source_index.numpy()
    order = np.argsort(index)
    ordered = index[order]
    starts = np.ones(rows_out, dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    starts &= ordered >= 0
    used = np.zeros(rows, dtype=bool)
    used[ordered[starts]] = True
    first = np.concatenate([np.flatnonzero(used), np.flatnonzero(~used)])
    second = np.where(starts, np.cumsum(starts) - 1, -1)
    third = np.empty(rows_out, dtype=np.int64)
    third[order] = np.arange(rows_out)
    return torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(third)


def _differences(x: _Rows) -> _Rows:
    words, octets = x.words.clone(), x.octets.clone()
    words[1:] -= x.words[:-1]
    octets[1:] ^= x.octets[:-1]
    return _Rows(words, octets)


def _prefixes(x: _Rows) -> _Rows:
    octets, step = x.octets, 1
    while step < x.rows and octets.shape[1] and not octets.is_meta:
        octets = torch.cat([octets[:step], octets[step:] ^ octets[:-step]])
        step *= 2
    return _Rows(torch.cumsum(x.words, 0), octets)


# --- records as rows ---

def _to_rows(session: Session, record: Record) -> _Rows:
    if not record:
        raise InternalError("A record has at least one column.")
    sizes = {column.rows if isinstance(column, Bits) else len(raw(column)) for column in record}
    if len(sizes) != 1:
        raise InternalError("The columns of a record have one row count.")
    [rows] = sizes
    ring = [raw(column) for column in record if not isinstance(column, Bits)]
    flags = [unpack(column.share, rows) for column in record if isinstance(column, Bits)]
    words = torch.stack(ring, dim=1) if ring else torch.zeros((rows, 0), dtype=torch.int64, device=session.device)
    octets = torch.zeros((rows, (len(flags) + 7) // 8), dtype=torch.uint8, device=session.device)
    for index, flag in enumerate(flags):
        octets[:, index // 8] |= flag << (index % 8)
    return _Rows(words, octets)


def _to_record(session: Session, packed: _Rows, like: Record) -> list[ArithmeticSharedTensor | Bits]:
    del session
    found: list[ArithmeticSharedTensor | Bits] = []
    word = flag = 0
    for column in like:
        if isinstance(column, Bits):
            bits = (packed.octets[:, flag // 8] >> (flag % 8)) & 1
            found.append(bits_of(pack(bits), packed.rows))
            flag += 1
        else:
            found.append(arithmetic(packed.words[:, word].contiguous()))
            word += 1
    return found
