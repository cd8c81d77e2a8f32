"""A dealt permutation as one party holds it: who knows the order, and the masks of rows before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sdh.executors import dealing
from sdh.executors.dealing import Correlation


class Permutation:
    """This party's part of a dealt permutation of rows, a group of columns at a time.

    `order` (None but at its owner) is taken once: nobody need keep it. `off` and `on` are called in turn for each group: the
    masks A of the rows, None at the owner; then those of the result, B or, at the owner, C (dealing.RowMasks). Words are
    [rows, columns], octets [rows, width].
    """

    def __init__(self, groups: Sequence[Correlation], order: Tensor | None, off: Callable[[Correlation], dealing.RowMasks] | None,
                 on: Callable[[Correlation], dealing.RowMasks]) -> None:
        self._order, self._off, self._on = order, off, on
        self._next_off, self._next_on = iter(groups), iter(groups)

    def order(self) -> Tensor | None:
        order, self._order = self._order, None
        return order

    def off(self) -> tuple[Tensor, Tensor] | None:
        group = next(self._next_off)
        return None if self._off is None else _tensors(self._off(group))

    def on(self) -> tuple[Tensor, Tensor]:
        return _tensors(self._on(next(self._next_on)))


def _tensors(masks: dealing.RowMasks) -> tuple[Tensor, Tensor]:
    """NumPy's arrays as tensors; a device's streams give tensors."""
    words, octets = (part if isinstance(part, Tensor) else torch.from_numpy(part) for part in (masks.words, masks.octets))
    return words, octets
