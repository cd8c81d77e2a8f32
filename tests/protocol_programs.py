"""Programs that tests run at every party (tests/parties.py): inputs are shared by their owners, results opened.

Inputs are drawn from NumPy generators with fixed seeds: they are test data, not masks.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from sdh.executors import align as align_module
from sdh.executors import arithmetic, bits, compare, divide, permute, scan, shares
from sdh.executors.bits import Bits
from sdh.executors.runtime import Session
from sdh.executors.tracing import prepare
from sdh.planners import protocol_costs

LOW, HIGH = -(1 << 63), (1 << 63) - 1


def opened(session: Session, shared: Any) -> Any:
    """The value behind shares, added up from all parties: a test's own door."""
    if isinstance(shared, Bits):
        return shares.unpack(_sum(session, shared.share, xor=True), shared.rows)
    return _sum(session, shares.raw(shared), xor=False)


def _sum(session: Session, share: Tensor, *, xor: bool) -> Tensor:
    if session.tracing:
        return share
    total = share.cpu().clone()
    mine = total.contiguous().reshape(-1).numpy().view(np.uint8)
    for peer in session.others:
        session.links[peer].send("test", mine.data)
    for peer in session.others:
        buffer = np.empty(mine.size, dtype=np.uint8)
        session.links[peer].receive_into("test", buffer.data)
        theirs = torch.from_numpy(buffer.view("<i8")).reshape(share.shape)
        total = total ^ theirs if xor else total + theirs
    return total


