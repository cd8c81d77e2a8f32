"""The device that a party's shares live on, and what crosses its border: keys, frames, columns.

A CPU computes with NumPy and torch, a CUDA GPU with the Triton kernels of executors/kernels_*.py, which are imported
there alone. Streams, packing and chunks are the same byte for byte, so the parties of one session may differ in it.
With TRITON_INTERPRET=1 in the environment a CPU runs the kernels too, slowly: to check them where no GPU is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdh.connectors.wire import Link
from sdh.errors import DeviceMissing
from sdh.executors.streams import Stream

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
NAMES = ("auto", "cpu", "cuda")


def chosen(name: str = "") -> str:
    """The device for a name of NAMES, by default what SDH_DEVICE says: `auto` is a CUDA GPU where there is one and Triton
    is installed, else the CPU. Raises DeviceMissing.
    """
    name = name or os.environ.get("SDH_DEVICE") or "auto"
    if name not in NAMES:
        raise DeviceMissing(f"There is no device {name!r}.", advice=f"SDH_DEVICE is one of {', '.join(NAMES)}.")
    missing = "" if name == "cpu" else _missing()
    if name == "cuda" and missing:
        raise DeviceMissing(f"This machine cannot compute on CUDA: it has no {missing}.",
                            advice="Unset SDH_DEVICE, or install a torch for CUDA and sdh[cuda].")
    return "cpu" if name == "cpu" or missing else "cuda"


def _missing() -> str:
    if not torch.cuda.is_available():
        return "CUDA GPU that torch sees"
    return "" if find_spec("triton") else "package triton"


def fused(tensor: Tensor) -> bool:
    """Whether Triton's kernels work on this tensor."""
    return tensor.is_cuda or (INTERPRETED and not tensor.is_meta)


def streams_on(device: torch.device) -> Callable[[bytes], Any]:
    """What makes the stream of a key: of NumPy arrays for a CPU, of tensors on a GPU."""
    if device.type != "cuda" and not (INTERPRETED and device.type == "cpu"):
        return Stream
    from sdh.executors.cuda import DeviceStream

    return partial(DeviceStream, device=device)


def sent_form(values: Tensor) -> memoryview:
    """The bytes of a contiguous tensor for a link; from a GPU through pinned memory, when all before it is computed."""
    if values.is_cuda:
        pinned = torch.empty_like(values, device="cpu", pin_memory=True).copy_(values, non_blocking=True)
        torch.cuda.current_stream(values.device).synchronize()
        values = pinned
    found: memoryview = values.reshape(-1).numpy().view(np.uint8).data
    return found


def received(link: Link, address: str, size: int, device: torch.device) -> Tensor:
    """The next frame, of `size` bytes, as uint8 [size] on the device. Raises what Link.receive_into does."""
    far = device.type == "cuda"
    octets = torch.empty(size, dtype=torch.uint8, pin_memory=far)
    link.receive_into(address, octets.numpy().data)
    return octets.to(device, non_blocking=True) if far else octets
