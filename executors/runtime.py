"""One query's session at one party: randomness, the two doors out of shares, the address of every step and the meter.

Every protocol is written once against `Session` on torch tensors. Run with a `tracing.TraceSession` (device "meta") it sends
nothing and its draws become the *dealing list*, so the list and the predicted cost are exact and no protocol can
branch on data. Every step (draw, opening, sharing) has the address `label#step`, equal at all parties.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from sdh.audit import Reveal
from sdh.connectors.wire import Link, session_seed
from sdh.errors import DealerLost, InternalError, PartyLost
from sdh.executors import dealing, packing, shares
from sdh.executors.dealing import Correlation, DealingList, Item
from sdh.executors.devices import fused, received, streams_on
from sdh.executors.jobs import WINDOW, Job, Opening, Rounds
from sdh.executors.messages import Masked, Posted, collect, give_rows, post, take_rows
from sdh.executors.metering import Meter, Step
from sdh.executors.permutation import Permutation
from sdh.executors.shares import Bits
from sdh.executors.streams import Source, fresh_source
from sdh.planners.comparing import LOCAL, Network

T = TypeVar("T")


class Session:
    """One query at one party.

    `parties` are in rank order, `links` go to every other rank, `dealer` to the dealer; `digest` is the session
    digest that all have compared. With `expected`, every draw must be the next item of that (traced) list.
    """

    tracing = False

    def __init__(self, rank: int, parties: Sequence[str], links: Mapping[int, Link], dealer: Link | None,
                 digest: bytes, *, expected: DealingList | None = None, device: str = "cpu",
                 network: Network = LOCAL) -> None:
        self.rank, self.parties, self.links, self.dealer = rank, tuple(parties), dict(links), dealer
        self.device, self.network = torch.device(device), network
        self.meter, self.items = Meter(), DealingList()
        self.revealed: list[Reveal] = []
        """What went through `reveal`, in order."""
        self._expected = expected
        make = streams_on(self.device)
        self._pairs = {peer: Source(session_seed(link.secret, digest), make) for peer, link in self.links.items()}
        self._dealt = Source(session_seed(dealer.secret, digest), make) if dealer is not None else None
        self._private = fresh_source(make)
        self._prepared: deque[object] | None = None
        self._label, self._step, self._drawn = "", 0, 0
        self._sent_depth = self._known_depth = 0

    @property
    def count(self) -> int:
        """The number of parties."""
        return len(self.parties)

    @property
    def others(self) -> list[int]:
        return [peer for peer in range(self.count) if peer != self.rank]

    def close(self) -> None:
        """Erase the seeds. The links stay open."""
        for source in (*self._pairs.values(), self._private, *([self._dealt] if self._dealt else [])):
            source.erase()

    @contextlib.contextmanager
    def operator(self, label: str) -> Iterator[None]:
        """Steps inside are addressed and metered under `label`."""
        outer, self._label = self._label, f"{self._label}/{label}" if self._label else label
        cost, began = self.meter.at(self._label), time.perf_counter()
        try:
            yield
        finally:
            cost.seconds += time.perf_counter() - began
            self._label = outer

    def once(self, key: Hashable, body: Callable[[], T]) -> T:
        """`body()`. A trace may do the steps of an earlier body of the same key again instead of running it.

        `key` must fix everything public that the body depends on: its name, row counts and widths.
        """
        del key
        return body()

    def at(self, owner: int, work: Callable[[], T]) -> T | None:
        """What `work` gives of clear data, at its owner; None at the others and in a trace.

        After `tracing.prepare` it is what was worked out then: no such work lies between frames, where its time would tell
        of the data (rule 8).
        """
        if self.rank != owner or self.tracing:
            return None
        return work() if self._prepared is None else cast(T, self._prepared.popleft())

    @property
    def is_prepared(self) -> bool:
        """Whether all work on clear data is done: nothing in the clear is needed any more."""
        return self._prepared is not None

    def live(self, owner: int, work: Callable[[], T]) -> T | None:
        """`work()` at its owner on what was dealt, which takes the same time for any data; None elsewhere."""
        return work() if self.rank == owner and not self.tracing else None

    def keep(self, prepared: deque[object]) -> None:
        """What was worked out ahead of clear data, in the order in which `at` and `pair_key` give it (tracing.prepare)."""
        self._prepared = prepared

    # --- correlated randomness ---

    def draw(self, *group: Correlation) -> list[list[Tensor]]:
        """This party's shares of each correlation: its free parts, then the dependent ones (dealing.layout)."""
        item = self._item(group, self._drawn % self.count)
        return self._shares(item)

    def draw_permutation(self, owner: int, rows: int, total: int, groups: Sequence[tuple[int, int]]) -> Permutation:
        """A permutation of `total` positions known to `owner`, with masks for `rows` rows of each group: (words, octets).

        All groups are taken before anything else is drawn.
        """
        if total >= 1 << 31:
            raise InternalError("A permutation has fewer than 2^31 positions.")
        group = tuple(Correlation("permute", rows, width, count, owner, total) for count, width in groups)
        return self._permutation(self._item(group, owner))

    def _item(self, group: tuple[Correlation, ...], holder: int) -> Item:
        foreseen = self._expected is None or self._drawn < len(self._expected)
        if self._expected is not None and foreseen:
            wanted = self._expected[self._drawn]
            foreseen = wanted == Item(self._address(), group, holder)
        if not foreseen:
            raise InternalError("A protocol drew randomness that its trace had not foreseen.")
        item = Item(self._next(Step(group=group)), group, holder)
        self._drawn += 1
        self.items.append(item)
        return item

    def _shares(self, item: Item) -> list[list[Tensor]]:
        correction = self._correction(item, item.correction_bytes)
        group = dealing.expand(item.group, self._dealer_stream(item), correction)
        return [[torch.as_tensor(part) for part in parts] for parts in group]

    def _permutation(self, item: Item) -> Permutation:
        stream = self._dealer_stream(item)
        if self.rank != item.holder:
            off, on = (partial(masks, stream=stream) for masks in (dealing.masks_off, dealing.masks_on))
            return Permutation(item.group, None, off, on)

        def dealt(group: Correlation) -> dealing.RowMasks:
            return dealing.masks_of(group, stream, self._correction(item, dealing.correction_bytes(group)))

        return Permutation(item.group, torch.as_tensor(stream.permutation(item.group[0].total)), None, dealt)

    def _dealer_stream(self, item: Item) -> Any:
        if self._dealt is None:
            raise InternalError("This session has no dealer.")
        return self._dealt.open(dealing.draw_address(item.address))

    def _correction(self, item: Item, size: int) -> Any:
        """The bytes of its next message, as streams of this device take them; None but at the holder."""
        if item.holder != self.rank:
            return None
        if self.dealer is None:
            raise InternalError("This session has no dealer.")
        try:
            octets = received(self.dealer, item.address, size, self.device)
        except PartyLost:
            raise DealerLost("The dealer's process ended.", advice="Run the query again.") from None
        return octets if fused(octets) else octets.numpy()

    # --- inputs and zero sharings: no traffic ---

    def share(self, owner: int, values: Tensor | None, rows: int) -> shares.ArithmeticSharedTensor:
        """Share the owner's int64 column mod 2^64: x - sum of PRG(owner, j) at the owner, PRG(owner, j) at j."""
        return shares.arithmetic(self._share(owner, values, rows, xor=False))

    def share_bits(self, owner: int, values: Tensor | None, rows: int) -> Bits:
        """Share the owner's 0/1 column (bool or uint8) by XOR, packed."""
        words = None if values is None else shares.pack(values.to(self.device, torch.uint8))
        return shares.bits_of(self._share(owner, words, shares.words_of(rows), xor=True), rows)

    def _share(self, owner: int, values: Tensor | None, rows: int, *, xor: bool) -> Tensor:
        address = self._next(Step()) + "/share"
        if self.rank != owner:
            return self._pair_words(owner, address, rows)
        if values is None or values.dtype != torch.int64 or values.shape != (rows,):
            raise InternalError("An owner shares an int64 column of the planned length.")
        share = values.to(self.device, copy=True)
        for peer in self.others:
            mask = self._pair_words(peer, address, rows)
            share = share.bitwise_xor_(mask) if xor else share.sub_(mask)
        return share

    def zeros(self, rows: int, *, xor: bool = False) -> Tensor:
        """A fresh sharing of zero from the pairwise seeds (rule 3): every share is uniform to all other parties."""
        address = self._next(Step()) + "/zero"
        share = torch.zeros(rows, dtype=torch.int64, device=self.device)
        for peer in self.others:
            mask = self._pair_words(peer, address, rows)
            if xor:
                share.bitwise_xor_(mask)
            else:
                share.add_(mask, alpha=1 if self.rank < peer else -1)
        return share

    def rerandomize(self, share: Tensor, *, xor: bool = False) -> Tensor:
        """The share of the same value plus a fresh zero sharing: before anything leaves for a receiver."""
        fresh = self.zeros(share.numel(), xor=xor).reshape(share.shape)
        return share ^ fresh if xor else share + fresh

    def pair_key(self, first: int, second: int) -> bytes | None:
        """32 bytes that parties `first` and `second` alone know; None at the others and in a trace."""
        address = self._next(Step()) + "/key"
        if self.tracing or self.rank not in (first, second) or first == second:
            return None
        if self._prepared is not None:
            return cast(bytes, self._prepared.popleft())
        return self.pair_source(second if self.rank == first else first).key(address)

    def pair_source(self, peer: int) -> Source:
        """The streams shared with one peer."""
        return self._pairs[peer]

    def private_words(self, count: int) -> Tensor:
        """Words that no other process can predict."""
        return torch.as_tensor(self._private.open(self._next(Step()) + "/private").words(count))

    def _pair_words(self, peer: int, address: str, rows: int) -> Tensor:
        return torch.as_tensor(self._pairs[peer].open(address).words(rows))

    # --- the doors ---

    def open_masked(self, values: Sequence[Masked], hidden_by: str) -> list[Tensor]:
        """Open values that a fresh mask or a shuffle by all hides, all in one message and round.

        Every party sends the low `width` bits of its shares, packed, to every other, and adds up what it gets.
        Returns int64 values mod 2^width (zero-extended), or XOR words, of each share's shape.
        Bytes: (n - 1) * sum(rows * width / 8).
        """
        return self._collect(*self._post(Opening(values, hidden_by)))

    def interleave(self, jobs: Sequence[Job[T]]) -> list[T]:
        """Run the jobs, up to WINDOW at a time, and return what each gives.

        The order of steps follows from the jobs alone: job by job each goes on to its next opening, which is sent at
        once and waited for when its turn comes again.
        """
        found: dict[int, T] = {}
        live: deque[tuple[int, Rounds[T], Posted, int]] = deque()
        started = 0

        def advance(index: int, body: Rounds[T], opened: list[Tensor] | None) -> None:
            try:
                opening = next(body) if opened is None else body.send(opened)
            except StopIteration as end:
                found[index] = end.value
            else:
                live.append((index, body, *self._post(opening)))

        while live or started < len(jobs):
            if started < len(jobs) and len(live) < WINDOW:
                advance(started, jobs[started].body(), None)
                started += 1
            else:
                index, body, posted, depth = live.popleft()
                advance(index, body, self._collect(posted, depth))
        return [found[index] for index in range(len(jobs))]

    def _post(self, opening: Opening) -> tuple[Posted, int]:
        """Send an opening; with it, how many openings one after the other lead to it."""
        assert opening.hidden_by, "say which mask or shuffle hides the values"
        size = packing.packed_bytes([value.size for value in opening.values])
        rounds, depth = self._deepen()
        return self._send(self._next(Step(size * (self.count - 1), rounds)) + "/open", opening.values), depth

    def _deepen(self) -> tuple[int, int]:
        """(rounds that a message adds: 0 if it leaves while another of its depth is under way, its depth)."""
        depth = self._known_depth + 1
        rounds = int(depth > self._sent_depth)
        self._sent_depth = depth
        return rounds, depth

    def _collect(self, posted: Posted, depth: int) -> list[Tensor]:
        self._known_depth = max(self._known_depth, depth)
        return self._receive(posted)

    def _send(self, address: str, values: Sequence[Masked]) -> Posted:
        return post(self.links, address, values)

    def _receive(self, posted: Posted) -> list[Tensor]:
        return collect(self.links, posted)

    def hand_over(self, owner: int, words: Tensor | None, octets: Tensor | None, announced: Tensor | None,
                  sizes: tuple[tuple[int, int], tuple[int, int], int], hidden_by: str, *,
                  beside: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """One round of a dealt permutation: masked records go to its owner, its masked map to all others.

        `beside`: in the round of the one before, on which it does not depend.

        `sizes`: shape of words, shape of octets, length of the announced int32 map (0: none). The owner gets the
        sums of the others' words and the XOR of their octets; the others get the map. Unused results are empty.
        """
        assert hidden_by, "say which mask hides the values"
        (rows, count), (_, width), length = sizes
        outward = rows * (8 * count + width)
        sent = 4 * length * (self.count - 1) if self.rank == owner else outward
        rounds, self._known_depth = (0, self._known_depth) if beside else self._deepen()
        address = self._next(Step(sent, rounds)) + "/turn"
        if self.tracing:
            return self._blank((rows, count)), self._blank((rows, width), torch.uint8), self._blank((length,))
        if self.rank == owner:
            told = announced if length else None
            return *take_rows(self.links, address, (rows, count), width, told, self.device), self._blank((0,))
        assert words is not None
        assert octets is not None
        return words, octets, give_rows(self.links[owner], address, words, octets, length)

    # --- bookkeeping ---

    def _next(self, step: Step) -> str:
        """The address of the next step, metered."""
        cost = self.meter.at(self._label)
        cost.sent += step.sent
        cost.rounds += step.rounds
        cost.dealt += sum(dealing.correction_bytes(correlation) for correlation in step.group)
        address = self._address()
        self._step += 1
        return address

    def _address(self) -> str:
        return f"{self._label}#{self._step}"

    def _blank(self, shape: tuple[int, ...], dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.device)
