"""Shares on a CUDA GPU: Triton's kernels against NumPy's functions, and protocols on them against plain integers.

They run where a GPU is, or with TRITON_INTERPRET=1 in Triton's interpreter on a CPU (minutes); else they are skipped. Which
device every tensor is on is checked everywhere, by torch's fake tensors.
"""

from __future__ import annotations

import importlib
import os
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from sdh.errors import DeviceMissing
from sdh.executors import blocks, crypten_seam, dealing, devices, packing, permute, products, shares
from sdh.executors.arithmetic import multiply, mux_many, to_arithmetic
from sdh.executors.correlations import KINDS, Correlation
from sdh.executors.runtime import Session
from sdh.executors.streams import Stream, stream_key
from sdh.planners.comparing import EQ, LT
from tests.one_process import Crew
from tests.protocol_programs import HIGH, LOW, same, share, share_bits, values

GPU = torch.cuda.is_available() and find_spec("triton") is not None
DEVICE = torch.device("cuda" if GPU else "cpu")
SIZES = [0, 1, 63, 64, 65, 1000, 4096 + 17]
WIDTHS = range(1, 65)
P = "tests.protocol_programs:"

kernels = pytest.mark.skipif(not GPU and not devices.INTERPRETED,
                             reason="no CUDA GPU with Triton here, and TRITON_INTERPRET is not 1")


def words(seed: int, *shape: int) -> Tensor:
    drawn = np.random.default_rng(seed).integers(-(1 << 63), (1 << 63) - 1, shape, dtype=np.int64, endpoint=True)
    return torch.from_numpy(drawn)


def on(tensor: Tensor) -> Tensor:
    return tensor.to(DEVICE)


def equal(found: Tensor, wanted: Any) -> bool:
    return found.device.type == DEVICE.type and np.array_equal(found.cpu().numpy(), np.asarray(wanted))


# --- streams ---

RFC_8439 = [
    ("00" * 32, 0, "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
                   "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"),
    ("00" * 32, 1, "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
                   "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"),
    ("00" * 31 + "01", 1, "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
                          "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0"),
    ("00ff" + "00" * 30, 2, "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
                            "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096"),
]  # fmt: skip
"""Appendix A.1: the vectors of nonce 0 (key, block counter, key stream)."""


@kernels
@pytest.mark.parametrize(("key", "block", "wanted"), RFC_8439)
def test_the_block_function_is_that_of_the_standard(key: str, block: int, wanted: str) -> None:
    from sdh.executors import kernels_stream

    found = kernels_stream.words(bytes.fromhex(key), 8 * block, 8, DEVICE)
    assert found.cpu().numpy().tobytes().hex() == wanted
    assert Stream(bytes.fromhex(key)).bytes(64 * (block + 1))[64 * block:].hex() == wanted


