"""Programs for tests/test_sorting.py: sorts of columns that owners share, against the same columns sorted in the clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdh.executors import compaction, radix, samplesort, sorting
from sdh.executors.messages import Masked
from sdh.executors.runtime import Session
from sdh.planners import sorting as planned_costs
from sdh.planners.comparing import Network
from sdh.planners.sorting import Stage
from tests.protocol_programs import HIGH, LOW, same, share, share_bits, values

SLOW = Network(bandwidth=10**9, delay=20_000_000)


def plain_order(keys: Sequence[Tensor], descending: Sequence[bool]) -> Tensor:
    """The rows in order, as Python's stable sort has them."""
    columns = [[~value if falls else value for value in key.tolist()] for key, falls in zip(keys, descending, strict=True)]
    ranked = sorted(range(len(keys[0])), key=lambda row: tuple(column[row] for column in columns))
    return torch.tensor(ranked, dtype=torch.int64)


def keys_of(kind: str, rows: int, bits_: int) -> Tensor:
    """A column of one kind, in [0, 2^bits) or for 64 in all of int64."""
    low, high = (LOW, HIGH) if bits_ == 64 else (0, (1 << bits_) - 1)
    match kind:
        case "random":
            return values(rows + bits_, rows, low, high)
        case "few":
            return values(rows, rows, 0, min(high, 2))
        case "equal":
            return torch.full((rows,), high, dtype=torch.int64)
        case "sorted":
            return values(rows, rows, low, high).sort().values
        case _:
            return values(rows, rows, low, high).sort(descending=True).values


def record_of(session: Session, rows: int) -> tuple[list[Any], list[Tensor]]:
    """Columns to move, and what is in them: the row's number, any word, a bit."""
    plain = [torch.arange(rows), values(3, rows, LOW, HIGH), values(4, rows, 0, 1)]
    last = session.count - 1
    return [share(session, 0, plain[0]), share(session, last, plain[1]), share_bits(session, last, plain[2])], plain


def moved(session: Session, found: Sequence[Any], plain: Sequence[Tensor], order: Tensor, what: str) -> None:
    for shared, column in zip(found, plain, strict=True):
        same(session, shared, column[order], what)


def compactions(session: Session, rows: int) -> None:
    record, plain = record_of(session, rows)
    for keep in (values(5, rows, 0, 1), torch.zeros(rows, dtype=torch.int64), torch.ones(rows, dtype=torch.int64)):
        found = compaction.compact(session, share_bits(session, 0, keep), record)
        moved(session, found, plain, plain_order([keep], [True]), "compact")
    order = torch.from_numpy(np.random.default_rng(rows).permutation(rows))
    destination = share(session, session.count - 1, order)
    there = compaction.apply_shared_permutation(session, destination, record)
    moved(session, there, plain, torch.argsort(order), "apply")
    back = compaction.apply_shared_permutation(session, compaction.invert(session, destination), there)
    moved(session, back, plain, torch.arange(rows), "invert")


def radixes(session: Session, rows: int, width: int, kind: str) -> None:
    """Bits that an owner gives, then bits from shares; a record that is carried, and one moved at the end."""
    key = keys_of(kind, rows, width)
    record, plain = record_of(session, rows)
    for descending in (False, True):
        order = plain_order([key], [descending])
        given = sorting.share_bits_of_key(session, 0, session.at(0, lambda: key), rows, width, signed=width == 64,
                                          descending=descending)
        part = record[:1] if descending else record   # one that is carried, one that is moved at the end
        moved(session, sorting.radix_sort(session, given, part), plain[:len(part)], order, "radix")
    signed = key - (1 << (width - 1)) if width < 64 else key >> 1
    limbs = sorting.limbs_of(share(session, 0, signed), min(width, 63))
    order = plain_order([signed], [True])
    moved(session, sorting.radix_sort(session, radix.bits_of_key(session, limbs, [True]), record), plain, order, "signed radix")
    session.network = SLOW
    before = session.meter.total.rounds
    moved(session, sorting.sort(session, limbs, record, [True]), plain, order, "sort")
    by_radix = planned_costs.radix_is_sooner(rows, (width,), 17, session.count, SLOW)
    assert not by_radix or session.meter.total.rounds - before < 10 * width, "few rounds"
    assert by_radix == (rows == 1000), "one of the tests sorts by radix"


def sorts(session: Session, rows: int, width: int, kind: str) -> None:
    """One column, of up to 63 bits as shares, or of 64 as limbs of its owner; and with another before it."""
    key, first = keys_of(kind, rows, width), values(6, rows, 0, 1)
    record, plain = record_of(session, rows)
    last = session.count - 1
    for descending in (False, True):
        limbs = (sorting.share_limbs(session, last, session.at(last, lambda: key), rows) if width == 64
                 else sorting.limbs_of(share(session, last, key), width))
        falls = [descending] * len(limbs)
        moved(session, sorting.sort(session, limbs, record, falls), plain, plain_order([key], [descending]), "sort")
        null = (share(session, 0, first), 2)
        moved(session, sorting.sort(session, [null, *limbs], record, [not descending, *falls]), plain,
              plain_order([first, key], [not descending, descending]), "sort of two columns")
        known = sorting.sort_known(session, last, session.at(last, lambda: [first, key]), record, rows,
                                   [not descending, descending])
        moved(session, known, plain, plain_order([first, key], [not descending, descending]), "sort by the owner")


