"""From a question's text to its answer: parse, bind, place, check, run, release."""

from __future__ import annotations

import os
import re
import threading
import warnings
from dataclasses import replace
from time import monotonic

import pyarrow as pa

from sdh.catalog import Catalog, TableFacts
from sdh.conduct import Outcome, Progress, Ready, conduct, prepare, run
from sdh.connectors import stores
from sdh.errors import Cancelled, DeadlinePassed, NoiseDrowns, UnknownTable, Unsupported
from sdh.executors.local import run_local
from sdh.executors.release import assemble
from sdh.members import Members
from sdh.parsers.parse import parse
from sdh.parsers.syntax import Describe, Explain, Select, SetOperation, ShowTables, Table
from sdh.planners.plan import Placed, Plan, Question, finish, place
from sdh.result import Result, cost_of
from sdh.schema import Schema

_LEADING = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(EXPLAIN(?:\s+ANALYZE)?|DESCRIBE|DESC)\b", re.I | re.S)


def answer(members: Members, question: Question, end: float | None, progress: Progress | None) -> Result:
    """`end`: the moment, by time.monotonic, at which the query's time is over."""
    match parse(question.text):
        case Select() | SetOperation():
            return select(members, question, end, progress)
        case Explain(analyze=True):
            done = select(members, inner(question), end, progress)
            return Result(_explained("analyzed_plan", done.explain()), None, done.cost, done.revealed, done.session)
        case Explain():
            return Result(_explained("physical_plan", bounded_plan(members.catalog, inner(question)).explain()))
        case Describe(target=Table() as table):
            return Result(_described(table_of(members.catalog, ".".join(table.parts)).columns))
        case Describe():
            return Result(_described(place(inner(question), members.catalog).schema))
        case ShowTables():
            names = sorted(table.full_name for table in members.catalog.named)
            return Result(pa.table({"name": pa.array(names, pa.string())}))


def select(members: Members, question: Question, end: float | None, progress: Progress | None) -> Result:
    """One query: place it, run it where its tables are, release its rows here."""
    started, placed = monotonic(), placed_now(members, question)
    outcome = conduct(members, placed, left(end), progress) if placed.parties else run_here(members, placed, left(end))
    return released(outcome, started)


def prepared(members: Members, question: Question, end: float | None) -> Ready:
    """Everything of a query but its run. Raises Unsupported where nothing is dealt."""
    placed = placed_now(members, question)
    if len(placed.parties) < 2:
        raise Unsupported("Only a query across owners can be prepared: nothing is dealt for others.",
                          advice="Ask it with sql().")
    return prepare(members, placed, left(end))


def run_prepared(members: Members, ready: Ready, end: float | None, progress: Progress | None) -> Result:
    """The run of a prepared query."""
    started = monotonic()
    return released(run(members, ready, left(end), progress), started)


def placed_now(members: Members, question: Question) -> Placed:
    """The question placed on what running nodes publish."""
    placed = place(question, members.catalog)
    for name in placed.parties:
        members.process(name)
    # a node that was started again may publish other facts
    return placed if placed.catalog == members.catalog else place(question, members.catalog)


def released(outcome: Outcome, started: float) -> Result:
    """The rows that the parties' payloads hold. started: the moment, by time.monotonic, at which it was asked."""
    table = assemble(outcome.plan, outcome.payloads)
    cost = cost_of(monotonic() - started, outcome.costs, outcome.released)
    result = Result(table, outcome.plan, cost, outcome.plan.reveals, outcome.session)
    if result.drowned:
        warnings.warn(NoiseDrowns(result.warning), stacklevel=5)   # at the caller of Hub.sql
    return result


def bounded_plan(catalog: Catalog, question: Question) -> Plan:
    """The plan before anything is counted: every fragment with as many rows as the catalog allows."""
    placed = place(question, catalog)
    return finish(placed, tuple(fragment.slots for fragment in placed.fragments))


def inner(question: Question) -> Question:
    """The statement after EXPLAIN or DESCRIBE, at its place in the text so that positions stay right."""
    found = _LEADING.match(question.text)
    if found is None:
        return question
    blank = re.sub(r"\S", " ", question.text[:found.end()])
    return replace(question, text=blank + question.text[found.end():])


def table_of(catalog: Catalog, name: str) -> TableFacts:
    """The table of this full name, whatever its case. Raises UnknownTable."""
    from sdh.planners.oracle import nearest_names

    tables = {table.full_name.lower(): table for table in catalog.named}
    if name.lower() in tables:
        return tables[name.lower()]
    raise UnknownTable(f"There is no table {name!r}.", advice=nearest_names(name, (table.full_name for table in tables.values())))


def left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - monotonic())


# --- public tables alone -------------------------------------------------------------------------


def run_here(members: Members, placed: Placed, seconds: float | None) -> Outcome:
    """A question about public tables alone: the hub has them all. Raises DataError, DeadlinePassed."""
    plan = finish(placed, tuple(fragment.slots for fragment in placed.fragments))
    paths = {name: public.path for name, public in members.public.items()}
    threads, memory = os.cpu_count() or 1, members.share.memory
    with stores.connect(None, "", paths, placed.question.timezone, threads, memory) as connection:
        timer = threading.Timer(seconds if seconds is not None else threading.TIMEOUT_MAX, connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            return Outcome(plan, [run_local(connection, placed)], {}, 0)
        except Cancelled:
            raise DeadlinePassed("The query's timeout passed.", advice="Allow more time with timeout=.") from None
        finally:
            timer.cancel()


# --- what is shown -------------------------------------------------------------------------------


def _explained(key: str, text: str) -> pa.Table:
    return pa.table({"explain_key": pa.array([key], pa.string()), "explain_value": pa.array([text], pa.string())})


def _described(schema: Schema) -> pa.Table:
    """As DuckDB's DESCRIBE has it."""
    texts: dict[str, list[str | None]] = {
        "column_name": [column.name for column in schema],
        "column_type": [str(column.type) for column in schema],
        "null": ["YES" if column.nullable else "NO" for column in schema],
        "key": [None] * len(schema), "default": [None] * len(schema), "extra": [None] * len(schema),
    }
    return pa.table({name: pa.array(values, pa.string()) for name, values in texts.items()})