@kernels
def test_the_counter_has_64_bits() -> None:
    """Blocks 2^32 - 1 and 2^32, by ciphers that start there: counter and nonce are the 16 bytes of a start."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    from sdh.executors import kernels_stream

    key, first = stream_key(bytes(32), "far"), (1 << 32) - 1
    wanted = [Cipher(algorithms.ChaCha20(key, block.to_bytes(8, "little") + bytes(8)), None).encryptor().update(bytes(64))
              for block in (first, first + 1)]
    assert kernels_stream.words(key, 8 * first, 16, DEVICE).cpu().numpy().tobytes() == b"".join(wanted)


@kernels
def test_streams_are_those_of_a_cpu() -> None:
    """Reads of all sizes one after the other, so that they begin at every kind of place."""
    make, key = devices.streams_on(DEVICE), stream_key(bytes(32), "op/1")
    own, plain = make(key), Stream(key)
    for size in (*SIZES, 3, 8, 5, 1024):
        assert equal(own.words(size), plain.words(size))
        assert equal(own.octets(size), plain.octets(size))
    for counts in ([0, 5, 0, 64], [7]):
        assert all(equal(found, wanted) for found, wanted in zip(own.parts(counts), plain.parts(counts), strict=True))
    for size in (0, 1, 65, 1000):
        assert equal(own.permutation(size), plain.permutation(size))


# --- bits ---

@kernels
@pytest.mark.parametrize("rows", SIZES)
def test_planes(rows: int) -> None:
    column = words(rows, rows)
    for width in (1, 2, 8, 33, 63, 64):
        assert equal(shares.planes(on(column), width), packing.planes(column.numpy(), width))
    flags = (column & 1).to(torch.uint8)
    packed = packing.pack_bits(flags.numpy())
    assert equal(shares.pack(on(flags)), packed)
    assert equal(shares.unpack(on(torch.from_numpy(packed)), rows), flags)


@kernels
@pytest.mark.parametrize("rows", SIZES)
def test_messages_of_every_width(rows: int) -> None:
    column, own = words(rows, rows), words(rows + 1, rows)
    for width in WIDTHS:
        message = packing.pack_values([column.numpy()], [width])
        assert equal(shares.pack_values([on(column)], [width]), message)
        for xor in (False, True):
            wanted = packing.low_bits((own ^ column if xor else own + column).numpy(), width)
            [found] = shares.add_packed(on(torch.from_numpy(message)), [(width, xor)], [on(own)])
            assert equal(found, wanted), (width, xor)


@kernels
def test_messages_of_several_widths() -> None:
    widths, sizes = [33, 64, 7, 13, 64, 1], [5, 70, 0, 64, 1, 1000]
    columns = [words(size, size) for size in sizes]
    message = packing.pack_values([column.numpy() for column in columns], widths)
    assert equal(shares.pack_values(list(map(on, columns)), widths), message)
    zeros = [on(torch.zeros(size, dtype=torch.int64)) for size in sizes]
    found = shares.add_packed(on(torch.from_numpy(message)), [(width, False) for width in widths], zeros)
    assert all(equal(part, packing.low_bits(column.numpy(), width))
               for part, column, width in zip(found, columns, widths, strict=True))
    assert not any(bool(zero.any()) for zero in zeros), "own shares stay as they are"


# --- trees ---

@kernels
@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 65, 300])
def test_look_ups(count: int, block: int) -> None:
    for bits in (1, 2, 5, 32):
        c, hot = words(bits, bits, count), words(bits + 1, sum(dealing_planes(bits, block)), count)
        for outputs in (LT, EQ, LT | EQ):
            for first in (False, True):
                found = blocks.look_up(on(c), on(hot), block, outputs, first=first)
                with patch.object(blocks, "fused", lambda _: False):
                    wanted = blocks.look_up(c, hot, block, outputs, first=first)
                assert all(map(equal, found, wanted)), (bits, outputs, first)


def dealing_planes(bits: int, block: int) -> tuple[int, int]:
    from sdh.executors.correlations import hot_planes

    return hot_planes(bits, block)


@kernels
@pytest.mark.parametrize("arity", [2, 3, 4])
@pytest.mark.parametrize("outputs", [LT, EQ, LT | EQ])
def test_nodes(arity: int, outputs: int) -> None:
    from sdh.executors import kernels_tree

    table = products.plan(arity, outputs)
    for count in (0, 1, 65, 300):
        masks, opened = words(1, table.variables, count), words(2, table.variables, count)
        dealt = words(3, len(table.monomials), count)
        for first in (False, True):
            found = kernels_tree.evaluate(arity, outputs, on(masks), on(dealt), on(opened), first=first)
            wanted = products.evaluate(arity, outputs, masks, dealt, opened, first=first)
            assert len(found) == len(wanted)
            assert all(map(equal, found, wanted)), (count, first)


# --- rows ---

@kernels
@pytest.mark.parametrize("rows", SIZES)
def test_moved_rows(rows: int) -> None:
    from sdh.executors.kernels_rows import move

    for count in (0, 1, 3, 4, 70):
        rng, out = np.random.default_rng(rows), rows + 5
        a, b, order = words(1, rows, count), words(2, rows, count), torch.from_numpy(rng.permutation(rows))
        c, wide = words(3, rows, count), words(4, out + 3, count)
        assert equal(move(on(a), on(b), on(order), on(c)), (a + b)[order] + c)
        octets = [part.to(torch.uint8) for part in (a, b, c)]
        assert equal(move(on(octets[0]), on(octets[1]), on(order), on(octets[2])), (octets[0] ^ octets[1])[order] ^ octets[2])
        source = torch.full((out,), -1)
        source[torch.from_numpy(rng.permutation(out)[:rows // 2])] = order[:rows // 2]
        place = torch.from_numpy(rng.permutation(out + 3)[:out])
        padded = torch.cat([a + b, torch.zeros((1, count), dtype=torch.int64)])
        wanted = padded[torch.where(source < 0, rows, source)] + wide[place]
        assert equal(move(on(a), on(b), on(source), on(wide), on(place)), wanted)


# --- the dealer ---

SAMPLES = {
    "node": [Correlation("node", 70, arity, outputs) for arity in (2, 3, 4) for outputs in (LT, EQ, LT | EQ)],
    "masked": [Correlation("masked", rows, width, block)
               for rows in (0, 65) for width, block in ((1, 2), (2, 1), (33, 2), (64, 4))],
    "equal": [Correlation("equal", 65, width, block) for width, block in ((1, 2), (32, 4), (63, 2), (7, 7))],
    "bits": [Correlation("bits", 65, 33)],
    "mux": [Correlation("mux", 65, count=count) for count in (0, 1, 3)],
    "common": [Correlation("common", 65, count=3)],
    "permute": [Correlation("permute", *sizes)
                for sizes in ((9, 2, 3, 1, 20), (9, 0, 1, 1, 20), (0, 0, 1, 1, 5), (5, 1, 0, 1, 5))],
}


@kernels
@pytest.mark.parametrize("kind", ["triple", "square", "and", "bit", *SAMPLES])
def test_corrections_are_those_of_numpy(kind: str) -> None:
    from sdh.executors import cuda

    assert kind in KINDS
    samples = SAMPLES.get(kind, [Correlation(kind, rows) for rows in (0, 1, 65)])
    groups = [tuple(samples[:2]), *((one,) for one in samples[2:])] if kind == "permute" else [tuple(samples)]
    items = [dealing.Item(str(place), group, 1) for place, group in enumerate(groups)]
    assert served(items, cuda.engine(DEVICE)) == served(items, dealing.NUMPY)


def served(items: list[dealing.Item], engine: dealing.Engine) -> list[bytes]:
    sent: list[bytes] = []
    seeds = [bytes([rank]) * 32 for rank in range(3)]
    dealing.serve(items, seeds, lambda holder, address, correction: sent.append(bytes(correction)), engine)
    return sent


# --- protocols ---

def arithmetics(session: Session, rows: int) -> None:
    """As protocol_programs.products, without CrypTen's own product."""
    x, y, bit = values(7, rows, LOW, HIGH), values(8, rows, LOW, HIGH).flip(0), values(9, rows, 0, 1)
    sx, sy, b = share(session, 0, x), share(session, 1, y), share_bits(session, 0, bit)
    same(session, multiply(session, sx, sy), x * y, "multiply")
    same(session, to_arithmetic(session, b), bit, "to_arithmetic")
    [chosen] = mux_many(session, [(b, [sx, sy])])
    same(session, chosen[0], bit * x, "mux")
    same(session, chosen[1], bit * y, "mux")


