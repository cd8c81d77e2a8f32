"""The command `sdh`: query, explain, audit, budget, demo.

Rows go to stdout, everything else to stderr. Exit codes: 0 done; 1 the question, a policy, a store or its data;
2 usage; 3 a fault of the run; 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

import sdh
from sdh.budget import app as budget
from sdh.errors import Cancelled, NoiseDrowns, RuntimeFault, SdhError
from sdh.formats import Format
from sdh.policy import Policy
from sdh.policy_file import policy_of
from sdh.privacy import DP
from sdh.progress import Meter

app = typer.Typer(name="sdh", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="One SQL question over the data of several owners; every row stays with its owner.")

app.add_typer(budget)

Sql = Annotated[str, typer.Argument(metavar="SQL", help="The question; - reads it from standard input.")]
Parties = Annotated[list[str] | None, typer.Option("--party", "-p", metavar="NAME=PATH",
                    help="A party and its store: a .duckdb, .parquet or .csv file, or a folder of them.")]
Policies = Annotated[list[str] | None, typer.Option("--policy", metavar="NAME=FILE|open",
                     help="A party's policy: 'open' grants the client everything; a file holds GRANT statements and, "
                          "if need be, SET floor = 1, SET rows = exact, SET facts = measured, and what it says of differential "
                          "privacy. Without one: nothing.")]
Publics = Annotated[list[str] | None, typer.Option("--public", metavar="NAME=PATH",
                    help="A table that everyone may know: a .parquet or .csv file.")]
Params = Annotated[list[str] | None, typer.Option("--param", metavar="NAME=VALUE",
                   help="The value of $NAME: a number, date, true, false, null, or text ('quoted' to be sure).")]
Keys = Annotated[list[str] | None, typer.Option("--key", metavar="PARTY.TABLE=COLUMN,...",
                 help="Columns that are unique together; checked against the data.")]
Repeats = Annotated[list[str] | None, typer.Option("--repeats", metavar="PARTY.TABLE=COLUMN,...:TIMES",
                    help="The most rows that agree on these columns; checked against the data.")]
Federates = Annotated[list[str] | None, typer.Option("--federate", metavar="NAME=PARTY.TABLE,...",
                      help="A table whose rows are those of several parties' tables; its keys by --key NAME=COLUMN,...")]
Ledgers = Annotated[list[str] | None, typer.Option("--ledger", metavar="PARTY=FILE",
                    help="Where a party with a policy of differential privacy keeps its budgets.")]
Epsilon = Annotated[str | None, typer.Option("--epsilon", metavar="NUMBER",
                    help="Ask with differential privacy: the clause WITH DIFFERENTIAL_PRIVACY on the outermost aggregate.")]
Delta = Annotated[str | None, typer.Option("--delta", metavar="NUMBER", help="With --epsilon: of groups that nobody named.")]
Groups = Annotated[int | None, typer.Option("--max-groups", help="With --epsilon: the most groups of a unit.")]
Rows = Annotated[int | None, typer.Option("--max-rows", help="With --epsilon: the most rows of a unit in a group.")]
Unit = Annotated[str, typer.Option("--unit", metavar="TABLE.COLUMN", help="With --epsilon: what tells units apart.")]
Noise = Annotated[str, typer.Option("--noise", metavar="JOINT|PARTIES|DEALER", help="With --epsilon: who makes the noise.")]
Client = Annotated[str, typer.Option("--client", help="Who asks: the name that grants are made to.")]
Zone = Annotated[str, typer.Option("--timezone", help="The time zone of the question.")]
Memory = Annotated[str | None, typer.Option("--memory-limit", metavar="SIZE",
                   help="Of each node and the dealer, such as 2GiB. Default: three quarters of the machine's, divided.")]


@app.command()
def query(sql: Sql, party: Parties = None, policy: Policies = None, public: Publics = None, param: Params = None,
          key: Keys = None, repeats: Repeats = None, federate: Federates = None, ledger: Ledgers = None,
          epsilon: Epsilon = None, delta: Delta = None, max_groups: Groups = None, max_rows: Rows = None, unit: Unit = "",
          noise: Noise = "", client: Client = "analyst", timezone: Zone = "UTC",
          form: Annotated[Format, typer.Option("--format", "-f", help="How the rows are written.")] = Format.TABLE,
          timeout: Annotated[float | None, typer.Option("--timeout", help="Seconds until it is given up.")] = None,
          memory_limit: Memory = None) -> None:
    """Ask one question, on secret shares where it crosses owners."""
    asked = _asked(sql, party, policy, public, param, key, repeats, federate, ledger)
    with _told():
        privacy = _privacy(epsilon, delta, max_groups, max_rows, unit, noise)
    if form is Format.ARROW and sys.stdout.isatty():
        raise typer.BadParameter("Arrow is binary: send it to a file or a program.", param_hint="--format")
    with _told():
        with Meter(_stderr(), "starting the parties") as meter, asked.hub(client, timezone, memory_limit) as hub:
            result = hub.sql(asked.sql, params=asked.params, timeout=timeout, progress=meter, privacy=privacy)
        _write(result, form)


@app.command()
def explain(sql: Sql, party: Parties = None, policy: Policies = None, public: Publics = None, param: Params = None,
            key: Keys = None, repeats: Repeats = None, federate: Federates = None, ledger: Ledgers = None,
            epsilon: Epsilon = None, delta: Delta = None, max_groups: Groups = None, max_rows: Rows = None, unit: Unit = "",
            noise: Noise = "", client: Client = "analyst", timezone: Zone = "UTC",
            analyze: Annotated[bool, typer.Option("--analyze", help="Run it, and show what it cost beside that.")] = False
            ) -> None:
    """Show the plan: what runs where, what it costs, and what it reveals to whom. Nothing is run."""
    asked = _asked(sql, party, policy, public, param, key, repeats, federate, ledger)
    with _told():
        privacy = _privacy(epsilon, delta, max_groups, max_rows, unit, noise)
    with _told():
        with Meter(_stderr(), "starting the parties") as meter, asked.hub(client, timezone) as hub:
            if analyze:
                done = hub.sql(f"EXPLAIN ANALYZE {asked.sql}", params=asked.params, progress=meter, privacy=privacy)
                text = done.fetchall()[0][1]
            else:
                text = hub.explain(asked.sql, params=asked.params, privacy=privacy)
        typer.echo(text)


@app.command(name="audit")
def show_audit(books: Annotated[list[Path] | None, typer.Argument(metavar="[BOOK]...", help="Files PARTY.jsonl; without one, "
               "all in the folder that SDH_AUDIT names.")] = None) -> None:
    """Show what a party's node did for whom: the book that nodes keep for their owner in the folder SDH_AUDIT.

    It holds what nobody else is told: the seconds of the work on the party's clear data.
    """
    from sdh import audit, formats

    folder = os.environ.get(audit.VARIABLE)
    if not books and not folder:
        raise typer.BadParameter("Name a book, or set SDH_AUDIT to the folder of the books.", param_hint="BOOK")
    for book in books or sorted(Path(folder or "").glob("*.jsonl")):
        try:
            entries = list(audit.read(book))
        except (OSError, ValueError):
            raise typer.BadParameter(f"{book} is not a book that a node keeps.", param_hint="BOOK") from None
        for entry in entries:
            typer.echo(formats.audited(book.stem, entry))


@app.command()
def demo(scale: Annotated[float, typer.Option("--scale", help="TPC-H scale factor.")] = 0.1) -> None:
    """Three questions over TPC-H data of two owners, checked against plain DuckDB."""
    from sdh import demo as program

    with _told():
        code = program.run(scale, Console(highlight=False), _stderr())
    raise typer.Exit(code)


# What is asked


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a command, read."""

    sql: str
    parties: dict[str, str]
    policies: dict[str, Policy]
    public: dict[str, str]
    params: dict[str, object]
    keys: dict[str, dict[str, list[tuple[str, ...]]]]
    """By party and table; a federated table's by '' and its name."""
    federated: dict[str, tuple[str, ...]]
    repeats: dict[str, dict[str, dict[tuple[str, ...], int]]]
    """By party and table."""
    ledgers: dict[str, str]

    @contextmanager
    def hub(self, client: str, timezone: str, memory_limit: str | None = None) -> Iterator[Any]:
        """A hub with these parties and public tables. Raises StoreError."""
        with sdh.connect(client=client, timezone=timezone, memory_limit=memory_limit) as hub:
            for name, path in self.parties.items():
                hub.attach(name, path, policy=self.policies.get(name), keys=self.keys.get(name),
                           repeats=self.repeats.get(name), ledger=self.ledgers.get(name))
            for name, path in self.public.items():
                hub.publish(name, path)
            for name, parts in self.federated.items():
                hub.federate(name, parts, keys=self.keys.get("", {}).get(name))
            yield hub


