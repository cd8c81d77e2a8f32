"""What nodes, dealer and hub agree on for one run: hello, digests, nonces, and the envelope around a result share.

cryptography and the standard library only: the dealer imports this.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sdh.connectors.wire import expand
from sdh.errors import PreparedSpent, ProtocolError

DEALER = "$dealer"
"""The dealer's name. No party can have it: a party's name is an identifier."""

NONCE = 32
DIGEST = 32
ENVELOPE = 1 << 26
"""Bytes of a result that are sealed at once: AES-GCM has an upper limit, and memory too."""


@dataclass(frozen=True, slots=True)
class Member:
    """Who takes part: name, long-term X25519 key, address. Hubs tell nodes of members; links prove the keys."""

    name: str
    public: bytes
    address: str = ""

    def to_message(self) -> list[str]:
        return [self.name, self.public.hex(), self.address]


def member_from_message(message: Sequence[str]) -> Member:
    name, public, address = message
    return Member(name, bytes.fromhex(public), address)


# --- digests -------------------------------------------------------------------------------------


def hash_parts(*parts: bytes) -> bytes:
    """SHA-256 over length-prefixed parts: no two lists of parts have the same input."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


def session_digest(plan: str, parties: Sequence[Member], dealer: Member, receiver: Member, nonces: Sequence[bytes],
                   dealing: bytes) -> bytes:
    """H(plan digest, ordered parties, dealer, receiver with keys, nonce parts in that order, dealing list).

    The parties' nonce parts are unknown to the dealer, so it cannot try plans against the digest it is given.
    """
    members = [part for member in (*parties, dealer, receiver) for part in (member.name.encode(), member.public)]
    return hash_parts(b"sdh session", bytes.fromhex(plan), len(parties).to_bytes(4, "little"), *members, *nonces,
                      dealing)


def local_digest(plan: str, party: Member, receiver: Member, nonce: bytes) -> bytes:
    """Of a run at one owner alone: what its result is bound to."""
    return hash_parts(b"sdh local", bytes.fromhex(plan), party.name.encode(), party.public, receiver.name.encode(),
                      receiver.public, nonce)


# --- nonces --------------------------------------------------------------------------------------


class Nonces:
    """The nonce parts that a process has seen in its life. Each serves once, whatever became of its session."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def draw(self) -> bytes:
        """A fresh part of this process's own."""
        return secrets.token_bytes(NONCE)

    def use(self, parts: Iterable[bytes]) -> None:
        """Mark a session's parts as used. Raises ProtocolError when one was used before, or twice in this session."""
        for part in parts:
            if len(part) != NONCE or part in self._seen:
                raise ProtocolError("A nonce was offered a second time.", advice="Nothing was shared; ask again.")
            self._seen.add(part)


def commitment(nonce: bytes) -> bytes:
    """What the dealer gets of a party's nonce part: enough to refuse it a second time."""
    return hash_parts(b"sdh nonce", nonce)


def spent() -> PreparedSpent:
    return PreparedSpent("This prepared query ran already, or was closed.", advice="Prepare it again: it runs once.")


# --- hello ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of a party to every other: its nonce part, what it was asked, its fragments' slots by number."""

    nonce: bytes
    question: bytes
    slots: tuple[tuple[int, int], ...]

    def to_message(self) -> dict[str, Any]:
        slots = [list(pair) for pair in self.slots]
        return {"nonce": self.nonce.hex(), "question": self.question.hex(), "slots": slots}


def hello_from_message(message: dict[str, Any], peer: str) -> Hello:
    """Raises ProtocolError for anything but a hello."""
    try:
        slots = tuple((int(number), int(count)) for number, count in message["slots"])
        return Hello(bytes.fromhex(message["nonce"]), bytes.fromhex(message["question"]), slots)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ProtocolError(f"{peer} did not begin with a hello.") from None


# --- the envelope --------------------------------------------------------------------------------


def seal(payload: bytes, sender: str, receiver: bytes, context: bytes) -> list[bytes]:
    """The payload for the receiver's key alone, in pieces of bounded size; `context` is the session digest."""
    ephemeral = X25519PrivateKey.generate()
    own = ephemeral.public_key().public_bytes_raw()
    cipher = _cipher(ephemeral.exchange(X25519PublicKey.from_public_bytes(receiver)), own, sender, receiver, context)
    starts = range(0, max(len(payload), 1), ENVELOPE)
    last, view = len(starts) - 1, memoryview(payload)
    return [own] + [cipher.encrypt(number.to_bytes(12, "little"), view[start:start + ENVELOPE], bytes([number == last]))
                    for number, start in enumerate(starts)]


def unseal(pieces: Sequence[bytes], sender: str, key: X25519PrivateKey, context: bytes) -> bytes:
    """What `seal` wrapped. Raises ProtocolError when anything in it, its sender or its session is another."""
    try:
        own, first, *more = pieces
        sealed = [first, *more]
        shared = key.exchange(X25519PublicKey.from_public_bytes(own))
        cipher = _cipher(shared, own, sender, key.public_key().public_bytes_raw(), context)
        last = len(sealed) - 1
        return b"".join(cipher.decrypt(number.to_bytes(12, "little"), piece, bytes([number == last]))
                        for number, piece in enumerate(sealed))
    except (InvalidTag, ValueError):
        raise ProtocolError(f"The result of {sender} was altered or is of another session.") from None


def _cipher(shared: bytes, ephemeral: bytes, sender: str, receiver: bytes, context: bytes) -> AESGCM:
    return AESGCM(expand(shared, "sdh result", salt=hash_parts(context, sender.encode(), ephemeral, receiver)))
