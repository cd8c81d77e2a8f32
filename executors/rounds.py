"""Bodies of small protocols on raw shares, one round each, to be joined by `yield from` and `together`.

Sources: protocols.md section 2; truncation by a mask whose top bit is dealt: Escudero, Ghosh, Keller, Rachuri and
Scholl 2020. Values are int64 [rows], bits are packed words. With n parties an opening costs n - 1 times the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdh.executors.dealing import Correlation
from sdh.executors.jobs import Opening, Rounds
from sdh.executors.messages import Masked
from sdh.executors.products import EQ, LT, evaluate
from sdh.executors.runtime import Session
from sdh.executors.shares import planes, unpack


def together(*bodies: Rounds[Any]) -> Rounds[list[Any]]:
    """What each body gives; they run side by side, and the openings of a round travel in one message."""
    found: dict[int, Any] = {}
    opened: dict[int, list[Tensor]] = {}
    while len(found) < len(bodies):
        openings: dict[int, Opening] = {}
        for index, body in enumerate(bodies):
            if index not in found:
                try:
                    openings[index] = body.send(opened[index]) if index in opened else next(body)
                except StopIteration as end:
                    found[index] = end.value
        if openings:
            values = [value for opening in openings.values() for value in opening.values]
            met = yield Opening(values, " and ".join(dict.fromkeys(opening.hidden_by for opening in openings.values())))
            place = 0
            for index, opening in openings.items():
                opened[index] = met[place:place + len(opening.values)]
                place += len(opening.values)
    return [found[index] for index in range(len(bodies))]


# --- bits ---

def both_of(session: Session, common: Tensor, pair: Tensor) -> Rounds[Tensor]:
    """common & pair[0], common & pair[1], of words [count, words] and [2, count, words]: 24 bytes a word, 16 dealt."""
    [[a, b, ab]] = session.draw(Correlation("common", common.numel(), count=len(pair)))
    d, e = yield Opening([Masked(common.reshape(-1) ^ a, xor=True), Masked(pair.reshape(b.shape) ^ b, xor=True)],
                         "AND triples of a common factor")
    return _and(session, a, b, ab, d, e).reshape(pair.shape)


def _and(session: Session, a: Tensor, b: Tensor, ab: Tensor, d: Tensor, e: Tensor) -> Tensor:
    """ab ^ d & b ^ e & a ^ d & e, the last at party 0."""
    return ab ^ (b & d) ^ (e & ((a ^ d) if session.rank == 0 else a))


def rings(session: Session, bits: Sequence[Tensor], rows: int) -> Rounds[list[Tensor]]:
    """Planes of bits as 0 or 1 in the ring: 1 bit and 8 dealt bytes a row and plane (`to_arithmetic`)."""
    if not bits:
        return []
    drawn = session.draw(*(Correlation("bit", rows) for _ in bits))
    opened = yield Opening([Masked(plane ^ bit, xor=True) for plane, (bit, _) in zip(bits, drawn, strict=True)], "dealt bit")
    found = []
    for v, (_, ring) in zip(opened, drawn, strict=True):
        known = unpack(v, rows).long()
        found.append(ring * (1 - 2 * known) + (known if session.rank == 0 else 0))
    return found


def bit_planes(session: Session, x: Tensor, width: int, arity: int = 2) -> Rounds[Tensor]:
    """The low `width` bits of x as planes [width, words], lowest first.

    1. Draw r mod 2^k and its bits; open c = x + r. 2. Bit i of x is c_i ^ r_i ^ borrow_i, borrow_i = (c mod 2^i <
    r mod 2^i), by a `prefix` of lt_i = ~c_i & r_i, eq_i = ~(c_i ^ r_i). Rounds 1 + d, d = ceil(log_arity (k - 1)); for
    arity 2 at most (k + 3 d k / 2) / 8 bytes a row sent, (k + d k) / 8 dealt.
    """
    [[r, r_bits]] = session.draw(Correlation("bits", len(x), width))
    [c] = yield Opening([Masked(x + r, width)], "masked decomposition")
    public = planes(c, width)
    eq = r_bits ^ ~public if session.rank == 0 else r_bits.clone()
    lt, _ = yield from prefix(session, ~public[:-1] & r_bits[:-1], eq[:-1], arity)
    out = r_bits ^ public if session.rank == 0 else r_bits.clone()
    out[1:] ^= lt
    return out


def prefix(session: Session, lt: Tensor, eq: Tensor, arity: int, outputs: int = LT | EQ) -> Rounds[tuple[Tensor, Tensor]]:
    """For every position i: lt = lt_i ^ eq_i lt_(i-1) ^ eq_i eq_(i-1) lt_(i-2) ^ .., eq = eq_i eq_(i-1) .. eq_0.

    Planes [positions, words], overwritten; for EQ alone `lt` is not looked at. Sklansky's network (1960) of nodes with up to
    `arity` inputs (products.py): at each level position i takes in the ends of the blocks before its own in its group of
    `arity` blocks. ceil(log_arity positions) rounds.
    """
    count, words, span = len(eq), eq.shape[1], 1
    while span < count:
        nodes = [(place + 1, *prefix_nodes(count, span, arity, place)) for place in range(1, arity)]
        nodes = [node for node in nodes if node[1]]
        drawn = session.draw(*(Correlation("node", len(high) * words, size, outputs) for size, high, _ in nodes))
        inputs = [torch.stack([*(lt[low] for low in lows if outputs & LT), *(eq[low] for low in lows), eq[high]])
                  for _, high, lows in nodes]
        opened = yield Opening([Masked(values.reshape(masks.shape) ^ masks, xor=True)
                                for values, (masks, _) in zip(inputs, drawn, strict=True)], "products of a prefix")
        for (size, high, _), (masks, dealt), seen in zip(nodes, drawn, opened, strict=True):
            met = evaluate(size, outputs, masks, dealt, seen, first=session.rank == 0)
            if outputs & LT:
                lt[high] ^= met[0].reshape(len(high), words)
            eq[high] = met[-1].reshape(len(high), words)
        span *= arity
    return lt, eq


def prefix_nodes(count: int, span: int, arity: int, place: int) -> tuple[list[int], list[list[int]]]:
    """The positions in every group's block number `place` of `span`, and for each earlier block where it ends."""
    high = [index for index in range(count) if index // span % arity == place]
    return high, [[index // (span * arity) * span * arity + (before + 1) * span - 1 for index in high] for before in range(place)]


# --- numbers ---

class Product(NamedTuple):
    """x * y mod 2^width; what is above is garbage."""

    x: Tensor
    y: Tensor
    width: int = 64


def products(session: Session, pairs: Sequence[Product]) -> Rounds[list[Tensor]]:
    """All the products: 2 * width bits and 8 dealt bytes a row each (Beaver 1991)."""
    drawn = session.draw(*(Correlation("triple", len(pair.x)) for pair in pairs))
    opened = yield Opening([Masked(value - mask, pair.width) for pair, (a, b, _) in zip(pairs, drawn, strict=True)
                            for value, mask in ((pair.x, a), (pair.y, b))], "multiplication triple")
    found = []
    for (a, b, product), d, e in zip(drawn, opened[0::2], opened[1::2], strict=True):
        out = product.addcmul_(d, b).addcmul_(e, a)
        found.append(out.addcmul_(d, e) if session.rank == 0 else out)
    return found


class Shift(NamedTuple):
    """x in [-2^(width-2), 2^(width-2)), to be shifted by `shift`, 2 * shift, .. times * shift < width - 1 bits."""

    x: Tensor
    width: int
    shift: int
    times: int = 1


def shifts(session: Session, values: Sequence[Shift]) -> Rounds[list[list[Tensor]]]:
    """floor(x / 2^f) or one more (never where 2^f divides x), for each value and each of its shifts f.

    1. Draw r mod 2^k, every r >> f and r's top bit. 2. Open c = x + 2^(k-2) + r mod 2^k. 3. x + 2^(k-2) < 2^(k-1), so the
    sum wrapped iff c's top bit is 0 and r's is 1: (c >> f) - (r >> f) + 2^(k-f) * wrapped - 2^(k-2-f).
    k bits a row sent, 8 (times + 1) bytes dealt.
    """
    drawn = session.draw(*(Correlation("shift", len(v.x), v.width, v.times, total=v.shift) for v in values))
    opened = yield Opening([Masked(_raised(session, v.x, v.width) + r, v.width)
                            for v, (r, _, _) in zip(values, drawn, strict=True)], "masked truncation")
    found = []
    for v, (_, tops, top_bit), c in zip(values, drawn, opened, strict=True):
        parts = []
        for index, top in enumerate(tops):
            known, wrap = _known(c, v.width, v.shift * (index + 1))
            hidden = top - top_bit * wrap
            parts.append(known - hidden if session.rank == 0 else -hidden)
        found.append(parts)
    return found


def _raised(session: Session, x: Tensor, width: int) -> Tensor:
    return x + (1 << (width - 2)) if session.rank == 0 else x


def _known(c: Tensor, width: int, shift: int) -> tuple[Tensor, Tensor]:
    """(c >> f) - 2^(k-2-f), and 2^(k-f) where c's top bit is 0, else 0."""
    known = c >> shift if width < 64 or not shift else (c >> shift) & ((1 << (64 - shift)) - 1)
    wrap = 1 - ((c >> (width - 1)) & 1)
    return known - (1 << (width - 2 - shift)), wrap * word(1 << (width - shift))


def word(value: int) -> int:
    """An integer mod 2^64 as torch takes it: signed."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


class Factor:
    """A factor m on shares, which `count` values in turn are multiplied by after a shift (0: as they are), in one round each.

    1. Draw a mask a of m, and for each value r mod 2^k, r >> f, r's top bit, and the last two times a. 2. Open m - a,
    once (`key`). 3. Open c = x + 2^(k-2) + r as in `shifts`; with floor(x / 2^f) = known - hidden, times m it is
    known * m - (m - a) * hidden - a * hidden. Sent: 8 bytes, then k bits a value; dealt: 32 bytes a value.
    """

    def __init__(self, session: Session, factor: Tensor, width: int, shift: int, count: int) -> None:
        self._session, self._factor, self._width, self._shift = session, factor, width, shift
        [self._dealt] = session.draw(Correlation("scale", len(factor), width, count, total=shift))
        self._opened: Tensor | None = None

    @property
    def key(self) -> Masked:
        return Masked(self._factor - self._dealt[1])

    def unlock(self, opened: Tensor) -> None:
        """Take what opening `key` gave."""
        self._opened = opened

    def masked(self, index: int, x: Tensor) -> Masked:
        return Masked(_raised(self._session, x, self._width) + self._dealt[0][index], self._width)

    def times(self, index: int, c: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of floor(x / 2^f) (or one more), and of that times m, from the opened `masked`."""
        assert self._opened is not None, "the factor's key comes first"
        _, _, tops, top_bits, masked_tops, masked_top_bits = self._dealt
        known, wrap = _known(c, self._width, self._shift)
        hidden = tops[index] - top_bits[index] * wrap
        product = known * self._factor - self._opened * hidden - (masked_tops[index] - masked_top_bits[index] * wrap)
        return known - hidden if self._session.rank == 0 else -hidden, product


def scaled(session: Session, values: Sequence[Tensor], width: int, factor: Tensor) -> Rounds[list[Tensor]]:
    """Every value, in [-2^(width-2), 2^(width-2)), times one factor: 8 bytes and `width` bits a value, 32 dealt."""
    by = Factor(session, factor, width, 0, len(values))
    key, *opened = yield Opening([by.key, *(by.masked(index, value) for index, value in enumerate(values))], "masked factor")
    by.unlock(key)
    return [by.times(index, c)[1] for index, c in enumerate(opened)]