def _asked(sql: str, party: list[str] | None, policy: list[str] | None, public: list[str] | None,
           param: list[str] | None, key: list[str] | None, repeats: list[str] | None, federate: list[str] | None,
           ledger: list[str] | None) -> Asked:
    parties = _pairs(party, "--party")
    policies = _pairs(policy, "--policy")
    for name in policies.keys() - parties.keys():
        raise typer.BadParameter(f"There is no --party {name}.", param_hint="--policy")
    with _told():
        granted = {name: _policy(text) for name, text in policies.items()}
    text = sys.stdin.read() if sql == "-" else sql
    params = {name: parameter(value) for name, value in _pairs(param, "--param").items()}
    federated = {name: tuple(part.strip() for part in parts.split(",")) for name, parts in _pairs(federate, "--federate").items()}
    return Asked(text, parties, granted, _pairs(public, "--public"), params, _keys(key, parties, federated), federated,
                 _repeats(repeats, parties), _ledgers(ledger, parties))


def _ledgers(options: list[str] | None, parties: Mapping[str, object]) -> dict[str, str]:
    found = _pairs(options, "--ledger")
    for name in found.keys() - parties.keys():
        raise typer.BadParameter(f"There is no --party {name}.", param_hint="--ledger")
    return found


def _privacy(epsilon: str | None, delta: str | None, groups: int | None, rows: int | None, unit: str, noise: str) -> DP | None:
    """The options of differential privacy. Raises ParameterError."""
    if epsilon is None and (delta or groups or rows or unit or noise):
        raise typer.BadParameter("Differential privacy needs --epsilon.", param_hint="--epsilon")
    return None if epsilon is None else DP(epsilon, delta, groups, rows, unit, noise=noise)