def sample_sorts(session: Session, rows: int, width: int, kind: str) -> None:
    key = keys_of(kind, rows, width)
    record, plain = record_of(session, rows)
    limbs = sorting.share_limbs(session, 0, session.at(0, lambda: key), rows)
    with session.operator("sort"):
        found = sorting.sample_sort(session, limbs, record)
    moved(session, found, plain, torch.sort(key, stable=True).indices, "sort")


def tops(session: Session, rows: int, kind: str, counts: Sequence[int], descending: bool) -> None:
    key = keys_of(kind, rows, 64)
    record, plain = record_of(session, rows)
    order = plain_order([key], [descending])
    for count in counts:
        limbs = sorting.share_limbs(session, 0, session.at(0, lambda: key), rows)
        moved(session, sorting.top_k(session, limbs, record, count, [descending] * 2), plain, order[:count], f"first {count}")


def patterns(session: Session, key: Sequence[int], steps: Sequence[Sequence[int]], runs: int) -> list[str]:
    """The outcomes that are opened in a sort by the given stages, run by run."""
    seen: list[str] = []
    honest, planned = session.open_masked, samplesort.stages
    column = torch.tensor(key)

    def listen(items: Sequence[Masked], hidden_by: str) -> list[Tensor]:
        got = honest(items, hidden_by)
        if hidden_by == "the shuffle of this sort" and not session.tracing:
            seen[-1] += ",".join(f"{word:x}" for word in got[0].tolist()) + " "
        return got

    session.open_masked = listen  # type: ignore[method-assign, assignment]
    samplesort.stages = lambda rows, widths, network: tuple(Stage(*step) for step in steps)  # type: ignore
    try:
        for _ in range(runs):
            seen.append("")
            found = sorting.sample_sort(session, sorting.limbs_of(share(session, 0, column), 20), [share(session, 0, column)])
            same(session, found[0], column.sort().values, "sort by these stages")
    finally:
        samplesort.stages = planned
    return seen


def opened_places(session: Session, rows: int, digit: int) -> list[list[int]]:
    """Histograms of the low bytes that `destinations` opens for rows of one digit: masked digits, masked places."""
    seen: list[Tensor] = []
    honest = session._receive

    def listen(posted: Any) -> list[Tensor]:
        got = honest(posted)
        seen.extend(part.clone() for part in got)
        return got

    session._receive = listen  # type: ignore[method-assign]
    planes = [share_bits(session, 0, torch.full((rows,), digit >> place & 1)) for place in range(2)]
    compaction.destinations(session, planes)
    if session.tracing:
        return []
    masked, places = seen[0].contiguous().view(torch.uint8), seen[-1].reshape(-1) & 255
    return [torch.bincount(octets.reshape(-1).long(), minlength=256).tolist() for octets in (masked, places)]


def shared_permutations(session: Session, runs: int) -> list[list[int]]:
    """The places that are opened for one shared permutation of three rows."""
    seen: list[list[int]] = []
    honest = session.open_masked

    def listen(items: Sequence[Masked], hidden_by: str) -> list[Tensor]:
        got = honest(items, hidden_by)
        seen.append([] if session.tracing else got[0].tolist())
        return got

    session.open_masked = listen  # type: ignore[method-assign, assignment]
    destination = share(session, 0, torch.tensor([1, 2, 0]))
    for _ in range(runs):
        compaction.apply_shared_permutation(session, destination, [destination])
    return seen


def gaps(session: Session, key: Sequence[int]) -> list[int]:
    """How many rows come to each gap of a sample in the last stage of a sort."""
    seen: list[list[int]] = []
    honest = samplesort.pairs_in_gaps

    def listen(most: int, gap: Any) -> Any:
        seen.append(gap.tolist())
        return honest(most, gap)

    samplesort.pairs_in_gaps = listen
    try:
        samplesort.sample_sort(session, sorting.limbs_of(share(session, 0, torch.tensor(key)), 20), [])
    finally:
        samplesort.pairs_in_gaps = honest
    return [] if session.tracing else torch.bincount(torch.tensor(seen[-1]), minlength=256).tolist()


def predicted(session: Session, rows: int, count: int) -> dict[str, list[list[int]]]:
    """[what planners/sorting.py counts, what was metered] of bytes sent, bytes dealt, rounds."""
    n, column = session.count, values(8, rows, 0, 1 << 20)
    x, flag = share(session, 0, column), share_bits(session, 0, column & 1)
    low, high = (share(session, 0, column & 1), 33), (share(session, 0, column >> 1), 33)
    wanted = {"sort": planned_costs.sample_sort_cost(rows, (32, 32), 8, n),
              "top": planned_costs.select_cost(rows, count, (32, 32), 8, n),
              "radix": planned_costs.radix_cost(rows, 21, 8, n), "radix, by numbers": planned_costs.radix_cost(rows, 21, 32, n),
              "bits": planned_costs.decomposing_cost(rows, 21, n), "compact": planned_costs.compaction_cost(rows, 8, n)}
    with session.operator("sort"):
        sorting.sample_sort(session, [high, low], [x])
    with session.operator("top"):
        sorting.top_k(session, [high, low], [x], count)
    with session.operator("bits"):
        key = radix.bits_of_key(session, sorting.limbs_of(x, 20))
    with session.operator("radix"):
        sorting.radix_sort(session, key, [x])
    with session.operator("radix, by numbers"):
        sorting.radix_sort(session, key, [x] * 4)
    with session.operator("compact"):
        compaction.compact(session, flag, [x])
    return {label: [[cost.sent // 8, cost.dealt // 8, cost.rounds],
                    [getattr(session.meter.at(label), what) for what in ("sent", "dealt", "rounds")]]
            for label, cost in wanted.items()}
