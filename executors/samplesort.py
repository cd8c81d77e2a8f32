"""Sample sort and selection on shares, after a shuffle by all (protocols.md section 4; planners/sorting.py).

Rows are shuffled with their keys, which the rows' numbers from before the shuffle make unique. Then only outcomes of
comparisons between rows at public places are opened. They are those of a permutation that is uniform whatever the keys
are: the order of the shuffled rows. Which rows are compared next, and the places where they end, follow from outcomes,
how many are compared in each wave from public sizes alone: nothing that shows depends on the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.compaction import Columns, row_numbers, take_rows, taken
from sdh.executors.compare import less_rows
from sdh.executors.keys import Limb, rows_of, unique
from sdh.executors.messages import Masked
from sdh.executors.permute import Given, Record, shuffle
from sdh.executors.runtime import Session
from sdh.executors.shares import pack, raw, unpack
from sdh.executors.streams import Words
from sdh.planners.sorting import Cut, Stage, cuts, stages

__all__ = ["Key", "kept_rows", "merged", "pairs_in_gaps", "sample_sort", "select", "stages"]

Key = list[tuple[Tensor, int]]
"""Shares, and bits of a difference, of every limb of rows whose keys are unique."""


def sample_sort(session: Session, limbs: Sequence[Limb], record: Record, descending: Sequence[bool] = ()) -> Columns:
    """The record in rising order of the limbs, the highest first; rows of equal keys keep their order.

    1. Shuffle keys and record alike. 2. Sort the keys' places (`_order`). 3. Move the record locally. 2^20 rows of 64-bit keys
    take 19.2 comparisons of 86 bits a row in 143 waves: 514 bytes a row sent, 540 dealt, 1190 rounds (planners/sorting.py).
    """
    rows = rows_of(limbs)
    if rows < 2:
        return take_rows(record, _places(session, rows))
    key, columns = _shuffled(session, limbs, record, descending)
    order = _order(session, key, _places(session, rows))
    del key
    return taken(columns, order)


def select(session: Session, limbs: Sequence[Limb], record: Record, count: int,
           descending: Sequence[bool] = ()) -> Columns:
    """The first `count` rows of `sample_sort`, by fewer comparisons; nothing else of the record is used on.

    1. Shuffle keys and record alike. 2. While that is sooner than sorting: cut (`_cut`). 3. Sort the rows that are left.
    The 10 first of 2^20 take 1.25 comparisons a row, a tenth of them 3.7.
    """
    rows = rows_of(limbs)
    if count >= rows:
        return sample_sort(session, limbs, record, descending)
    if count < 1:
        return take_rows(record, _places(session, 0))
    key, columns = _shuffled(session, limbs, record, descending)
    left = _places(session, rows)
    for cut in cuts(rows, count, _widths(key), session.network):
        left = _cut(session, key, left, cut, count)
    order = _order(session, key, left)[:count]
    del key
    return taken(columns, order)


def _shuffled(session: Session, limbs: Sequence[Limb], record: Record, descending: Sequence[bool]) -> tuple[Key, Columns]:
    """With a record that is given up (permute.Given) the limbs are, too."""
    key = unique(limbs, descending, row_numbers(session, rows_of(limbs)))
    widths, moving = _widths(key), Given([*(share for share, _ in key), *record])
    del key
    if isinstance(record, Given) and isinstance(limbs, list):
        record.clear()
        limbs.clear()
    moved = shuffle(session, moving)
    return [(raw(share), width) for share, width in zip(moved, widths, strict=False)], moved[len(widths):]


def _order(session: Session, key: Key, rows: Tensor) -> Tensor:
    """The public places `rows` of shuffled rows, in rising order of their keys: stage by stage (planners/sorting.py)."""
    order = rows[:0]
    for stage in stages(len(rows), _widths(key), session.network):
        order = _insert(session, key, order, rows[stage.known:stage.rows], stage)
    return order if len(rows) > 1 else rows


def _insert(session: Session, key: Key, known: Tensor, new: Tensor, stage: Stage) -> Tensor:
    """All of both in order; `known` is in order.

    1. Every new row's gap among the known rows, by binary search: a comparison with the middle one of those that may be
    next to it, level by level. 2. All pairs of new rows of one gap, filled up to `stage.pairs` by comparisons of a row with
    itself. 3. Places follow from gaps and outcomes.
    """
    mine = _at(key, new)
    gap = torch.zeros(len(new), dtype=torch.int64, device=session.device)
    for level in reversed(range(stage.levels)):
        gap = gap + (_less(session, _at(key, known.index_select(0, gap + ((1 << level) - 1))), mine) << level)
    pairs = _public(session, (2, stage.pairs), partial(pairs_in_gaps, stage.pairs), gap)
    less = _less(session, _at(mine, pairs[0]), _at(mine, pairs[1])) if stage.pairs else pairs[0]
    order = _public(session, (stage.rows,), partial(merged, len(known)), gap, pairs, less)
    return torch.cat([known, new]).index_select(0, order)


def _cut(session: Session, key: Key, rows: Tensor, cut: Cut, count: int) -> Tensor:
    """`cut.kept` of the rows, in the same order, with the `count` smallest among them.

    1. Sort the sample, the first rows. 2. Compare all others with its row number `cut.place`. 3. Keep that row and those
    below it, filled up with others from all over the list, so that the rows kept are in as random an order.
    """
    sample, others = _order(session, key, rows[:cut.sample]), rows[cut.sample:]
    below = _less(session, _at(key, others), _at(key, sample[cut.place - 1:cut.place]))
    kept = _public(session, (cut.kept,), partial(kept_rows, cut, count), rows, sample[:cut.place], below)
    return rows.index_select(0, kept)


def _less(session: Session, x: Key, y: Key) -> Tensor:
    """x < y of rows at public places of the shuffled list, opened: 0 or 1. The shuffle hides which rows they are."""
    found = less_rows(session, [(a, b, width) for (a, width), (b, _) in zip(x, y, strict=True)])
    words = session.rerandomize(pack(unpack(found.share, found.rows)), xor=True)   # spare bits are 0
    [opened] = session.open_masked([Masked(words, xor=True)], "the shuffle of this sort")
    return unpack(opened, found.rows).long()


def _at(key: Key, places: Tensor) -> Key:
    return [(share.index_select(0, places), width) for share, width in key]


def _widths(key: Key) -> tuple[int, ...]:
    return tuple(width for _, width in key)


# --- public places: they follow from outcomes ---

def _places(session: Session, rows: int) -> Tensor:
    return torch.arange(rows, device=session.device)


def _public(session: Session, shape: tuple[int, ...], work: Callable[..., Words], *known: Tensor) -> Tensor:
    """Places that `work` finds from what is public; blank in a trace."""
    if session.tracing:
        return torch.empty(shape, dtype=torch.int64, device=session.device)
    return torch.from_numpy(work(*(part.cpu().numpy() for part in known))).to(session.device)


def pairs_in_gaps(most: int, gap: Words) -> Words:
    """[2, most]: every two rows of one gap once, then 0, 0. Raises InternalError where they are more."""
    rows = len(gap)
    order = np.sort(gap << 31 | np.arange(rows)) & ((1 << 31) - 1)   # by gap, the same at all parties
    counts = np.bincount(gap)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    earlier = np.arange(rows) - starts   # rows of its gap before each
    total = int(earlier.sum())
    if total > most:
        raise _unlikely()
    offsets = np.repeat(np.cumsum(earlier) - earlier - starts, earlier)
    found = np.zeros((2, most), dtype=np.int64)
    found[0, :total] = order[np.arange(total) - offsets]
    found[1, :total] = np.repeat(order, earlier)
    return found


def merged(known: int, gap: Words, pairs: Words, less: Words) -> Words:
    """The order of known rows 0 .. known-1, which are sorted, and of new ones from number `known` on."""
    first, second = pairs
    real, lower = first != second, less.astype(bool)
    rank = np.bincount(second[real & lower], minlength=len(gap)) + np.bincount(first[real & ~lower], minlength=len(gap))
    counts = np.bincount(gap, minlength=known + 1)
    upto = np.cumsum(counts)
    order = np.full(known + len(gap), -1, dtype=np.int64)
    order[np.arange(known) + upto[:known]] = np.arange(known)
    order[gap + (upto - counts)[gap] + rank] = known + np.arange(len(gap))
    if (order < 0).any():
        raise InternalError("Outcomes of comparisons contradict each other.")
    return order


def kept_rows(cut: Cut, count: int, rows: Words, lowest: Words, below: Words) -> Words:
    """Where in `rows` the kept ones are, rising: `lowest` of the sample and all of the others that are below it, and more."""
    wanted = np.concatenate([np.isin(rows[:cut.sample], lowest), below.astype(bool)])
    found, others = np.flatnonzero(wanted), np.flatnonzero(~wanted)
    more = cut.kept - len(found)
    if len(found) < count or more < 0:
        raise _unlikely()
    return np.sort(np.concatenate([found, others[np.arange(more) * len(others) // max(more, 1)]]))


def _unlikely() -> InternalError:
    return InternalError("A shuffle came out as it does less than once in 2^40.", advice="Run the query again.")
