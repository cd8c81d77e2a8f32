"""A mask meets one value once: nothing of a run comes back in another of the same question on the same data, what is
opened and what each party sends the client is uniform, nonces serve once, and no library's random numbers are used."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pytest

import sdh
from sdh.executors.packing import packed_bytes, unpack_values
from sdh.session import DEALER, NONCE, Member, Nonces, commitment, seal, session_digest, unseal
from tests.taping import Recording, Taped
from tests.test_protocols_security import CHI_SQUARE_255
from tests.twins import QUERIES, shared, taken

PARTIES = ("bank", "shop", "mill")
TWICE = ("rows", "total", "text", "quotient", "chain")
"""Queries with every kind of opening: comparisons, products, permutations, decompositions, shuffles, three parties."""
BITS = 64
"""A whole frame is compared where it has at least as many random bits: fewer may be equal by chance."""

Sizes = list[tuple[int, int, bool]]
"""Of one opening: (values, width, xor) of each column."""
Key = tuple[str, str, str, int]
"""Process, peer, address, and which frame of that address."""


@pytest.fixture(scope="module")
def taped() -> Taped:
    return shared()


@pytest.fixture(scope="module", params=TWICE)
def twice(taped: Taped, request: pytest.FixtureRequest) -> tuple[Recording, Recording]:
    """The same query twice on the same data."""
    first, second = (taped.sql(QUERIES[request.param].format("one")) for _ in range(2))
    assert first.error is None
    assert first.plan.digest == second.plan.digest
    return first, second


# --- no mask twice ---------------------------------------------------------------------------------


def frames(recording: Recording) -> dict[Key, bytes]:
    """All masked frames and result shares."""
    found: dict[Key, bytes] = {}
    counts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for record in recording.records:
        if record.is_masked or record.kind == "sealed":
            place = record.process, record.peer, record.address
            found[(*place, counts[place])] = record.payload
            counts[place] += 1
    return found


def openings(recording: Recording) -> dict[tuple[str, str], Sizes]:
    """The sizes of every opening by process and address: the frames after a note that are sent at one address."""
    found: dict[tuple[str, str], Sizes] = {}
    for party in PARTIES:
        sizes: Sizes = []
        for record in recording.of(party):
            if record.kind == "note" and record.address == "opening":
                sizes = record.payload
            elif record.kind == "sent" and record.address.endswith("/open"):
                assert len(record.payload) == packed_bytes([(count, width) for count, width, _ in sizes])
                found[party, record.address] = sizes
    return found


def test_no_masked_payload_comes_twice(twice: tuple[Recording, Recording]) -> None:
    """At the same place under two nonces no two 64-bit words are equal, and no frames of narrower values."""
    first, second = map(frames, twice)
    sizes = openings(twice[0])
    assert first.keys() == second.keys()
    words = 0
    for key, payload in first.items():
        other, (process, _, address, _) = second[key], key
        assert len(payload) == len(other)
        if is_map(payload, address):
            assert len(payload) < BITS or payload != other, key
        elif address.endswith("/open") and any(width < 64 for _, width, _ in sizes[process, address]):
            bits = sum(count * width for count, width, _ in sizes[process, address])
            assert bits < BITS or payload != other, key
        else:
            assert not (words_of(payload) == words_of(other)).any(), key
            words += len(payload) // 8
    assert words > 10_000


def is_map(payload: bytes, address: str) -> bool:
    """Whether this is what the owner of a permutation announces: distinct int32 positions below 2^24.

    Masked records of as many bytes look like this with a chance of 2^-8 a position.
    """
    if not address.endswith("/turn") or len(payload) % 4 or len(payload) < 64:
        return False
    positions = np.frombuffer(payload, "<u4")
    return bool((positions < 1 << 24).all()) and len(np.unique(positions)) == len(positions)


def words_of(payload: bytes) -> npt.NDArray[np.int64]:
    return np.frombuffer(payload, "<i8", len(payload) // 8)


def test_no_word_comes_twice_in_a_run(twice: tuple[Recording, Recording]) -> None:
    """Not at another address, peer or process either, but an opening's share, which goes to all others alike. (Two
    parties' shares of the result are equal where the XOR of them is 0.)"""
    sizes = openings(twice[0])
    seen: list[npt.NDArray[np.int64]] = []
    shown: set[tuple[str, str, bytes]] = set()
    for (process, _, address, _), payload in frames(twice[0]).items():
        narrow = address.endswith("/open") and any(width < 64 for _, width, _ in sizes[process, address])
        if narrow or address == "payload" or is_map(payload, address) or (process, address, payload) in shown:
            continue
        shown.add((process, address, payload))
        seen.append(words_of(payload))
    everything = np.concatenate(seen)
    assert len(np.unique(everything)) == len(everything)


