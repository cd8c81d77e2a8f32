"""Share tensors at operator borders: CrypTen's arithmetic and binary tensors, and packed bits.

`import crypten` fails with recent torch unless a module named torch.onnx.symbolic_registry exists; an empty one is
put in its place first (CrypTen wants it for its ONNX converter, which SDH does not use).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

sys.modules.setdefault("torch.onnx.symbolic_registry", types.ModuleType("torch.onnx.symbolic_registry"))

from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor  # noqa: E402

from sdh.executors import packing  # noqa: E402
from sdh.executors.devices import fused  # noqa: E402

__all__ = ["ArithmeticSharedTensor", "BinarySharedTensor", "Bits", "Shared", "add_packed", "arithmetic", "binary", "bits_of",
           "pack", "pack_values", "planes", "raw", "split", "unpack", "words_of"]

Shared = ArithmeticSharedTensor | Tensor
"""An arithmetic share: wrapped as operators hold it, or the raw int64 tensor inside a protocol."""


def arithmetic(share: Tensor) -> ArithmeticSharedTensor:
    """Wrap a raw int64 share; precision 0: integers."""
    return _wrapped(ArithmeticSharedTensor, share)


def binary(share: Tensor) -> BinarySharedTensor:
    return _wrapped(BinarySharedTensor, share)


def _wrapped(kind: Any, share: Tensor) -> Any:
    shared = kind.from_shares(share, precision=0)
    shared.share = share   # CrypTen holds a CUDA tensor in a class of its own, for products of matrices alone
    return shared


def raw(shared: Any) -> Tensor:
    """The int64 share inside an ArithmeticSharedTensor or BinarySharedTensor, or the tensor itself."""
    share: Tensor = shared if isinstance(shared, Tensor) else shared.share
    return share


@dataclass(frozen=True, slots=True)
class Bits:
    """One XOR-shared bit a row, packed: row i is bit i % 64 of word i // 64. Spare bits hold anything."""

    words: BinarySharedTensor
    rows: int

    @property
    def share(self) -> Tensor:
        return raw(self.words)


def bits_of(share: Tensor, rows: int) -> Bits:
    return Bits(binary(share), rows)


def split(column: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Consecutive parts of these lengths (views)."""
    starts = accumulate(sizes, initial=0)
    return [column[start:start + size] for start, size in zip(starts, sizes, strict=False)]


def words_of(rows: int) -> int:
    return packing.words_of(rows)


def planes(values: Tensor, width: int) -> Tensor:
    """The low `width` bits of int64 [rows] as planes int64 [width, words], lowest first."""
    if values.is_meta:
        return values.new_empty((width, words_of(len(values))))
    if fused(values):
        from sdh.executors import kernels_bits

        return kernels_bits.planes(values, width)
    return torch.from_numpy(packing.planes(values.contiguous().numpy(), width))


def pack(bits: Tensor) -> Tensor:
    """uint8 0/1 [rows] to packed int64 words."""
    if bits.is_meta:
        return bits.new_empty(words_of(len(bits)), dtype=torch.int64)
    if fused(bits):
        from sdh.executors import kernels_bits

        return kernels_bits.pack(bits)
    return torch.from_numpy(packing.pack_bits(bits.contiguous().numpy()))


def unpack(words: Tensor, rows: int) -> Tensor:
    """Packed int64 words to uint8 0/1 [rows]."""
    if words.is_meta:
        return words.new_empty(rows, dtype=torch.uint8)
    if fused(words):
        from sdh.executors import kernels_bits

        return kernels_bits.unpack(words, rows)
    return torch.from_numpy(packing.unpack_bits(words.contiguous().numpy(), rows))


def pack_values(values: Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    """The low `width` bits of every contiguous int64 [rows] as one message, uint8; no other bit enters it."""
    if fused(values[0]):
        from sdh.executors import kernels_bits

        return kernels_bits.pack_values(values, widths)
    return torch.from_numpy(packing.pack_values([value.numpy() for value in values], widths))


def add_packed(message: Tensor, widths: Sequence[tuple[int, bool]], totals: Sequence[Tensor]) -> list[Tensor]:
    """What `pack_values` packed plus each of `totals`, or (xor) XORed with it: (width, xor) for each. Higher bits than
    the width hold anything."""
    if fused(message):
        from sdh.executors import kernels_bits

        return kernels_bits.add_packed(message, widths, totals)
    sizes = [(len(total), width) for total, (width, _) in zip(totals, widths, strict=True)]
    parts = packing.unpack_values(message.numpy(), sizes)
    return [torch.from_numpy(part).bitwise_xor_(total) if xor else torch.from_numpy(part).add_(total)
            for total, part, (_, xor) in zip(totals, parts, widths, strict=True)]
