"""Programs of tests/test_fetch.py, run at every party (tests/parties.py). Inputs are test data, not masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdh.executors.fetch import fetched
from sdh.executors.runtime import Session
from sdh.executors.shares import raw
from tests.protocol_programs import same, share


def fetches(session: Session, rows: int, slots: int, width: int, owner: int) -> None:
    """Every row that is asked for, the first and the last among them; several ask for one."""
    bits = np.random.default_rng(slots).integers(0, 2, (slots, width), dtype=np.uint8)
    places = np.random.default_rng(rows).integers(0, slots, rows)
    places[:4] = [0, slots - 1, 0, slots // 2][:rows]
    x = share(session, 0, torch.from_numpy(places))
    found = fetched(session, raw(x), slots, owner, session.at(owner, lambda: table(bits)), width)
    for plane, wanted in zip(found, bits[places].T, strict=True):
        same(session, plane, torch.from_numpy(wanted).long(), "fetched")


def table(bits: Any) -> Tensor:
    """0 and 1 [slots, width], as executors.fetch takes them."""
    slots, width = bits.shape
    packed = np.zeros((width, -(-slots // 64) * 8), dtype=np.uint8)
    packed[:, :-(-slots // 8)] = np.packbits(bits.T, axis=1, bitorder="little")
    return torch.from_numpy(np.ascontiguousarray(packed.view("<i8").T))


def seen(session: Session, place: int, fill: int) -> list[int]:
    """Bytes that are opened or handed over where all rows ask for one place of a table of one bit everywhere: their histogram."""
    found: list[Tensor] = []
    collect, hand_over = session._collect, session.hand_over

    def listen(posted: Any, depth: int) -> list[Tensor]:
        got = collect(posted, depth)
        for item, part in zip(posted.values, got, strict=True):
            octets = part.contiguous().reshape(-1).view(torch.uint8)
            found.append(octets if item.xor else octets[::8])
        return got

    def overhear(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        got = hand_over(*arguments)
        if session.rank == arguments[0]:
            found.append((got[1] ^ arguments[2]).reshape(-1))   # with its own: the vectors of all, masked
        return got

    if not session.tracing:
        session._collect, session.hand_over = listen, overhear  # type: ignore[method-assign,assignment]
    x = share(session, 0, torch.full((400,), place))
    full = np.full((300, 400), fill, dtype=np.uint8)
    fetched(session, raw(x), 300, 1, session.at(1, lambda: table(full)), 400)
    return [] if session.tracing else torch.bincount(torch.cat(found).long(), minlength=256).tolist()


def frames(session: Session, places: list[int], fill: int) -> list[list[Any]]:
    """Address and length of every frame that this party sends."""
    sent: list[list[Any]] = []
    for link in session.links.values():
        honest = link.send

        def record(address: str, payload: Any, honest: Any = honest) -> None:
            sent.append([address, len(payload)])
            honest(address, payload)

        link.send = record  # type: ignore[method-assign]
    x = share(session, 0, torch.tensor(places))
    full = np.full((300, 5), fill, dtype=np.uint8)
    fetched(session, raw(x), 300, 1, session.at(1, lambda: table(full)), 5)
    for link in session.links.values():
        del link.send
    return sent
