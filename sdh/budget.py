"""`sdh budget`: an owner looks at what differentially private answers have cost, and sets what they may cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sdh.accounting import DELTAS, EPSILONS, in_delta, in_epsilon, spending
from sdh.connectors.ledger import EVERYBODY, Ledger, owner_of
from sdh.errors import SdhError
from sdh.privacy import exact

app = typer.Typer(name="budget", no_args_is_help=True, help="The budgets of differential privacy in an owner's ledger.")

File = Annotated[Path, typer.Argument(metavar="LEDGER", help="The file that attach() was given as ledger=.")]


@app.command()
def show(ledger: File) -> None:
    """What each receiver's budget is, what was spent of it by basic composition and by zCDP, and what is left."""
    with _opened(ledger) as found:
        table = Table("units", "receiver", "epsilon", "delta", "spent (basic)", "spent (zCDP)", "left",
                      title=f"{found.name}: {len(found.rows()):,} entries")
        for space, receiver, epsilon, delta in found.budgets():
            spent = spending(found.charges(space, receiver))
            by_zcdp = spent.by_zcdp(delta)
            shown = in_epsilon(by_zcdp) if by_zcdp < 1 << 62 else "no delta is left"
            table.add_row(space, "all together" if receiver == EVERYBODY else receiver, in_epsilon(epsilon), in_delta(delta),
                          f"{in_epsilon(spent.epsilon)}, {in_delta(spent.delta)}", shown,
                          in_epsilon(max(0, epsilon - spent.at(delta))))
        _out(table)


@app.command(name="set")
def set_budget(
    ledger: File,
    receiver: Annotated[str, typer.Option("--receiver", help="A client or party; * is all of them together.")],
    epsilon: Annotated[str, typer.Option("--epsilon", help="The most epsilon in all, such as 2 or 0.5.")],
    delta: Annotated[str, typer.Option("--delta", help="The most delta in all, such as 1e-6.")] = "0",
    space: Annotated[str, typer.Option("--units", help="The units' name, as in the owner's policy.")] = "units",
    owner: Annotated[str, typer.Option("--owner", help="The owner's name, where the file is to be made.")] = "",
) -> None:
    """Set a receiver's budget; what was spent stays spent. It takes the place of the one in the owner's policy."""
    amounts = [exact(text) for text in (epsilon, delta)]
    if any(amount is None or amount < 0 for amount in amounts) or (amounts[1] or 0) > 1:
        raise typer.BadParameter(f"epsilon {epsilon} and delta {delta} are no budget.", param_hint="--epsilon")
    if not ledger.exists() and not owner:
        raise typer.BadParameter(f"There is no ledger {ledger}.", param_hint="LEDGER")
    with _opened(ledger, owner) as found:
        found.set_budget(space, receiver, _units(amounts[0], EPSILONS), _units(amounts[1], DELTAS))


@app.command()
def history(ledger: File) -> None:
    """Every entry, the oldest first."""
    with _opened(ledger) as found:
        table = Table("number", "when", "what", "of", "units", "receiver", "epsilon", "delta", "question", "mechanisms")
        for row in found.rows():
            table.add_row(str(row.seq), row.at, row.kind, "" if row.of == row.seq else str(row.of), row.space, row.receiver,
                          in_epsilon(row.epsilon), in_delta(row.delta), row.question[:12], ", ".join(row.events))
        _out(table)


def _units(amount: Fraction | None, unit: int) -> int:
    return math.floor((amount or Fraction(0)) * unit)


def _out(table: Table) -> None:
    console = Console(highlight=False)
    Console(highlight=False, width=None if console.is_terminal else 10_000).print(table)


@contextmanager
def _opened(path: Path, owner: str = "") -> Iterator[Ledger]:
    try:
        found = Ledger(path, owner if owner and not path.exists() else owner_of(path))
    except SdhError as error:
        Console(stderr=True, highlight=False).print(f"error: {error.message} {error.advice}", soft_wrap=True)
        raise typer.Exit(1) from None
    try:
        yield found
    finally:
        found.close()
