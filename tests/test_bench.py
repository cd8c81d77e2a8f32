"""The benchmarks run and check themselves; what they print and draw has the form that is promised."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from sdh.executors.tracing import trace
from tests.bench import columns, files, programs, reporting
from tests.bench.measuring import OPERATIONS, Measured

KEYS = ["op", "n", "seconds", "rows_per_s", "online_bytes_per_row", "dealer_bytes_per_row", "rounds", "peak_rss_bytes"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("op", "rows"), [("lt32", "2^10"), ("casesum", "3e3")])
def test_an_operation_prints_one_json_object(op: str, rows: str) -> None:
    done = bench(op, rows, "--json")
    assert done.returncode == 0, done.stderr
    [line] = done.stdout.splitlines()
    found = json.loads(line)
    assert list(found) == KEYS
    assert (found["op"], found["n"]) == (op, {"2^10": 1024, "3e3": 3000}[rows])
    assert all(found[key] > 0 for key in KEYS[1:])


@pytest.mark.parametrize(("arguments", "says"), [(["lt32", "1.5"], "no whole number of rows"),
                                                 (["lt32", "8", "--network", "fast"], "no network such as"),
                                                 (["lt32", "8", "--parties", "1"], "2 to 16"),
                                                 (["crypten-lt", "8", "--network", "1gbit,1ms"], "unrecognized")])
def test_what_it_cannot_measure_is_refused(arguments: list[str], says: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_device_that_is_not_there_is_refused_in_one_sentence() -> None:
    done = bench("lt32", "1024", "--device", "cuda")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("This machine cannot compute on CUDA") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("op", sorted({*programs.ROWWISE, *programs.WHOLE}))
def test_what_an_operation_draws_follows_from_its_rows(op: str) -> None:
    """A trace has no columns; more than a slice is worked on slice by slice."""
    for rows in (1, 1000):
        items, meter = trace(partial(programs.operation, name=op, rows=rows), ["a", "b"])
        assert meter.total.sent and (items or rows == 1)


def test_a_wrong_answer_is_caught() -> None:
    x, y = columns.pairs("lt32", 0, 100)
    right = programs.ROWWISE["lt32"].plain(x, y)
    programs.same(right, x < y)
    right[7] = not right[7]
    with pytest.raises(AssertionError):
        programs.same(right, x < y)


def test_slices_of_a_file_are_those_of_its_rows(tmp_path: Path) -> None:
    """Steps, batches and row groups end at different rows."""
    rows, step = 300_000, 70_001
    wanted = files.make(tmp_path, rows)
    total, seen = 0, []
    for [x], [y, z] in zip(*(files.slices(tmp_path, rank, rows, step) for rank in (0, 1)), strict=True):
        seen.append(len(x))
        total += int((x * z)[x > y].sum())
    assert (total, seen) == (wanted, columns.sizes(rows, step))


def lines(speed: Callable[[int], float]) -> list[Measured]:
    return [Measured(op, n, n / speed(i), int(speed(i)), 9.25, 9.4, 5, 1 << 28)
            for i, op in enumerate(OPERATIONS) for n in (1 << 22, 10**5, 10**8)]


def test_a_table_and_a_plot_of_every_operation(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("".join(reporting.line(one) + "\n" for one in [*lines(lambda i: 5.0 + i), *lines(lambda i: 1e6 * (i + 1))]))
    found = reporting.read(file)
    assert len(found) == 3 * len(OPERATIONS)
    text = reporting.table(found)
    assert all(f"`{op}`" in text and reporting.NAMES[op] in text for op in OPERATIONS)
    assert "2^22" in text and "10^8" in text and "`lt32`: 0.1 times CrypTen at 2^22 rows." in text
    assert len({len(row) for row in text.split("\n\n")[0].splitlines()}) == 1
    drawn = [element.text for element in ElementTree.fromstring(reporting.plot(found)).iter() if element.text]
    assert {"lt32", "casesum", "rows"} <= set(drawn)
