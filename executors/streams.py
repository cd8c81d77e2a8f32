"""Streams of cryptographic randomness: one key per address, one address per use.

A seed is 32 bytes that two processes share (two parties, or the dealer and a party) and that already binds the
session digest. Every draw has an address (operator / step / purpose); its stream's key is a keyed BLAKE2b of the
address, its ChaCha20 block counter (64 bits, nonce 0) starts at 0: a cipher that a GPU computes as well, byte for
byte. A `Source` opens an address once: a mask meets one value once.

NumPy and cryptography only, so that the dealer needs no torch.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from sdh.errors import InternalError

Words = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]

_ZEROS = bytes(1 << 18)
_START = bytes(16)
"""Counter 0, nonce 0: the key alone is fresh."""


class Stream:
    """The ChaCha20 key stream (Bernstein 2008; 64-bit counter) under one key, read from its beginning."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.ChaCha20(key, _START), None).encryptor()

    def octets(self, count: int) -> Octets:
        """The next `count` bytes."""
        out = np.empty(count, dtype=np.uint8)
        self._fill(out)
        return out

    def words(self, count: int) -> Words:
        """The next `count` 64-bit words, little-endian."""
        out = np.empty(count, dtype="<i8")
        self._fill(out.view(np.uint8))
        return out

    def bytes(self, count: int) -> bytes:
        return self.octets(count).tobytes()

    def parts(self, counts: Sequence[int]) -> list[Words]:
        """The next words in so many arrays."""
        return [self.words(count) for count in counts]

    @staticmethod
    def words_of(octets: Any, start: int, count: int) -> Words:
        """Words in a buffer of bytes that was received, from byte `start` on."""
        return np.frombuffer(octets, "<i8", count, start)

    @staticmethod
    def octets_of(octets: Any, start: int, count: int) -> Octets:
        return np.frombuffer(octets, np.uint8, count, start)

    def permutation(self, count: int) -> Words:
        """A uniform permutation: the argsort of 64-bit words, drawn again on a tie (protocols.md, section 1)."""
        while True:
            keys = self.words(count)
            order = np.argsort(keys)
            ordered = keys[order]
            if not bool((ordered[1:] == ordered[:-1]).any()):
                return order

    def _fill(self, out: Octets) -> None:
        for start in range(0, len(out), len(_ZEROS)):
            piece = out[start:start + len(_ZEROS)]
            self._cipher.update_into(memoryview(_ZEROS)[:len(piece)], piece.data)


def stream(seed: bytes, address: str) -> Stream:
    """The stream of `address` under a 32-byte `seed`."""
    return Stream(stream_key(seed, address))


def stream_key(seed: bytes, address: str) -> bytes:
    """BLAKE2b-256 of the address, keyed by the seed."""
    if len(seed) != 32:
        raise InternalError("A seed has 32 bytes.")
    return hashlib.blake2b(address.encode(), digest_size=32, key=seed, person=b"sdh stream").digest()


class Source:
    """A seed and the addresses already used under it. `open` refuses an address a second time.

    `make`: what makes the stream of a key; another than Stream where words are made on a GPU (executors/cuda.py).
    """

    def __init__(self, seed: bytes, make: Callable[[bytes], Any] = Stream) -> None:
        if len(seed) != 32:
            raise InternalError("A seed has 32 bytes.")
        self._seed, self._make = bytearray(seed), make
        self._used: set[str] = set()

    def open(self, address: str) -> Any:
        """The stream at `address`: a Stream, or what `make` makes."""
        return self._make(self._key(address))

    def key(self, address: str) -> bytes:
        """32 bytes for one use at `address`."""
        return Stream(self._key(address)).bytes(32)

    def _key(self, address: str) -> bytes:
        if not self._seed:
            raise InternalError("The session's seeds were erased.")
        if address in self._used:
            raise InternalError(f"The stream at {address!r} was already used.")
        self._used.add(address)
        return stream_key(bytes(self._seed), address)

    def erase(self) -> None:
        """Forget the seed; every later `open` is an InternalError."""
        self._seed[:] = bytes(len(self._seed))
        self._seed.clear()


def fresh_source(make: Callable[[bytes], Any] = Stream) -> Source:
    """A source under a seed that nobody else has."""
    return Source(secrets.token_bytes(32), make)
