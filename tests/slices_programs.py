"""A plan of nested loops at a party of tests/parties.py, with slices of few pairs."""

from __future__ import annotations

from unittest.mock import patch

from sdh.executors import runtime, slices
from tests import join_ways_programs


def asked(session: runtime.Session, sql: str, rows: list[int], size: int) -> str:
    """As tests/join_ways_programs.py, `size` pairs a slice."""
    with patch.object(slices, "SLICE", size):
        return join_ways_programs.asked(session, sql, "nested_loop", rows, "padded")
