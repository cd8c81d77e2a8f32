"""Shared bits as ring elements, selection by a shared bit, products.

Each costs one round for any number of operands of one call (protocols.md section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.bits import Bits
from sdh.executors.dealing import Correlation
from sdh.executors.jobs import CHUNK, Job, Opening, Rounds
from sdh.executors.messages import Masked
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, bits_of, raw, split, unpack, words_of


def plus(session: Session, share: Tensor, public: int) -> Tensor:
    """Party 0 adds what is public, mod 2^64."""
    wrapped = (public + (1 << 63)) % (1 << 64) - (1 << 63)
    return share + wrapped if wrapped and session.rank == 0 else share


def to_arithmetic(session: Session, bits: Bits) -> ArithmeticSharedTensor:
    """A shared bit as 0 or 1 in the ring."""
    return to_arithmetic_many(session, [bits])[0]


def to_arithmetic_many(session: Session, columns: Sequence[Bits]) -> list[ArithmeticSharedTensor]:
    """Shared bits, of any row counts, as 0 or 1 in the ring, in one round (a chunk).

    1. Draw a bit r as XOR-shares and in the ring. 2. Open v = b ^ r. 3. b = v + (1 - 2v) r. 1 bit sent, 8 bytes dealt.
    """
    parts = [_slices(column) for column in columns] if sum(column.rows for column in columns) > CHUNK else None
    if parts is None:
        [found] = session.interleave([_ring_job(session, columns)])
        return [arithmetic(share) for share in found]
    chunks = iter(session.interleave([_ring_job(session, [part]) for column in parts for part in column]))
    return [arithmetic(torch.cat([next(chunks)[0] for _ in column])) for column in parts]


def _slices(column: Bits) -> list[Bits]:
    return [bits_of(column.share[start // 64:words_of(start + CHUNK)], min(CHUNK, column.rows - start))
            for start in range(0, column.rows, CHUNK)]


def _ring_job(session: Session, columns: Sequence[Bits]) -> Job[list[Tensor]]:
    return Job(("ring", *(column.rows for column in columns)), partial(_ring_chunk, session, columns))


def _ring_chunk(session: Session, columns: Sequence[Bits]) -> Rounds[list[Tensor]]:
    drawn = session.draw(*(Correlation("bit", column.rows) for column in columns))
    opened = yield Opening([Masked(column.share ^ bit, xor=True)
                            for column, (bit, _) in zip(columns, drawn, strict=True)], "dealt bit")
    return [_unmask(session, v, ring) for v, (_, ring) in zip(opened, drawn, strict=True)]


def _unmask(session: Session, v: Tensor, ring: Tensor) -> Tensor:
    known = unpack(v, len(ring)).long()
    out = ring * (1 - 2 * known)
    return out.add_(known) if session.rank == 0 else out


def mux(session: Session, bit: Bits, x: Shared) -> ArithmeticSharedTensor:
    """bit * x."""
    return mux_many(session, [(bit, [x])])[0][0]


Selection = tuple[Bits, Sequence[Shared]]
"""A bit and the values that it selects."""


def mux_many(session: Session, pairs: Sequence[Selection]) -> list[list[ArithmeticSharedTensor]]:
    """bit * x for several x under one bit, and several such (bit, [x, ...]) of any row counts, in one round a chunk.

    1. Draw a bit r (XOR-shares, and in the ring), and a, r * a for every x. 2. Open v = bit ^ r and d = x - a.
    3. bit * x = v x + (1 - 2v)(d r + r a). A row: 1 bit and 8 bytes a value sent, 8 + 8 a value dealt.
    """
    for bit, values in pairs:
        if any(len(raw(value)) != bit.rows for value in values):
            raise InternalError("A bit and the values it selects have one row count.")
    if sum(bit.rows * len(values) for bit, values in pairs) <= CHUNK:
        [found] = session.interleave([_mux_job(session, pairs)])
        return [[arithmetic(part) for part in parts] for parts in found]
    sliced = [_sliced(bit, values) for bit, values in pairs]
    chunks = iter(session.interleave([_mux_job(session, [part]) for parts in sliced for part in parts]))
    met = [[next(chunks)[0] for _ in parts] for parts in sliced]
    return [[arithmetic(torch.cat(column)) for column in zip(*parts, strict=True)] for parts in met]


def _sliced(bit: Bits, values: Sequence[Shared]) -> list[Selection]:
    """The rows of a selection in parts of about CHUNK values."""
    step = max(64, CHUNK // max(1, len(values)) // 64 * 64)
    return [(bits_of(bit.share[start // 64:words_of(start + step)], min(step, bit.rows - start)),
             [raw(value)[start:start + step] for value in values]) for start in range(0, max(bit.rows, 1), step)]


def _mux_job(session: Session, pairs: Sequence[Selection]) -> Job[list[list[Tensor]]]:
    return Job(("mux", *((bit.rows, len(values)) for bit, values in pairs)), partial(_mux_chunk, session, pairs))


def _mux_chunk(session: Session, pairs: Sequence[Selection]) -> Rounds[list[list[Tensor]]]:
    drawn = session.draw(*(Correlation("mux", bit.rows, count=len(values)) for bit, values in pairs))
    columns = [torch.stack([raw(value) for value in values]) if values else ring.new_empty((0, bit.rows))
               for (bit, values), (_, _, ring, _) in zip(pairs, drawn, strict=True)]
    masked = [Masked(bit.share ^ parts[0], xor=True) for (bit, _), parts in zip(pairs, drawn, strict=True)]
    masked += [Masked(column - parts[1]) for column, parts in zip(columns, drawn, strict=True)]
    opened = yield Opening(masked, "mux mask")
    found = []
    for index, (column, (_, _, ring, product)) in enumerate(zip(columns, drawn, strict=True)):
        known = unpack(opened[index], column.shape[1]).long()
        chosen = torch.addcmul(product, opened[len(pairs) + index], ring)
        found.append(list((chosen.mul_(1 - 2 * known)).addcmul_(column, known).unbind()))
    return found


def multiply(session: Session, x: Shared, y: Shared) -> ArithmeticSharedTensor:
    """x * y mod 2^64."""
    return multiply_many(session, [(x, y)])[0]


def multiply_many(session: Session, pairs: Sequence[tuple[Shared, Shared]]) -> list[ArithmeticSharedTensor]:
    """Products mod 2^64 of several pairs, in one round a chunk (Beaver 1991): 16 bytes sent, 8 dealt a row.

    1. Draw a, b, a * b. 2. Open d = x - a, e = y - b. 3. x y = ab + d b + e a + d e (the last at party 0).
    """
    sizes = [len(raw(x)) for x, _ in pairs]
    if any(size != len(raw(y)) for size, (_, y) in zip(sizes, pairs, strict=True)):
        raise InternalError("Factors have one row count.")
    if not pairs:
        return []
    x, y = (pairs[0] if len(pairs) == 1 else
            (torch.cat([raw(x) for x, _ in pairs]), torch.cat([raw(y) for _, y in pairs])))
    parts = session.interleave([_product_job(session, raw(x)[start:start + CHUNK], raw(y)[start:start + CHUNK])
                                for start in range(0, max(sum(sizes), 1), CHUNK)])
    return [arithmetic(part) for part in split(torch.cat(parts), sizes)]


def _product_job(session: Session, x: Tensor, y: Tensor) -> Job[Tensor]:
    return Job(("product", len(x)), partial(_multiply_chunk, session, x, y))


def _multiply_chunk(session: Session, x: Tensor, y: Tensor) -> Rounds[Tensor]:
    [[a, b, product]] = session.draw(Correlation("triple", len(x)))
    d, e = yield Opening([Masked(x - a), Masked(y - b)], "multiplication triple")
    out = product.addcmul_(d, b).addcmul_(e, a)
    return out.addcmul_(d, e) if session.rank == 0 else out
