"""The messages between parties: openings of masked shares, and the two directions of a dealt permutation's round.

Plain functions on links; `Session` decides what goes through them, addresses and counts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sdh.connectors.wire import Link
from sdh.errors import InternalError
from sdh.executors.devices import received, sent_form
from sdh.executors.shares import add_packed, pack_values, split


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
        mine = sent_form(totals[0])
    else:
        totals = [value.share.reshape(-1).contiguous() for value in values]
        mine = sent_form(pack_values(totals, [value.width for value in values]))
    for link in links.values():
        link.send(address, mine)
    return Posted(address, values, totals, len(mine))


def collect(links: Mapping[int, Link], posted: Posted) -> list[Tensor]:
    """Add up the others' shares: the opened values mod 2^width."""
    values, totals = posted.values, posted.totals
    whole = _whole(values)
    for link in links.values():
        message = received(link, posted.address, posted.size, totals[0].device)
        if whole:
            totals = [message.view(torch.int64).bitwise_xor_(totals[0])]
        else:
            totals = add_packed(message, [(value.width, value.xor) for value in values], totals)
    if whole:
        totals = split(totals[0], [value.share.numel() for value in values])
    return [(total if value.width == 64 else total & ((1 << value.width) - 1)).reshape(value.share.shape)
            for value, total in zip(values, totals, strict=True)]


def _whole(values: Sequence[Masked]) -> bool:
    """Whether all are whole XOR words: one array, no packing."""
    return all(value.xor and value.width == 64 for value in values)


def give_rows(link: Link, address: str, words: Tensor, octets: Tensor, announced: int) -> Tensor:
    """Send masked rows to a permutation's owner, as it reads them; receive its map of `announced` int32 (none: empty).

    The owner waits for nothing but these rows then: waiting for it is safe, and no queue holds a whole record.
    """
    link.send_paced(address, sent_form(words.contiguous()))
    link.send_paced(address, sent_form(octets.contiguous()))
    if not announced:
        return torch.empty(0, dtype=torch.int32, device=words.device)
    return received(link, address, 4 * announced, words.device).view(torch.int32)


def take_rows(links: Mapping[int, Link], address: str, shape: tuple[int, int], width: int, announced: Tensor | None,
              device: torch.device) -> tuple[Tensor, Tensor]:
    """At the owner: send the map to all, receive their masked rows; the sums of words and XORs of octets."""
    if announced is not None:
        told = sent_form(announced.to(torch.int32))
        for link in links.values():
            link.send(address, told)
    rows, count = shape
    words: Tensor | None = None
    octets: Tensor | None = None
    for link in links.values():
        more = received(link, address, 8 * rows * count, device).view(torch.int64).reshape(shape)
        words = more if words is None else words.add_(more)
        del more
        other = received(link, address, rows * width, device).reshape(rows, width)
        octets = other if octets is None else octets.bitwise_xor_(other)
    if words is None or octets is None:
        raise InternalError("The owner of a permutation has peers.")
    return words, octets
