"""Moving rows by permutations that one party knows, shuffles by all, and copies of rows.

A *record* is a list of columns of one row count: ring shares (mod 2^64) and `Bits`. It is routed as packed rows:
ring columns as words, bits as octets. Source: protocols.md section 3 (permutation correlations from a dealer).
Bytes of a row w = 8 a ring column + 1 for up to 8 bit columns. Columns of many rows move in groups, one after the other,
each under masks of its own and all by the same permutation: memory is that of a group, beside what comes in and goes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.bits import Bits
from sdh.executors.devices import fused
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, bits_of, pack, raw, unpack
from sdh.planners.protocol_costs import column_groups

Record = Sequence[Shared | Bits]


class Given(list[Shared | Bits]):
    """A record that is given up: who takes it empties it, so that its columns go as they are moved."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """A group of columns as rows: int64 [rows, ring columns] and uint8 [rows, ceil(bit columns / 8)]."""

    words: Tensor
    octets: Tensor

    @property
    def rows(self) -> int:
        return self.words.shape[0]

    @property
    def width(self) -> tuple[int, int]:
        return self.words.shape[1], self.octets.shape[1]


def permute(session: Session, owner: int, destination: Tensor | None, record: Record, rows_out: int, *,
            keeps_all: bool = False, drawn: bool = False) -> list[ArithmeticSharedTensor | Bits]:
    """Row i goes to `destination[i]` (distinct, in [0, rows_out)), or nowhere if -1; other output rows are 0.

    Only `owner` knows `destination`. With `keeps_all` (public: no -1, and rows_out >= rows) the dealt permutation has
    rows_out positions, else rows + rows_out = T. `drawn`: the destination is random, so that it may be inverted as the
    query runs. Protocol of `_route`; a party but the owner sends rows * w, the owner 4 * rows_out bytes to each; T * w
    dealt; 1 round.
    """
    rows = _rows_of(record)
    total = rows_out if keeps_all else rows + rows_out
    if total < rows:
        raise InternalError("Rows that are all kept need as many places.")
    at = session.live if drawn else session.at
    source = at(owner, lambda: _inverse(destination, rows, rows_out))
    like, groups = _kinds(record), _to_groups(session, record, total)
    if isinstance(record, Given):
        record.clear()
    return _to_record(_route(session, owner, source, groups, rows_out, total), like)


def shuffle(session: Session, record: Record) -> list[ArithmeticSharedTensor | Bits]:
    """A permutation that no n-1 parties know: every party in turn permutes by one the dealer drew for it.

    In turn s: 1. Each j but s sends s d_j = x_j - A_j. 2. j keeps B_j, s keeps pi(x_s + sum d_j) + C. n rounds, in
    each of which n-1 parties send rows * w bytes; n * rows * w dealt.
    """
    like, groups = _kinds(record), _to_groups(session, record, _rows_of(record))
    if isinstance(record, Given):
        record.clear()
    for owner in range(session.count):
        groups = _turn(session, owner, groups)
    return _to_record(groups, like)


def _turn(session: Session, owner: int, groups: list[_Rows]) -> list[_Rows]:
    rows = groups[0].rows
    dealt = session.draw_permutation(owner, rows, rows, [group.width for group in groups])
    order = dealt.order()
    found: list[_Rows] = []
    while groups:   # a group is given up as soon as it is moved
        x = groups.pop(0)
        hidden, (count, width) = _mask(session, x, dealt.off()), x.width
        words, octets, _ = session.hand_over(owner, hidden.words, hidden.octets, None, ((rows, count), (rows, width), 0),
                                             "permutation masks", beside=bool(found))
        del hidden
        if session.rank != owner or session.tracing:
            del x, words, octets
            found.append(_Rows(*dealt.on()))
            continue
        assert order is not None
        found.append(_moved(_Rows(words, octets), x, _Taken(order), None, dealt.on()))
    return found


@dataclass(frozen=True, slots=True)
class _Taken:
    """Which input row comes to each output row: at the permutation's owner, as int32; `none`: those to which no row comes."""

    source: Tensor
    none: Tensor | None = None


def _moved(came: _Rows, x: _Rows, taken: _Taken, place: Tensor | None, masks: tuple[Tensor, Tensor]) -> _Rows:
    """Output row q: row taken.source[q] of came + x, and row place[q] (None: q) of the masks. `came` is overwritten."""
    if fused(came.words):
        from sdh.executors.kernels_rows import move

        source = taken.source if taken.none is None else taken.source.masked_fill(taken.none, -1)
        parts = zip((came.words, came.octets), (x.words, x.octets), masks, strict=True)
        return _Rows(*(move(a, b, source.long(), c, None if place is None else place.long()) for a, b, c in parts))
    words = _gathered(came.words.add_(x.words), taken, place, masks[0])
    octets = _gathered(came.octets.bitwise_xor_(x.octets), taken, place, masks[1])
    return _Rows(words, octets)


