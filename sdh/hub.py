"""The hub: the client's process. It plans, tells the nodes what to plan for themselves, and adds up what they send it.

It holds no party's data and is trusted with none: nodes refuse a plan, catalog or receiver that is not what they know.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from sdh.config import LIMITS, PROGRAMS, Limits, Programs, memory_from_text
from sdh.connectors.wire import new_identity
from sdh.errors import HubBusy, HubClosed, NameTaken, SdhError, UnknownDeclaration
from sdh.members import Members
from sdh.policy import Policy
from sdh.processes import Event
from sdh.schema import Schema
from sdh.values import params_of

if TYPE_CHECKING:
    from sdh.planners.plan import Question
    from sdh.prepared import Prepared
    from sdh.privacy import DP
    from sdh.result import Result

Progress = Callable[[int, int, str], None]
"""Bytes sent, bytes planned, the operator at work."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def connect(client: str = "analyst", *, timezone: str = "UTC", memory_limit: str | None = None,
            programs: Programs = PROGRAMS, limits: Limits = LIMITS) -> Hub:
    """A hub with everything on this machine: nodes and dealer are local processes.

    client: who asks, the name that grants are made to. timezone: of the questions. memory_limit: of each node and the
    dealer, such as '2GiB'; by default three quarters of the machine's memory are divided among them. What needs more is
    refused, or fails, with MemoryExceeded. Raises UnknownDeclaration.
    """
    return Hub(client, timezone, memory_limit, programs, limits)


