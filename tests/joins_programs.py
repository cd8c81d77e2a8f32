"""Programs of tests/test_joins_on_shares.py, run at every party (tests/parties.py): lookups, copies of runs, joins.

Inputs are drawn from NumPy generators with fixed seeds: they are test data, not masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdh.executors import expand, lookup, sort_merge
from sdh.executors.bits import Bits
from sdh.executors.runtime import Session
from sdh.executors.tracing import prepare
from sdh.planners.comparing import Network
from tests.protocol_programs import HIGH, LOW, opened, same, share, share_bits, values

SLOW = Network(bandwidth=10**9, delay=20_000_000)

Costs = dict[str, tuple[int, int, int]]
"""Bytes sent and dealt, and rounds, by operator."""


def costs(session: Session) -> Costs:
    return {label: (cost.sent, cost.dealt, cost.rounds) for label, cost in session.meter.operators.items() if label}


def lookups(session: Session, rows: int, domain: int, width: int) -> Costs:
    """Public and private tables of `domain` entries of `width` bits and a bit, at every index."""
    rng = np.random.default_rng(domain * 100 + width)
    index = torch.from_numpy(np.resize(rng.permutation(domain), rows))
    table = torch.from_numpy(rng.integers(LOW, HIGH, domain, dtype=np.int64, endpoint=True) >> (64 - width))
    table[0], table[-1] = LOW >> (64 - width), HIGH >> (64 - width)
    flag = torch.from_numpy(rng.integers(0, 2, domain))
    x, owner = share(session, 0, index), session.count - 1
    wanted, flags = table[index], flag[index]
    with session.operator("public"):
        found = lookup.lookup_public(session, x, [table, flag], [width, 1])
    _same_columns(session, found, [wanted, flags], [width, 1])
    with session.operator("number"):
        number = lookup.lookup_number(session, x, table)
    same(session, number, wanted, "lookup_number")
    columns = session.at(owner, lambda: [table, flag])
    with session.operator("private"):
        found = lookup.lookup_private(session, x, domain, owner, columns, [width, 1])
    _same_columns(session, found, [wanted, flags], [width, 1])
    with session.operator("numbers"):
        [number] = lookup.as_numbers(session, found[:1], [-5])
    same(session, number, (wanted if width == 64 else wanted & ((1 << width) - 1)) - 5, "as_numbers")
    return costs(session)


def _same_columns(session: Session, found: Sequence[Sequence[Bits]], wanted: Sequence[Tensor], widths: Sequence[int]) -> None:
    for bits, column, width in zip(found, wanted, widths, strict=True):
        assert len(bits) == width
        for place, bit in enumerate(bits):
            same(session, bit, (column >> place) & 1, f"bit {place} of {width}")


def columns_of(session: Session, rows: int, seed: int) -> tuple[list[Tensor], list[Any]]:
    """Two ring columns of extremes and a bit: in the clear and shared by the last party."""
    plain = [values(seed, rows, LOW, HIGH), values(seed + 1, rows, 0, 1), values(seed + 2, rows, LOW, HIGH).flip(0)]
    last = session.count - 1
    return plain, [share(session, last, plain[0]), share_bits(session, last, plain[1]), share(session, last, plain[2])]


def copies(session: Session, degrees: list[int], bound: int) -> Costs:
    """Rows by their degrees."""
    rows = len(degrees)
    plain, record = columns_of(session, rows, 70)
    with session.operator("copies"):
        found = expand.copy_runs(session, expand.Runs(share(session, 0, torch.tensor(degrees, dtype=torch.int64)), record), bound)
    over = sum(degrees) > bound
    given = [] if over else degrees
    source = [row for row, degree in enumerate(given) for _ in range(degree)]
    places = [place for degree in given for place in range(degree)]
    same(session, found.overflow, torch.tensor([over]), "overflow")
    same(session, found.valid, torch.arange(bound) < len(source), "valid")
    for shared, column in zip(found.record, plain, strict=True):
        same(session, shared, _filled(column[source], bound), "copy_runs")
    got = opened(session, found.number)
    assert session.tracing or got[:len(places)].tolist() == places
    return costs(session)


def _filled(column: Tensor, rows: int) -> Tensor:
    return torch.cat([column, column.new_zeros(rows - len(column))])


def merges(session: Session, rows: int, others: int, limbs: int, nulls: bool, distinct: int, in_order: bool,
           slow: bool = False) -> Costs:
    """A left side whose keys repeat, dangle and are unusable, a right side unique among its usable rows.

    The key is one limb of 63 bits, or two of 32 and 31 bits, or (3) one of 2 bits, which `slow` networks sort by digits.
    """
    rng, last = np.random.default_rng(rows * 100 + others), session.count - 1
    low, high = (-2, 1) if limbs == 3 else (-(1 << 62), (1 << 62) - 1)
    drawn = rng.integers(low, high, max(distinct, others), endpoint=True)
    domain = rng.permutation(np.unique(np.concatenate([drawn, [low, high, 0, -1]])))
    right_usable = rng.random(others) < 0.7 if nulls else np.ones(others, dtype=bool)
    right_usable[len(domain):] = False
    right_key = np.resize(domain, others)
    if nulls and right_usable.any():
        right_key[~right_usable] = rng.choice(right_key[right_usable], int((~right_usable).sum()))
    left_key, left_usable = rng.choice(domain[:distinct], rows), rng.random(rows) < (0.8 if nulls else 2)
    place = {int(key): row for row, key in enumerate(right_key) if right_usable[row]}
    hit = torch.tensor([place.get(int(key), -1) if ok else -1 for key, ok in zip(left_key, left_usable, strict=True)],
                       dtype=torch.int64)
    plain, payload = columns_of(session, others, 90)
    left = side_of(session, 0, left_key, left_usable if nulls else None, limbs)
    right = side_of(session, last, right_key, right_usable if nulls else None, limbs)
    widths = {1: [64], 2: [33, 32], 3: [3]}[limbs]
    wanted = [torch.cat([column, column.new_zeros(1)])[torch.where(hit < 0, others, hit)] for column in plain]
    if slow:
        session.network = SLOW
    if in_order:
        with session.operator("join"):
            match, found = sort_merge.sort_merge(session, left, right, widths, payload)
        same(session, match, hit >= 0, "sort_merge match")
        for shared, column in zip(found, wanted, strict=True):
            same(session, shared, column, "sort_merge payload")
        return costs(session)
    with session.operator("join"):
        merged = sort_merge.merge(session, left, right, widths, [share(session, 0, torch.arange(rows))], payload)
    is_left, matched, index, *got = (opened(session, column).long() for column in
                                     [merged.left, merged.match, *merged.record, *merged.payload])
    if not session.tracing:
        kept = is_left == 1
        assert sorted(index[kept].tolist()) == list(range(rows))
        assert left_key[index[kept].numpy()].tolist() == sorted(left_key.tolist())
        assert torch.equal(matched[kept], (hit >= 0).long()[index[kept]])
        for column, plain_column in zip(got, wanted, strict=True):
            assert torch.equal(column[kept], plain_column[index[kept]])
    return costs(session)


def matches(session: Session, left: list[int], right: list[int], usable: list[int]) -> None:
    """Which left keys are among the usable right ones."""
    found, [payload] = sort_merge.sort_merge(
        session, side_of(session, 0, np.array(left), None, 1), side_of(session, 1, np.array(right), np.array(usable), 1), [64],
        [share(session, 1, torch.arange(len(right)) + 7)])
    place = {key: row + 7 for row, key in enumerate(right) if usable[row]}
    same(session, found, torch.tensor([key in place for key in left]), "match")
    same(session, payload, torch.tensor([place.get(key, 0) for key in left]), "payload")


def side_of(session: Session, owner: int, key: Any, usable: Any, limbs: int) -> sort_merge.Side:
    words = [key >> 31, key & ((1 << 31) - 1)] if limbs == 2 else [key]
    bit = None if usable is None else share_bits(session, owner, torch.from_numpy(usable.astype(np.int64)))
    return sort_merge.Side([share(session, owner, torch.from_numpy(word)) for word in words], bit)


def pairs(session: Session, rows: int, others: int, distinct: int, bound: int, seed: int = 0) -> Costs:
    """All pairs of equal keys of two sides whose keys repeat, some rows not usable. A bound up to 0 counts from their number."""
    rng, last = np.random.default_rng(rows * 100 + others + seed), session.count - 1
    domain = np.array([-(1 << 62), (1 << 62) - 1, 0, *range(1, distinct)])[:distinct]
    keys = [rng.choice(domain, count) for count in (rows, others)]
    usable = [rng.random(count) < 0.8 for count in (rows, others)]
    wanted = [(row, other) for row in range(rows) for other in range(others)
              if usable[0][row] and usable[1][other] and keys[0][row] == keys[1][other]]
    bound = bound if bound > 0 else max(0, len(wanted) + bound)
    plain_left, left_record = columns_of(session, rows, 100)
    plain_right, right_record = columns_of(session, others, 110)
    left, right = side_of(session, 0, keys[0], usable[0], 1), side_of(session, last, keys[1], usable[1], 1)
    with session.operator("join"):
        found = sort_merge.many_to_many(session, left, right, [64], left_record[:2], right_record, bound)
    over = len(wanted) > bound
    same(session, found.overflow, torch.tensor([over]), "overflow")
    same(session, found.valid, torch.arange(bound) < (0 if over else len(wanted)), "valid")
    shown = [opened(session, column) for column in [*found.left, *found.right]]
    if not session.tracing:
        columns = [*((column, 0) for column in plain_left[:2]), *((column, 1) for column in plain_right)]
        expected = [tuple(int(column[pair[side]]) for column, side in columns) for pair in ([] if over else wanted)]
        rest = [(0,) * len(columns)] * (bound - len(expected))
        assert sorted(zip(*(column.tolist() for column in shown), strict=True)) == sorted([*expected, *rest])
    return costs(session)


def prepared(session: Session) -> list[bool]:
    """Whether lookups and joins give the same after their clear work was done beforehand."""
    index, table = torch.tensor([2, 0, 1]), torch.tensor([5, 0, 6])

    def program(at: Session) -> list[Any]:
        x = at.share(0, index if at.rank == 0 and not at.tracing else None, 3)
        [bits_] = lookup.lookup_private(at, x, 3, 1, at.at(1, lambda: [table]), [3])
        degrees = lookup.as_numbers(at, [bits_], [0])[0]
        copied = expand.copy_runs(at, expand.Runs(degrees, [x]), 12)
        match, [found] = sort_merge.sort_merge(at, sort_merge.Side([x]), sort_merge.Side([degrees]), [5], [x])
        return [degrees, copied.record[0], match, found]

    if session.tracing:
        program(session)
        return []
    prepare(session, program)
    before = [opened(session, column).tolist() for column in program(session)]
    return [before == [[6, 5, 0], [2] * 6 + [0] * 5 + [0], [0, 1, 0], [0, 1, 0]]]


# --- what shows ---

def seen_by_lookups(session: Session, kind: str, index: int) -> list[int]:
    """Bytes that were opened or handed over in a lookup of one index in all rows: their histogram."""
    seen: list[Tensor] = []
    collect, hand_over = session._collect, session.hand_over

    def listen(posted: Any, depth: int) -> list[Tensor]:
        got = collect(posted, depth)
        for item, part in zip(posted.values, got, strict=True):
            octets = part.contiguous().reshape(-1).view(torch.uint8)
            seen.append(octets if item.width == 64 else octets[::8])
        return got

    def overhear(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        got = hand_over(*arguments)
        if session.rank == arguments[0]:
            seen.append(got[1].reshape(-1))
        return got

    x = share(session, 0, torch.full((1 << 14,), index))
    table = torch.arange(256) * 3
    if not session.tracing:
        session._collect, session.hand_over = listen, overhear  # type: ignore[method-assign,assignment]
    if kind == "public":
        lookup.lookup_public(session, x, [table], [10])
    elif kind == "number":
        lookup.lookup_number(session, x, table)
    else:
        lookup.lookup_private(session, x, 256, 1, session.at(1, lambda: [table]), [10])
    return [] if session.tracing else torch.bincount(torch.cat(seen).long(), minlength=256).tolist()


def opened_places(session: Session, destination: list[int], draws: int) -> list[list[int]]:
    """What opens of a shared permutation, again and again."""
    column = share(session, 0, torch.tensor(destination))
    found = [expand.arrange(session, column).places for _ in range(draws)]
    return [] if session.tracing else [places.tolist() for places in found]


def frames(session: Session, seed: int, degrees: list[int], bound: int) -> list[list[Any]]:
    """Address and length of every frame that this party sends in all protocols of this file."""
    sent: list[list[Any]] = []
    for link in session.links.values():
        honest = link.send

        def record(address: str, payload: Any, honest: Any = honest) -> None:
            sent.append([address, len(payload)])
            honest(address, payload)

        link.send = record  # type: ignore[method-assign]
    rng = np.random.default_rng(seed)
    copies(session, degrees, bound)
    key, usable = rng.integers(0, seed + 1, 6), rng.random(6) < 0.3 * seed
    left, right = side_of(session, 0, key, usable, 1), side_of(session, 1, np.arange(6), usable, 1)
    plain = share(session, 0, torch.from_numpy(key))
    sort_merge.sort_merge(session, left, right, [64], [plain])
    sort_merge.many_to_many(session, left, right, [64], [plain], [plain], bound)
    table = torch.from_numpy(rng.integers(0, 9, 7))
    lookup.lookup_private(session, plain, 7, 0, session.at(0, lambda: [table]), [4])
    for link in session.links.values():
        del link.send
    return sent
