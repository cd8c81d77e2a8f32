"""Rows to places that nobody knows: shared permutations, stable places by a shared digit, stable compaction.

A *destination* is a share, mod 2^k with k = place_bits(rows), of where each row goes: a permutation. Sources: protocols.md
sections 3 and 5; the counting step of radix sort on shares, Hamada et al. 2014 (prefix sums of a one-hot are local).
Everything opened is masked by dealt values or is the image of a permutation under a fresh shuffle by all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors import bits
from sdh.executors.bits import Bits
from sdh.executors.dealing import Correlation
from sdh.executors.jobs import CHUNK, Job, Opening, Rounds
from sdh.executors.messages import Masked
from sdh.executors.permute import Given, Record, shuffle
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, raw, unpack, words_of
from sdh.planners.sorting import place_bits

Columns = list[ArithmeticSharedTensor | Bits]


def compact(session: Session, keep: Bits, record: Record) -> Columns:
    """The rows with keep = 1 first, in order, then the others in order.

    `destinations` of the bit, then `apply_shared_permutation`. For two parties and rows of w bytes: 8 + w + k/4 + 1/8
    bytes a row sent, 32 + 2w dealt, 5 rounds.
    """
    return apply_shared_permutation(session, destinations(session, [bits.not_(session, keep)]), record)


def apply_shared_permutation(session: Session, destination: Shared, record: Record) -> Columns:
    """Row i goes to place destination[i].

    1. Shuffle the rows and their destinations alike. 2. Open the destinations: they are a permutation, composed with a
    uniform one that no n-1 parties know, hence uniform whatever they are. 3. Move rows locally. For rows of w bytes a
    party sends (n-1)(8 + w) in the shuffle and (n-1) k/8 bytes; n (8 + w) dealt; n + 1 rounds.
    """
    rows = len(raw(destination))
    if rows < 2:
        return columns_of(record)
    moving = Given([destination, *record])
    if isinstance(record, Given):
        record.clear()
    del destination
    moved, *columns = shuffle(session, moving)
    assert not isinstance(moved, Bits)
    [places] = session.open_masked([Masked(raw(moved), place_bits(rows))], "a shuffle of rows with their destinations")
    return taken(columns, places if session.tracing else inverse(places))


def invert(session: Session, destination: Shared) -> Tensor:
    """The destination that moves every row back."""
    [index] = apply_shared_permutation(session, destination, [row_numbers(session, len(raw(destination)))])
    return raw(index)


def destinations(session: Session, digit: Sequence[Bits]) -> Tensor:
    """Where each row goes in a stable sort by a digit of c = 1 or 2 shared bits, the lowest first.

    With D = 2^c: 1. Draw c XOR-shared bits r, masks a_1 .. a_(D-1), and in the ring the one-hot of r and a_(r ^ v) for
    every v (a_0 = 0). 2. Open v = digit ^ r. 3. Entry d of the digit's one-hot is entry d ^ v of r's. By prefix sums, local:
    the place P_d of each row if its digit is d: rows of smaller digits, and rows of digit d up to here, but one. 4. Open
    e_d = P_d - P_0 - a_d mod 2^k. 5. The place is P_0 + sum of e_d one-hot(digit)[d] + a_(r ^ v).
    (c + (D-1) k) / 8 bytes a row sent, 16 (D-1) dealt, 2 rounds.
    """
    rows, c = digit[0].rows, len(digit)
    if rows < 2:
        return torch.zeros(rows, dtype=torch.int64, device=session.device)
    planes = torch.stack([bit.share for bit in digit])
    jobs = [Job(("digit", c, min(CHUNK, rows - start)),
                partial(_digit_chunk, session, planes[:, start // 64:words_of(start + CHUNK)], min(CHUNK, rows - start)))
            for start in range(0, rows, CHUNK)]
    found = _Digit(*(torch.cat(parts, dim=-1) for parts in zip(*session.interleave(jobs), strict=True)))
    first, place, excess = session.rank == 0, _places_of_zero(session, found.hot), []
    before = (rows if first else 0) - found.hot.sum()   # rows of digit 0
    for entry in found.hot.unbind():
        upto = torch.cumsum(entry, 0)
        excess.append(upto + (before - 1 if first else before) - place)
        before = before + entry.sum()
    [opened] = session.open_masked([Masked(torch.stack(excess).sub_(found.masks), place_bits(rows))], "masks of places")
    return place + opened.mul_(found.hot).sum(0) + found.mask


def _places_of_zero(session: Session, hot: Tensor) -> Tensor:
    """Each row's place if its digit is 0: rows of digit 0 up to here, but one."""
    others = torch.cumsum(hot.sum(0), 0)
    return torch.arange(len(others), device=session.device) - others if session.rank == 0 else -others


class _Digit(NamedTuple):
    """Of every row: the digit's one-hot in the ring and masks [D-1, rows], without entry 0; the mask that the digit selects."""

    hot: Tensor
    masks: Tensor
    mask: Tensor


def _digit_chunk(session: Session, digit: Tensor, rows: int) -> Rounds[_Digit]:
    c = len(digit)
    [[r, masks, hot, met]] = session.draw(Correlation("digit", rows, count=c))
    [opened] = yield Opening([Masked(digit ^ r, xor=True)], "masked digit")
    index = torch.zeros(rows, dtype=torch.int64, device=session.device)
    for place, plane in enumerate(opened.unbind()):
        index = index + (unpack(plane, rows).long() << place)
    none = -hot.sum(0) + (1 if session.rank == 0 else 0)
    whole = torch.cat([none.unsqueeze(0), hot])
    entries = torch.arange(1, 1 << c, device=session.device).unsqueeze(1) ^ index
    last = masks.sum(0) - met.sum(0)   # a_(r ^ v) over all v are all masks
    return _Digit(torch.gather(whole, 0, entries), masks,
                  torch.gather(torch.cat([met, last.unsqueeze(0)]), 0, index.unsqueeze(0)).squeeze(0))


# --- public places: local ---

def row_numbers(session: Session, rows: int) -> Tensor:
    """Shares of 0 .. rows-1: party 0 holds them."""
    if session.rank == 0:
        return torch.arange(rows, device=session.device)
    return torch.zeros(rows, dtype=torch.int64, device=session.device)


def take_rows(record: Record, index: Tensor) -> Columns:
    """The rows at public places."""
    return [bits.take(column, index) if isinstance(column, Bits) else arithmetic(raw(column).index_select(0, index))
            for column in record]


def taken(columns: list[Any], index: Tensor) -> Columns:
    """`take_rows` of columns that are given up, one after the other: the list is emptied."""
    columns.reverse()
    return [column for _ in range(len(columns)) for column in take_rows([columns.pop()], index)]


def columns_of(record: Record) -> Columns:
    """The record as protocols give it back."""
    return [column if isinstance(column, Bits) else arithmetic(raw(column)) for column in record]


def inverse(places: Tensor) -> Tensor:
    """Which row comes to each place. Raises InternalError."""
    found = torch.full_like(places, -1)
    if int(places.max()) >= len(places):
        raise InternalError("Destinations are no permutation.")
    found.scatter_(0, places, torch.arange(len(places), device=places.device))
    if bool((found < 0).any()):
        raise InternalError("Destinations are no permutation.")
    return found