class Hub:
    """Attach stores, ask questions. One query at a time; `close`, a `with` block or the interpreter's end ends all.

    Every method raises HubClosed after `close`, and HubBusy while another thread's query runs.
    """

    def __init__(self, client: str, timezone: str, memory: str | None, programs: Programs, limits: Limits) -> None:
        _check_name(client, "client")
        self._members = Members(new_identity(client), programs, limits,
                                None if memory is None else memory_from_text(memory))
        self._finalizer = weakref.finalize(self, self._members.close)
        self._members.launch_dealer()   # it boots, and the planner is imported, while stores are attached
        threading.Thread(target=import_module, args=("sdh.statements",), daemon=True, name="warm").start()
        self._timezone = timezone
        self._turn = threading.Lock()
        self._closed = False

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    # --- parties and public tables ---

    def attach(self, name: str, store: object, policy: Policy | None = None,
               keys: Mapping[str, Any] | None = None, bounds: Mapping[str, Any] | None = None,
               repeats: Mapping[str, Any] | None = None, ledger: str | Path | None = None) -> None:
        """Start a node for the party `name` beside its store, and have it measured as its policy says.

        store: the path of a .duckdb, .parquet or .csv file or a folder of them, a dictionary of tables (pyarrow,
        pandas, polars), or a DuckDB connection. Without a policy nothing is granted. keys: columns that are unique together,
        {"accounts": [("id",)]}. repeats: of columns that are not, the most rows that agree on them, {"orders":
        {("customer",): 20}}: with it a join of many rows with many has a public size. Both are published, and checked here.
        ledger: the file in which a policy of differential privacy keeps its budgets, made where there is none.
        Raises NameTaken, StoreError and PartyLost (the node did not start).
        """
        with self._alone():
            _check_name(name, "party")
            self._refuse_taken(name)
            process, folder = self._members.launch_node(name), self._members.folder()
            try:   # the node boots while tables in memory are written for it
                from sdh.connectors import stores

                request = {"do": "attach", "source": stores.from_python(store, folder, name).to_message(),
                           "policy": (policy or Policy.none()).to_message(),
                           "ledger": None if ledger is None else str(Path(ledger).absolute())}
                request |= stores.declarations_to_message(keys, bounds, repeats)
                self._members.attach(name, process, folder, request)
            except BaseException:
                self._members.discard(process, folder)
                raise

    def detach(self, name: str) -> None:
        """End a party's node; federated tables with a part there go too. Raises UnknownParty."""
        with self._alone():
            self._members.detach(name)

    def publish(self, name: str, table: object, keys: Any = (), bounds: Mapping[str, Any] | None = None) -> None:
        """A table that everyone may know: in memory, or one file. keys, bounds (by column): checked at every node.

        Raises NameTaken, StoreError.
        """
        with self._alone():
            from sdh.connectors import stores
            from sdh.public import Public, measure

            _check_name(name, "public table")
            self._refuse_taken(name)
            path = stores.publish(table, self._members.folder(), name)
            declared = stores.declarations_to_message({name: keys}, bounds)
            self._members.publish(Public(Path(path), measure(Path(path), name, declared), declared))

    def federate(self, name: str, parts: Sequence[str], keys: Any = None) -> None:
        """A table whose rows are those of `parts`, tables of owners that have the same columns and types.

        name: 'patients', or 'medicine.patients'. parts: full names, ["north.patients", "south.patients"]. keys: columns that
        are unique over all parts, as in `attach`: [("id",)]. The owners cannot check that alone, so it is your word: where a
        join or GROUP BY on shares rests on it, it is proven there: two equal keys are an error (one bit, to the client) and
        no wrong answer. No floor and no grant rests on it. What owners declare of all parts (keys=, repeats=) bounds how often a
        key stands in all together.
        Every grant is asked of each part's owner, and every floor counts that owner's rows alone.
        Raises NameTaken, UnknownTable, UnknownColumn, TypeMismatch, UnknownDeclaration.
        """
        with self._alone():
            from sdh.catalog import Federated
            from sdh.connectors.facts import keys_of

            for word in name.split(".", 1) if isinstance(name, str) else (name,):
                _check_name(word, "federated table")
            self._refuse_taken(name)
            self._members.federate(Federated(name, tuple(parts), keys_of(keys or ())))

    def tables(self) -> tuple[str, ...]:
        """Full names: party.table, and public and federated tables by their own."""
        self._check_open()
        return tuple(table.full_name for table in self._members.catalog.named)

    def schema(self, table: str) -> Schema:
        """The columns of `party.table`, or of a public or federated table. Raises UnknownTable."""
        self._check_open()
        from sdh.statements import table_of

        return table_of(self._members.catalog, table).columns

    # --- questions ---

    def sql(self, text: str, params: Mapping[str, object] | None = None, timeout: float | None = None,
            progress: Progress | None = None, privacy: DP | None = None) -> Result:
        """Ask. SELECT, WITH, EXPLAIN [ANALYZE], DESCRIBE, SHOW TABLES; $name stands for a parameter.

        timeout: seconds. progress(bytes sent, bytes planned, operator) is called some times a second. privacy: as a clause
        WITH DIFFERENTIAL_PRIVACY of the outermost SELECT that aggregates; `explain` and `prepare` take it too.
        Raises QuestionError, PolicyError, DataError, PartyLost, DealerLost, DeadlinePassed, PlanMismatch, HubBusy.
        """
        with self._alone(), _pointing_at(text):
            from sdh import statements

            end = None if timeout is None else monotonic() + timeout
            return statements.answer(self._members, self._question(text, params, privacy), end, progress)

    def explain(self, text: str, params: Mapping[str, object] | None = None, privacy: DP | None = None) -> str:
        """The plan of a SELECT: what runs where, its cost, what it reveals to whom. Runs nothing: sizes are bounds.

        Raises QuestionError, PolicyError.
        """
        with self._alone(), _pointing_at(text):
            from sdh import statements

            return statements.bounded_plan(self._members.catalog, self._question(text, params, privacy)).explain()

    def prepare(self, text: str, params: Mapping[str, object] | None = None, timeout: float | None = None,
                privacy: DP | None = None) -> Prepared:
        """A SELECT across owners with all done but its run: rows counted and pinned, randomness dealt to the dealer's disk.

        Encrypted, used once, removed afterwards: as many bytes as EXPLAIN says that the dealer sends. timeout: seconds.
        Raises what `sql` does, DiskFull, and Unsupported where nothing crosses owners.
        """
        with self._alone(), _pointing_at(text):
            from sdh import statements
            from sdh.prepared import Prepared

            end = None if timeout is None else monotonic() + timeout
            question = self._question(text, params, privacy)
            return Prepared(self._members, self._alone, statements.prepared(self._members, question, end))

    def close(self) -> None:
        """End every process. A query that runs in another thread gets HubClosed."""
        self._closed = True
        self._members.events.put(Event(None, None))
        self._finalizer()

    # --- one at a time ---

    def _question(self, text: str, params: Mapping[str, object] | None, privacy: DP | None = None) -> Question:
        from sdh.planners.plan import Question

        return Question(text, self._members.identity.name, params_of(params), self._timezone, privacy)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._check_open()
        if not self._turn.acquire(blocking=False):
            raise HubBusy("This hub is at work already.", advice="Wait for its answer, or use a hub of your own.")
        try:
            self._check_open()
            yield
        finally:
            self._turn.release()

    def _check_open(self) -> None:
        if self._closed:
            raise HubClosed("The hub was closed.", advice="Connect again.")

    def _refuse_taken(self, name: str) -> None:
        taken = {party.lower(): "party" for party in self._members.parties}
        taken |= {table.lower(): "public table" for table in self._members.public}
        taken |= {table.lower().rpartition(".")[0]: "database of a federated table" for table in self._members.federated}
        taken |= {table.lower(): "federated table" for table in self._members.federated}
        if name.lower() in taken:
            raise NameTaken(f"There is a {taken[name.lower()]} named {name!r} already.", advice="Choose another name.")


def _check_name(name: str, what: str) -> None:
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise UnknownDeclaration(f"{name!r} cannot be the name of a {what}.", advice="Use letters, digits and _.")


@contextmanager
def _pointing_at(text: str) -> Iterator[None]:
    """An error with a position shows the text there, whichever process found it."""
    try:
        yield
    except SdhError as error:
        if error.line and not error.sql:
            error.sql = text
        raise
