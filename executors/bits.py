"""Logic on packed, XOR-shared bits.

XOR, NOT and constants are local. AND costs one round for any number of pairs (`and_many`): with a dealt triple
(a, b, a & b) open x ^ a and y ^ b, 2 bits a row, 1 bit dealt (Beaver 1991, protocols.md section 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.dealing import Correlation
from sdh.executors.messages import Masked
from sdh.executors.runtime import Session
from sdh.executors.shares import Bits, bits_of, pack, split, unpack, words_of

__all__ = ["Bits", "all_or", "and_", "and_many", "and_words", "concat", "constant", "not_", "or_", "or_many", "pack",
           "repeat", "select_rows", "slice_", "take", "unpack", "xor"]


def constant(session: Session, rows: int, value: bool) -> Bits:
    """A public bit in every row, as shares: party 0 holds it."""
    word = -1 if value and session.rank == 0 else 0
    return bits_of(torch.full((words_of(rows),), word, dtype=torch.int64, device=session.device), rows)


def xor(a: Bits, b: Bits) -> Bits:
    _same_rows(a, b)
    return bits_of(a.share ^ b.share, a.rows)


def not_(session: Session, a: Bits) -> Bits:
    return bits_of(~a.share if session.rank == 0 else a.share, a.rows)


def and_(session: Session, a: Bits, b: Bits) -> Bits:
    return and_many(session, [(a, b)])[0]


def or_(session: Session, a: Bits, b: Bits) -> Bits:
    return or_many(session, [(a, b)])[0]


def and_many(session: Session, pairs: Sequence[tuple[Bits, Bits]]) -> list[Bits]:
    """The AND of every pair, of any row counts, in one round."""
    for a, b in pairs:
        _same_rows(a, b)
    if not pairs:
        return []
    found = and_words(session, torch.cat([a.share for a, _ in pairs]), torch.cat([b.share for _, b in pairs]))
    parts = split(found, [len(a.share) for a, _ in pairs])
    return [bits_of(part, a.rows) for part, (a, _) in zip(parts, pairs, strict=True)]


def or_many(session: Session, pairs: Sequence[tuple[Bits, Bits]]) -> list[Bits]:
    """x | y = x ^ y ^ (x & y), for every pair in one round."""
    both = and_many(session, pairs)
    return [bits_of(a.share ^ b.share ^ c.share, a.rows) for (a, b), c in zip(pairs, both, strict=True)]


def all_of(session: Session, terms: list[Bits]) -> Bits:
    """The AND of one or more bits a row: ceil(log2(len(terms))) rounds."""
    while len(terms) > 1:
        met = and_many(session, list(zip(terms[0::2], terms[1::2], strict=False)))
        terms = met + terms[2 * len(met) :]
    return terms[0]


def and_words(session: Session, x: Tensor, y: Tensor) -> Tensor:
    """x & y of raw packed words of one shape.

    1. Draw a, b and a & b. 2. Open x ^ a and y ^ b (hidden by a and b). 3. x & y = (a & b) ^ (d & b) ^ (e & a) ^
    (d & e), the last term at party 0. 16 bytes a word, 8 dealt, 1 round.
    """
    [[a, b, ab]] = session.draw(Correlation("and", x.numel()))
    d, e = session.open_masked([Masked(x.reshape(-1) ^ a, xor=True), Masked(y.reshape(-1) ^ b, xor=True)],
                               "AND triple")
    ab = ab ^ (d & b) ^ (e & a)
    return (ab ^ (d & e) if session.rank == 0 else ab).reshape(x.shape)


def all_or(session: Session, bits: Bits) -> Bits:
    """The OR of all rows as one row (0 of no rows): halves by OR, ceil(log2(rows)) rounds, about 2 bits a row."""
    if not bits.rows:
        return constant(session, 1, False)
    words, rows = _clear_spare(bits), bits.rows
    while len(words) > 1:
        half = len(words) // 2
        met = _or_words(session, words[:half], words[half:2 * half])
        words = torch.cat([met, words[2 * half:]])
        rows = 64
    step = 1 << max(0, (min(rows, 64) - 1).bit_length() - 1)
    while step and min(rows, 64) > 1:
        high = (words >> step) & ((1 << (64 - step)) - 1)
        words = _or_words(session, words, high)
        step >>= 1
    return bits_of(words & 1, 1)


def _or_words(session: Session, x: Tensor, y: Tensor) -> Tensor:
    return x ^ y ^ and_words(session, x, y)


def _clear_spare(bits: Bits) -> Tensor:
    """The words with 0 in the spare bits of the last: 0 is a sharing of 0."""
    spare = bits.rows % 64
    if not spare:
        return bits.share
    words = bits.share.clone()
    words[-1] &= (1 << spare) - 1
    return words


# --- rows: local ---

def take(bits: Bits, index: Tensor) -> Bits:
    """Rows at a public index."""
    return bits_of(pack(unpack(bits.share, bits.rows).index_select(0, index.to(bits.share.device))), len(index))


def slice_(bits: Bits, start: int, stop: int) -> Bits:
    if start % 64 == 0:
        return bits_of(bits.share[start // 64:words_of(stop)], stop - start)
    return bits_of(pack(unpack(bits.share, bits.rows)[start:stop]), stop - start)


def concat(parts: Sequence[Bits]) -> Bits:
    """The rows of all parts, one after the other."""
    rows = sum(part.rows for part in parts)
    if all(part.rows % 64 == 0 for part in parts[:-1]):
        return bits_of(torch.cat([part.share for part in parts]), rows)
    return bits_of(pack(torch.cat([unpack(part.share, part.rows) for part in parts])), rows)


def repeat(bits: Bits, times: int, *, each: bool = False) -> Bits:
    """All rows `times` over; with `each`, every row `times` in a row."""
    rows = unpack(bits.share, bits.rows)
    many = rows.repeat_interleave(times) if each else rows.repeat(times)
    return bits_of(pack(many), bits.rows * times)


def select_rows(bits: Bits, public: Tensor, session: Session) -> Bits:
    """Bits AND a public 0/1 column: local."""
    del session
    return bits_of(bits.share & pack(public.to(torch.uint8)), bits.rows)


def _same_rows(a: Bits, b: Bits) -> None:
    if a.rows != b.rows:
        raise InternalError("Bits of different row counts met.")
