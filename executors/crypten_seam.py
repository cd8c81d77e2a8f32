"""CrypTen runs on SDH's randomness and doors: communicator, provider and generator for one session.

CrypTen's share tensors dispatch `*` to a Beaver protocol, which asks the provider for a triple and the communicator
for one opening of what the triple hides. `install` puts SDH's in their place (CrypTen's state is global to the
process: one session at a time), `uninstall` takes them out. Whatever is not a masked opening, such as
`get_plain_text()`, is refused: results leave through `reveal` alone. torch's generators are never used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NoReturn

import torch
from torch import Tensor

from sdh.errors import InternalError
from sdh.executors.dealing import Correlation
from sdh.executors.messages import Masked
from sdh.executors.runtime import Session
from sdh.executors.shares import ArithmeticSharedTensor, BinarySharedTensor, arithmetic, binary

import crypten  # isort: skip  # after sdh.executors.shares, which makes it importable
import crypten.common.rng  # isort: skip
import crypten.mpc  # isort: skip
from crypten.communicator import DistributedCommunicator  # isort: skip
from crypten.mpc.primitives import arithmetic as _arithmetic, binary as _binary  # isort: skip


class Communicator:
    """What CrypTen's tensors ask of a communicator. An opening happens only where the provider dealt its mask."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.hidden_by = ""
        self.shapes: list[tuple[int, ...]] = []

    def get_rank(self) -> int:
        return self.session.rank

    def get_world_size(self) -> int:
        return self.session.count

    def allow(self, hidden_by: str, shapes: Sequence[Sequence[int]]) -> None:
        """The next opening, of these shapes, is hidden by what was just dealt."""
        self.hidden_by, self.shapes = hidden_by, [tuple(shape) for shape in shapes]

    def all_reduce(self, values: Any, op: Any = torch.distributed.ReduceOp.SUM, batched: bool = False) -> Any:
        """Open masked shares. InternalError unless the provider dealt the masks for exactly this opening."""
        shared: list[Tensor] = values if batched else [values]
        if not self.hidden_by or [tuple(value.shape) for value in shared] != self.shapes:
            raise InternalError("CrypTen asked to open a value that no mask hides; results leave through reveal().")
        hidden_by, self.hidden_by = self.hidden_by, ""
        xor = op == torch.distributed.ReduceOp.BXOR
        opened = self.session.open_masked([Masked(value, xor=xor) for value in shared], hidden_by)
        return opened if batched else opened[0]

    def __getattr__(self, name: str) -> NoReturn:
        raise InternalError(f"SDH's communicator does no {name!r}.")


class Provider:
    """Triples for CrypTen's own protocols, from the dealer's stream."""

    def __init__(self, session: Session, communicator: Communicator) -> None:
        self._session, self._communicator = session, communicator

    def generate_additive_triple(self, size0: Any, size1: Any, op: str, device: Any = None, *args: Any,
                                 **kwargs: Any) -> tuple[Any, Any, Any]:
        del device
        if op != "mul" or tuple(size0) != tuple(size1) or args or kwargs:
            raise InternalError(f"SDH deals products of equal shapes, not {op} of {tuple(size0)} and {tuple(size1)}.")
        parts = self._draw("triple", size0, 2)
        return arithmetic(parts[0]), arithmetic(parts[1]), arithmetic(parts[2])

    def generate_binary_triple(self, size0: Any, size1: Any, device: Any = None) -> tuple[Any, Any, Any]:
        del device
        if tuple(size0) != tuple(size1):
            raise InternalError("SDH deals ANDs of equal shapes.")
        parts = self._draw("and", size0, 2)
        return binary(parts[0]), binary(parts[1]), binary(parts[2])

    def square(self, size: Any, device: Any = None) -> tuple[Any, Any]:
        del device
        parts = self._draw("square", size, 1)
        return arithmetic(parts[0]), arithmetic(parts[1])

    def _draw(self, kind: str, size: Any, opened: int) -> list[Tensor]:
        [parts] = self._session.draw(Correlation(kind, prod(size)))
        self._communicator.allow(f"{kind} for CrypTen", [size] * opened)
        return [part.reshape(tuple(size)) for part in parts]

    def __getattr__(self, name: str) -> NoReturn:
        raise InternalError(f"SDH's provider deals no {name!r}.")


_saved: list[tuple[Any, str, Any]] = []


def install(session: Session) -> None:
    """Make `session` the one that CrypTen's tensors compute in. InternalError if one is installed."""
    if _saved:
        raise InternalError("CrypTen already runs a session in this process.")
    communicator = Communicator(session)
    provider = Provider(session, communicator)
    _put(DistributedCommunicator, "instance", communicator)
    _put(DistributedCommunicator, "is_initialized", classmethod(lambda _: True))
    _put(crypten.mpc, "get_default_provider", lambda: provider)
    _put(ArithmeticSharedTensor, "PRZS", staticmethod(_zero_sharing(session, xor=False)))
    _put(BinarySharedTensor, "PRZS", staticmethod(_zero_sharing(session, xor=True)))
    _put(ArithmeticSharedTensor, "div_", _divide)
    random = _random(session)
    for module in (crypten.common.rng, _arithmetic):
        _put(module, "generate_random_ring_element", random)
    for module in (crypten.common.rng, _binary):
        _put(module, "generate_kbit_random_tensor", random)


def uninstall() -> None:
    """Put CrypTen back as it was."""
    while _saved:
        where, name, value = _saved.pop()
        setattr(where, name, value)


@contextmanager
def installed(session: Session) -> Iterator[None]:
    install(session)
    try:
        yield
    finally:
        uninstall()


def _put(where: Any, name: str, value: Any) -> None:
    _saved.append((where, name, vars(where)[name]))
    setattr(where, name, value)


def _zero_sharing(session: Session, *, xor: bool) -> Callable[..., Any]:
    def zeros(*size: Any, device: Any = None) -> Any:
        del device
        shape = _shape(size)
        share = session.zeros(prod(shape), xor=xor).reshape(shape)
        return binary(share) if xor else arithmetic(share)
    return zeros


def _random(session: Session) -> Callable[..., Tensor]:
    def random(size: Any, *args: Any, generator: Any = None, **kwargs: Any) -> Tensor:
        if generator is not None or args or kwargs.get("bitlength", 64) not in (None, 64):
            raise InternalError("CrypTen's random numbers come from SDH's streams, 64 bits each.")
        shape = _shape((size,))
        return session.private_words(prod(shape)).reshape(shape)
    return random


def _divide(shared: Any, divisor: Any) -> Any:
    """CrypTen divides by its scale, 1 here; its other divisions are inexact."""
    if not isinstance(divisor, int) or divisor != 1:
        raise InternalError("CrypTen's division is inexact; division on shares is divide().")
    return shared


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)
