"""Groups at the owner of their keys, in the clear: how its rows are sorted, where each group ends, its keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sdh.executors.scope import Scope
from sdh.executors.values import Clear, Relation
from sdh.planners.physical import Aggregate


@dataclass(frozen=True, slots=True)
class Groups:
    """How the owner of the keys sorts its rows. All None elsewhere.

    order: where each row goes. segment: group of each sorted row. last: where each sorted row goes, group ends first.
    """

    order: Tensor | None
    segment: Tensor | None
    last: Tensor | None
    keys: dict[int, Clear] | None
    real: Tensor | None


def sorted_groups(node: Aggregate, scope: Scope, owner: int, slots: int) -> Groups:
    """In up to `slots` groups; all None but at the owner."""
    found = scope.session.at(owner, lambda: _group_in_the_clear(node, scope.relation, slots))
    return Groups(None, None, None, None, None) if found is None else found


def _group_in_the_clear(node: Aggregate, relation: Relation, slots: int) -> Groups:
    assert relation.real is not None
    real = relation.real.numpy()
    columns = [relation.clear[old.number] for _, old in node.owner_keys]
    words = [word.numpy() for clear in columns for word in _key_words(clear)]
    order = np.lexsort([*reversed(words), ~real])
    starts = np.zeros(len(real), dtype=bool)
    if len(real):
        starts[0] = True
    for word in words:
        starts[1:] |= word[order][1:] != word[order][:-1]
    in_order = real[order]
    starts &= in_order
    count = int(starts.sum())
    group = np.cumsum(starts) - 1
    segment = np.where(in_order, group, count + np.arange(len(real)))
    ends = np.zeros(len(real), dtype=bool)
    ends[:-1] = segment[1:] != segment[:-1]
    if len(real):
        ends[-1] = True
    ends &= in_order
    destination = np.empty(len(real), dtype=np.int64)
    destination[order] = np.arange(len(real))
    last = np.where(ends, group, -1)
    rows = order[ends]
    keys = {new.number: _picked(relation.clear[old.number], rows, slots) for new, old in node.owner_keys}
    exists = torch.zeros(slots, dtype=torch.bool)
    exists[:count] = True
    return Groups(torch.from_numpy(destination), torch.from_numpy(segment), torch.from_numpy(last), keys, exists)


def _key_words(clear: Clear) -> list[Tensor]:
    """NULL is a key of its own: its flag is part of the key, with 0 under it."""
    return [*clear.words, *(() if clear.null is None else (clear.null.long(),))]


def _picked(clear: Clear, rows: np.ndarray, slots: int) -> Clear:
    def pick(values: Tensor) -> Tensor:
        out = values.new_zeros(slots)
        out[: len(rows)] = values[torch.from_numpy(rows)]
        return out

    return Clear(tuple(pick(word) for word in clear.words), None if clear.null is None else pick(clear.null))
