# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-not-found,import-untyped"
# pyright: reportMissingImports=false, reportIndexIssue=false
"""Bit planes and the wire's packed values on a GPU: the functions of packing.py, byte for byte (its head says how)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from sdh.executors.packing import sections, words_of

WORDS = 32
"""Words of a plane that a program makes: 64 times as many rows."""
ROWS = 1024
"""Rows that a program unpacks, or bytes that it packs."""
_KIND = {64: torch.int64, 32: torch.int32, 16: torch.int16, 8: torch.uint8, 4: torch.uint8, 2: torch.uint8, 1: torch.uint8}


@triton.jit(do_not_specialize=["rows", "words", "width"])
def _planes(values, out, rows, words, width, WORDS: tl.constexpr):
    """out[b, w] = bit b of the values 64 w .. 64 w + 63, the first lowest."""
    word = tl.program_id(0).to(tl.int64) * WORDS + tl.arange(0, WORDS)
    lane = tl.arange(0, 64).to(tl.int64)
    row = word[:, None] * 64 + lane[None, :]
    value = tl.load(values + row, mask=row < rows, other=0).to(tl.int64)
    for bit in range(width):
        plane = tl.sum(((value >> bit) & 1) << lane[None, :], axis=1)
        tl.store(out + bit * words.to(tl.int64) + word, plane, mask=word < words)


def planes(values: Tensor, width: int) -> Tensor:
    """The low `width` bits of int64 [rows] (or uint8 0/1) as planes int64 [width, words], lowest first; spare bits 0."""
    rows, words = len(values), words_of(len(values))
    out = torch.empty((width, words), dtype=torch.int64, device=values.device)
    if words and width:
        _planes[(triton.cdiv(words, WORDS),)](values.contiguous(), out, rows, words, width, WORDS)
    return out


def pack(bits: Tensor) -> Tensor:
    """uint8 0/1 [rows] to packed int64 words."""
    return planes(bits, 1)[0]


@triton.jit(do_not_specialize=["rows"])
def _unpack(words, out, rows, ROWS: tl.constexpr):
    """out[i] = bit i % 64 of word i // 64."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    word = tl.load(words + (row >> 6), mask=row < rows, other=0)
    tl.store(out + row, ((word >> (row & 63)) & 1).to(tl.uint8), mask=row < rows)


def unpack(words: Tensor, rows: int) -> Tensor:
    """Packed int64 words to uint8 0/1 [rows]."""
    out = torch.empty(rows, dtype=torch.uint8, device=words.device)
    if rows:
        _unpack[(triton.cdiv(rows, ROWS),)](words.contiguous(), out, rows, ROWS)
    return out


@triton.jit(do_not_specialize=["rows", "start", "size"])
def _pack_section(values, section, rows, start, size, LIMB: tl.constexpr, ROWS: tl.constexpr):
    """section[i] = bits start .. start + LIMB of value i; limbs below a byte: of values i, size + i, 2 size + i, ..."""
    place = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    found = tl.zeros([ROWS], tl.int64)
    for part in tl.static_range(max(1, 8 // LIMB)):
        row = part * size.to(tl.int64) + place
        value = tl.load(values + row, mask=(place < size) & (row < rows), other=0)
        found |= ((value >> start) & ((1 << (LIMB % 64)) - 1 if LIMB < 64 else -1)) << (part * LIMB)
    tl.store(section + place, found.to(section.dtype.element_ty), mask=place < size)


def pack_values(values: Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    """The low `width` bits of every value (int64, contiguous) as one message uint8 [bytes]."""
    plan = sections([(len(value), width) for value, width in zip(values, widths, strict=True)])
    out = torch.empty(sum(part[3] for part in plan), dtype=torch.uint8, device=values[0].device)
    place = 0
    for index, limb, start, count in plan:
        if count:
            section = out[place:place + count].view(_KIND[limb])
            _pack_section[(triton.cdiv(len(section), ROWS),)](values[index], section, len(values[index]), start, len(section),
                                                              limb, ROWS)
        place += count
    return out


@triton.jit(do_not_specialize=["rows", "start", "size", "kept"])
def _add_section(section, own, out, rows, start, size, kept, LIMB: tl.constexpr, XOR: tl.constexpr, ROWS: tl.constexpr):
    """out[i] = own[i] plus (XOR: but) what _pack_section wrote of value i, at its place in the value; bits of `kept` alone."""
    place = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    packed = tl.load(section + place, mask=place < size, other=0).to(tl.int64)
    for part in tl.static_range(max(1, 8 // LIMB)):
        row = part * size.to(tl.int64) + place
        here = (place < size) & (row < rows)
        piece = ((packed >> (part * LIMB)) & ((1 << (LIMB % 64)) - 1 if LIMB < 64 else -1)) << start
        total = tl.load(own + row, mask=here, other=0)
        tl.store(out + row, (total ^ piece if XOR else total + piece) & kept, mask=here)


def add_packed(message: Tensor, widths: Sequence[tuple[int, bool]], totals: Sequence[Tensor]) -> list[Tensor]:
    """What `pack_values` packed, added to each of `totals` mod 2^width or (xor) XORed: a (width, xor) for each."""
    found = list(totals)
    place = 0
    for index, limb, start, count in sections([(len(total), width) for total, (width, _) in zip(totals, widths, strict=True)]):
        (width, xor), own, rows = widths[index], found[index], len(totals[index])
        found[index] = torch.empty_like(own) if own is totals[index] else own
        if count:
            section, kept = message[place:place + count].view(_KIND[limb]), (1 << width) - 1 if width < 64 else -1
            _add_section[(triton.cdiv(len(section), ROWS),)](section, own, found[index], rows, start, len(section), kept,
                                                             limb, xor, ROWS)
        place += count
    return found