def _gathered(values: Tensor, taken: _Taken, place: Tensor | None, masks: Tensor) -> Tensor:
    out = masks if place is None else masks.index_select(0, place)
    if not len(values) or not values.shape[1]:
        return out
    found = values.index_select(0, taken.source)
    if taken.none is not None:
        found.masked_fill_(taken.none.unsqueeze(1), 0)
    return out.bitwise_xor_(found) if values.dtype == torch.uint8 else out.add_(found)


def _mask(session: Session, x: _Rows, masks: tuple[Tensor, Tensor] | None) -> _Rows:
    """x - A, in the masks' place; x itself at the owner, who sends nothing."""
    if masks is None or session.tracing:
        return x
    words, octets = masks
    if fused(words):
        return _Rows(x.words - words, x.octets ^ octets)
    return _Rows(torch.sub(x.words, words, out=words), octets.bitwise_xor_(x.octets))


def _route(session: Session, owner: int, source: Tensor | None, groups: list[_Rows], rows_out: int, total: int) -> list[_Rows]:
    """Output row o is input row source[o] (each at most once), or 0 where source[o] = -1. `groups` is emptied.

    The input counts as padded with public zeros to `total` rows; g is the dealt permutation of `total` positions.
    1. Each party j but s sends s d_j = x_j - A_j for the real rows. 2. s sends tau with g[tau[o]] = source[o] (an
    unused zero row for -1): distinct positions, uniform since g is. 3. j outputs B_j[tau], s outputs
    (x_s + sum d)[source] + C[tau]. All rows of the input may be kept, or dropped, by what s alone knows.
    """
    rows = groups[0].rows
    dealt = session.draw_permutation(owner, rows, total, [group.width for group in groups])
    order = dealt.order()
    source = None if source is None else source.to(session.device)
    tau = session.live(owner, partial(_conjugate, order, source, rows, total))
    taken = None if source is None else _Taken(source.clamp(min=0), source < 0)
    del order, source
    found: list[_Rows] = []
    while groups:   # a group is given up as soon as it is moved
        x, first = groups.pop(0), not found
        hidden, (count, width) = _mask(session, x, dealt.off()), x.width
        words, octets, told = session.hand_over(owner, hidden.words, hidden.octets, tau if first else None,
                                                ((rows, count), (rows, width), rows_out if first else 0), "permutation masks",
                                                beside=not first)
        del hidden
        if session.tracing:
            found.append(_Rows(words.new_empty((rows_out, count)), octets.new_empty((rows_out, width))))
        elif session.rank == owner:
            assert taken is not None
            found.append(_moved(_Rows(words, octets), x, taken, tau, dealt.on()))
        else:
            del x, words, octets
            tau = told if first else tau
            assert tau is not None
            found.append(_Rows(*(masks.index_select(0, tau) for masks in dealt.on())))
    return found


def _conjugate(order: Tensor | None, source: Tensor | None, rows: int, total: int) -> Tensor:
    """tau, as int32."""
    assert order is not None
    assert source is not None
    empty = source < 0
    full = torch.where(empty, torch.cumsum(empty, 0, dtype=torch.int32).add_(rows - 1), source)
    inverse = torch.empty(total, dtype=torch.int32, device=order.device)
    inverse[order] = torch.arange(total, dtype=torch.int32, device=order.device)
    return inverse.index_select(0, full)


def _inverse(destination: Tensor | None, rows: int, rows_out: int) -> Tensor:
    if destination is None or destination.shape != (rows,):
        raise InternalError("The owner of a permutation gives a destination for every row.")
    kept = destination >= 0
    source = torch.full((rows_out,), -1, dtype=torch.int32)
    source[destination[kept].long()] = torch.arange(rows, dtype=torch.int32)[kept]
    if int((source >= 0).sum()) != int(kept.sum()):
        raise InternalError("Two rows go to one place.")
    return source


def duplicate(session: Session, owner: int, source_index: Tensor | None, record: Record,
              rows_out: int) -> list[ArithmeticSharedTensor | Bits]:
    """Output row o is a copy of row source_index[o], or 0 where it is -1. Only `owner` knows `source_index`.

    What is sent and dealt: `copied`.
    """
    rows = _rows_of(record)
    return copied(session, owner, session.at(owner, lambda: copy_routes(source_index, rows, rows_out)), record, rows_out)


@dataclass(frozen=True, slots=True)
class CopyRoutes:
    """The three permutations of `copied`, as int32; of the second only where each run of copies begins (bool)."""

    first: Tensor
    starts: Tensor
    third: Tensor


