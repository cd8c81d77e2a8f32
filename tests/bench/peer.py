"""CrypTen as installed: its own third party (TTP), its own communicator (gloo over loopback), its own processes.

`python -m tests.bench.peer JSON` is one of them. One thread each, as SDH's have: faster here than its default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from time import perf_counter
from typing import Any

OPERATIONS = {"crypten-lt": "lt32", "crypten-mul": "mul64"}
"""Each works on the rows of an operation of SDH's."""


def run(op: str, rows: int, parties: int, step: int) -> list[dict[str, Any]]:
    """What every party says, as measuring.of takes it. AssertionError if an answer is wrong or a process fails.

    Bytes are by CrypTen's own count, which adds what a party receives to what it sends; party 0 alone asks the dealer.
    """
    with tempfile.TemporaryDirectory(prefix="sdh-bench-") as folder:
        members = [_member(rank, parties, folder, {"op": op, "rows": rows, "step": step}) for rank in range(parties + 1)]
        try:
            said = [member.communicate() for member in members]
        finally:
            for member in members:
                member.kill()
                member.wait()
    failed = [errors for member, (_, errors) in zip(members, said, strict=True) if member.returncode]
    assert not failed, "\n".join(failed)
    *answers, dealer = [json.loads(answer) for answer, _ in said]
    dealt = answers[0]["bytes"] - answers[1]["bytes"]
    peak = max(answer["peak_rss_bytes"] for answer in (*answers, dealer))
    return [{**answer, "online_bytes": answers[1]["bytes"] // 2, "dealer_bytes": dealt, "rounds": answers[1]["rounds"],
             "peak_rss_bytes": peak} for answer in answers]


def _member(rank: int, parties: int, folder: str, arguments: dict[str, Any]) -> subprocess.Popen[str]:
    where = {"RANK": str(rank), "WORLD_SIZE": str(parties), "RENDEZVOUS": f"file://{folder}/rendezvous",
             "DISTRIBUTED_BACKEND": "gloo", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "tests.bench.peer", json.dumps(arguments)], env={**os.environ, **where},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# --- in the processes ---


def _main(op: str, rows: int, step: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    import sdh.executors.shares  # noqa: F401  makes crypten importable

    import crypten  # isort: skip
    from crypten.config import cfg  # isort: skip
    from crypten.mpc.provider import TTPServer  # isort: skip

    from tests.bench.columns import SLICE
    from tests.parties import peak_rss

    cfg.mpc.provider, cfg.communicator.verbose = "TTP", True
    if os.environ["RANK"] == os.environ["WORLD_SIZE"]:
        TTPServer()
        return {"peak_rss_bytes": peak_rss()}
    crypten.init()
    _timed(op, min(rows, SLICE), step)
    answer = _timed(op, rows, step)
    crypten.uninit()
    return answer


def _timed(op: str, rows: int, step: int) -> dict[str, Any]:
    """From plaintext columns to CrypTen's shares of the result; then the check."""
    import crypten
    import numpy as np
    import torch
    from crypten import communicator as links

    from tests.bench import columns
    from tests.parties import peak_rss

    made = [columns.pairs(OPERATIONS[op], index, size) for index, size in enumerate(columns.sizes(rows))]
    x, y = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*made, strict=True))
    del made
    communicator: Any = links.get()
    communicator.barrier()
    communicator.reset_communication_stats()
    began, found = perf_counter(), []
    for first in range(0, rows, step):
        a = crypten.cryptensor(x[first:first + step], src=0, precision=0)
        b = crypten.cryptensor(y[first:first + step], src=1, precision=0)
        found.append(a < b if op == "crypten-lt" else a * b)
    ended, cost, peak = perf_counter(), communicator.get_communication_stats(), peak_rss()
    opened = torch.cat([part.get_plain_text() for part in found]).long()
    assert torch.equal(opened, (x < y).long() if op == "crypten-lt" else x * y)
    return {"began": began, "ended": ended, "bytes": cost["bytes"], "rounds": cost["rounds"], "peak_rss_bytes": peak}


if __name__ == "__main__":
    print(json.dumps(_main(**json.loads(sys.argv[1]))))
