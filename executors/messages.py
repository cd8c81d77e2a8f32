"""The messages between parties: openings of masked shares, and the two directions of a dealt permutation's round.

Plain functions on links; `Session` decides what goes through them, addresses and counts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdh.connectors.wire import Link
from sdh.executors import packing
from sdh.executors.shares import split


@dataclass(frozen=True, slots=True)
class Masked:
    """A share that a fresh mask hides: ring share of `width` bits a value, or (xor) words of 64 or octets of 8."""

    share: Tensor
    width: int = 64
    xor: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(values, bits of each) as packing takes them."""
        return self.share.numel(), self.width


@dataclass(frozen=True, slots=True)
class Posted:
    """An opening whose own shares are on their way: what was sent, and the address at which the others' come."""

    address: str
    values: Sequence[Masked]
    totals: list[Tensor]
    size: int


def post(links: Mapping[int, Link], address: str, values: Sequence[Masked]) -> Posted:
    """Send the low `width` bits of every share to all peers."""
    if _whole(values):
        totals = [torch.cat([value.share.reshape(-1) for value in values])]
        mine = totals[0].numpy().view(np.uint8)
    else:
        totals = [value.share.reshape(-1).contiguous() for value in values]
        mine = packing.pack_values([share.numpy() for share in totals], [value.width for value in values])
    for link in links.values():
        link.send(address, mine.data)
    return Posted(address, values, totals, len(mine))


def collect(links: Mapping[int, Link], posted: Posted) -> list[Tensor]:
    """Add up the others' shares: the opened values mod 2^width."""
    values, totals = posted.values, posted.totals
    whole = _whole(values)
    for link in links.values():
        buffer = np.empty(posted.size, dtype=np.uint8)
        link.receive_into(posted.address, buffer.data)
        if whole:
            totals = [torch.from_numpy(buffer.view("<i8")).bitwise_xor_(totals[0])]
            continue
        parts = [torch.from_numpy(part) for part in packing.unpack_values(buffer, [value.size for value in values])]
        totals = [part.bitwise_xor_(total) if value.xor else part.add_(total)
                  for value, total, part in zip(values, totals, parts, strict=True)]
    if whole:
        totals = split(totals[0], [value.share.numel() for value in values])
    return [(total if value.width == 64 else total & ((1 << value.width) - 1)).reshape(value.share.shape)
            for value, total in zip(values, totals, strict=True)]


def _whole(values: Sequence[Masked]) -> bool:
    """Whether all are whole XOR words: one array, no packing."""
    return all(value.xor and value.width == 64 for value in values)


def give_rows(link: Link, address: str, words: Tensor, octets: Tensor, announced: int) -> Tensor:
    """Send masked rows to a permutation's owner; receive its map of `announced` int32 (none: empty)."""
    link.send(address, words.contiguous().reshape(-1).numpy().view(np.uint8).data)
    link.send(address, octets.contiguous().reshape(-1).numpy().data)
    told = np.empty(4 * announced, dtype=np.uint8)
    if announced:
        link.receive_into(address, told.data)
    return torch.from_numpy(told.view("<i4")).long()


def take_rows(links: Mapping[int, Link], address: str, shape: tuple[int, int], width: int,
              announced: Tensor | None) -> tuple[Tensor, Tensor]:
    """At the owner: send the map to all, receive their masked rows; the sums of words and XORs of octets."""
    if announced is not None:
        told = announced.to(torch.int32).numpy().view(np.uint8)
        for link in links.values():
            link.send(address, told.data)
    words, octets = torch.zeros(shape, dtype=torch.int64), torch.zeros((shape[0], width), dtype=torch.uint8)
    for link in links.values():
        words_in, octets_in = np.empty(shape, "<i8"), np.empty((shape[0], width), np.uint8)
        link.receive_into(address, words_in.reshape(-1).view(np.uint8).data)
        link.receive_into(address, octets_in.reshape(-1).data)
        words += torch.from_numpy(words_in)
        octets ^= torch.from_numpy(octets_in)
    return words, octets
