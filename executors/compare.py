"""Comparison and equality by masked opening (protocols.md section 2, m = 2, leaf-major bit planes).

With c = x + r mod 2^k public, MSB(x) = c_msb ^ r_msb ^ borrow, where borrow says that the low k-1 bits of c are
less than r's; x = 0 iff c = r. A block of two bits is compared by looking the public block up in the dealt one-hot
of r's; blocks are combined in a tree of ANDs with a common operand.

Bytes sent / dealt a row and rounds for two parties, B = ceil((k-1)/2) blocks, d = ceil(log2 B):
(k + 3(B-1) - d) / 8, (3(k-1)/2 + 1 + 2(B-1) - d) / 8, 1 + d for `msb`; with B = ceil(k/2),
(k + 2(B-1)) / 8, (3k/2 + B-1) / 8, 1 + ceil(log2 B) for `is_zero`. With n parties an opening costs n-1 times that.
k = 33: 9.25 / 9.375 / 5. k = 64: 19 / 19 / 6; equality 15.75 / 15.875 / 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.bits import Bits, and_, concat, slice_
from sdh.executors.dealing import Correlation
from sdh.executors.runtime import CHUNK, Masked, Session
from sdh.executors.shares import Shared, bits_of, planes, raw, words_of


def msb(session: Session, x: Shared, width: int) -> Bits:
    """The sign of shared values in [-2^(width-1), 2^(width-1)), 1 <= width <= 64."""
    return msb_many(session, [(x, width)])[0]


def less(session: Session, x: Shared, y: Shared, width: int) -> Bits:
    """x < y, where `width` bits hold x - y: k+1 for k-bit columns."""
    return msb(session, raw(x) - raw(y), width)


def less_many(session: Session, triples: Sequence[tuple[Shared, Shared, int]]) -> list[Bits]:
    """x < y for several (x, y, width) of one row count, in one set of rounds."""
    return msb_many(session, [(raw(x) - raw(y), width) for x, y, width in triples])


def less_wide(session: Session, x: Shared, y: Shared) -> Bits:
    """x < y for any signed 64-bit values, by three signs in one batch and one AND.

    With d = x - y mod 2^64: less = d_s ^ ((x_s ^ y_s) & (x_s ^ d_s)): where the signs differ x_s decides, else d_s.
    """
    sx, sy, sd = msb_many(session, [(x, 64), (y, 64), (raw(x) - raw(y), 64)])
    differ, other = bits_of(sx.share ^ sy.share, sx.rows), bits_of(sx.share ^ sd.share, sx.rows)
    return bits_of(sd.share ^ and_(session, differ, other).share, sx.rows)


def msb_many(session: Session, values: Sequence[tuple[Shared, int]]) -> list[Bits]:
    """The signs of several (value, width) of one row count, in one set of rounds a chunk.

    1. Draw r mod 2^k, its one-hot blocks, its top bit and the tree's triples: one item. 2. Open c = x + r mod 2^k.
    3. Look the blocks of c up: `lt` and `eq` of every block are local. 4. Combine neighbours, level by level:
    lt = lt_hi ^ (eq_hi & lt_lo), eq = eq_hi & eq_lo; the lowest path needs no eq.
    """
    return _chunked(session, "msb", values)


def is_zero(session: Session, x: Shared, width: int) -> Bits:
    """x mod 2^width == 0. For equality of two columns give their difference and the columns' own width."""
    return is_zero_many(session, [(x, width)])[0]


def is_zero_many(session: Session, values: Sequence[tuple[Shared, int]]) -> list[Bits]:
    """Whether several (value, width) of one row count are 0 mod 2^width, in one set of rounds a chunk."""
    return _chunked(session, "zero", values)


