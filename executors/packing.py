"""Packed forms of ring words: exactly k bits a value for the wire, bit planes for gates on 64 rows at a time.

A *plane* holds one bit of every row: row i is bit i % 64 of word i // 64 (little-endian bit order). Values travel in
limbs: k is written as a sum of 32, 16, 8, 4, 2, 1 (64 alone), each limb of all rows is one section; sections of all
values in a message go by falling limb size, so that each begins aligned. Bits above k are dropped, never sent.

NumPy only: parties call it on the memory of CPU tensors, the dealer on its own arrays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sdh.executors.streams import Octets, Words

_LIMBS = (32, 16, 8, 4, 2, 1)
_KIND: dict[int, npt.DTypeLike] = {64: "<i8", 32: "<u4", 16: "<u2", 8: "u1"}


def words_of(rows: int) -> int:
    """Words in a plane of `rows` bits."""
    return (rows + 63) // 64


def limbs(width: int) -> list[tuple[int, int]]:
    """(limb bits, first bit) of a value of `width` bits, from its low end."""
    if width == 64:
        return [(64, 0)]
    found, start = [], 0
    for limb in _LIMBS:
        if width & limb:
            found.append((limb, start))
            start += limb
    return found


def sections(values: Sequence[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """Where each limb of each (rows, width) lies in a message: (value, limb, first bit, bytes), in wire order."""
    parts = [(index, limb, start, (rows * limb + 7) // 8)
             for index, (rows, width) in enumerate(values) for limb, start in limbs(width)]
    return sorted(parts, key=lambda part: -part[1])


def packed_bytes(values: Sequence[tuple[int, int]]) -> int:
    return sum(size for _, _, _, size in sections(values))


def pack_values(values: Sequence[Words], widths: Sequence[int]) -> Octets:
    """The low `width` bits of every value, as one message; no other bit of a value enters it."""
    plan = sections([(len(value), width) for value, width in zip(values, widths, strict=True)])
    out = np.empty(sum(part[3] for part in plan), dtype=np.uint8)
    place = 0
    for index, limb, start, size in plan:
        section = out[place:place + size]
        place += size
        value = values[index]
        if limb >= 8:
            step = limb // 8
            section.view(_KIND[limb])[:] = value.view(_KIND[limb])[start // limb::8 // step]
        else:
            _pack_small(value.view(np.uint8)[start // 8::8], limb, start % 8, section)
    return out


def _pack_small(octets: Octets, limb: int, start: int, section: Octets) -> None:
    per, size = 8 // limb, len(section)
    section[:] = 0
    for part in range(per):
        piece = octets[part * size:(part + 1) * size]
        section[:len(piece)] |= ((piece >> start) & ((1 << limb) - 1)) << (limb * part)


def unpack_values(message: Octets, values: Sequence[tuple[int, int]]) -> list[Words]:
    """What `pack_values` packed, zero-extended to 64 bits; `values` are (rows, width)."""
    found: list[Words] = [np.zeros(0 if width == 64 else rows, dtype="<i8") for rows, width in values]
    place = 0
    for index, limb, start, size in sections(values):
        section = message[place:place + size]
        place += size
        value = found[index]
        if limb == 64:
            found[index] = section.view("<i8")
        elif limb >= 8:
            value.view(_KIND[limb])[start // limb::64 // limb] = section.view(_KIND[limb])
        else:
            _unpack_small(section, limb, start % 8, value.view(np.uint8)[start // 8::8])
    return found


def _unpack_small(section: Octets, limb: int, start: int, octets: Octets) -> None:
    per, size = 8 // limb, len(section)
    for part in range(per):
        piece = octets[part * size:(part + 1) * size]
        piece |= ((section[:len(piece)] >> (limb * part)) & ((1 << limb) - 1)) << start


def low_bits(values: Words, width: int) -> Words:
    """Values mod 2^width, zero-extended."""
    return values if width == 64 else values & ((1 << width) - 1)


def planes(values: Words, width: int) -> Words:
    """The low `width` bits of `values` as planes, lowest first: int64 [width, ceil(rows / 64)], spare bits 0."""
    rows, words = len(values), words_of(len(values))
    out = np.zeros((width, words * 8), dtype=np.uint8)
    used = (rows + 7) // 8
    octets = values.view(np.uint8)
    for first in range(0, width, 8):
        column = np.ascontiguousarray(octets[first // 8::8])
        for bit in range(min(8, width - first)):
            out[first + bit, :used] = np.packbits(column & (1 << bit), bitorder="little")
    return out.view("<i8")


def pack_bits(bits: Octets) -> Words:
    """One plane from 0/1 bytes, a byte a row."""
    out = np.zeros(words_of(len(bits)) * 8, dtype=np.uint8)
    out[:(len(bits) + 7) // 8] = np.packbits(bits, bitorder="little")
    return out.view("<i8")


def unpack_bits(words: Words, rows: int) -> Octets:
    """0/1 bytes, one a row, from one plane."""
    return np.unpackbits(words.view(np.uint8), count=rows, bitorder="little")
