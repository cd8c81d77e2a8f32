# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,import-not-found,import-untyped"
# pyright: reportMissingImports=false, reportIndexIssue=false
"""The ChaCha20 key stream (Bernstein 2008) on a GPU: the words of streams.Stream, byte for byte.

Block b of the stream is the block function of RFC 8439, section 2.3, with b as 64-bit counter and nonce 0. A program
computes BLOCKS blocks, one a thread: the state stays in registers, memory sees what is written and nothing else.
"""

from __future__ import annotations

import struct

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCKS = 128


@triton.jit
def _quarter(a, b, c, d):
    a += b
    d ^= a
    d = (d << 16) | (d >> 16)
    c += d
    b ^= c
    b = (b << 12) | (b >> 20)
    a += b
    d ^= a
    d = (d << 8) | (d >> 24)
    c += d
    b ^= c
    b = (b << 7) | (b >> 25)
    return a, b, c, d


@triton.jit
def _word(low, high):
    return (low.to(tl.uint64) | (high.to(tl.uint64) << 32)).to(tl.int64, bitcast=True)


@triton.jit(do_not_specialize=["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "first", "count"])
def _fill(out, k0, k1, k2, k3, k4, k5, k6, k7, first, count, BLOCKS: tl.constexpr):
    """out[i] = word first + i of the stream for i < count."""
    block = first // 8 + tl.program_id(0).to(tl.int64) * BLOCKS + tl.arange(0, BLOCKS)
    none = tl.zeros([BLOCKS], tl.uint32)
    s0, s1, s2, s3 = none + 0x61707865, none + 0x3320646E, none + 0x79622D32, none + 0x6B206574
    s4, s5 = none + k0.to(tl.uint32, bitcast=True), none + k1.to(tl.uint32, bitcast=True)
    s6, s7 = none + k2.to(tl.uint32, bitcast=True), none + k3.to(tl.uint32, bitcast=True)
    s8, s9 = none + k4.to(tl.uint32, bitcast=True), none + k5.to(tl.uint32, bitcast=True)
    s10, s11 = none + k6.to(tl.uint32, bitcast=True), none + k7.to(tl.uint32, bitcast=True)
    s12, s13 = (block & 0xFFFFFFFF).to(tl.uint32), (block >> 32).to(tl.uint32)
    x0, x1, x2, x3, x4, x5, x6, x7 = s0, s1, s2, s3, s4, s5, s6, s7
    x8, x9, x10, x11, x12, x13, x14, x15 = s8, s9, s10, s11, s12, s13, none, none
    for _ in range(10):
        x0, x4, x8, x12 = _quarter(x0, x4, x8, x12)
        x1, x5, x9, x13 = _quarter(x1, x5, x9, x13)
        x2, x6, x10, x14 = _quarter(x2, x6, x10, x14)
        x3, x7, x11, x15 = _quarter(x3, x7, x11, x15)
        x0, x5, x10, x15 = _quarter(x0, x5, x10, x15)
        x1, x6, x11, x12 = _quarter(x1, x6, x11, x12)
        x2, x7, x8, x13 = _quarter(x2, x7, x8, x13)
        x3, x4, x9, x14 = _quarter(x3, x4, x9, x14)
    w0, w1, w2, w3 = _word(x0 + s0, x1 + s1), _word(x2 + s2, x3 + s3), _word(x4 + s4, x5 + s5), _word(x6 + s6, x7 + s7)
    w4, w5, w6, w7 = _word(x8 + s8, x9 + s9), _word(x10 + s10, x11 + s11), _word(x12 + s12, x13 + s13), _word(x14, x15)
    even, odd = tl.join(tl.join(w0, w4), tl.join(w2, w6)), tl.join(tl.join(w1, w5), tl.join(w3, w7))
    words = tl.reshape(tl.join(even, odd), [BLOCKS * 8])   # the axes were block, then the word's bits 2, 1, 0
    place = tl.program_id(0).to(tl.int64) * BLOCKS * 8 + tl.arange(0, BLOCKS * 8) - first % 8
    tl.store(out + place, words, mask=(place >= 0) & (place < count))


def words(key: bytes, first: int, count: int, device: torch.device) -> Tensor:
    """int64 [count]: words first .. first + count - 1 of the key stream under 32 bytes of key."""
    out = torch.empty(count, dtype=torch.int64, device=device)
    if count:
        _fill[(triton.cdiv(first % 8 + count, 8 * BLOCKS),)](out, *struct.unpack("<8i", key), first, count, BLOCKS)
    return out
