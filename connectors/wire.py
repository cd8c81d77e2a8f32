"""Links between processes: key agreement, then frames with an address, a planned length and an AEAD tag.

A frame is 24 bytes of header (length of the payload, 8 bytes little-endian; BLAKE2b-128 of its address) and the
payload in pieces of up to 256 KiB, each AES-256-GCM sealed (16 bytes longer) under the next nonce with the header as
associated data. The receiver names the address and length it planned; any other frame is a ProtocolError. Data
frames are planned exactly; control messages are JSON of bounded length. Frames are the same on every transport: a Unix
socket, or TLS over TCP (tls.py), inside which they keep their tags: these bind address, order and the session's secret
from end to end, even where TLS ends at a gateway, for 10-20% of CPU time (measured); TLS alone takes half.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sdh.errors import PartyLost, ProtocolError

HEADER = struct.Struct("<Q16s")
TAG = 16
CONTROL = "control"
LONGEST_CONTROL = 1 << 26
PIECE = 1 << 18
"""Bytes sealed at a time: they stay in the processor's cache, and sending overlaps sealing."""
_BUFFER = 1 << 22
"""Buffers asked for at Unix sockets (the system may grant less): most frames then leave without the writer thread."""
PACE = 1 << 23
"""`send_paced` waits while more than this is queued."""

Buffer = bytes | bytearray | memoryview


class Connection(Protocol):
    """The transport under a link: what it uses of a connected stream socket. `socket.socket` is one.

    With MSG_DONTWAIT `send` raises BlockingIOError when nothing can be taken; bytes that were not taken are given
    again, the same and in order, before any other.
    """

    def send(self, data: memoryview, flags: int = ..., /) -> int: ...

    def sendall(self, data: Buffer, /) -> None: ...

    def recv_into(self, buffer: memoryview, /) -> int: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


def address_digest(address: str) -> bytes:
    return hashlib.blake2b(address.encode(), digest_size=16).digest()


def expand(secret: bytes, info: str, length: int = 32, salt: bytes = b"") -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    return HKDF(hashes.SHA256(), length, salt or None, info.encode()).derive(secret)


def session_seed(secret: bytes, digest: bytes) -> bytes:
    """The seed of one session between the two ends of a link with this secret."""
    return expand(secret, "sdh session seed", 32, digest)


@dataclass(frozen=True, slots=True)
class Identity:
    """A process's name and long-term X25519 key."""

    name: str
    key: X25519PrivateKey

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()


def new_identity(name: str) -> Identity:
    return Identity(name, X25519PrivateKey.generate())


