"""The rules of protocols.md section 0 that the runtime enforces: masks, widths, doors, order, tracing."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from typing import Any

import numpy as np
import pytest

from sdh.connectors.wire import PIECE, Link
from sdh.errors import DataError, InternalError, KeyViolated, PartyLost, ProtocolError
from sdh.executors import cuckoo, dealing, packing, streams
from sdh.executors.correlations import KINDS
from sdh.executors.dealing import Correlation, Item
from tests.parties import Pool, link_pair
from tests.test_protocols import P

CHI_SQUARE_255 = 404.0
"""A uniform byte histogram exceeds this once in 10^8 tests."""


def test_a_stream_is_opened_once() -> None:
    source = streams.Source(bytes(32))
    source.open("a/1")
    source.open("a/2")
    with pytest.raises(InternalError):
        source.open("a/1")
    source.erase()
    with pytest.raises(InternalError):
        source.open("a/3")


def test_streams_are_a_fixed_function_of_seed_and_address() -> None:
    first = streams.stream(bytes(32), "op/1").bytes(64)
    assert first == streams.stream(bytes(32), "op/1").bytes(64)
    assert first != streams.stream(bytes(32), "op/2").bytes(64)
    assert first != streams.stream(b"\1" * 32, "op/1").bytes(64)
    assert first[:16].hex() == "a1fd9123bbcbc98cbe462687c24c5b88"
    whole = streams.stream(bytes(32), "op/1")
    assert first == whole.bytes(8) + whole.words(7).tobytes()


def test_permutations_are_permutations() -> None:
    for count in (0, 1, 2, 1000):
        order = streams.stream(bytes(32), f"p{count}").permutation(count)
        assert sorted(order.tolist()) == list(range(count))


def test_permutations_are_uniform() -> None:
    counted: dict[tuple[int, ...], int] = {}
    for draw in range(6000):
        order = tuple(streams.stream(bytes(32), f"u{draw}").permutation(3).tolist())
        counted[order] = counted.get(order, 0) + 1
    assert len(counted) == 6
    assert sum((count - 1000) ** 2 / 1000 for count in counted.values()) < 50


@pytest.mark.parametrize("width", range(1, 65))
def test_bits_above_the_width_never_leave(width: int) -> None:
    """A planted value wider than k: the packed bytes are those of its low k bits, no more."""
    for rows in (1, 2, 7, 8, 65):
        low = np.random.default_rng(width).integers(0, 1 << min(width, 63), rows, dtype=np.int64)
        planted = low if width == 64 else low | (np.int64(-1) << np.int64(width))
        message = packing.pack_values([planted], [width])
        assert np.array_equal(message, packing.pack_values([packing.low_bits(low, width)], [width]))
        assert len(message) == sum(-(-rows * limb // 8) for limb, _ in packing.limbs(width))
        zero = packing.pack_values([np.full(rows, 0 if width == 64 else -1 << width, dtype=np.int64)], [width])
        assert not zero.any()
        assert np.array_equal(packing.unpack_values(message, [(rows, width)])[0], packing.low_bits(low, width))


def test_messages_of_several_widths() -> None:
    rng = np.random.default_rng(1)
    widths, rows = [33, 64, 1, 57, 8], [3, 0, 65, 9, 64]
    columns = [rng.integers(-(1 << 63), (1 << 63) - 1, count, dtype=np.int64) for count in rows]
    message = packing.pack_values(columns, widths)
    assert len(message) == packing.packed_bytes(list(zip(rows, widths, strict=True)))
    found = packing.unpack_values(message, list(zip(rows, widths, strict=True)))
    for got, column, width in zip(found, columns, widths, strict=True):
        assert np.array_equal(got, packing.low_bits(column, width))


@pytest.mark.parametrize("kind", ["less", "zero", "mux", "multiply", "divide", "divide by 1000"])
def test_openings_are_uniform(two: Pool, kind: str) -> None:
    """Chi-square of the bytes opened for one fixed input in every row."""
    for value in (0, 12345):
        counted = two.run(P + "masked_openings", rows=1 << 14, kind=kind, value=value)
        assert counted[0] == counted[1]
        mean = sum(counted[0]) / 256
        assert sum((count - mean) ** 2 / mean for count in counted[0]) < CHI_SQUARE_255


def test_no_mask_is_used_under_two_nonces(two: Pool) -> None:
    """The same program twice: same addresses and lengths, no 64-bit word of a payload the same at one place."""
    first = two.run(P + "payloads", rows=500, digest=b"1" * 32)
    second = two.run(P + "payloads", rows=500, digest=b"2" * 32)
    again = two.run(P + "payloads", rows=500, digest=b"1" * 32)
    assert first == again
    for mine, theirs in zip(first, second, strict=True):
        assert [(address, len(payload)) for address, payload in mine] == [
            (address, len(payload)) for address, payload in theirs]
        for (address, left), (_, right) in zip(mine, theirs, strict=True):
            if "/turn" in address and len(left) == 2 * 4 * 500:
                continue  # the map (hex digits of 500 int32): positions below 1000, not masked words
            words = zip(_words(left), _words(right), strict=True)
            assert not any(a == b for a, b in words), address
    for sent in first:
        payloads = [word for _, payload in sent for word in _words(payload)]
        assert len(set(payloads)) == len(payloads), "a word was sent twice"


def test_announced_maps_tell_nothing(two: Pool) -> None:
    """For a fixed destination every announced map has distinct positions, and every position is uniform."""
    draws = 2000
    maps = two.run(P + "announced_maps", draws=draws)[0]
    assert len(maps) == draws
    assert all(len(set(one)) == 5 and set(one) <= set(range(8)) for one in maps)
    for place in range(5):
        counted = np.bincount([one[place] for one in maps], minlength=8)
        assert ((counted - draws / 8) ** 2 / (draws / 8)).sum() < 50


def _words(payload: str) -> list[str]:
    return [payload[start:start + 16] for start in range(0, len(payload) - 15, 16)]


@pytest.mark.parametrize(("what", "error"), [("plain text", "InternalError"), ("matmul", "InternalError"),
                                             ("reused address", "InternalError"),
                                             ("unforeseen draw", "InternalError"),
                                             ("two to one place", "InternalError")])
def test_wrong_uses_are_refused(what: str, error: str) -> None:
    with_own = Pool(2)
    try:
        if what == "two to one place":
            with pytest.raises(AssertionError, match=r"Two rows go to one place|ended"):
                with_own.run(P + "refused_move")
        else:
            assert with_own.run(P + "refuses", what=what) == [error, error]
    finally:
        with_own.close()


def test_a_trace_imports_nothing_slow() -> None:
    """torch's own meta functions would import sympy (seconds)."""
    import subprocess
    script = ("import sys, tests.protocol_programs as p, tests.division_programs as d\n"
              "from sdh.executors import crypten_seam, tracing\n"
              "def program(session):\n"
              "    with crypten_seam.installed(session):\n"
              "        p.products(session, 65); p.logic(session, 65); p.moves(session, 5, 9)\n"
              "        p.joins(session, 9, 9, 2); p.extremes(session, 9, 64, True, True)\n"
              "        d.divisions(session, 3, 20, 10, [True, True]); d.public_divisions(session, 3, 20, [7, 8], True)\n"
              "        d.significands(session, 3, 20, 10, [True, True])\n"
              "tracing.trace(program, ['a', 'b'])\n"
              "assert 'sympy' not in sys.modules\n")
    subprocess.run([sys.executable, "-c", script], check=True)


