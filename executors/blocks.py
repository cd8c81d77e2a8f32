"""Looking public blocks of bits up in the dealt one-hots of a mask's blocks: local.

Source: protocols.md section 2, step 2 of the masked comparison. With c public and the block of r at entry i of its
one-hot e, c = r is entry c and c < r the XOR of the entries above c; entry 0 is 1 ^ the XOR of the others, the 1 added
by party 0. The table is halved by the bits of c from the lowest: two neighbouring entries become one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sdh.executors.devices import fused
from sdh.planners.comparing import EQ, LT


def look_up(c: Tensor, hot: Tensor, block: int, outputs: int, *, first: bool) -> tuple[Tensor, Tensor]:
    """(lt, eq) of every block, int64 planes [blocks, words]; lt is empty unless wanted.

    `c`: public planes [bits, words] from the lowest; `hot`: shares of the entries 1.. of all whole blocks, entry-major,
    then those of the shorter top block. No bits: one block that is equal.
    """
    if len(c) and fused(c):
        from sdh.executors import kernels_tree

        return kernels_tree.look_up(c, hot, block, outputs, first=first)
    words, (blocks, rest) = c.shape[1], divmod(len(c), block)
    entries = (1 << block) - 1
    found = []
    if blocks:
        bits = c[:blocks * block].reshape(blocks, block, words).unbind(1)
        found.append(_halve(bits, hot[:entries * blocks].reshape(entries, blocks, words).unbind(), outputs, first=first))
    if rest:
        top = hot[entries * blocks:entries * blocks + (1 << rest) - 1]
        found.append(_halve(c[blocks * block:].reshape(rest, 1, words).unbind(), top.unsqueeze(1).unbind(), outputs, first=first))
    if not found:
        return c.new_zeros((1, words)), torch.full((1, words), -1 if first else 0, dtype=c.dtype, device=c.device)
    if len(found) == 1:
        return found[0]
    return torch.cat([lt for lt, _ in found]), torch.cat([eq for _, eq in found])


def _halve(bits: Sequence[Tensor], entries: Sequence[Tensor], outputs: int, *, first: bool) -> tuple[Tensor, Tensor]:
    """Entry c of (entry 0, *entries), and the XOR of those above it."""
    lowest = entries[0]
    for entry in entries[1:]:
        lowest = lowest ^ entry
    equal = [~lowest if first else lowest, *entries]
    sums: list[Tensor] = equal   # of each part of the table: the XOR of its entries
    above: list[Tensor | None] = [None] * len(equal)
    for bit in bits:
        both = [low ^ high for low, high in zip(sums[0::2], sums[1::2], strict=True)]
        if outputs & LT:
            above = [_above(bit, low, high, total) for low, high, total in zip(above[0::2], above[1::2], sums[1::2], strict=True)]
        differ = both if sums is equal else [low ^ high for low, high in zip(equal[0::2], equal[1::2], strict=True)]
        equal = [low ^ (bit & other) for low, other in zip(equal[0::2], differ, strict=True)]
        sums = both
    assert outputs & (LT | EQ)
    return above[0] if above[0] is not None else lowest[:0], equal[0]


def _above(bit: Tensor, low: Tensor | None, high: Tensor | None, total: Tensor) -> Tensor:
    """What lies above c: in the high half if its bit is set, else all of the high half and what is above it in the low."""
    if low is None or high is None:
        return total & ~bit
    rest = total ^ low
    return rest ^ (bit & (rest ^ high))