def values(seed: int, rows: int, low: int, high: int) -> Tensor:
    """int64 in [low, high], with the edges among them."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(low, high, rows, dtype=np.int64, endpoint=True)
    edges = [edge for edge in (low, high, 0, -1, 1, low + 1, high - 1) if low <= edge <= high]
    drawn[:len(edges)] = edges[:rows]
    return torch.from_numpy(drawn)


def share(session: Session, owner: int, column: Tensor) -> Any:
    return session.share(owner, session.at(owner, lambda: column), len(column))


def share_bits(session: Session, owner: int, column: Tensor) -> Bits:
    return session.share_bits(owner, session.at(owner, lambda: column), len(column))


def same(session: Session, shared: Any, wanted: Tensor, what: str) -> None:
    got = opened(session, shared)
    if not session.tracing:
        assert torch.equal(got.long(), wanted.long()), (what, got[:8].tolist(), wanted[:8].tolist())


def signed_range(width: int) -> tuple[int, int]:
    return -(1 << (width - 1)), (1 << (width - 1)) - 1


def comparisons(session: Session, rows: int, widths: list[int]) -> None:
    last = session.count - 1
    for width in widths:
        low, high = signed_range(width)
        x = values(width, rows, low, high)
        same(session, compare.msb(session, share(session, 0, x), width), x < 0, f"msb {width}")
        if width > 1:
            half_low, half_high = signed_range(width - 1)
            a, b = values(width, rows, half_low, half_high), values(width + 1, rows, half_low, half_high).flip(0)
            less = compare.less(session, share(session, 0, a), share(session, last, b), width)
            same(session, less, a < b, f"less {width}")
        z = torch.where(values(width + 2, rows, 0, 2) == 0, 0, x)
        wanted = (z & ((1 << width) - 1)) == 0 if width < 64 else z == 0
        same(session, compare.is_zero(session, share(session, last, z), width), wanted, f"is_zero {width}")


def batches(session: Session, rows: int) -> None:
    a, b, c = values(1, rows, -50, 50), values(2, rows, LOW, HIGH), values(3, rows, 0, 1)
    found = compare.msb_many(session, [(share(session, 0, a), 8), (share(session, 1, b), 64),
                                       (share(session, 0, -c), 1), (share(session, 1, a), 7)])
    for shared, plain in zip(found, (a < 0, b < 0, c > 0, a < 0), strict=True):
        same(session, shared, plain, "msb_many")
    zeros = compare.is_zero_many(session, [(share(session, 0, a), 8), (share(session, 1, b), 64),
                                           (share(session, 0, c), 1)])
    for shared, plain in zip(zeros, (a == 0, b == 0, c == 0), strict=True):
        same(session, shared, plain, "is_zero_many")
    d = torch.where(c == 1, b, values(4, rows, LOW, HIGH))
    same(session, compare.less_wide(session, share(session, 0, b), share(session, 1, d)), b < d, "less_wide")
    less = compare.less_many(session, [(share(session, 0, a), share(session, 1, c), 8),
                                       (share(session, 0, c), share(session, 1, a), 8)])
    same(session, less[0], a < c, "less_many")
    same(session, less[1], c < a, "less_many")


def logic(session: Session, rows: int) -> None:
    last = session.count - 1
    a, b = values(5, rows, 0, 1), values(6, rows, 0, 1).flip(0)
    x, y = share_bits(session, 0, a), share_bits(session, last, b)
    same(session, bits.and_(session, x, y), a & b, "and")
    same(session, bits.or_(session, x, y), a | b, "or")
    same(session, bits.xor(x, y), a ^ b, "xor")
    same(session, bits.not_(session, x), 1 - a, "not")
    same(session, bits.constant(session, rows, True), torch.ones(rows), "constant")
    for shared, plain in zip(bits.and_many(session, [(x, y), (y, y)]), (a & b, b), strict=True):
        same(session, shared, plain, "and_many")
    same(session, bits.concat([x, y, x]), torch.cat([a, b, a]), "concat")
    same(session, bits.repeat(x, 3), a.repeat(3), "repeat")
    same(session, bits.repeat(x, 2, each=True), a.repeat_interleave(2), "repeat each")
    same(session, bits.slice_(x, rows // 3, rows), a[rows // 3:], "slice")
    index = torch.arange(rows).flip(0)
    same(session, bits.take(x, index), a[index], "take")
    same(session, bits.all_or(session, x), (a.sum() > 0).reshape(1), "all_or")
    empty = bits.xor(x, x)
    same(session, bits.all_or(session, empty), torch.zeros(1), "all_or of none")
    if rows:
        alone = torch.zeros(rows, dtype=torch.int64)
        alone[-1] = 1
        same(session, bits.all_or(session, share_bits(session, last, alone)), torch.ones(1), "all_or of one")
        spare = bits.not_(session, share_bits(session, last, torch.ones(rows)))
        same(session, bits.all_or(session, spare), torch.zeros(1), "all_or, spare bits set")


def products(session: Session, rows: int) -> None:
    last = session.count - 1
    a, x, y = values(7, rows, 0, 1), values(8, rows, LOW, HIGH), values(9, rows, LOW, HIGH).flip(0)
    bit, sx, sy = share_bits(session, 0, a), share(session, 0, x), share(session, last, y)
    same(session, arithmetic.to_arithmetic(session, bit), a, "to_arithmetic")
    same(session, arithmetic.mux(session, bit, sy), a * y, "mux")
    [one, two] = arithmetic.mux_many(session, [(bit, [sx, sy]), (bits.not_(session, bit), [sx])])
    for shared, plain in zip([*one, *two], (a * x, a * y, (1 - a) * x), strict=True):
        same(session, shared, plain, "mux_many")
    same(session, arithmetic.multiply(session, sx, sy), x * y, "multiply")
    same(session, sx * sy, x * y, "CrypTen's *")
    same(session, sx.square(), x * x, "CrypTen's square")
    same(session, sx + sy - 5, x + y - 5, "CrypTen's + and -")
    same(session, sx * 3, x * 3, "CrypTen's public *")
    words = bit.words & share_bits(session, last, 1 - a).words
    same(session, shares.Bits(words, rows), torch.zeros(rows), "CrypTen's &")
    same(session, shares.Bits(~bit.words, rows), 1 - a, "CrypTen's ~")
    same(session, session.rerandomize(shares.raw(sx)), x, "rerandomize")
    fresh = shares.Bits(shares.binary(session.rerandomize(bit.share, xor=True)), rows)
    same(session, fresh, a, "rerandomize")


def _same_tensor(column: Tensor) -> Tensor:
    return column


def moves(session: Session, rows: int, rows_out: int) -> None:
    rng = np.random.default_rng(rows * 31 + rows_out)
    last = session.count - 1
    x, y, a = values(10, rows, LOW, HIGH), values(11, rows, 0, 9), values(12, rows, 0, 1)
    record = [share(session, 0, x), share_bits(session, last, a), share(session, last, y)]
    plain = [x, a, y]
    for owner in {0, last}:
        places = rng.permutation(rows_out)[:rows].tolist() + [-1] * (rows - rows_out)
        destination = torch.tensor(places, dtype=torch.int64)[torch.from_numpy(rng.permutation(rows))]
        if rows and rows_out >= rows > 1:
            destination[rng.integers(rows)] = -1
        moved = permute.permute(session, owner, session.at(owner, partial(_same_tensor, destination)), record, rows_out)
        for shared, column in zip(moved, plain, strict=True):
            wanted = torch.zeros(rows_out, dtype=torch.int64)
            wanted[destination[destination >= 0]] = column[destination >= 0]
            same(session, shared, wanted, "permute")
        index = torch.from_numpy(rng.integers(-1, max(rows, 1), rows_out)) if rows else torch.full((rows_out,), -1)
        if rows > 2 and rows_out:
            index[index == 1] = 0
        copies = permute.duplicate(session, owner, session.at(owner, partial(_same_tensor, index)), record, rows_out)
        for shared, column in zip(copies, plain, strict=True):
            padded = torch.cat([column, torch.zeros(1, dtype=torch.int64)])
            same(session, shared, padded[torch.where(index < 0, rows, index)], "duplicate")
    order = torch.from_numpy(rng.permutation(rows))
    for shared, column in zip(permute.permute(session, 0, session.at(0, lambda: order), record, rows, keeps_all=True),
                              plain, strict=True):
        wanted = torch.empty_like(column)
        wanted[order] = column
        same(session, shared, wanted, "permute, all kept")
    mixed = [opened(session, shared).long() for shared in permute.shuffle(session, record)]
    if not session.tracing:
        assert sorted(zip(*(column.tolist() for column in mixed), strict=True)) == sorted(
            zip(*(column.tolist() for column in plain), strict=True))
        assert rows < 20 or not torch.equal(mixed[0], x), "shuffled"


def joins(session: Session, probes: int, builds: int, words: int, probe_rank: int = 0, build_rank: int = 1,
          payloads: int = 2) -> None:
    rng = np.random.default_rng(probes * 7 + builds)
    universe = rng.permutation(np.unique(rng.integers(-(1 << 39), 1 << 39, 2 * builds + 8)))
    universe = universe[universe != 0]
    build_key, probe_key = universe[:builds], universe[rng.integers(0, len(universe), probes)]
    probe_key[::7] = 0
    if builds % 2:
        build_key[0] = 0
    usable, valid = rng.random(probes) < 0.9, rng.random(builds) < 0.9
    build_usable = rng.random(builds) < 0.9
    if builds > 1:
        build_key[~build_usable] = build_key[0] if build_usable[0] else 0
    spread = [(build_key * (part + 1), probe_key * (part + 1)) for part in range(words)]
    columns = [values(20 + part, builds, LOW, HIGH) for part in range(payloads)]
    place = {int(key): index for index, key in enumerate(build_key.tolist()) if build_usable[index]}
    hit = torch.tensor([place.get(int(key), -1) if ok else -1 for key, ok
                        in zip(probe_key.tolist(), usable.tolist(), strict=True)], dtype=torch.int64)
    probe = align_module.Side(probe_rank, probes, *_clear(session, probe_rank, [b for _, b in spread], usable))
    build = align_module.Side(build_rank, builds, *_clear(session, build_rank, [a for a, _ in spread], build_usable))
    record = [*(share(session, build_rank, column) for column in columns),
              share_bits(session, build_rank, torch.from_numpy(valid.astype(np.int64)))]
    with session.operator("align"):
        match, found = align_module.align(session, probe, build, [41 + part for part in range(words)], record)
    same(session, match, hit >= 0, "align match")
    for shared, column in zip(found, [*columns, torch.from_numpy(valid.astype(np.int64))], strict=True):
        padded = torch.cat([column, torch.zeros(1, dtype=torch.int64)])
        same(session, shared, padded[torch.where(hit < 0, builds, hit)], "align payload")


def in_parts(session: Session, program: str, **sizes: Any) -> None:
    """Another program, with columns that move one by one, and candidates that are fetched and selected in parts."""
    with patch.multiple(protocol_costs, GROUP=1, FETCHED=0, SLICE=64):
        (joins if program == "joins" else moves)(session, **sizes)


def _clear(session: Session, rank: int, key: list[Any], usable: Any) -> tuple[Any, Any]:
    return (session.at(rank, lambda: [torch.from_numpy(column) for column in key]),
            session.at(rank, lambda: torch.from_numpy(usable)))


def extremes(session: Session, rows: int, width: int, greatest: bool, nullable: bool) -> None:
    last = session.count - 1
    low, high = signed_range(width)
    x, null = values(30, rows, low, high), values(31, rows, 0, 1)
    segment = torch.sort(values(32, rows, 0, max(1, rows // 5)))[0]
    shared_null = share_bits(session, last, null) if nullable else None
    plain_null = null.bool() if nullable else torch.zeros(rows, dtype=torch.bool)
    same_bits = scan.same_segment(session, 0, session.at(0, lambda: segment), rows)
    value, none = scan.segmented_extreme(session, share(session, last, x), shared_null, same_bits, width, greatest)
    wanted, wanted_none = [], []
    for row in range(rows):
        seen = [v for v, n, s in zip(x[:row + 1].tolist(), plain_null[:row + 1].tolist(), segment[:row + 1].tolist(),
                                     strict=True) if not n and s == segment[row]]
        wanted.append((max(seen) if greatest else min(seen)) if seen else 0)
        wanted_none.append(not seen)
    same(session, value, torch.tensor(wanted, dtype=torch.int64), "segmented extreme")
    same(session, none, torch.tensor(wanted_none), "segmented null")
    value, none = scan.tournament(session, share(session, last, x), shared_null, width, greatest)
    seen = [v for v, n in zip(x.tolist(), plain_null.tolist(), strict=True) if not n]
    same(session, value, torch.tensor([(max(seen) if greatest else min(seen)) if seen else 0]), "tournament")
    same(session, none, torch.tensor([not seen]), "tournament null")


def costs(session: Session, rows: int) -> dict[str, list[float]]:
    """Bytes sent and dealt a row, rounds and million rows a second of every basic protocol."""
    last = session.count - 1
    x, y = values(50, rows, -(1 << 31), (1 << 31) - 1), values(51, rows, -(1 << 31), (1 << 31) - 1).flip(0)
    sx, sy = share(session, 0, x), share(session, last, y)
    with session.operator("msb33"):
        bit = compare.less(session, sx, sy, 33)
    for width in (24, 40, 64):
        with session.operator(f"msb{width}"):
            compare.msb(session, sx, width)
    for width in (32, 64):
        with session.operator(f"zero{width}"):
            compare.is_zero(session, sx - sy, width)
    with session.operator("bit"):
        arithmetic.to_arithmetic(session, bit)
    with session.operator("mux"):
        arithmetic.mux(session, bit, sx)
    with session.operator("multiply"):
        arithmetic.multiply(session, sx, sy)
    with session.operator("shuffle"):
        permute.shuffle(session, [sx, sy, sx, sy])
    same(session, bit, x < y, "less")
    return {label: [cost.sent / rows, cost.dealt / rows, cost.rounds, rows / 1e6 / max(cost.seconds, 1e-9)]
            for label, cost in session.meter.operators.items() if label}


def masked_openings(session: Session, rows: int, kind: str, value: int) -> list[int]:
    """What is opened for a fixed input, as bytes of the packed opening: the histogram of its low bytes."""
    seen: list[Tensor] = []
    honest = session._collect

    def listen(posted: Any, depth: int) -> list[Tensor]:
        got = honest(posted, depth)
        for item, part in zip(posted.values, got, strict=True):
            assert item.width == 64 or session.tracing or bool((part >> item.width == 0).all())
            if not session.tracing:
                assert item.width >= 8, "fewer bits show no whole byte"
                octets = part.contiguous().reshape(-1).view(torch.uint8)
                seen.append(octets if item.width == 64 else octets[::8])
        return got

    session._collect = listen  # type: ignore[method-assign]
    x = torch.full((rows,), value, dtype=torch.int64)
    shared = share(session, 0, x)
    match kind:
        case "less":
            compare.less(session, shared, share(session, 1, x), 33)
        case "zero":
            compare.is_zero(session, shared, 40)
        case "mux":
            arithmetic.mux(session, share_bits(session, 0, x & 1), shared)
        case "multiply":
            arithmetic.multiply(session, shared, shared)
        case "divide":
            divide.divide(session, shared, 20, share(session, 1, x), 16)
        case "divide by 1000":
            divide.divide_by(session, shared, 40, 1000)
    if session.tracing:
        return []
    return torch.bincount(torch.cat(seen).long(), minlength=256).tolist()


def payloads(session: Session, rows: int) -> list[list[str]]:
    """Every frame this party sends in a few protocols on fixed inputs: (address, hex of the payload)."""
    sent: list[list[str]] = []
    for link in session.links.values():
        honest = link.send

        def record(address: str, payload: Any, honest: Any = honest) -> None:
            sent.append([address, bytes(payload).hex()])
            honest(address, payload)

        link.send = record  # type: ignore[method-assign]
    x = values(60, rows, 0, 1 << 20)
    shared = share(session, 0, x)
    compare.less(session, shared, share(session, 1, x), 33)
    arithmetic.multiply(session, shared, shared)
    permute.shuffle(session, [shared])
    permute.permute(session, 0, session.at(0, lambda: torch.arange(rows)), [shared], rows)
    for link in session.links.values():
        del link.send
    return sent


def refuses(session: Session, what: str) -> str:
    """The class of the error that a wrong use raises; '' in a trace."""
    x = torch.arange(8)
    shared = share(session, 0, x)
    try:
        match what:
            case "plain text":
                shared.get_plain_text()
            case "matmul":
                shared.reshape(2, 4).matmul(shared.reshape(4, 2))
            case "reused address":
                source = session._private
                source.open("twice")
                source.open("twice")
            case "unforeseen draw":
                if not session.tracing:
                    arithmetic.multiply(session, shared, shared)
    except Exception as error:
        return type(error).__name__
    return ""


def refused_move(session: Session) -> None:
    """The owner sends two rows to one place."""
    permute.permute(session, 0, session.at(0, lambda: torch.zeros(8, dtype=torch.int64)),
                    [share(session, 0, torch.arange(8))], 8)


def announced_maps(session: Session, draws: int) -> list[list[int]]:
    """The maps that the owner of permutations announces, for one fixed destination with dropped and empty rows."""
    maps: list[list[int]] = []
    for link in session.links.values():
        honest = link.send

        def record(address: str, payload: Any, honest: Any = honest) -> None:
            if address.endswith("/turn") and session.rank == 0:
                maps.append(np.frombuffer(bytes(payload), "<i4").tolist())
            honest(address, payload)

        link.send = record  # type: ignore[method-assign]
    x = share(session, 1, torch.arange(3))
    destination = session.at(0, lambda: torch.tensor([1, -1, 3]))
    for _ in range(draws):
        permute.permute(session, 0, destination, [x], 5)
    for link in session.links.values():
        del link.send
    return maps


def prepared(session: Session, rows: int) -> list[int]:
    """[works on clear data done before the first frame, done in all] of a join that was prepared."""
    calls: list[int] = []
    keys = torch.arange(rows) * 2

    def clear(column: Tensor) -> Tensor:
        calls.append(1)
        return column

    def program(at: Session) -> tuple[Bits, Any]:
        usable = [at.at(rank, lambda: clear(keys >= 0)) for rank in (0, 1)]
        probe = align_module.Side(0, rows, None if usable[0] is None else [keys], usable[0])
        build = align_module.Side(1, rows, None if usable[1] is None else [keys], usable[1])
        payload = at.share(1, keys if at.rank == 1 and not at.tracing else None, rows)
        return align_module.align(at, probe, build, [32], [payload])

    if session.tracing:
        program(session)
        return []
    prepare(session, program)
    before = len(calls)
    match, _ = program(session)
    assert bool(opened_bits(session, match).all())
    return [before, len(calls)]


def opened_bits(session: Session, found: Bits) -> Tensor:
    """Bits added up by hand over the links, outside the trace."""
    own = found.share.numpy().tobytes()
    for link in session.links.values():
        link.send("bits", own)
    total = found.share.clone()
    for link in session.links.values():
        total ^= torch.frombuffer(bytearray(link.receive("bits", len(own))), dtype=torch.int64)
    return shares.unpack(total, found.rows)