def test_dealing_lists_travel_as_json() -> None:
    items = [Item("a#1", (Correlation("masked", 65, 33, 2), Correlation("and", 8)), 1),
             Item("a#2", (Correlation("permute", 5, 0, 3, 0, 9), Correlation("permute", 5, 1, 2, 0, 9)), 0),
             Item("#3", (Correlation("mux", 4, count=2),), 0)]
    assert dealing.list_from_json(dealing.list_to_json(items), 2) == items
    assert dealing.list_digest(items) != dealing.list_digest(items[:2])


@pytest.mark.parametrize("value", [
    None, {}, [1], [["a", 2, []]], [["a", 0, [["nothing", 1, 0, 0, -1, 0]]]], [["a", 0, [["and", -1, 0, 0, -1, 0]]]],
    [["a", 0, [["masked", 1, 65, 0, -1, 0]]]], [["a", 0, [["and", True, 0, 0, -1, 0]]]],
    [["a", 0, [["permute", 1, 0, 1, 1, 1]]]], [["a", 0, [["permute", 2, 0, 1, 0, 1]]]], [[3, 0, []]],
    [["a", 0, [["permute", 2, 0, 1, 0, 3], ["permute", 2, 0, 1, 0, 2]]]],
    [["a", 0, [["permute", 2, 0, 1, 0, 3], ["and", 2, 0, 0, -1, 0]]]]])
