"""Rows copied as often as shared degrees say, and the pairs of a many-to-many join, to a declared bound.

Source: protocols.md sections 3 (prefix-sum copy) and 6 (`expand`); the network that spreads marks is the reverse of
Goodrich's compaction (SPAA 2011). Nothing opens but positions under a shuffle by all parties: what the degrees say
(which rows are copied, how often, how many of the `bound` rows there are) stays shared. Too many rows set an error bit,
and then no row is given: a result is never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sdh.executors import bits
from sdh.executors.arithmetic import multiply, mux_many
from sdh.executors.bits import Bits
from sdh.executors.compaction import Columns, apply_shared_permutation, destinations, inverse, row_numbers, take_rows, taken
from sdh.executors.compare import msb
from sdh.executors.jobs import CHUNK, Job
from sdh.executors.messages import Masked
from sdh.executors.permute import Given, Record, permute
from sdh.executors.rounds import bit_planes, both_of
from sdh.executors.runtime import Session
from sdh.executors.scan import adjacent_differences
from sdh.executors.shares import ArithmeticSharedTensor, Shared, arithmetic, bits_of, raw, words_of
from sdh.executors.streams import fresh_source
from sdh.planners.sorting import place_bits


@dataclass(frozen=True, slots=True)
class Copies:
    """`bound` rows: the copies in order, then rows that are not `valid` and hold 0.

    `number` counts the copies of a row from 0. `overflow`: one row, whether there were more; then no row is valid.
    """

    record: Columns
    number: ArithmeticSharedTensor
    valid: Bits
    overflow: Bits


@dataclass(frozen=True, slots=True)
class Pairs:
    """`bound` rows of both sides' columns; see Copies."""

    left: Columns
    right: Columns
    valid: Bits
    overflow: Bits


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows, and how often each is copied: ring values from 0, of sum below 2^63."""

    degrees: Shared
    record: Record


def copy_runs(session: Session, rows: Runs, bound: int) -> Copies:
    """Every row `degrees` times, in order.

    1. overflow = bound < sum of degrees; degrees become 0 if so. 2. `_copies` of the record, the place of the row's first
    copy and 'valid'; a copy's number is its place less that.
    Two parties, n rows, bytes sent / dealt: of M = n + 1 + bound places each, with L bits of `bound`, k of a place and
    w bytes of all that is copied, (L - 1)(L + 2)/16 + 20 + (2k + 1)/8 + 2w / L(L - 1)/16 + 32 + 4w: at L = 20 and w = 17
    85.5 / 124; of the n rows each 8 / 16 and the low L bits of a sum (rounds.bit_planes). About L + log2(L) + 20 rounds.
    """
    [degrees], overflow = _fitted(session, [raw(rows.degrees)], bound)
    given = bits.constant(session, len(degrees), True)
    *copied, first, valid = _copies(session, degrees, [*rows.record, arithmetic(_starts(degrees)), given], bound)
    assert isinstance(valid, Bits)
    assert not isinstance(first, Bits)
    return Copies(copied, arithmetic(row_numbers(session, bound) - raw(first)), valid, overflow)


def expand(session: Session, left: Runs, right: Runs, target: Shared, stride: Shared, bound: int) -> Pairs:
    """All pairs of rows of one group: a row of either side has as many copies as it has partners.

    The left side's copies are taken in order; copy l of right row j goes to place target[j] + l * stride[j]. With groups in
    the left side's order that is the place of its group's first pair, plus the row's rank in the group; and the group's
    number of right rows. Of rows without copies both may be anything.
    1. As copy_runs for either side. 2. u = target - start * stride and stride - 1 travel with a right row, start being the
    place of its first copy: its copy at place p goes to u + p * stride, and what is filled up, a row of zeros, stays at p.
    3. The right copies are moved there (compaction.apply_shared_permutation).
    Costs copy_runs twice, less 8 bytes of w on the left, plus 8 on the right; a product a right row, and a move.
    """
    [degrees, others], overflow = _fitted(session, [raw(left.degrees), raw(right.degrees)], bound)
    given = bits.constant(session, len(degrees), True)
    with session.operator("left"):
        *first, valid = _copies(session, degrees, [*left.record, given], bound)
    assert isinstance(valid, Bits)
    with session.operator("right"):
        base = raw(target) - raw(multiply(session, _starts(others), stride))
        step = raw(stride) - 1 if session.rank == 0 else raw(stride)
        found = _copies(session, others, [*right.record, arithmetic(base), arithmetic(step)], bound)
    *second, came, along = found
    assert not isinstance(came, Bits)
    assert not isinstance(along, Bits)
    place = raw(came) + raw(along) * torch.arange(bound, device=session.device) + row_numbers(session, bound)
    with session.operator("pair"):
        return Pairs(first, apply_shared_permutation(session, place, second), valid, overflow)


def _fitted(session: Session, degrees: Sequence[Tensor], bound: int) -> tuple[list[Tensor], Bits]:
    """The degrees, or 0 if the first column's sum passes the bound; and whether it does."""
    total = degrees[0].sum(0).reshape(1)
    overflow = msb(session, (bound if session.rank == 0 else 0) - total, 64)
    fits = bits.not_(session, overflow)
    kept = mux_many(session, [(bits.repeat(fits, len(column)), [column]) for column in degrees])
    return [raw(column) for [column] in kept], overflow