def copied(session: Session, owner: int, routes: CopyRoutes | None, record: Record,
           rows_out: int) -> list[ArithmeticSharedTensor | Bits]:
    """Copies of rows along `copy_routes`, which `owner` worked out before (`Session.at`).

    1. Permute the rows that are used to the front, in order. 2. Adjacent differences (XOR for bits), local.
    3. Permute each difference to the start of its run of copies, in sorted order of outputs; dropped if unused.
    4. Prefix sums (XORs), local: every run holds its row; outputs of -1 come first and stay 0. 5. Permute to output
    order. With m rows in and M out, a party but the owner sends (2m + M) w, the owner 4 (m + 2M) bytes;
    (2m + 2M) w dealt; 3 rounds.
    """
    rows = _rows_of(record)
    groups = _to_groups(session, record, rows + rows_out)
    groups = _route(session, owner, None if routes is None else routes.first, groups, rows, rows)
    groups = [_differences(group) for group in groups]
    second = session.live(owner, lambda: _second(routes))
    groups = _route(session, owner, second, groups, rows_out, rows + rows_out)
    del second
    groups = [_prefixes(groups.pop(0)) for _ in range(len(groups))]
    groups = _route(session, owner, None if routes is None else routes.third, groups, rows_out, rows_out)
    return _to_record(groups, _kinds(record))


def copy_routes(source_index: Tensor | None, rows: int, rows_out: int) -> CopyRoutes:
    """For each output row the row that it copies, or -1."""
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
    first = np.concatenate([np.flatnonzero(used), np.flatnonzero(~used)]).astype(np.int32)
    third = np.empty(rows_out, dtype=np.int32)
    third[order] = np.arange(rows_out, dtype=np.int32)
    return CopyRoutes(torch.from_numpy(first), torch.from_numpy(starts), torch.from_numpy(third))


def _second(routes: CopyRoutes | None) -> Tensor:
    """At the start of each run the number of the row that it copies."""
    assert routes is not None
    return torch.where(routes.starts, torch.cumsum(routes.starts, 0, dtype=torch.int32) - 1, -1)


def _differences(x: _Rows) -> _Rows:
    words, octets = x.words.clone(), x.octets.clone()
    words[1:] -= x.words[:-1]
    octets[1:] ^= x.octets[:-1]
    return _Rows(words, octets)


def _prefixes(x: _Rows) -> _Rows:
    """Sums in the place of the words that are given."""
    octets, step = x.octets, 1
    while step < x.rows and octets.shape[1] and not octets.is_meta:
        octets = torch.cat([octets[:step], octets[step:] ^ octets[:-step]])
        step *= 2
    return _Rows(x.words.cumsum_(0), octets)


# --- records as rows ---

def _rows_of(record: Record) -> int:
    sizes = {column.rows if isinstance(column, Bits) else len(raw(column)) for column in record}
    if not record:
        raise InternalError("A record has at least one column.")
    if len(sizes) != 1:
        raise InternalError("The columns of a record have one row count.")
    [rows] = sizes
    return rows


def _to_groups(session: Session, record: Record, places: int) -> list[_Rows]:
    """In groups of columns that move over so many places (protocol_costs.column_groups); all bits are in the last."""
    rows = _rows_of(record)
    ring = [raw(column) for column in record if not isinstance(column, Bits)]
    flags = [unpack(column.share, rows) for column in record if isinstance(column, Bits)]
    octets = torch.zeros((rows, (len(flags) + 7) // 8), dtype=torch.uint8, device=session.device)
    for index, flag in enumerate(flags):
        octets[:, index // 8] |= flag << (index % 8)
    found = []
    for count, width in column_groups(len(ring), octets.shape[1], places):
        words, ring = ring[:count], ring[count:]
        found.append(_Rows(_side_by_side(session, words, rows), octets if width else octets.new_empty((rows, 0))))
    return found


def _side_by_side(session: Session, columns: Sequence[Tensor], rows: int) -> Tensor:
    if len(columns) == 1:
        return columns[0].unsqueeze(1)
    return torch.stack(list(columns), dim=1) if columns else torch.zeros((rows, 0), dtype=torch.int64, device=session.device)


def _kinds(record: Record) -> list[bool]:
    """Which columns are bits."""
    return [isinstance(column, Bits) for column in record]


def _to_record(groups: list[_Rows], are_bits: Sequence[bool]) -> list[ArithmeticSharedTensor | Bits]:
    """The columns of the groups, which are emptied."""
    octets, ring = groups[-1].octets, list[Tensor]()
    rows = groups[-1].rows
    while groups:
        words = groups.pop(0).words
        ring += [words.squeeze(1)] if words.shape[1] == 1 else [column.contiguous() for column in words.unbind(1)]
    words_, found, flag = iter(ring), list[ArithmeticSharedTensor | Bits](), 0
    for is_bits in are_bits:
        if is_bits:
            found.append(bits_of(pack((octets[:, flag // 8] >> (flag % 8)) & 1), rows))
            flag += 1
        else:
            found.append(arithmetic(next(words_)))
    return found
