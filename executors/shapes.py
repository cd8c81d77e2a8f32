"""Shapes alone: what torch's element-wise functions return on device "meta", without torch's own slow way there.

Recent torch runs Python decompositions for most functions on meta tensors (a hundred microseconds each, and seconds
of imports at the first). A trace only needs shapes, so inside `ShapesOnly` the functions that protocols use are
answered here; everything else goes to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def _tensors(args: Sequence[Any]) -> list[Tensor]:
    return [arg for arg in args if isinstance(arg, Tensor)]


def _blank(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def _broadcast(shapes: Sequence[Sequence[int]]) -> list[int]:
    """torch.broadcast_shapes, which imports sympy."""
    sizes = zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
    return [next((size for size in column if size != 1), 1) for column in sizes][::-1]


def _elementwise(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    del kwargs
    tensors = _tensors(args)
    shape: Sequence[int] = tensors[0].shape
    if any(tensor.shape != shape for tensor in tensors[1:]):
        shape = _broadcast([tensor.shape for tensor in tensors])
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return _blank(shape, dtype)


def _outcome(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    return _blank(_elementwise(args, kwargs).shape, torch.bool)


def _where(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    shape = _elementwise(args, kwargs).shape
    values = _tensors(args[1:])
    return _blank(shape, values[0].dtype if values else torch.int64)


def _in_place(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    del kwargs
    found: Tensor = args[0]
    return found


def _cat(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    parts, axis = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return _blank(shape, parts[0].dtype)


def _stack(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    parts, axis = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
    shape = list(parts[0].shape)
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, len(parts))
    return _blank(shape, parts[0].dtype)


def _same(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    del kwargs
    return _blank(args[0].shape, args[0].dtype)


def _repeat(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    del kwargs
    times = args[1] if isinstance(args[1], (list, tuple)) else args[1:]
    shape = [1] * (len(times) - args[0].dim()) + list(args[0].shape)
    return _blank([size * time for size, time in zip(shape, times, strict=True)], args[0].dtype)


def _sum(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    axis = args[1] if len(args) > 1 else kwargs.get("dim")
    shape = [] if axis is None else [size for place, size in enumerate(args[0].shape) if place != axis]
    return _blank(shape, torch.int64)


def _gather(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    del kwargs
    return _blank(args[2].shape, args[0].dtype)


def _selected(args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor:
    del kwargs
    shape = list(args[0].shape)
    shape[args[1]] = len(args[2])
    return _blank(shape, args[0].dtype)


def _rows(args: Sequence[Any]) -> Tensor:
    """Rows at a list or vector of indices."""
    return _blank((len(args[1]), *args[0].shape[1:]), args[0].dtype)


def _nothing(args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    del args, kwargs


_T = Tensor
_ANSWERS: dict[Any, Callable[[Sequence[Any], dict[str, Any]], Tensor | None]] = {
    **dict.fromkeys((_T.__xor__, _T.__rxor__, _T.__and__, _T.__rand__, _T.__or__, _T.__ror__, _T.__add__, _T.__radd__,
                     _T.__sub__, _T.__rsub__, _T.__mul__, _T.__rmul__, _T.__lshift__, _T.__rshift__, _T.add, _T.sub,
                     _T.mul, _T.bitwise_xor, _T.bitwise_and, torch.add, torch.sub, torch.mul, torch.addcmul,
                     torch.bitwise_xor, torch.bitwise_and), _elementwise),
    **dict.fromkeys((_T.__lt__, _T.__le__, _T.__gt__, _T.__ge__, _T.__eq__, _T.__ne__), _outcome),
    **dict.fromkeys((_T.add_, _T.sub_, _T.mul_, _T.neg_, _T.bitwise_xor_, _T.bitwise_and_, _T.addcmul_, _T.__ixor__,
                     _T.__iand__, _T.__ior__, _T.__iadd__, _T.__isub__, _T.__imul__, _T.copy_, _T.cumsum_), _in_place),
    **dict.fromkeys((_T.__invert__, _T.__neg__, _T.neg, _T.bitwise_not, torch.cumsum, _T.cumsum, _T.flip, torch.flip,
                     torch.zeros_like), _same),
    torch.gather: _gather, _T.index_select: _selected, _T.repeat: _repeat, _T.sum: _sum, torch.where: _where,
    torch.cat: _cat, torch.stack: _stack, _T.__setitem__: _nothing,
}


class ShapesOnly(TorchFunctionMode):
    """While entered, functions on meta tensors give tensors of the right shape and dtype, quickly."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        del types
        if func is _T.__getitem__ and isinstance(args[1], (list, Tensor)) and args[0].is_meta:
            return _rows(args)
        if func is torch.arange and torch.device((kwargs or {}).get("device") or "cpu").type == "meta":
            return _blank((len(range(*args)),), torch.int64)
        answer = _ANSWERS.get(func)
        if answer is None or not _is_meta(args):
            return func(*args, **(kwargs or {}))
        return answer(args, kwargs or {})


def _is_meta(args: Sequence[Any]) -> bool:
    for arg in args:
        if isinstance(arg, Tensor):
            if arg.is_meta:
                return True
        elif isinstance(arg, (list, tuple)) and arg and isinstance(arg[0], Tensor):
            return arg[0].is_meta
    return False
