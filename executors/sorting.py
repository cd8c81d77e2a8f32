"""Sorting and the first k rows, on shares or by an owner who knows the keys: which protocol does it (protocols.md section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.compaction import Columns
from sdh.executors.keys import Limb, limbs_of, rows_of, share_limbs
from sdh.executors.permute import Record, permute
from sdh.executors.radix import bits_of_key, radix_sort, record_bytes, share_bits_of_key
from sdh.executors.runtime import Session
from sdh.executors.samplesort import sample_sort, select
from sdh.planners.sorting import radix_is_sooner

__all__ = ["Limb", "limbs_of", "radix_sort", "sample_sort", "share_bits_of_key", "share_limbs", "sort", "sort_known", "top_k"]


def sort(session: Session, limbs: Sequence[Limb], record: Record, descending: Sequence[bool] = ()) -> Columns:
    """The record in order of the limbs, the highest first; rows of equal keys keep their order. `descending`: by limb.

    By a radix sort of the limbs' bits where the network's delay and short keys make that the sooner, else by a sample sort.
    """
    widths = tuple(width - 1 for _, width in limbs)
    if radix_is_sooner(rows_of(limbs), widths, record_bytes(record), session.count, session.network):
        return radix_sort(session, bits_of_key(session, limbs, descending), record)
    return sample_sort(session, limbs, record, descending)


def top_k(session: Session, limbs: Sequence[Limb], record: Record, k: int, descending: Sequence[bool] = ()) -> Columns:
    """The first k rows of `sort`, or all if there are no more."""
    return select(session, limbs, record, k, descending)


def sort_known(session: Session, owner: int, keys: Sequence[Tensor] | None, record: Record, rows: int,
               descending: Sequence[bool] = ()) -> Columns:
    """The record in order of int64 columns that `owner` knows, row by row, the highest first; None elsewhere.

    The owner sorts (stably) and programs the permutation: no comparison; permute.permute says what that costs.
    """
    return permute(session, owner, session.at(owner, lambda: _destination(keys, descending)), record, rows, keeps_all=True)


def _destination(keys: Sequence[Tensor] | None, descending: Sequence[bool]) -> Tensor:
    if not keys or len(descending) > len(keys):
        raise InternalError("The owner of a sort's keys gives them.")
    falls = [*descending, *[False] * (len(keys) - len(descending))]
    order = np.lexsort([(~key if fall else key).numpy() for key, fall in zip(keys, falls, strict=True)][::-1])
    destination = np.empty_like(order)
    destination[order] = np.arange(len(order))
    return torch.from_numpy(destination)