class Link:
    """A duplex, ordered, authenticated and encrypted connection to one peer.

    `send` never waits for the peer to read (a writer thread drains what the socket does not take at once), so two
    peers may send to each other before either receives; `send_paced` waits while much is queued. `secret` is 32
    bytes that only the two ends know.
    """

    def __init__(self, connection: Connection, peer: str, secret: bytes, initiator: bool) -> None:
        self.peer, self.secret = peer, secret
        self._connection = connection
        if isinstance(connection, socket.socket) and connection.family == socket.AF_UNIX:   # TCP finds its own sizes
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                connection.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        mine, theirs = ("a to b", "b to a") if initiator else ("b to a", "a to b")
        self._seal, self._unseal = AESGCM(expand(secret, mine)), AESGCM(expand(secret, theirs))
        self._sent = self._received = 0
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._sealed, self._scratch = (memoryview(bytearray(HEADER.size + PIECE + TAG)) for _ in range(2))
        self._sending = threading.Lock()
        self._ready = threading.Condition()
        self._writer: threading.Thread | None = None
        self._broken: OSError | None = None
        self._closed = False

    def send(self, address: str, payload: Buffer) -> None:
        """Send one frame. Raises PartyLost if the peer is gone."""
        view = memoryview(payload).cast("B") if payload else memoryview(b"")
        header = HEADER.pack(len(view), address_digest(address))
        with self._sending:
            self._sealed[:HEADER.size] = header
            for start in range(0, len(view) or 1, PIECE):
                end = self._seal_piece(view[start:start + PIECE], header)
                self._write(self._sealed[HEADER.size if start else 0:end])

    def send_paced(self, address: str, payload: Buffer) -> None:
        """Send one frame and wait while the peer is far behind: memory stays bounded."""
        self.send(address, payload)
        with self._ready:
            while self._queued > PACE and self._broken is None and not self._closed:
                self._ready.wait()

    def receive(self, address: str, length: int) -> bytes:
        """The payload of the next frame, which must have this address and length.

        Raises PartyLost if the peer is gone, ProtocolError for any other frame or a wrong tag.
        """
        payload = io.BytesIO(bytes(length))   # whose buffer becomes the result: a bytearray would be copied
        with payload.getbuffer() as view:
            self.receive_into(address, view)
        return payload.getvalue()

    def receive_into(self, address: str, buffer: bytearray | memoryview) -> None:
        """Receive into a writable buffer of exactly the planned length. Raises as `receive` does."""
        view = memoryview(buffer).cast("B") if len(buffer) else memoryview(bytearray())
        first = self._scratch[:HEADER.size + min(len(view), PIECE) + TAG]
        got = self._read(first, HEADER.size)
        header = bytes(first[:HEADER.size])
        size = self._check(header, address, len(view), exact=True)
        self._read(first[got:], len(first) - got)
        self._unseal_piece(first[HEADER.size:], header, view[:PIECE], address)
        self._receive_pieces(header, view[PIECE:size], address)

    def send_message(self, message: dict[str, Any]) -> None:
        """Send a control message: JSON values; `bytes` travel as hexadecimal by the caller's choice."""
        self.send(CONTROL, json.dumps(message, separators=(",", ":")).encode())

    def receive_message(self) -> dict[str, Any]:
        """The next frame, which must be a control message."""
        self._read(self._scratch[:HEADER.size], HEADER.size)
        header = bytes(self._scratch[:HEADER.size])
        payload = bytearray(self._check(header, CONTROL, LONGEST_CONTROL, exact=False))
        view = memoryview(payload)
        self._receive_pieces(header, view, CONTROL, at_least_one=True)
        try:
            message = json.loads(payload)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise ProtocolError(f"{self.peer} sent a message that cannot be read.", advice="Nothing was released.")
        return message

    def close(self) -> None:
        """Give what is queued a moment to leave, then end the connection and wake whoever waits on it."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        if self._writer is not None and self._writer is not threading.current_thread():
            self._writer.join(timeout=1.0)
        self.cut()

    def cut(self) -> None:
        """End the connection at once; any thread blocked on it gets PartyLost."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _check(self, header: bytes, address: str, length: int, *, exact: bool) -> int:
        size: int
        size, digest = HEADER.unpack(header)
        if digest != address_digest(address) or (size != length if exact else size > length):
            raise ProtocolError(f"{self.peer} sent a frame that was not planned at {address!r}.",
                                advice="Nothing was released; run the query again, and report it if it happens again.")
        return size

    def _receive_pieces(self, header: bytes, view: memoryview, address: str, *, at_least_one: bool = False) -> None:
        while view or at_least_one:
            sealed = self._scratch[:min(len(view), PIECE) + TAG]
            self._read(sealed, len(sealed))
            self._unseal_piece(sealed, header, view[:PIECE], address)
            view, at_least_one = view[PIECE:], False

    def _seal_piece(self, piece: memoryview, header: bytes) -> int:
        """Seal a piece behind the header's place; where it ends."""
        nonce, end = self._sent.to_bytes(12, "little"), HEADER.size + len(piece) + TAG
        self._sent += 1
        self._seal.encrypt_into(nonce, piece, header, self._sealed[HEADER.size:end])
        return end

    def _unseal_piece(self, sealed: memoryview, header: bytes, into: memoryview, address: str) -> None:
        try:
            self._unseal.decrypt_into(self._received.to_bytes(12, "little"), sealed, header, into)
        except InvalidTag:
            raise ProtocolError(f"A frame from {self.peer} was altered on its way at {address!r}.",
                                advice="Nothing was released.") from None
        self._received += 1

    def _read(self, view: memoryview, least: int) -> int:
        """Read at least `least` bytes into `view`, more if they are there; how many."""
        total = 0
        while total < least:
            try:
                got = self._connection.recv_into(view[total:])
            except OSError:
                got = 0
            if not got:
                raise PartyLost(f"The connection to {self.peer} ended.")
            total += got
        return total

    def _write(self, frame: memoryview) -> None:
        """Send now what the transport takes at once and queue a copy of the rest: `frame` may be used again."""
        with self._ready:
            if self._broken is not None or self._closed:
                raise PartyLost(f"The connection to {self.peer} ended.")
            if not self._queue:
                frame = frame[self._try(frame):]
            if not frame:
                return
            self._queue.append(memoryview(bytes(frame)))
            self._queued += len(frame)
            if self._writer is None:
                self._writer = threading.Thread(target=self._drain, daemon=True, name=f"to {self.peer}")
                self._writer.start()
            self._ready.notify_all()

    def _try(self, frame: memoryview) -> int:
        try:
            return self._connection.send(frame, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._broken = error
            raise PartyLost(f"The connection to {self.peer} ended.") from None

    def _drain(self) -> None:
        while True:
            with self._ready:
                while not self._queue and not self._closed:
                    self._ready.wait()
                if not self._queue:
                    return
                frame = self._queue[0]
            try:
                self._connection.sendall(frame)
            except OSError as error:
                with self._ready:
                    self._broken = error
                    self._queue.clear()
                    self._ready.notify_all()
                return
            with self._ready:
                self._queue.popleft()
                self._queued -= len(frame)
                self._ready.notify_all()


def handshake(connection: Connection, identity: Identity, peer: str, peer_public: bytes, *,
              initiator: bool, context: bytes) -> Link:
    """Agree on a secret with `peer` and return the link.

    Ephemeral-ephemeral and static-static X25519, bound to both names, keys and `context` (what the link is for);
    both ends prove the secret by a sealed frame each. Raises ProtocolError when the peer holds another key.
    """
    ephemeral = X25519PrivateKey.generate()
    own = ephemeral.public_key().public_bytes_raw()
    try:
        connection.sendall(own)
        other = _exactly(connection, 32)
    except OSError:
        raise PartyLost(f"The connection to {peer} ended before it began.") from None
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(other))
        shared += identity.key.exchange(X25519PublicKey.from_public_bytes(peer_public))
    except ValueError:   # of low order: the secret would not depend on the own key
        raise ProtocolError(f"{peer} offered a key that no honest process has.", advice="Nothing was shared.") from None
    ends = [(identity.name, identity.public, own), (peer, peer_public, other)]
    first, second = ends if initiator else reversed(ends)
    transcript = hashlib.sha256()
    for name, public, fresh in (first, second):
        for part in (name.encode(), public, fresh):
            transcript.update(len(part).to_bytes(4, "little") + part)
    link = Link(connection, peer, expand(shared, "sdh link", salt=transcript.digest() + context), initiator)
    link.send("proof", b"")
    link.receive("proof", 0)
    return link


def _exactly(connection: Connection, size: int) -> bytes:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        got = connection.recv_into(rest)
        if not got:
            raise ConnectionError
        rest = rest[got:]
    return bytes(data)