def _starts(degrees: Tensor) -> Tensor:
    return torch.cumsum(degrees, 0) - degrees


def _copies(session: Session, degrees: Tensor, record: Record, bound: int) -> Columns:
    """`bound` copies of rows by degrees of sum at most that, then rows of zeros.

    1. A last row of zeros fills up to `bound`. 2. Row i goes to place start_i + i of M = rows + bound places, which are all
    distinct; the other places become the copies. `_spread` marks the places of rows. 3. Rows first, then copies, in order:
    a stable partition of the places (compaction.destinations, `arrange`). The rows' differences go back along it; prefix
    sums: every place holds the last row before it. 4. All go along it: the copies lie behind the rows.
    """
    rows, places = len(degrees) + 1, len(degrees) + 1 + bound
    start = torch.cat([_starts(degrees), degrees.sum(0).reshape(1)])
    marks = _spread(session, start, rows, bound)
    arrangement = arrange(session, destinations(session, [bits.not_(session, marks)]))
    steps = [padded(session, differences(padded(session, column, rows)), places) for column in record]
    spread = backward(session, arrangement, steps)
    found = forward(session, arrangement, [prefixes(column) for column in spread])
    return [part(column, rows, places) for column in found]


def _spread(session: Session, start: Tensor, rows: int, bound: int) -> Bits:
    """Bits of rows + bound places: those at start[i] + i are set; `start` does not fall and is at most `bound`.

    1. The low L bits of every start, as planes (rounds.bit_planes). 2. From the highest: bit j of a row moves its mark and
    its lower bits on by 2^j places. Rows keep their order, i + (start[i] >> j << j) are distinct, so no two meet.
    Every step ANDs the lower planes with plane j (one opening; the last step has none): L - 1 rounds,
    (L - 1)(L + 2)/16 bytes sent and L(L - 1)/16 dealt a place.
    """
    places, width = rows + bound, max(1, bound.bit_length())
    jobs = [Job(("bits", len(some), width), partial(bit_planes, session, some, width))
            for some in (start[first:first + CHUNK] for first in range(0, rows, CHUNK))]
    planes = _filled(torch.cat(session.interleave(jobs), dim=1), rows, places)
    mark = _filled(bits.constant(session, rows, True).share, rows, places)
    for place in range(len(planes) - 1, -1, -1):
        moving, lower = planes[place], planes[:place]
        along = _and_common(session, moving, lower)
        mark = mark ^ moving ^ moved_on(moving, 1 << place)
        planes = lower ^ along ^ moved_on(along, 1 << place)
    return bits_of(mark, places)


def _filled(planes: Tensor, rows: int, places: int) -> Tensor:
    """Packed rows [..., words] with rows of 0 behind them."""
    planes = planes.clone()
    if rows % 64:
        planes[..., -1] &= (1 << rows % 64) - 1
    return torch.cat([planes, planes.new_zeros((*planes.shape[:-1], words_of(places) - planes.shape[-1]))], dim=-1)


_WORDS = 1 << 15
"""Words of a plane that are ANDed at a time."""


def _and_common(session: Session, x: Tensor, y: Tensor) -> Tensor:
    """x & y for one plane x and all planes y [count, words]: 1 + count bits sent a bit of x, count dealt, 1 round."""
    if not len(y):
        return y
    parts = [(x[start:start + _WORDS], y[:, start:start + _WORDS]) for start in range(0, len(x), _WORDS)]
    jobs = [Job(("common", len(one), len(y)), partial(both_of, session, one, several)) for one, several in parts]
    return torch.cat(session.interleave(jobs), dim=1)


# --- a shared permutation, both ways ---