def _chunked(session: Session, what: str, values: Sequence[tuple[Shared, int]]) -> list[Bits]:
    if not values:
        return []
    widths = tuple(width for _, width in values)
    columns = [raw(value) for value, _ in values]
    rows = len(columns[0])
    if any(len(column) != rows for column in columns) or not all(1 <= width <= 64 for width in widths):
        raise InternalError("Values compared together have one row count and 1 to 64 bits.")
    if len(columns) > 1 and len(set(widths)) == 1 and rows < _FEW:
        [met] = _chunked(session, what, [(torch.cat(columns), widths[0])])
        return [slice_(met, index * rows, (index + 1) * rows) for index in range(len(columns))]
    step = max(64, CHUNK // len(values) // 64 * 64)
    body = _msb_chunk if what == "msb" else _zero_chunk
    chunks: list[list[Bits]] = []
    for start in range(0, max(rows, 1), step):
        part = [column[start:start + step] for column in columns]
        chunks.append(session.once((what, widths, len(part[0])), partial(body, session, part, widths)))
    if len(chunks) == 1:
        return chunks[0]
    return [concat([chunk[index] for chunk in chunks]) for index in range(len(values))]


_FEW = 1 << 12
"""Below this many rows, values of one width are compared as one column: few words, few array operations."""


# --- the sign ---

def _msb_chunk(session: Session, values: list[Tensor], widths: tuple[int, ...]) -> list[Bits]:
    rows, words = len(values[0]), words_of(len(values[0]))
    trees = [(width - 1 + 1) // 2 for width in widths]
    levels = _levels(trees)
    group = [Correlation("masked", rows, width) for width in widths]
    for full, lowest in levels:
        group += [Correlation("common", full * words), Correlation("and", lowest * words)]
    drawn = session.draw(*group)
    masked = drawn[:len(values)]
    opened = session.open_masked([Masked(value + r, width) for value, (r, _), width
                                  in zip(values, masked, widths, strict=True)], "masked comparison")
    signs, leaves = [], []
    for c, (_, hot), width in zip(opened, masked, widths, strict=True):
        bit_planes = planes(c, width)
        top = bit_planes[-1] ^ hot[-1] if session.rank == 0 else hot[-1]
        signs.append(top)
        leaves.append(_look_up_less(session, bit_planes[:-1], hot[:-1]))
    triples = drawn[len(values):]
    for level in range(len(levels)):
        leaves = _combine_less(session, leaves, triples[2 * level], triples[2 * level + 1])
    return [bits_of(top ^ lt[0] if len(lt) else top, rows) for top, (lt, _) in zip(signs, leaves, strict=True)]


def _levels(blocks: Sequence[int]) -> list[tuple[int, int]]:
    """For each level of trees of these many leaves: nodes that open three values, and nodes on lowest paths."""
    counts, levels = list(blocks), []
    while any(count > 1 for count in counts):
        lowest = sum(count > 1 for count in counts)
        levels.append((sum(count // 2 for count in counts) - lowest, lowest))
        counts = [(count + 1) // 2 for count in counts]
    return levels


class _Less(NamedTuple):
    """Planes of a tree's nodes from the lowest block up; eq[0] is never used."""

    lt: Tensor
    eq: Tensor


def _look_up_less(session: Session, c: Tensor, hot: Tensor) -> _Less:
    """For every block of public planes c: shares of c < r and c = r, from the one-hot of r without entry 0.

    lt = e3 & ~(c1 & c0) ^ e2 & ~c1 ^ e1 & ~c1 & ~c0; eq = (entry c), with e0 = 1 ^ e1 ^ e2 ^ e3.
    """
    blocks, whole = (len(c) + 1) // 2, len(c) // 2
    low, high = c[0::2], c[1::2]
    e1, e2, e3 = hot[:blocks], hot[blocks:blocks + whole], hot[blocks + whole:]
    not_low, not_high = ~low, ~high
    lt, eq = e1 & not_low, _equal_blocks(session, low, high, not_low, not_high, e1, e2, e3)
    lt[:whole] &= not_high
    lt[:whole] ^= (e2 & not_high) ^ (e3 & (not_low[:whole] | not_high))
    return _Less(lt, eq)


def _equal_blocks(session: Session, low: Tensor, high: Tensor, not_low: Tensor, not_high: Tensor,
                  e1: Tensor, e2: Tensor, e3: Tensor) -> Tensor:
    """Entry c: e0 & ~c1 & ~c0 ^ e1 & ~c1 & c0 ^ ... = [~c1 & ~c0] ^ e1 & ~c1 ^ e2 & ~c0 ^ e3 & ~(c1 ^ c0)."""
    whole = len(high)
    eq = e1.clone()
    eq[:whole] &= not_high
    eq[:whole] ^= (e2 & not_low[:whole]) ^ (e3 & ~(low[:whole] ^ high))
    if session.rank == 0:
        eq ^= not_low
        eq[:whole] ^= not_low[:whole] & ~not_high
    return eq


def _combine_less(session: Session, trees: list[_Less], common: list[Tensor], lone: list[Tensor]) -> list[_Less]:
    """One level: nodes (2i, 2i+1) meet. Per node 3 opened words a word, 2 on the lowest path."""
    live = [tree for tree in trees if len(tree.lt) > 1]
    pairs = [len(tree.lt) // 2 for tree in live]
    first_eq = torch.cat([tree.eq[1] for tree in live])
    first_lt = torch.cat([tree.lt[0] for tree in live])
    high = _flat([tree.eq[3:2 * pair:2] for tree, pair in zip(live, pairs, strict=True)])
    low = torch.stack([_flat([tree.lt[2:2 * pair:2] for tree, pair in zip(live, pairs, strict=True)]),
                       _flat([tree.eq[2:2 * pair:2] for tree, pair in zip(live, pairs, strict=True)])])
    (a, b, ab), (x, y, xy) = common, lone
    d, e, f, g = session.open_masked([Masked(high ^ a, xor=True), Masked(low ^ b, xor=True),
                                      Masked(first_eq ^ x, xor=True), Masked(first_lt ^ y, xor=True)],
                                     "comparison tree triples")
    met = _finish(session, a, b, ab, d, e)
    first = _finish(session, x, y, xy, f, g)
    return _spread(trees, met, first)


def _finish(session: Session, a: Tensor, b: Tensor, ab: Tensor, d: Tensor, e: Tensor) -> Tensor:
    """ab ^ d & b ^ e & a ^ d & e = (a ^ d) & (b ^ e), d broadcast over e."""
    out = ab ^ (b & d)
    out ^= e & (a ^ d) if session.rank == 0 else e & a
    return out


def _spread(trees: list[_Less], met: Tensor, first: Tensor) -> list[_Less]:
    found, words = [], trees[0].lt.shape[1]
    place = lone = 0
    for lt, eq in trees:
        count = len(lt)
        if count < 2:
            found.append(_Less(lt, eq))
            continue
        more = count // 2 - 1
        inner = met[:, place:place + more * words].reshape(2, more, words)
        bottom = first[lone:lone + words].reshape(1, words)
        place, lone = place + more * words, lone + words
        over = slice(2 * (count // 2), count)
        up = lt[3:2 * (count // 2):2] ^ inner[0]
        found.append(_Less(torch.cat([lt[1:2] ^ bottom, up, lt[over]]), torch.cat([eq[0:1], inner[1], eq[over]])))
    return found


def _flat(parts: list[Tensor]) -> Tensor:
    return parts[0].reshape(-1) if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])


# --- equality ---

def _zero_chunk(session: Session, values: list[Tensor], widths: tuple[int, ...]) -> list[Bits]:
    rows, words = len(values[0]), words_of(len(values[0]))
    counts = [(width + 1) // 2 for width in widths]
    group = [Correlation("equal", rows, width) for width in widths]
    while any(count > 1 for count in counts):
        group.append(Correlation("and", sum(count // 2 for count in counts) * words))
        counts = [(count + 1) // 2 for count in counts]
    drawn = session.draw(*group)
    masked = drawn[:len(values)]
    opened = session.open_masked([Masked(value + r, width) for value, (r, _), width
                                  in zip(values, masked, widths, strict=True)], "masked equality")
    leaves = [_look_up_equal(session, planes(c, width), hot)
              for c, (_, hot), width in zip(opened, masked, widths, strict=True)]
    for triple in drawn[len(values):]:
        leaves = _combine_equal(session, leaves, triple)
    return [bits_of(leaf[0], rows) for leaf in leaves]


def _look_up_equal(session: Session, c: Tensor, hot: Tensor) -> Tensor:
    blocks, whole = (len(c) + 1) // 2, len(c) // 2
    low, high = c[0::2], c[1::2]
    return _equal_blocks(session, low, high, ~low, ~high, hot[:blocks], hot[blocks:blocks + whole],
                         hot[blocks + whole:])


def _combine_equal(session: Session, trees: list[Tensor], triple: list[Tensor]) -> list[Tensor]:
    x = _flat([tree[0:2 * (len(tree) // 2):2] for tree in trees])
    y = _flat([tree[1:2 * (len(tree) // 2):2] for tree in trees])
    a, b, ab = triple
    d, e = session.open_masked([Masked(x ^ a, xor=True), Masked(y ^ b, xor=True)], "equality tree triples")
    met = _finish(session, a, b, ab, d, e)
    found, place, words = [], 0, trees[0].shape[1]
    for tree in trees:
        half = len(tree) // 2
        found.append(torch.cat([met[place:place + half * words].reshape(half, words), tree[2 * half:]]))
        place += half * words
    return found
