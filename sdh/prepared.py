"""A prepared query: counted, agreed on and dealt for ahead of its one run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from time import monotonic
from typing import TYPE_CHECKING

from sdh.errors import HubClosed
from sdh.members import Members
from sdh.session import spent

if TYPE_CHECKING:
    from sdh.conduct import Progress, Ready
    from sdh.result import Result


class Prepared:
    """Made by `Hub.prepare`. Its rows are those of that moment, whatever becomes of the stores: nodes keep them in memory.

    It ends with its run, `close`, a `with` block, the hub, or any of its processes; other queries may run before it.
    """

    def __init__(self, members: Members, alone: Callable[[], AbstractContextManager[None]], ready: Ready) -> None:
        self._members, self._alone, self._ready = members, alone, ready
        self._open = True

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def explain(self) -> str:
        """The plan that all agreed on, for the rows as counted."""
        return self._ready.plan.explain()

    def run(self, timeout: float | None = None, progress: Progress | None = None) -> Result:
        """The answer, once. timeout: seconds.

        Raises PreparedSpent after a run, whatever became of it, or after `close`; PartyLost and DealerLost when a process
        has ended since it was prepared; and what `Hub.sql` raises in a run.
        """
        with self._alone():
            if not self._open:
                raise spent()
            from sdh import statements

            end = None if timeout is None else monotonic() + timeout
            self._open = False
            try:
                return statements.run_prepared(self._members, self._ready, end, progress)
            except BaseException:
                self._drop()
                raise

    def close(self) -> None:
        """Have it forgotten, and what was dealt for it removed. Raises HubBusy."""
        with suppress(HubClosed), self._alone():
            if self._open:
                self._open = False
                self._drop()

    def _drop(self) -> None:
        from sdh import conduct

        conduct.drop(self._members, self._ready.crew, self._ready.identifier)