def test_malformed_dealing_lists_are_refused(value: Any) -> None:
    with pytest.raises(ProtocolError):
        dealing.list_from_json(value, 2)


@pytest.mark.parametrize("parties", [2, 3, 5])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_dealt_shares_add_up(kind: str, parties: int) -> None:
    for rows in (0, 1, 65):
        for holder in range(parties):
            match kind:
                case "permute":
                    groups = [Correlation(kind, rows, width, count, holder, rows + 3) for width, count in ((1, 2), (0, 1))]
                    _check_permutation(groups, parties, holder)
                    continue
                case "node":
                    correlation = Correlation(kind, rows, 4, 3)
                case _:
                    correlation = Correlation(kind, rows, 33, 2)
            _check_dealt(correlation, parties, holder)


def _check_permutation(groups: list[Correlation], parties: int, holder: int) -> None:
    """One permutation for all groups, a message with fresh masks for each."""
    seeds, item, sent = [bytes([rank + 1]) * 32 for rank in range(parties)], Item("x", tuple(groups), holder), list[bytes]()
    dealing.serve([item], seeds, lambda rank, address, correction: sent.append(correction))
    assert tuple(map(len, sent)) == item.messages
    drawn = [streams.stream(seed, dealing.draw_address("x")) for seed in seeds]
    order, met = drawn[holder].permutation(groups[0].total), list[bytes]()
    for group, message in zip(groups, sent, strict=True):
        on = dealing.masks_of(group, drawn[holder], bytearray(message))
        words, octets = np.zeros((group.total, group.count), np.int64), np.zeros((group.total, group.width), np.uint8)
        outs, flags = on.words.copy(), on.octets.copy()
        for rank in set(range(parties)) - {holder}:
            off = dealing.masks_off(group, drawn[rank])
            words[:group.rows] += off.words
            octets[:group.rows] ^= off.octets
            mine = dealing.masks_on(group, drawn[rank])
            outs += mine.words
            flags ^= mine.octets
            met += [column.tobytes() for part in (off, mine) for column in part.words.T if len(column)]
        assert np.array_equal(words[order], outs)
        assert np.array_equal(octets[order], flags)
    assert len(set(met)) == len(met)


def _check_dealt(correlation: Correlation, parties: int, holder: int) -> None:
    seeds = [bytes([rank + 1]) * 32 for rank in range(parties)]
    item = Item("x", (correlation,), holder)
    sent: list[bytes] = []
    dealing.serve([item], seeds, lambda rank, address, correction: sent.append(correction))
    assert len(sent[0]) == item.correction_bytes
    drawn = [streams.stream(seed, dealing.draw_address("x")) for seed in seeds]
    corrections = [bytearray(sent[0]) if rank == holder else None for rank in range(parties)]
    parts = [dealing.expand([correlation], stream, correction)[0]
             for stream, correction in zip(drawn, corrections, strict=True)]
    free, dependent = dealing.layout(correlation)
    totals = []
    for index, part in enumerate((*free, *dependent)):
        column = [share[index] for share in parts]
        totals.append(np.bitwise_xor.reduce(column) if part.xor else np.add.reduce(column))
    wanted = KINDS[correlation.kind](correlation, totals[:len(free)])
    for got, value in zip(totals[len(free):], wanted, strict=True):
        assert np.array_equal(got, value)


def test_a_dealer_out_of_step_stops_the_run() -> None:
    """The dealer leaves out its first item: the party that waits for it refuses the next."""
    with_own = Pool(2)
    try:
        with pytest.raises(AssertionError, match=r"ProtocolError: dealer sent a frame that was not planned"):
            with_own.run(P + "products", rows=65, tamper="skip")
        assert len(with_own.run(P + "products", rows=65)) == 2
    finally:
        with_own.close()


