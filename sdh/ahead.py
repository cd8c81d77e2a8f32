"""A stream dealt ahead: a prepared query's corrections on the dealer's disk, until its one run (protocols.md, rule 1).

A folder of mode 0700 with a file of mode 0600 for each holder: its corrections in dealing order, in AES-256-GCM pieces
under a key that is in this process's memory alone, so that no file outlives the process readable. The nonce counts
pieces, the associated data is the correction's address. cryptography and the standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sdh.errors import DiskFull, ProtocolError
from sdh.session import spent

PIECE = 1 << 20
TAG = 16
USED = "used"


class Ahead:
    """Written, then used once: marked, read in the order of writing, removed."""

    def __init__(self, folder: Path, holders: int) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._holders = [_Holder(folder / str(holder)) for holder in range(holders)]

    def write(self, holder: int, address: str, correction: bytes) -> None:
        """The next correction of a holder. Raises DiskFull."""
        with _room():
            self._holders[holder].write(correction, address.encode())

    def finish(self) -> None:
        """Nothing more is written. Raises DiskFull."""
        with _room():
            for holder in self._holders:
                holder.rewind()

    def use(self) -> None:
        """Mark it used, on the disk itself, before its first byte is read. Raises PreparedSpent when it was."""
        try:
            mark = os.open(self._folder / USED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise spent() from None
        folder = os.open(self._folder, os.O_RDONLY)
        for descriptor in (mark, folder):
            os.fsync(descriptor)
            os.close(descriptor)

    def read(self, holder: int, address: str, size: int) -> bytearray:
        """The next correction of a holder. Raises ProtocolError when the file is not what was written."""
        return self._holders[holder].read(size, address.encode())

    def close(self) -> None:
        """Remove the files."""
        for holder in self._holders:
            holder.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Holder:
    """One holder's file, its key and the number of its next piece."""

    def __init__(self, path: Path) -> None:
        self._cipher, self._piece = AESGCM(AESGCM.generate_key(256)), 0
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")

    def write(self, correction: bytes, address: bytes) -> None:
        view = memoryview(correction)
        for start in range(0, len(view), PIECE):
            self._file.write(self._cipher.encrypt(self._nonce(), view[start:start + PIECE], address))

    def rewind(self) -> None:
        self._file.seek(0)
        self._piece = 0

    def read(self, size: int, address: bytes) -> bytearray:
        correction = bytearray(size)
        view = memoryview(correction)
        for start in range(0, size, PIECE):
            into = view[start:start + PIECE]
            try:
                self._cipher.decrypt_into(self._nonce(), self._file.read(len(into) + TAG), address, into)
            except (InvalidTag, ValueError):
                raise ProtocolError("What was dealt ahead was altered on the dealer's disk.",
                                    advice="Nothing was released; prepare the query again.") from None
        return correction

    def close(self) -> None:
        with contextlib.suppress(OSError):   # it writes what is left in its buffer
            self._file.close()

    def _nonce(self) -> bytes:
        self._piece += 1
        return self._piece.to_bytes(12, "little")


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DiskFull("The dealer's disk has no room for what would be dealt ahead.",
                       advice="Ask the query without preparing it, or set TMPDIR to a larger disk.") from None