# --- uniform ---------------------------------------------------------------------------------------


def chi_square(octets: npt.NDArray[np.uint8]) -> float:
    counts = np.bincount(octets, minlength=256)
    mean = len(octets) / 256
    assert mean > 5, "too few for the test"
    return float(((counts - mean) ** 2 / mean).sum())


def octets_of(values: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.uint8]:
    """The whole bytes in the low `width` bits of every value."""
    return values.view(np.uint8).reshape(-1, 8)[:, :width // 8].reshape(-1)


@pytest.fixture(scope="module")
def fixed(taped: Taped) -> Recording:
    """Forty rows and nearly a thousand padded slots that are all alike: openings that showed anything would show it."""
    return taped.sql("SELECT x.id, x.w * y.w AS p, x.n < y.n AS l, x.s = y.s AS e, x.d, y.money FROM bank.one x "
                     "JOIN shop.one y ON x.id = y.id")


def test_each_share_of_an_opening_is_uniform(fixed: Recording) -> None:
    sizes = openings(fixed)
    for party in ("bank", "shop"):
        sent = [record for record in fixed.of(party) if record.kind == "sent" and record.address.endswith("/open")]
        whole = [record.payload for record in sent if all(count % 64 == 0 for count, _, _ in sizes[party, record.address])]
        assert chi_square(np.frombuffer(b"".join(whole), np.uint8)) < CHI_SQUARE_255


@pytest.mark.parametrize("xor", [False, True])
def test_what_is_opened_is_uniform(fixed: Recording, xor: bool) -> None:
    """The sum of the shares: a value and its mask."""
    octets = [octets for kind, octets in opened(fixed) if kind == xor]
    assert sum(map(len, octets)) > 10_000
    assert chi_square(np.concatenate(octets)) < CHI_SQUARE_255


def opened(recording: Recording) -> Iterator[tuple[bool, npt.NDArray[np.uint8]]]:
    """Of two parties' run: whether XOR joins the shares, and the bytes of the opened values."""
    sizes = openings(recording)
    shares = [shares_of(recording, party) for party in ("bank", "shop")]
    for address, first in shares[0].items():
        plan = sizes["bank", address]
        columns = [unpack_values(np.frombuffer(share, np.uint8), [(count, width) for count, width, _ in plan])
                   for share in (first, shares[1][address])]
        for (_, width, xor), a, b in zip(plan, *columns, strict=True):
            yield xor, octets_of(np.ascontiguousarray(a ^ b if xor else a + b), width)


def shares_of(recording: Recording, party: str) -> dict[str, bytes]:
    return {record.address: record.payload for record in recording.of(party)
            if record.kind == "sent" and record.address.endswith("/open")}


def test_each_correction_and_record_is_uniform(fixed: Recording) -> None:
    """What the dealer sends to each party, and what one party hands the owner of a permutation."""
    for process in (DEALER, "bank", "shop"):
        masked = [record for record in fixed.of(process) if record.is_masked and not record.address.endswith("/open")]
        for _, group in groupby(sorted(masked, key=lambda record: record.peer), key=lambda record: record.peer):
            sent = [record.payload for record in group if not is_map(record.payload, record.address)]
            assert chi_square(np.frombuffer(b"".join(sent), np.uint8)) < CHI_SQUARE_255


def test_announced_maps_are_uniform(fixed: Recording) -> None:
    """A map says where a masked row lies: the first half of the rows is in no half of the places."""
    maps = [np.frombuffer(record.payload, "<u4") for record in fixed.records
            if record.is_masked and is_map(record.payload, record.address)]
    assert len(maps) >= 3
    for positions in maps:
        half = positions[:len(positions) // 2] < np.median(positions)
        assert abs(half.mean() - 0.5) < 6 * 0.5 / len(half) ** 0.5
        assert (np.diff(positions.astype(np.int64)) == 1).sum() < 16


def test_each_payload_to_the_client_is_uniform(fixed: Recording) -> None:
    assert set(fixed.payloads) == {"bank", "shop"}
    for payload in fixed.payloads.values():
        assert chi_square(np.frombuffer(payload, np.uint8)) < CHI_SQUARE_255
    total = sum(words_of(payload) for payload in fixed.payloads.values())
    assert chi_square(np.asarray(total).view(np.uint8)) > CHI_SQUARE_255, "the sum is the result"


def test_three_parties_payloads_are_uniform_alone_and_in_pairs(taped: Taped) -> None:
    """Fewer than all shares tell nothing."""
    recording = taped.sql("SELECT x.id, z.id, x.money, z.s FROM bank.one x JOIN mill.one z ON x.n <= z.n "
                          "JOIN shop.one y ON y.id = x.id")
    payloads = [words_of(payload) for payload in recording.payloads.values()]
    assert len(payloads) == 3
    words = len(payloads[0]) // 2   # the first half is ring words, which add up
    parts = [*payloads, *(payloads[i][:words] + payloads[j][:words] for i, j in ((0, 1), (0, 2), (1, 2)))]
    for part in parts:
        assert chi_square(np.ascontiguousarray(part).view(np.uint8)) < CHI_SQUARE_255
    total = payloads[0][:words] + payloads[1][:words] + payloads[2][:words]
    assert chi_square(total.view(np.uint8)) > CHI_SQUARE_255


# --- nonces ----------------------------------------------------------------------------------------


def test_a_nonce_serves_once() -> None:
    nonces = Nonces()
    parts = [nonces.draw() for _ in range(3)]
    assert len(set(parts)) == 3
    assert all(len(part) == NONCE for part in parts)
    nonces.use(parts)
    for again in ([parts[1]], [nonces.draw(), parts[2]], [b"x" * NONCE] * 2, [b"short"], [b""]):
        with pytest.raises(sdh.ProtocolError, match="a second time"):
            nonces.use(again)


def test_a_nonce_is_burnt_even_where_its_session_fails() -> None:
    nonces = Nonces()
    mine, theirs = nonces.draw(), nonces.draw()
    nonces.use([theirs])
    with pytest.raises(sdh.ProtocolError):
        nonces.use([mine, theirs])
    with pytest.raises(sdh.ProtocolError):
        nonces.use([mine])


def test_the_session_digest_holds_every_nonce() -> None:
    """Another nonce of any party or of the dealer, or the same in another order: other streams."""
    members = [Member(name, name.encode() * 8) for name in ("bank", "shop", DEALER, "analyst")]
    nonces = [bytes([i]) * NONCE for i in range(3)]
    orders = [nonces, [nonces[1], nonces[0], nonces[2]],
              *([b"x" * NONCE if i == j else part for i, part in enumerate(nonces)] for j in range(3))]
    digests = {session_digest("ab" * 32, members[:2], members[2], members[3], order, b"list") for order in orders}
    assert len(digests) == len(orders)
    assert len({commitment(part) for part in nonces}) == 3


def test_a_sealed_share_opens_once_at_its_place() -> None:
    """Not in another session, nor as another's, nor for another key."""
    from sdh.connectors.wire import new_identity

    client, other = new_identity("analyst"), new_identity("analyst")
    pieces = seal(b"share", "bank", client.public, b"session")
    assert unseal(pieces, "bank", client.key, b"session") == b"share"
    assert seal(b"share", "bank", client.public, b"session")[1] != pieces[1]
    for sender, key, context in (("shop", client.key, b"session"), ("bank", client.key, b"other"),
                                 ("bank", other.key, b"session")):
        with pytest.raises(sdh.ProtocolError):
            unseal(pieces, sender, key, context)


@pytest.mark.parametrize("party", ["bank", "shop"])
def test_honest_processes_refuse_a_replayed_nonce(taped: Taped, party: str) -> None:
    """A node that takes the same nonce again and does not mind: the others do, before anything is shared."""
    text = QUERIES["total"].format("one")
    with taped.fault(party, "replay"):
        first = taped.sql(text)
        again = taped.sql(text)
    assert first.error is None
    assert isinstance(again.error, sdh.ProtocolError)
    assert "a second time" in str(again.error)
    assert not again.shared_anything
    assert taped.sql(text).error is None


# --- generators ------------------------------------------------------------------------------------


def test_no_generator_is_used() -> None:
    """The state of each is after every query what it was before."""
    for recording in taken().values():
        states = {party: recording.notes(party, "generators") for party in PARTIES}
        assert sum(map(len, states.values())) >= 4
        for before_and_after in states.values():
            assert len(before_and_after) in (0, 2)
            assert before_and_after[:1] == before_and_after[1:]


def test_a_used_generator_would_show() -> None:
    import random

    import torch

    from tests.programs.taped import generators

    before = generators()
    torch.rand(1)
    random.random()
    np.random.rand()
    after = generators()
    assert all(before[name] != after[name] for name in before)


def test_records_are_kept(taped: Taped) -> None:
    """The tapes hold frames of every process and direction: else all of the above would pass on nothing."""
    recording = taped.sql(QUERIES["three"].format("one"))
    for process in (*PARTIES, DEALER):
        kinds: set[tuple[str, str]] = {(record.kind, record.peer) for record in recording.of(process)}
        others = {*PARTIES, DEALER} - {process}
        assert kinds >= {(kind, peer) for kind in ("sent", "received") for peer in (*others, "analyst")
                         if not (process == DEALER and kind == "received" and peer == DEALER)}
    assert os.environ["SDH_TAPE"] == str(taped.folder)

