# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-not-found,import-untyped"
# pyright: reportMissingImports=false, reportIndexIssue=false
"""The local parts of a masked comparison on a GPU: one-hots of blocks, look-ups in them, nodes of its trees.

The functions of blocks.py, correlations.py and products.py on planes of int64 words, a pass over memory each.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdh.executors.products import plan
from sdh.planners.comparing import EQ, LT

WORDS = 256
"""Words of each plane that a program works on."""
BITS = 4
"""Bits of a block, at most."""


@triton.jit
def _entry(b0, b1, b2, b3, ENTRY: tl.constexpr, BITS: tl.constexpr):
    """The rows whose block of bits, lowest first, is ENTRY."""
    found = b0 if ENTRY & 1 else ~b0
    if BITS > 1:
        found &= b1 if ENTRY & 2 else ~b1
    if BITS > 2:
        found &= b2 if ENTRY & 4 else ~b2
    if BITS > 3:
        found &= b3 if ENTRY & 8 else ~b3
    return found


@triton.jit
def _bit(planes, words, place, BIT: tl.constexpr, BITS: tl.constexpr):
    """Bit BIT of a block whose lowest plane starts at `planes`; what is not there is never used."""
    return tl.load(planes + (BIT if BIT < BITS else 0) * words + place, mask=place < words, other=0)


@triton.jit(do_not_specialize=["words", "blocks"])
def _look_up(c, hot, lt, eq, words, blocks, BITS: tl.constexpr, LESS: tl.constexpr, FIRST: tl.constexpr, WORDS: tl.constexpr):
    """Block p of c (planes p BITS and up) against the one-hot whose entry e > 0 is plane (e - 1) blocks + p of hot.

    below = [c < e], entry by entry: lt is the XOR of the entries above c, eq entry c.
    """
    words = words.to(tl.int64)
    place, block = tl.program_id(0).to(tl.int64) * WORDS + tl.arange(0, WORDS), tl.program_id(1).to(tl.int64)
    low = c + block * BITS * words
    b0, b1 = _bit(low, words, place, 0, BITS), _bit(low, words, place, 1, BITS)
    b2, b3 = _bit(low, words, place, 2, BITS), _bit(low, words, place, 3, BITS)
    here = _entry(b0, b1, b2, b3, 0, BITS)
    zero, below = here, here
    total = tl.zeros([WORDS], tl.int64)
    less, equal = total, total
    for entry in tl.static_range(1, 1 << BITS):
        share = tl.load(hot + ((entry - 1) * blocks + block) * words + place, mask=place < words, other=0)
        here = _entry(b0, b1, b2, b3, entry, BITS)
        total ^= share
        less ^= share & below
        equal ^= share & here
        below |= here
    equal ^= (~total if FIRST else total) & zero
    if LESS:
        tl.store(lt + block * words + place, less, mask=place < words)
    tl.store(eq + block * words + place, equal, mask=place < words)


def look_up(c: Tensor, hot: Tensor, block: int, outputs: int, *, first: bool) -> tuple[Tensor, Tensor]:
    """blocks.look_up for one bit or more: (lt, eq) of every block, int64 [blocks, words]; lt is empty unless wanted."""
    assert block <= BITS
    (bits, words), less = c.shape, bool(outputs & LT)
    whole, rest = divmod(bits, block)
    c, hot = c.contiguous(), hot.contiguous()
    eq = torch.empty((whole + (rest > 0), words), dtype=torch.int64, device=c.device)
    lt = torch.empty_like(eq) if less else eq[:0]
    for start, blocks, size in ((0, whole, block), (whole, int(rest > 0), rest)):
        if blocks and words:
            top = hot[start * ((1 << block) - 1):]
            _look_up[(triton.cdiv(words, WORDS), blocks)](c[start * block:], top, lt[start:], eq[start:], words, blocks,
                                                          size, less, first, WORDS)
    return lt, eq


@triton.jit(do_not_specialize=["words", "blocks"])
def _one_hot(planes, out, words, blocks, BITS: tl.constexpr, WORDS: tl.constexpr):
    """Plane (e - 1) blocks + p of out: the rows whose block p is e > 0."""
    words = words.to(tl.int64)
    place, block = tl.program_id(0).to(tl.int64) * WORDS + tl.arange(0, WORDS), tl.program_id(1).to(tl.int64)
    low = planes + block * BITS * words
    b0, b1 = _bit(low, words, place, 0, BITS), _bit(low, words, place, 1, BITS)
    b2, b3 = _bit(low, words, place, 2, BITS), _bit(low, words, place, 3, BITS)
    for entry in tl.static_range(1, 1 << BITS):
        tl.store(out + ((entry - 1) * blocks + block) * words + place, _entry(b0, b1, b2, b3, entry, BITS), mask=place < words)


def one_hot(planes: Tensor, block: int, out: Tensor) -> None:
    """Into `out` the entries 1.. of the one-hots of all whole blocks, entry-major, then those of the shorter top block."""
    assert block <= BITS
    whole, rest = divmod(len(planes), block)
    words = planes.shape[1]
    for start, blocks, size in ((0, whole, block), (whole, int(rest > 0), rest)):
        if blocks and words:
            _one_hot[(triton.cdiv(words, WORDS), blocks)](planes[start * block:], out[start * ((1 << block) - 1):], words, blocks,
                                                          size, WORDS)


@triton.jit(do_not_specialize=["words"])
def _evaluate(masks, dealt, opened, out, words, VARIABLES: tl.constexpr, OUTPUTS: tl.constexpr, TERMS: tl.constexpr,
              WORDS: tl.constexpr):
    """out[t] = XOR of the terms (t, share, public): that share (-1: all ones) AND the opened variables of the set `public`."""
    words = words.to(tl.int64)
    place = tl.program_id(0).to(tl.int64) * WORDS + tl.arange(0, WORDS)
    first = tl.zeros([WORDS], tl.int64)
    second = first
    for index in tl.static_range(len(TERMS)):
        term = tl.full([WORDS], -1, tl.int64)
        if TERMS[index][1] >= VARIABLES:
            term = tl.load(dealt + (TERMS[index][1] - VARIABLES) * words + place, mask=place < words, other=0)
        elif TERMS[index][1] >= 0:
            term = tl.load(masks + TERMS[index][1] * words + place, mask=place < words, other=0)
        for variable in tl.static_range(VARIABLES):
            if (TERMS[index][2] >> variable) & 1:
                term &= tl.load(opened + variable * words + place, mask=place < words, other=0)
        if TERMS[index][0] == 0:
            first ^= term
        else:
            second ^= term
    tl.store(out + place, first, mask=place < words)
    if OUTPUTS > 1:
        tl.store(out + words + place, second, mask=place < words)


@cache
def _terms(arity: int, outputs: int, first: bool) -> tuple[tuple[int, int, int], ...]:
    """products.evaluate as (output, share, set of opened variables); shares are the masks, then what is dealt."""
    table = plan(arity, outputs)
    share = {frozenset([index]): index for index in range(table.variables)}
    share |= {part: table.variables + place for place, part in enumerate(table.monomials)}
    return tuple((target, share.get(frozenset(part), -1), sum(1 << index for index in product.difference(part)))
                 for target, wanted in enumerate(table.targets) for product in wanted
                 for size in range(0 if first else 1, len(product) + 1) for part in combinations(sorted(product), size))


def evaluate(arity: int, outputs: int, masks: Tensor, dealt: Tensor, opened: Tensor, *, first: bool) -> list[Tensor]:
    """products.evaluate: int64 [words] for each output."""
    words, count = masks.shape[1], (outputs & LT > 0) + (outputs & EQ > 0)
    out = torch.empty((count, words), dtype=torch.int64, device=masks.device)
    if words:
        _evaluate[(triton.cdiv(words, WORDS),)](masks.contiguous(), dealt.contiguous(), opened.contiguous(), out, words,
                                                len(masks), count, _terms(arity, outputs, first), WORDS)
    return list(out.unbind())
