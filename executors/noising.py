"""Noise on shares, made in one of three ways (privacy.md, 'Noise'; planners/mechanisms.py has the laws).

parties: each party adds a draw of its own to its share. dealer: shares of one draw are dealt. joint: nobody knows any of it.
A discrete Laplace variable is the difference of two geometric ones, whose bits are independent (Dwork et al., Our Data,
Ourselves, 2006): each is the comparison of a uniform word, into which every party XORs bits of its own, with a public number.
8 rounds. A discrete Gaussian one: joint_gaussian.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits, joint_gaussian
from sdh.executors.arithmetic import to_arithmetic
from sdh.executors.bits import Bits
from sdh.executors.correlations import noise_correlation, ring_of
from sdh.executors.discrete_noise import draws
from sdh.executors.runtime import Session
from sdh.executors.shares import bits_of, pack, raw, split, words_of
from sdh.executors.values import Number, Relation
from sdh.planners.logical import Noise
from sdh.planners.mechanisms import BIAS_BITS, DEALER, GAUSSIAN, JOINT, LAPLACE, PARTIES, Mechanism, bias, magnitude_bits
from sdh.planners.noise_costs import gaussian_slices, noise_slices
from sdh.planners.physical import Noised


def noised(session: Session, node: Noised, relation: Relation) -> Relation:
    """One fresh draw for each slot of each noised column; the column may not be NULL."""
    columns = dict(relation.columns)
    joint = _joint(session, [noise.mechanism for noise in node.noises if noise.mechanism.way == JOINT], relation.slots)
    for noise in node.noises:
        value = columns.pop(noise.input.number)
        if not isinstance(value, Number) or noise.input.nullable:   # a bit that the plan knows to be 0 may stand there
            raise InternalError("Noise is added to numbers that are not NULL.")
        drawn = joint[noise.mechanism].pop() if noise.mechanism.way == JOINT else _drawn(session, noise, relation.slots)
        columns[noise.output.number] = Number(raw(value.share) + drawn)
    clear = {number: column for number, column in relation.clear.items() if number in columns}
    return Relation(relation.slots, relation.valid, columns, clear, relation.real)


def _drawn(session: Session, noise: Noise, slots: int) -> Tensor:
    kind, scale = noise.mechanism.kind, noise.mechanism.scale
    match noise.mechanism.way:
        case way if way == PARTIES:
            mine = session.at(session.rank, lambda: torch.from_numpy(ring_of(draws(kind, scale, slots)).copy()))
            return torch.zeros(slots, dtype=torch.int64, device=session.device) if mine is None else mine.to(session.device)
        case way if way == DEALER:
            [[dealt]] = session.draw(noise_correlation(slots, kind == GAUSSIAN, scale))
            return dealt
        case _:
            raise InternalError(f"No noise is made on shares by {noise.mechanism.way!r}.")


# --- jointly -------------------------------------------------------------------------------------


def _joint(session: Session, mechanisms: Sequence[Mechanism], slots: int) -> dict[Mechanism, list[Tensor]]:
    """Shares of one draw a slot for each mechanism, as many of each as it is there."""
    found: dict[Mechanism, list[Tensor]] = {one: [] for one in mechanisms}
    for kind, made in ((LAPLACE, _laplace), (GAUSSIAN, _gaussian)):
        wanted = [one for one in mechanisms if one.kind == kind]
        for one, drawn in zip(wanted, made(session, [one.scale for one in wanted], slots), strict=True):
            found[one].append(drawn)
    return found


def _gaussian(session: Session, variances: Sequence[Fraction], slots: int) -> list[Tensor]:
    """Of the first variance all its draws, then of the next: so they come in the pools."""
    parts = [joint_gaussian.draws(session, one, biased) for one in (gaussian_slices(variances, slots) if variances else [])]
    pools = [torch.cat(of_slices, 1) for of_slices in zip(*parts, strict=True)]
    columns = {variance: iter(pool.unbind()) for variance, pool in zip(dict.fromkeys(variances), pools, strict=True)}
    return [next(columns[variance]) for variance in variances]


def _laplace(session: Session, scales: Sequence[Fraction], slots: int) -> list[Tensor]:
    """In one set of rounds a slice of slots."""
    if not scales:
        return []
    sizes = [magnitude_bits(one) for one in scales]
    parts = [_slice(session, scales, sizes, rows) for rows in noise_slices(slots, sizes)]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _slice(session: Session, scales: Sequence[Fraction], sizes: Sequence[int], rows: int) -> list[Tensor]:
    """1. Biased bits: of every scale its two geometric variables' bits, lowest first, each for all rows. 2. In the ring.
    3. First minus second."""
    chances = [bias(one, j) for one, size in zip(scales, sizes, strict=True) for _ in range(2) for j in range(size)]
    ring = raw(to_arithmetic(session, biased(session, chances, [rows] * len(chances))))
    found = []
    for part, size in zip(split(ring, [2 * size * rows for size in sizes]), sizes, strict=True):
        weights = torch.tensor([1 << j for j in range(size)], dtype=torch.int64, device=part.device)
        pair = (part.reshape(2, size, rows) * weights[None, :, None]).sum(1)
        found.append(pair[0] - pair[1])
    return found


def biased(session: Session, chances: Sequence[int], rows: Sequence[int]) -> Bits:
    """Independent secret bits, so many rows for each of `chances`, which are multiples of 2^-BIAS_BITS.

    1. Uniform words of BIAS_BITS bits: each party's own random bits are its XOR-shares. 2. u < c, from the highest bit down:
    pairs (is less, is equal) of stretches of bits are merged, 2 ANDs a pair, ceil(log2 BIAS_BITS) rounds.
    """
    total = sum(rows)
    planes = session.private_words(words_of(total) * BIAS_BITS).reshape(BIAS_BITS, -1)
    pairs: list[tuple[Bits, Bits]] = []
    for place in reversed(range(BIAS_BITS)):
        constant = _constant(session, [chance >> place & 1 for chance in chances], rows)
        word = bits_of(planes[place], total)
        not_word = bits.not_(session, word)
        equal = (word.share & constant) ^ (not_word.share & ~constant)
        pairs.append((bits_of(not_word.share & constant, total), bits_of(equal, total)))
    while len(pairs) > 1:
        pairs = _merged(session, pairs)
    return pairs[0][0]


def _constant(session: Session, flags: Sequence[int], rows: Sequence[int]) -> Tensor:
    """Public bits, each for its rows, as packed words."""
    bits, counts = torch.tensor(flags, dtype=torch.uint8, device=session.device), torch.tensor(rows, device=session.device)
    return pack(bits.repeat_interleave(counts, output_size=sum(rows)))


def _merged(session: Session, pairs: list[tuple[Bits, Bits]]) -> list[tuple[Bits, Bits]]:
    """Neighbours as one: less by the higher, or equal there and less by the lower. The last one's equality is not read."""
    couples = list(zip(pairs[0::2], pairs[1::2], strict=False))
    whole = len(pairs) % 2 == 0
    wanted = [(high[1], low[0]) for high, low in couples]
    wanted += [(high[1], low[1]) for high, low in (couples[:-1] if whole else couples)]
    met = bits.and_many(session, wanted)
    less = [bits.xor(high[0], one) for (high, _), one in zip(couples, met, strict=False)]
    equal = [*met[len(couples):], *([couples[-1][1][1]] if whole else [])]
    return [*zip(less, equal, strict=True), *pairs[2 * len(couples):]]
