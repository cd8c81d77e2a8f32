"""Where tensors live, without a GPU: a program's steps on torch's fake CUDA tensors, which have no values.

What mixes devices raises, as it would on a GPU; so does what reads a tensor of a GPU as NumPy's. Openings, what is dealt
and what the kernels give are blank; the owners' work on clear data is done. Right values need a GPU or the interpreter.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from sdh.executors import runtime
from sdh.executors.dealing import Correlation, Item, RowMasks, layout
from sdh.executors.messages import Posted
from sdh.executors.metering import Step
from sdh.executors.permutation import Permutation
from sdh.executors.runtime import Session
from sdh.executors.shares import words_of
from sdh.planners.comparing import EQ, LT

MODE = FakeTensorMode(allow_non_fake_inputs=True)
CUDA = torch.device("cuda:0")
READS = (Tensor.numpy, Tensor.tolist, Tensor.item)


def blank(shape: Any, dtype: torch.dtype = torch.int64) -> Tensor:
    with MODE:
        return torch.empty(tuple(shape), dtype=dtype, device=CUDA)


def there(*tensors: Tensor | None) -> None:
    assert all(tensor is None or tensor.device == CUDA for tensor in tensors), [t.device for t in tensors if t is not None]


class FakeSession(Session):
    """A party of `count` whose shares are on a GPU that is not there."""

    def __init__(self, rank: int, count: int) -> None:
        super().__init__(rank, [f"party{i}" for i in range(count)], {}, None, b"", device="meta")
        nobody: Any = None
        self.device, self.links = CUDA, dict.fromkeys(self.others, nobody)

    def pair_key(self, first: int, second: int) -> bytes | None:
        self._next(Step())
        return bytes(32) if self.rank in (first, second) else None

    def _shares(self, item: Item) -> list[list[Tensor]]:
        return [[blank(part.shape) for parts in layout(correlation) for part in parts] for correlation in item.group]

    def _permutation(self, item: Item) -> Permutation:
        def masks(rows: int, group: Correlation) -> RowMasks:
            return RowMasks(blank((rows, group.count)), blank((rows, group.width), torch.uint8))

        rows, total = item.group[0].rows, item.group[0].total
        if self.rank == item.holder:
            return Permutation(item.group, blank((total,)), None, partial(masks, total))
        return Permutation(item.group, None, partial(masks, rows), partial(masks, total))

    def _pair_words(self, peer: int, address: str, rows: int) -> Tensor:
        return blank((rows,))

    def private_words(self, count: int) -> Tensor:
        self._next(Step())
        return blank((count,))

    def _send(self, address: str, values: Any) -> Posted:
        there(*(value.share for value in values))
        return Posted(address, values, [], 0)

    def _receive(self, posted: Posted) -> list[Tensor]:
        return [blank(value.share.shape) for value in posted.values]


def _take_rows(links: Any, address: str, shape: tuple[int, int], width: int, told: Tensor | None,
               device: torch.device) -> tuple[Tensor, Tensor]:
    there(told)
    return blank(shape), blank((shape[0], width), torch.uint8)


def _give_rows(link: Any, address: str, words: Tensor, octets: Tensor, announced: int) -> Tensor:
    there(words, octets)
    return blank((announced,))


# --- the shapes of what kernels give ---

def _planes(values: Tensor, width: int) -> Tensor:
    there(values)
    return blank((width, words_of(len(values))))


def _unpack(words: Tensor, rows: int) -> Tensor:
    there(words)
    return blank((rows,), torch.uint8)


def _look_up(c: Tensor, hot: Tensor, block: int, outputs: int, *, first: bool) -> tuple[Tensor, Tensor]:
    there(c, hot)
    blocks = -(-len(c) // block)
    return blank((blocks if outputs & LT else 0, c.shape[1])), blank((blocks, c.shape[1]))


def _evaluate(arity: int, outputs: int, masks: Tensor, dealt: Tensor, opened: Tensor, *, first: bool) -> list[Tensor]:
    there(masks, dealt, opened)
    return [blank((masks.shape[1],)) for wanted in (LT, EQ) if outputs & wanted]


def _move(a: Tensor, b: Tensor, source: Tensor, c: Tensor, place: Tensor | None = None) -> Tensor:
    there(a, b, source, c, place)
    return blank((len(source), a.shape[1]), a.dtype)


KERNELS: dict[str, dict[str, Any]] = {
    "kernels_bits": {"planes": _planes, "pack": lambda bits: _planes(bits, 1)[0], "unpack": _unpack},
    "kernels_tree": {"look_up": _look_up, "evaluate": _evaluate},
    "kernels_rows": {"move": _move},
}


# --- what torch refuses to fake without CUDA ---

class _Indexing(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        fake = bool(args) and isinstance(args[0], FakeTensor)
        if fake and args[0].device == CUDA and func in (Tensor.__getitem__, Tensor.__setitem__):
            return _indexed(func, *args)
        if fake and func in READS:
            raise AssertionError(f"{func.__name__}() of a tensor whose values are on {args[0].device}")
        if fake:
            func = {Tensor.__invert__: torch.bitwise_not, Tensor.contiguous: torch.clone}.get(func, func)
        device = kwargs.get("device", next((arg for arg in args if isinstance(arg, torch.device)), None))
        with MODE if device is not None and torch.device(device).type == "cuda" else contextlib.nullcontext():
            return func(*args, **kwargs)


def _indexed(func: Any, tensor: Tensor, index: Any, value: Any = None) -> Tensor | None:
    """By real tensors of the same shape: an index may be on either device, what is put in may not."""
    def twin(of: Any) -> Any:
        if isinstance(of, tuple):
            return tuple(map(twin, of))
        return torch.zeros(of.shape, dtype=of.dtype) if isinstance(of, Tensor) else of

    if func is Tensor.__setitem__:
        there(*([value] if isinstance(value, Tensor) and value.dim() else []))
        twin(tensor)[twin(index)] = twin(value)
        return None
    found = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)[twin(index)]
    with MODE:
        return torch.empty_strided(found.shape, found.stride(), dtype=found.dtype, device=CUDA)


@contextlib.contextmanager
def placed() -> Iterator[None]:
    """Inside, programs run on FakeSessions, with the shapes of KERNELS for kernels."""
    kernels = {name: ModuleType(name) for name in KERNELS}
    for name, module in kernels.items():
        vars(module).update(KERNELS[name])
    with (patch.dict(sys.modules, {f"sdh.executors.{name}": module for name, module in kernels.items()}),
          patch.dict(vars(sys.modules["sdh.executors"]), kernels),
          patch.dict(vars(runtime), {"take_rows": _take_rows, "give_rows": _give_rows}), _Indexing()):
        yield
