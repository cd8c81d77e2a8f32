"""Shared bits as ring elements, selection by a shared bit, products.

Each costs one round for any number of operands of one call (protocols.md section 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.bits import Bits
from sdh.executors.dealing import Correlation
from sdh.executors.runtime import Masked, Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, bits_of, raw, split, unpack

MANY = 1 << 20
"""Values drawn and opened at a time: memory stays bounded."""


def to_arithmetic(session: Session, bits: Bits) -> ArithmeticSharedTensor:
    """A shared bit as 0 or 1 in the ring."""
    return to_arithmetic_many(session, [bits])[0]


def to_arithmetic_many(session: Session, columns: Sequence[Bits]) -> list[ArithmeticSharedTensor]:
    """Shared bits, of any row counts, as 0 or 1 in the ring, in one round (a chunk).

    1. Draw a bit r as XOR-shares and in the ring. 2. Open v = b ^ r. 3. b = v + (1 - 2v) r. 1 bit sent, 8 bytes dealt.
    """
    drawn = session.draw(*(Correlation("bit", column.rows) for column in columns))
    opened = session.open_masked([Masked(column.share ^ bit, xor=True)
                                  for column, (bit, _) in zip(columns, drawn, strict=True)], "dealt bit")
    return [arithmetic(_unmask(session, v, ring)) for v, (_, ring) in zip(opened, drawn, strict=True)]


def _unmask(session: Session, v: Tensor, ring: Tensor) -> Tensor:
    known = unpack(v, len(ring)).long()
    out = ring * (1 - 2 * known)
    return out + known if session.rank == 0 else out


def mux(session: Session, bit: Bits, x: Shared) -> ArithmeticSharedTensor:
    """bit * x."""
    return mux_many(session, [(bit, [x])])[0][0]


def mux_many(session: Session, pairs: Sequence[tuple[Bits, Sequence[Shared]]]) -> list[list[ArithmeticSharedTensor]]:
    """bit * x for several x under one bit, and several such (bit, [x, ...]) of any row counts, in one round a chunk.

    1. Draw a bit r (XOR-shares, and in the ring), and a, r * a for every x. 2. Open v = bit ^ r and d = x - a.
    3. bit * x = v x + (1 - 2v)(d r + r a). A row: 1 bit and 8 bytes a value sent, 8 + 8 a value dealt.
    """
    for bit, values in pairs:
        if any(len(raw(value)) != bit.rows for value in values):
            raise InternalError("A bit and the values it selects have one row count.")
    size = sum(bit.rows * len(values) for bit, values in pairs)
    if size <= MANY:
        return [[arithmetic(part) for part in parts] for parts in _mux_chunk(session, pairs)]
    return [[arithmetic(part) for part in _mux_rows(session, bit, values)] for bit, values in pairs]


def _mux_rows(session: Session, bit: Bits, values: Sequence[Shared]) -> list[Tensor]:
    step = max(64, MANY // max(1, len(values)) // 64 * 64)
    chunks = []
    for start in range(0, max(bit.rows, 1), step):
        stop = min(start + step, bit.rows)
        part = bits_of(bit.share[start // 64:(stop + 63) // 64], stop - start)
        chunks.append(_mux_chunk(session, [(part, [raw(value)[start:stop] for value in values])])[0])
    return [torch.cat(parts) for parts in zip(*chunks, strict=True)]


def _mux_chunk(session: Session, pairs: Sequence[tuple[Bits, Sequence[Shared]]]) -> list[list[Tensor]]:
    drawn = session.draw(*(Correlation("mux", bit.rows, count=len(values)) for bit, values in pairs))
    columns = [torch.stack([raw(value) for value in values]) if values else ring.new_empty((0, bit.rows))
               for (bit, values), (_, _, ring, _) in zip(pairs, drawn, strict=True)]
    masked = [Masked(bit.share ^ parts[0], xor=True) for (bit, _), parts in zip(pairs, drawn, strict=True)]
    masked += [Masked(column - parts[1]) for column, parts in zip(columns, drawn, strict=True)]
    opened = session.open_masked(masked, "mux mask")
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
    x, y = torch.cat([raw(x) for x, _ in pairs]), torch.cat([raw(y) for _, y in pairs])
    parts = [_multiply_chunk(session, x[start:start + MANY], y[start:start + MANY])
             for start in range(0, max(len(x), 1), MANY)]
    return [arithmetic(part) for part in split(torch.cat(parts), sizes)]


def _multiply_chunk(session: Session, x: Tensor, y: Tensor) -> Tensor:
    [[a, b, product]] = session.draw(Correlation("triple", len(x)))
    d, e = session.open_masked([Masked(x - a), Masked(y - b)], "multiplication triple")
    out = product.addcmul_(d, b).addcmul_(e, a)
    return out.addcmul_(d, e) if session.rank == 0 else out