PROTOCOLS: list[tuple[str, dict[str, Any]]] = [
    (P + "comparisons", {"rows": 65, "widths": [1, 33, 64]}), (P + "batches", {"rows": 65}),
    ("tests.test_cuda:arithmetics", {"rows": 65}), (P + "moves", {"rows": 9, "rows_out": 3}),
    (P + "moves", {"rows": 3, "rows_out": 9}), (P + "joins", {"probes": 20, "builds": 10, "words": 1}),
    ("tests.tree_programs:trees", {"rows": 65, "widths": [33], "block": 2, "arity": 2}),
]
LARGE: list[tuple[str, dict[str, Any]]] = [
    (P + "comparisons", {"rows": 300_001, "widths": [1, 2, 31, 33, 40, 63, 64]}), (P + "batches", {"rows": 100_003}),
    (P + "logic", {"rows": 100_001}), ("tests.test_cuda:arithmetics", {"rows": 300_001}),
    (P + "moves", {"rows": 100_000, "rows_out": 120_001}), (P + "joins", {"probes": 12_000, "builds": 10_000, "words": 2}),
    (P + "extremes", {"rows": 1000, "width": 64, "greatest": True, "nullable": True}),
    ("tests.division_programs:divisions", {"rows": 1000, "dividend_bits": 63, "divisor_bits": 32, "signed": [True, True]}),
    ("tests.sorting_programs:sorts", {"rows": 700, "width": 64, "kind": "random"}),
]