@dataclass(frozen=True, slots=True)
class Arrangement:
    """A shared permutation of rows: a shuffle by all, and where each row goes that comes out of it (public).

    `orders`: the permutation of every party in turn (row i goes to order[i]), None but at that party. The public part is
    uniform whatever the shared permutation is, as long as one party's order is unknown.
    """

    orders: Sequence[Tensor | None]
    places: Tensor


def arrange(session: Session, destination: Shared) -> Arrangement:
    """Prepare to move rows to `destination`, a permutation on shares.

    1. Every party draws an order and permutes the column by it. 2. Open it, mod the least power of 2.
    Two parties, bytes a row: 12 + b/8 sent for b bits of a place, 16 dealt, n + 1 rounds.
    """
    rows = len(raw(destination))
    orders = [session.live(owner, partial(_order, rows)) for owner in range(session.count)]   # of no data
    column = _turns(session, list(enumerate(orders)), [destination])[0]
    assert not isinstance(column, Bits)
    [places] = session.open_masked([Masked(raw(column), place_bits(rows))], "shuffle by all parties")
    return Arrangement(orders, places)


def forward(session: Session, arrangement: Arrangement, record: Record) -> Columns:
    """Every row to its destination: bytes a row w + 4 sent, 2w dealt (two parties), n rounds."""
    if not len(arrangement.places):
        return take_rows(record, arrangement.places)
    places = arrangement.places if session.tracing else inverse(arrangement.places)
    return taken(_turns(session, list(enumerate(arrangement.orders)), record), places)


def backward(session: Session, arrangement: Arrangement, record: Record) -> Columns:
    """Row destination[i] to i: the inverse of `forward`, at the same cost."""
    if not len(arrangement.places):
        return take_rows(record, arrangement.places)
    back = [(owner, None if order is None else inverse(order)) for owner, order in enumerate(arrangement.orders)]
    places = arrangement.places
    return _turns(session, back[::-1], Given(taken(record, places) if isinstance(record, Given) else take_rows(record, places)))


def _turns(session: Session, orders: Sequence[tuple[int, Tensor | None]], record: Record) -> Columns:
    rows = record[0].rows if isinstance(record[0], Bits) else len(raw(record[0]))
    moved: Columns = []
    for owner, order in orders:
        given = Given(moved) if moved else record
        moved = []
        moved = permute(session, owner, order, given, rows, keeps_all=True, drawn=True)
    return moved


def _order(rows: int) -> Tensor:
    return torch.from_numpy(fresh_source().open("order").permutation(rows))


# --- columns ---

def padded(session: Session, column: Shared | Bits, rows: int) -> ArithmeticSharedTensor | Bits:
    """Rows of 0 behind the column."""
    if isinstance(column, Bits):
        return bits.concat([column, bits.constant(session, rows - column.rows, False)])
    share = raw(column)
    return arithmetic(torch.cat([share, share.new_zeros(rows - len(share))]))


def differences(column: Shared | Bits) -> ArithmeticSharedTensor | Bits:
    """Each row less (XOR) the one before it."""
    if isinstance(column, Bits):
        return bits_of(column.share ^ moved_on(column.share, 1), column.rows)
    return arithmetic(adjacent_differences(raw(column)))


def prefixes(column: Shared | Bits) -> ArithmeticSharedTensor | Bits:
    """Each row plus (XOR) all before it."""
    if not isinstance(column, Bits):
        return arithmetic(torch.cumsum(raw(column), 0))
    words = column.share
    for place in range(6):
        words = words ^ (words << (1 << place))
    odd = torch.cumsum((words >> 63) & 1, 0) & 1
    return bits_of(torch.cat([words[:1], words[1:] ^ -odd[:-1]]), column.rows)


def part(column: Shared | Bits, start: int, stop: int) -> ArithmeticSharedTensor | Bits:
    """Some of the rows."""
    if isinstance(column, Bits):
        return bits.slice_(column, start, stop)
    return arithmetic(raw(column)[start:stop])


def moved_on(words: Tensor, by: int) -> Tensor:
    """Packed rows [..., words] `by` places later; zeros come in, the last ones drop out."""
    whole, rest = divmod(by, 64)
    if whole >= words.shape[-1]:
        return words ^ words
    shifted = torch.cat([words.new_zeros((*words.shape[:-1], whole)), words[..., :words.shape[-1] - whole]], dim=-1)
    if not rest:
        return shifted
    low = (shifted[..., :-1] >> (64 - rest)) & ((1 << rest) - 1)
    return (shifted << rest) ^ torch.cat([low.new_zeros((*low.shape[:-1], 1)), low], dim=-1)
