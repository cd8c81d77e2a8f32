"""Discrete Gaussian noise made jointly on shares, by rejection (planners/joint_gaussian.py says why its law is that).

For candidates of all variances at once: 1. Coins: the bits of a magnitude y, and one for each bit of z. 2. z, the sum of
2^(i+j) over pairs of y's bits: ANDs, full adders (Wallace 1964), a parallel prefix adder (Kogge and Stone 1973). 3. Accepted:
no bit of z without its coin, and not -0. 4. Values and acceptance in the ring. 5. Each pool's accepted candidates go first, by
a shared permutation (compaction.py); the first so many are the draws. A pool's size is public, and so large that too few are
accepted with a chance that planners/mechanisms.py counts in OFF.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from sdh.executors.arithmetic import mux, plus, to_arithmetic
from sdh.executors.bits import Bits, and_words
from sdh.executors.compaction import apply_shared_permutation, row_numbers
from sdh.executors.runtime import Session
from sdh.executors.shares import bits_of, raw, split
from sdh.planners.joint_gaussian import Pool, Slice, magnitude, pairs_at, passing

Coins = Callable[[Session, Sequence[int], Sequence[int]], Bits]
"""Secret bits of these chances, so many rows each (noising.biased)."""


def draws(session: Session, shape: Slice, coins: Coins) -> list[Tensor]:
    """Of each pool: shares [columns, slots] of independent draws."""
    by_coin = zip(*(_chances(pool, shape.size) for pool in shape.pools), strict=True)
    flat, rows = [chance for of_pools in by_coin for chance in of_pools], [pool.rows for pool in shape.pools]
    words = coins(session, flat, rows * (len(flat) // len(rows))).share.reshape(-1, shape.rows // 64)
    size, sign = words[:shape.size], session.private_words(shape.rows // 64).to(words.device)
    accepted = _accepted(session, size, sign, words[shape.size:])
    bits = torch.cat([size ^ sign, sign.unsqueeze(0), accepted.unsqueeze(0)]).reshape(-1)
    ring = raw(to_arithmetic(session, bits_of(bits, shape.rows * (shape.size + 2)))).reshape(-1, shape.rows)
    [moved] = apply_shared_permutation(session, _places(session, rows, accepted, ring[-1]), [_values(ring[:-1])])
    assert not isinstance(moved, Bits)
    return [part[:pool.columns * shape.slots].reshape(pool.columns, shape.slots)
            for pool, part in zip(shape.pools, split(raw(moved), rows), strict=True)]


def _chances(pool: Pool, size: int) -> list[int]:
    """Of a candidate's coins; bits that only another pool's magnitudes have are 0."""
    bits = magnitude(pool.variance)
    return [*bits, *[0] * (size - len(bits)), *passing(pool.variance, size)]


def _values(ring: Tensor) -> Tensor:
    """Of a magnitude's bits, each XORed with the sign, and the sign: y, or 2^L - 1 - y, less sign * (2^L - 1)."""
    powers = [1 << j for j in range(len(ring) - 1)]
    weights = [_wrapped(power) for power in [*powers, -sum(powers)]]
    return (ring * torch.tensor(weights, dtype=torch.int64, device=ring.device).unsqueeze(1)).sum(0)


def _wrapped(value: int) -> int:
    """Mod 2^64, as int64 has it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


# --- acceptance: raw packed words [bits, words] --------------------------------------------------


def _accepted(session: Session, size: Tensor, sign: Tensor, passes: Tensor) -> Tensor:
    refused = and_words(session, _pair_sum(session, size), _not(session, passes))
    negative_zero = _all(session, torch.cat([_not(session, size), sign.unsqueeze(0)]))
    return _all(session, _not(session, torch.cat([refused, negative_zero.unsqueeze(0)])))


def _pair_sum(session: Session, size: Tensor) -> Tensor:
    """z, its bits of 2^1 on, the lowest first."""
    pairs = pairs_at(len(size))
    left, right = zip(*(pair for column in pairs for pair in column), strict=True)
    met = iter(and_words(session, size[list(left)], size[list(right)]).unbind())
    return _added(session, [[next(met) for _ in column] for column in pairs])


def _added(session: Session, columns: list[list[Tensor]]) -> Tensor:
    """The sum of bits of 2^0, 2^1, .. as a number of as many bits, which hold it."""
    while max(map(len, columns)) > 2:
        columns = _full_adders(session, columns)
    zero = torch.zeros_like(columns[0][0])
    first, second = (torch.stack([column[k] if k < len(column) else zero for column in columns]) for k in range(2))
    return _prefix_added(session, first, second)


def _full_adders(session: Session, columns: list[list[Tensor]]) -> list[list[Tensor]]:
    """Of each three bits of a place their sum there and their carry one place up: 1 AND."""
    triples = [(place, column[i:i + 3]) for place, column in enumerate(columns) for i in range(0, len(column) // 3 * 3, 3)]
    x, y, z = (torch.stack(part) for part in zip(*(triple for _, triple in triples), strict=True))
    carries = and_words(session, x ^ z, y ^ z) ^ z
    found = [column[len(column) // 3 * 3:] for column in columns]
    for (place, _), total, carry in zip(triples, x ^ y ^ z, carries, strict=True):
        found[place].append(total)
        if place + 1 < len(found):   # the sum has no more bits: this carry is 0
            found[place + 1].append(carry)
    return found


def _prefix_added(session: Session, first: Tensor, second: Tensor) -> Tensor:
    generated, spread = and_words(session, first, second), first ^ second
    found, reach = spread.clone(), 1
    while reach < len(first):
        met = and_words(session, torch.cat([spread[reach:]] * 2), torch.cat([generated[:-reach], spread[:-reach]]))
        carried, through = met.chunk(2)
        generated = torch.cat([generated[:reach], generated[reach:] ^ carried])
        spread = torch.cat([spread[:reach], through])
        reach *= 2
    found[1:] ^= generated[:-1]
    return found


def _all(session: Session, terms: Tensor) -> Tensor:
    while len(terms) > 1:
        half = len(terms) // 2
        terms = torch.cat([and_words(session, terms[:half], terms[half:2 * half]), terms[2 * half:]])
    return terms[0]


def _not(session: Session, words: Tensor) -> Tensor:
    return ~words if session.rank == 0 else words


# --- the accepted first --------------------------------------------------------------------------


def _places(session: Session, rows: Sequence[int], accepted: Tensor, ring: Tensor) -> Tensor:
    """Where each candidate goes: in its pool, the accepted ones in order, then the others.

    With r accepted ones up to row i of its pool and t in all, that is r - 1, or t + i - r: the latter plus the bit times the
    difference, 2r - t - i - 1.
    """
    numbers = row_numbers(session, len(ring))
    other, excess = list[Tensor](), list[Tensor]()
    for start, pool, place in zip(accumulate(rows, initial=0), split(ring, rows), split(numbers, rows), strict=False):
        upto = torch.cumsum(pool, 0)
        other.append(place + upto[-1] - upto)
        excess.append(2 * upto - upto[-1] - plus(session, place, 1 - start))
    chosen = raw(mux(session, bits_of(accepted, len(ring)), torch.cat(excess)))
    return torch.cat(other) + chosen