def _pairs(options: list[str] | None, hint: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{option!r} is not NAME=VALUE.", param_hint=hint)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice.", param_hint=hint)
        found[name] = value
    return found


def _keys(options: list[str] | None, parties: Mapping[str, object],
          federated: Mapping[str, object]) -> dict[str, dict[str, list[tuple[str, ...]]]]:
    """--key options by party ('': federated) and table; one table may have several."""
    found: dict[str, dict[str, list[tuple[str, ...]]]] = {}
    for option in options or []:
        where, equals, columns = option.partition("=")
        party, dot, table = ("", ".", where) if where in federated else where.partition(".")
        if not (equals and dot and table and columns) or party and party not in parties:
            raise typer.BadParameter(f"{option!r} is not PARTY.TABLE=COLUMN,... of a given party.", param_hint="--key")
        found.setdefault(party, {}).setdefault(table, []).append(tuple(name.strip() for name in columns.split(",")))
    return found


def _repeats(options: list[str] | None, parties: Mapping[str, object]) -> dict[str, dict[str, dict[tuple[str, ...], int]]]:
    """--repeats options by party and table."""
    found: dict[str, dict[str, dict[tuple[str, ...], int]]] = {}
    for option in options or []:
        where, equals, declared = option.partition("=")
        party, dot, table = where.partition(".")
        columns, colon, times = declared.rpartition(":")
        if not (equals and dot and table and colon and columns and times.isdecimal()) or party not in parties:
            raise typer.BadParameter(f"{option!r} is not PARTY.TABLE=COLUMN,...:TIMES of a given party.", param_hint="--repeats")
        key = tuple(name.strip() for name in columns.split(","))
        found.setdefault(party, {}).setdefault(table, {})[key] = int(times)
    return found


def parameter(text: str) -> object:
    """The value that an option's text stands for."""
    words: dict[str, object] = {"null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    for kind in (int, Decimal, date.fromisoformat, datetime.fromisoformat):
        try:
            value = kind(text)
        except (ValueError, InvalidOperation):
            continue
        if not isinstance(value, Decimal) or value.is_finite():
            return value
    return text


def _policy(text: str) -> Policy:
    """'open', or a file of GRANT and SET statements. Raises UnknownDeclaration; a missing file is a usage error."""
    if text == "open":
        return Policy.open()
    path = Path(text)
    if not path.is_file():
        raise typer.BadParameter(f"There is no policy file {text!r}; the word 'open' grants everything.",
                                 param_hint="--policy")
    return policy_of(path.read_text(encoding="utf-8"))


# What is said


def _stderr() -> Console:
    return Console(stderr=True, highlight=False)


@contextmanager
def _told() -> Iterator[None]:
    """SDH's errors as one sentence on stderr, a caret under the SQL, and the exit code of whose fault it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoiseDrowns)   # said below the rows
            yield
    except SdhError as error:
        console = _stderr()
        console.print(Text.assemble(("error: ", "bold red"), f"{error.message} {error.advice}".strip()), soft_wrap=True)
        if caret := error.caret():
            console.print(Text(caret), soft_wrap=True)
        raise typer.Exit(code_of(error)) from None


def code_of(error: SdhError) -> int:
    match error:
        case Cancelled():
            return 130
        case RuntimeFault():
            return 3
        case _:
            return 1


def _write(result: Any, form: Format) -> None:
    from sdh import formats

    match form:
        case Format.TABLE if (text := formats.explained(result)) is not None:
            typer.echo(text)
        case Format.TABLE:
            # A file or pipe has no width to fit: nothing is cut there.
            Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(formats.rich_table(result))
            rows = f"{len(result):,} row{'' if len(result) == 1 else 's'}"
            _stderr().print(Text(f"{rows} in {result.cost}", style="dim"), soft_wrap=True)
            for reveal in result.revealed:
                _stderr().print(Text(f"revealed: {reveal}", style="dim"), soft_wrap=True)
        case Format.CSV:
            sys.stdout.writelines(formats.csv_lines(result))
        case Format.JSON:
            sys.stdout.writelines(formats.json_lines(result))
        case Format.ARROW:
            formats.write_arrow(result, sys.stdout.buffer)
    sys.stdout.flush()
    if result.warning:
        _stderr().print(Text.assemble(("warning: ", "bold yellow"), result.warning), soft_wrap=True)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
