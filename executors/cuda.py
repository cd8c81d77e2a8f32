"""What needs a GPU's tensors in place of NumPy's arrays: key streams, and the dealer's arithmetic.

A dealer with this engine deals what dealing.serve deals, byte for byte, and needs torch; the NumPy one does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from sdh.executors import dealing, devices, kernels_bits, kernels_stream, kernels_tree
from sdh.executors.correlations import KINDS, Correlation, layout
from sdh.executors.products import products


class DeviceStream:
    """streams.Stream with tensors on a device."""

    def __init__(self, key: bytes, device: torch.device) -> None:
        self._key, self._device, self._place = key, device, 0

    def words(self, count: int) -> Tensor:
        """The next `count` 64-bit words, int64."""
        return self.octets(8 * count).view(torch.int64)

    def octets(self, count: int) -> Tensor:
        """The next `count` bytes, uint8, at an address that holds words."""
        first, skip = divmod(self._place, 8)
        self._place += count
        covering = kernels_stream.words(self._key, first, (skip + count + 7) // 8, self._device).view(torch.uint8)
        found = covering[skip:skip + count]
        return found.clone() if skip else found

    def permutation(self, count: int) -> Tensor:
        """As streams.Stream.permutation."""
        while True:
            ordered, order = torch.sort(self.words(count))
            if not bool((ordered[1:] == ordered[:-1]).any()):
                return order

    def parts(self, counts: Sequence[int]) -> list[Tensor]:
        """The next words in so many tensors, which share their memory: one kernel in all."""
        return list(torch.split(self.words(sum(counts)), list(counts)))

    @staticmethod
    def words_of(correction: Tensor, start: int, count: int) -> Tensor:
        return correction[start:start + 8 * count].view(torch.int64)

    @staticmethod
    def octets_of(correction: Tensor, start: int, count: int) -> Tensor:
        return correction[start:start + count]


# --- the dealer's side ---

def deal(item: dealing.Item, streams: Sequence[Any]) -> Iterator[memoryview]:
    """dealing.deal on a device: each stream is read in one go."""
    if item.permutes:
        order: Tensor = streams[item.holder].permutation(item.group[0].total)
        yield from (_deal_columns(correlation, order, streams) for correlation in item.group)
    else:
        yield _deal_group(item, streams)


def _deal_group(item: dealing.Item, streams: Sequence[Any]) -> memoryview:
    drawn = [dealing.draw(item.group, stream, dependent=rank != item.holder) for rank, stream in enumerate(streams)]
    dealt = []
    for index, correlation in enumerate(item.group):
        free, dependent = layout(correlation)
        sums = [reduce(torch.bitwise_xor if part.xor else torch.add, (shares[index][place] for shares in drawn))
                for place, part in enumerate(free)]
        values = _DEPENDENT.get(correlation.kind, _on_host)(correlation, sums)
        for rank, shares in enumerate(drawn):
            if rank != item.holder:
                for part, value, share in zip(dependent, values, shares[index][len(free):], strict=True):
                    (value.bitwise_xor_ if part.xor else value.sub_)(share)
        dealt += [value.reshape(-1) for value in values]
    return devices.sent_form(torch.cat(dealt))


def _deal_columns(correlation: Correlation, order: Tensor, streams: Sequence[Any]) -> memoryview:
    masks = [(dealing.masks_off(correlation, stream), dealing.masks_on(correlation, stream))
             for rank, stream in enumerate(streams) if rank != correlation.owner]
    words = _permuted([(off.words, on.words) for off, on in masks], correlation.rows, order, xor=False)
    octets = _permuted([(off.octets, on.octets) for off, on in masks], correlation.rows, order, xor=True)
    return devices.sent_form(torch.cat([words.reshape(-1).view(torch.uint8), octets.reshape(-1)]))


def _permuted(masks: list[tuple[Any, Any]], rows: int, order: Tensor, *, xor: bool) -> Tensor:
    """g(sum A) - sum B for the masks (A, B) of all parties but the owner; A has zeros below `rows`."""
    total = torch.zeros_like(masks[0][1])
    for inner, _ in masks:
        (total[:rows].bitwise_xor_ if xor else total[:rows].add_)(inner)
    total = total[order]
    for _, outer in masks:
        (total.bitwise_xor_ if xor else total.sub_)(outer)
    return total


Dependent = Callable[[Correlation, list[Tensor]], list[Tensor]]


def _hot(correlation: Correlation, free: list[Tensor]) -> list[Tensor]:
    """masked and equal: the one-hots of r's bits; of masked, then the top bit."""
    planes = kernels_bits.planes(free[0], correlation.width)
    out = torch.empty(layout(correlation)[1][0].shape, dtype=torch.int64, device=planes.device)
    if correlation.kind == "masked":
        out[-1] = planes[-1]
        planes = planes[:-1]
    kernels_tree.one_hot(planes, correlation.count, out)
    return [out]


def _mux(correlation: Correlation, free: list[Tensor]) -> list[Tensor]:
    bit = kernels_bits.unpack(free[0], correlation.rows).long()
    return [bit, *(bit * values for values in free[1:])]


def _on_host(correlation: Correlation, free: list[Tensor]) -> list[Tensor]:
    """A kind that has no kernels: by NumPy."""
    values = KINDS[correlation.kind](correlation, [part.cpu().numpy() for part in free])
    return [torch.as_tensor(value).to(free[0].device) for value in values]


_DEPENDENT: dict[str, Dependent] = {
    "triple": lambda _, free: [free[0] * free[1]],
    "square": lambda _, free: [free[0] * free[0]],
    "and": lambda _, free: [free[0] & free[1]],
    "common": lambda _, free: [free[0] & free[1]],
    "node": lambda c, free: [torch.stack(products(c.width, c.count, free[0].unbind()))],
    "masked": _hot,
    "equal": lambda c, free: _hot(c, free) if c.count <= kernels_tree.BITS else _on_host(c, free),
    "bits": lambda c, free: [kernels_bits.planes(free[0], c.width)],
    "bit": _mux,
    "mux": _mux,
}


def engine(device: torch.device) -> dealing.Engine:
    """What dealing.serve takes to deal on this device."""
    return dealing.Engine(partial(DeviceStream, device=device), deal)