def test_a_dealer_out_of_step_is_detected() -> None:
    left, right = link_pair()
    left.send("op#1", bytes(16))
    with pytest.raises(ProtocolError):
        right.receive_into("op#2", bytearray(16))
    left.close()
    right.close()


@pytest.mark.parametrize("size", [0, 1, 1000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5])
def test_frames_arrive(size: int) -> None:
    left, right = link_pair()
    payload = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    for address in ("a", "b"):
        left.send(address, payload)
        right.send(address, payload)
    for end in (left, right):
        assert end.receive("a", size) == payload
        buffer = bytearray(size)
        end.receive_into("b", buffer)
        assert buffer == payload
    left.send_message({"text": "x" * size})
    assert right.receive_message() == {"text": "x" * size}
    left.close()
    with pytest.raises(PartyLost):
        right.receive("c", 1)


@pytest.mark.parametrize("size", [16, 2 * PIECE])
@pytest.mark.parametrize("place", [0, 30, -1])
def test_a_flipped_bit_is_detected(size: int, place: int) -> None:
    left, right = _tapped(size, lambda frame: frame.__setitem__(place, frame[place] ^ 1))
    left.send("x", bytes(size))
    with pytest.raises(ProtocolError):
        right.receive("x", size)


def test_a_truncated_frame_is_detected() -> None:
    left, right = _tapped(1000, lambda frame: frame.__delitem__(slice(-5, None)))
    left.send("x", bytes(1000))
    with pytest.raises((PartyLost, ProtocolError)):
        right.receive("x", 1000)


def test_a_wrong_length_is_refused() -> None:
    left, right = link_pair()
    left.send("x", bytes(1000))
    with pytest.raises(ProtocolError):
        right.receive("x", 999)


def _tapped(size: int, change: Any) -> tuple[Link, Link]:
    """Two ends with someone between them who changes the next frame."""
    (left, middle_left), (middle_right, right) = socket.socketpair(), socket.socketpair()
    secret = bytes(32)
    pieces = max(1, -(-size // PIECE))

    def tap() -> None:
        frame, wanted = bytearray(), 24 + size + 16 * pieces
        while len(frame) < wanted:
            frame += middle_left.recv(1 << 20)
        change(frame)
        with contextlib.suppress(OSError):
            middle_right.sendall(frame)
            middle_right.shutdown(socket.SHUT_WR)

    threading.Thread(target=tap, daemon=True).start()
    return Link(left, "b", secret, True), Link(right, "a", secret, False)


def test_a_slow_reader_holds_a_paced_sender_back() -> None:
    left, right = link_pair()
    sent: list[int] = []

    def feed() -> None:
        for index in range(40):
            left.send_paced("x", bytes(1 << 20))
            sent.append(index)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    thread.join(timeout=1)
    assert len(sent) < 36
    for _ in range(40):
        right.receive("x", 1 << 20)
    thread.join(timeout=5)
    assert len(sent) == 40
    left.close()
    right.close()


def test_cuckoo_tables_hold_every_key() -> None:
    rng = np.random.default_rng(3)
    for rows in (0, 1, 2, 500, 5000, 200_000):
        size = cuckoo.bins(rows)
        assert size % 3 == 0
        assert size >= max(1.27 * rows, rows + 512)
        choices = cuckoo.candidates([np.arange(rows), rng.integers(0, 5, rows)], b"k" * 32, size)
        table = cuckoo.place(choices, size)
        found = np.flatnonzero(table >= 0)
        assert sorted(table[found].tolist()) == list(range(rows))
        assert (choices[:, table[found]] == found).any(axis=0).all()
        for part in range(3):
            assert ((choices[part] >= part * size // 3) & (choices[part] < (part + 1) * size // 3)).all()


def test_a_full_cuckoo_table_is_a_named_error() -> None:
    with pytest.raises(DataError):
        cuckoo.place(np.zeros((3, 4), dtype=np.int64), 3)


def test_a_repeated_key_is_a_named_error() -> None:
    cuckoo.require_unique([np.array([1, 1]), np.array([1, 2])])
    with pytest.raises(KeyViolated):
        cuckoo.require_unique([np.array([1, 2, 1]), np.array([1, 2, 1])])
    with pytest.raises(KeyViolated):
        cuckoo.require_unique([np.array([4, 4])])