@kernels
@pytest.mark.parametrize(("program", "arguments"), PROTOCOLS)
def test_protocols(program: str, arguments: dict[str, Any]) -> None:
    Crew(2).run(program, device=DEVICE.type, **arguments)


@kernels
def test_protocols_of_three() -> None:
    Crew(3).run(P + "comparisons", device=DEVICE.type, rows=65, widths=[3])
    Crew(3).run(P + "moves", device=DEVICE.type, rows=9, rows_out=3)


@pytest.mark.skipif(not GPU, reason="no CUDA GPU with Triton here")
@pytest.mark.parametrize(("program", "arguments"), LARGE)
@pytest.mark.parametrize("on", [("cuda", "cuda", "cuda"), ("cuda", "cpu", "cpu"), ("cpu", "cuda", "cuda")])
def test_protocols_of_many_rows(program: str, arguments: dict[str, Any], on: tuple[str, ...]) -> None:
    """Also between a GPU and a CPU, whose bytes are the same."""
    Crew(2).run(program, on=on, **arguments)


# --- which device ---

@pytest.mark.parametrize(("name", "gpu", "triton", "wanted"), [
    ("auto", True, True, "cuda"), ("", True, True, "cuda"), ("auto", True, False, "cpu"), ("auto", False, True, "cpu"),
    ("cpu", True, True, "cpu"), ("cuda", True, True, "cuda"), ("cuda", False, True, "CUDA GPU"), ("cuda", True, False, "triton"),
    ("gpu", True, True, "'gpu'")])
def test_the_device_is_chosen(name: str, gpu: bool, triton: bool, wanted: str) -> None:
    with ExitStack() as stack:
        stack.enter_context(patch.object(torch.cuda, "is_available", lambda: gpu))
        stack.enter_context(patch.object(devices, "find_spec", lambda _: triton or None))
        stack.enter_context(patch.dict(os.environ, {"SDH_DEVICE": name}))
        if wanted in devices.NAMES:
            assert devices.chosen() == wanted
        else:
            with pytest.raises(DeviceMissing, match=wanted):
                devices.chosen()


def moved(session: Session, rows: int) -> None:
    """Every way of moving rows, unchecked."""
    record = [share(session, 0, torch.arange(rows)), share_bits(session, 1, torch.arange(rows) % 2)]
    there, back = torch.arange(rows).flip(0), torch.arange(2 * rows) // 2
    record = list(permute.permute(session, 1, session.at(1, lambda: there), record, 2 * rows))
    record = list(permute.duplicate(session, 0, session.at(0, lambda: back), record, 2 * rows))
    permute.shuffle(session, record)


PLACED: list[tuple[str, dict[str, Any]]] = [
    (P + "comparisons", {"rows": 65, "widths": [1, 33, 64]}), (P + "batches", {"rows": 65}), (P + "logic", {"rows": 65}),
    (P + "products", {"rows": 65}), ("tests.test_cuda:moved", {"rows": 65}),
    (P + "joins", {"probes": 20, "builds": 10, "words": 2}),
    (P + "extremes", {"rows": 17, "width": 64, "greatest": True, "nullable": True}),
    ("tests.division_programs:divisions", {"rows": 65, "dividend_bits": 63, "divisor_bits": 32, "signed": [True, True]}),
]


@pytest.mark.parametrize(("program", "arguments"), PLACED)
def test_shares_stay_on_their_device(program: str, arguments: dict[str, Any]) -> None:
    """A tensor of another device among them would raise; no GPU is needed for that, and no value is computed."""
    from tests.fake_device import FakeSession, placed

    module, _, function = program.partition(":")
    found = importlib.import_module(module)
    checks = {name: lambda *_: None for name in ("same", "_same") if hasattr(found, name)}
    for rank in (0, 1):
        session = FakeSession(rank, 2)
        with patch.dict(vars(found), checks), placed(), crypten_seam.installed(session):
            getattr(found, function)(session, **arguments)
