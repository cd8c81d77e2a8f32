"""The second door out of shares: `reveal` hands shares to a receiver, for a reason that EXPLAIN lists."""

from __future__ import annotations

import torch

from sdh.audit import Reveal
from sdh.errors import InternalError
from sdh.executors.bits import Bits
from sdh.executors.permute import Record
from sdh.executors.runtime import Session
from sdh.executors.shares import raw


def reveal(session: Session, record: Record, to: str, reason: str, planned: tuple[Reveal, ...]) -> bytes:
    """This party's shares of a record for the receiver, each with a fresh zero sharing: words, then packed bits.

    Whoever adds up (XORs) all parties' bytes sees the record. The session keeps what was revealed. Raises InternalError
    for a reason that was not planned.
    """
    entry = next((one for one in planned if (one.reason, one.to) == (reason, to)), None)
    if entry is None:
        raise InternalError(f"Nothing is to be revealed to {to} as {reason!r}.")
    session.revealed.append(entry)
    words = [session.rerandomize(raw(part)) for part in record if not isinstance(part, Bits)]
    octets = [session.rerandomize(part.share, xor=True) for part in record if isinstance(part, Bits)]
    if session.tracing:
        return b""
    parts = [*words, *octets]
    return torch.cat(parts).cpu().numpy().tobytes() if parts else b""
