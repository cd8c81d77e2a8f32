"""How far a run is, on stderr, for anything over a second: bytes of those planned, and the time that remains."""

from __future__ import annotations

import threading
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from sdh.planners.units import size

PATIENCE = 1.0
"""Seconds before anything is shown."""
LINE_EVERY = 5.0
"""Seconds between lines where stderr is no terminal."""


class Meter:
    """A `progress=` for hub.sql, as a context: a bar in a terminal, else a line now and then. Gone when it is left."""

    def __init__(self, console: Console, label: str = "starting") -> None:
        self._console, self._label = console, label
        self._begun = self._last_line = monotonic()
        self._moving = 0.0   # when the first bytes were told: what came before is no guide to the rest
        self._bar = Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
                             TimeRemainingColumn(), TextColumn("[dim]left"), console=console, transient=True)
        self._task = self._bar.add_task(label, total=None)
        self._timer = threading.Timer(PATIENCE, self._bar.start)
        self._timer.daemon = True

    def __enter__(self) -> Meter:
        if self._console.is_terminal:
            self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._timer.cancel()
        if self._timer.ident is not None:
            self._timer.join()
        if self._bar.live.is_started:   # to stop a bar that never showed would still end a line
            self._bar.stop()

    def __call__(self, done: int, planned: int, label: str) -> None:
        """done, planned: bytes. label: the operator at work."""
        self._bar.update(self._task, completed=min(done, planned), total=planned or None,
                         description=label or self._label)
        now = monotonic()
        self._moving = self._moving or now
        if not self._console.is_terminal and now - self._begun > PATIENCE and now - self._last_line > LINE_EVERY:
            self._last_line = now
            self._console.print(line(done, planned, label, now - self._moving), highlight=False)


def line(done: int, planned: int, label: str, seconds: float) -> str:
    """One line of progress, with the time that remains if the rest goes as the part that is done."""
    left = f", {seconds * (planned - done) / done:.0f} s left" if 0 < done <= planned and seconds else ""
    return f"  {label}: {size(done)} of {size(planned)}{left}"
