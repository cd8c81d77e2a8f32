"""What a question gives back: rows, and with them the plan, what it cost and what was revealed to whom."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sdh.audit import Reveal
from sdh.noise_plot import Drawn, plot
from sdh.planners.analyze import analyze
from sdh.planners.costs import Spent
from sdh.planners.noise_shown import Shown, shown
from sdh.planners.plan import Plan
from sdh.planners.units import size

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import pandas
    import polars

SHOWN_ROWS = 50
"""Rows that a notebook shows."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run cost, as measured.

    seconds: from the question to the rows, on the client's clock. bytes: sent to other parties and the client, by party.
    rounds: of communication among parties. dealer_bytes: sent by the dealer. operators: of the run on shares, by party,
    in the order in which they are run.
    """

    seconds: float = 0.0
    bytes: Mapping[str, int] = field(default_factory=dict)
    rounds: int = 0
    dealer_bytes: int = 0
    operators: Mapping[str, Sequence[Spent]] = field(default_factory=dict)

    @property
    def most(self) -> list[Spent]:
        """Of every operator, each figure at the party where it is most."""
        return [Spent(max(one.sent for one in by_party), max(one.rounds for one in by_party),
                      max(one.dealt for one in by_party), max(one.seconds for one in by_party))
                for by_party in zip(*self.operators.values(), strict=True)]

    def __str__(self) -> str:
        sent = ", ".join(f"{party} {size(count)}" for party, count in self.bytes.items())
        parts = [f"{self.seconds:.1f} s", f"sent by {sent}" if sent else "",
                 f"{self.rounds:,} rounds" if self.rounds else "",
                 f"{size(self.dealer_bytes)} from the dealer" if self.dealer_bytes else ""]
        return ", ".join(part for part in parts if part)


def cost_of(seconds: float, operators: Mapping[str, Sequence[Spent]], payload: int) -> Cost:
    """The cost of a run that took `seconds`, from what every party reports of its operators. payload: each one's bytes
    to the client. All count the same rounds, and the dealer's bytes to all."""
    return Cost(seconds, {party: sum(one.sent for one in spent) + payload for party, spent in operators.items()},
                max((sum(one.rounds for one in spent) for spent in operators.values()), default=0),
                max((sum(one.dealt for one in spent) for spent in operators.values()), default=0), operators)


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """The rows of one question.

    plan: None for SHOW and DESCRIBE. revealed: what left the shares or a party, as EXPLAIN had listed it.
    session: the digest that keyed the run, hexadecimal.
    """

    table: pa.Table
    plan: Plan | None = None
    cost: Cost = field(default_factory=Cost)
    revealed: tuple[Reveal, ...] = ()
    session: str = ""

    def arrow(self) -> pa.Table:
        """The rows with the column names and types that DuckDB gives for the same text; names may repeat."""
        return self.table

    def df(self) -> pandas.DataFrame:
        """The rows as DuckDB's df() gives them: DECIMAL and HUGEINT become float64 (arrow and fetchall keep digits)."""
        with self._relation() as relation:
            frame: pandas.DataFrame = relation.df()
            return frame

    def pl(self) -> polars.DataFrame:
        """The rows as DuckDB's pl() gives them; a repeated column name gets a number."""
        with self._relation() as relation:
            frame: polars.DataFrame = relation.pl()
            return frame

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of the Python values that DuckDB's fetchall gives."""
        if any(pa.types.is_timestamp(kind) and kind.tz is not None for kind in self.table.schema.types):
            # DuckDB needs the package pytz for these, pyarrow does not.
            return list(zip(*(column.to_pylist() for column in self.table.columns), strict=True))
        with self._relation() as relation:
            return relation.fetchall()

    def texts(self, limit: int | None = None) -> list[tuple[str | None, ...]]:
        """The first `limit` rows with every value as DuckDB prints it; NULL is None."""
        with self._relation(as_text=True) as relation:
            return (relation if limit is None else relation.limit(limit)).fetchall()

    @property
    def columns(self) -> list[str]:
        return list(self.table.column_names)

    @property
    def types(self) -> list[str]:
        """DuckDB's name of each column's type."""
        with self._relation() as relation:
            return [str(kind) for kind in relation.types]

    def explain(self) -> str:
        """As EXPLAIN ANALYZE: the plan that ran, and what every operator was predicted to cost beside what it cost.

        Raises ValueError where there was no plan.
        """
        if self.plan is None:
            raise ValueError("SHOW and DESCRIBE have no plan.")
        return f"{analyze(self.plan, self.cost.most, self.session)}\n\nMeasured: {self.cost}"

    # --- noise ---

    @property
    def intervals(self) -> dict[str, int | Decimal]:
        """By column, how far the noise is from 0 at most in 95% of answers, in the column's units: value - it to value + it.

        Of the bounded value before noise: what bounds of a unit's part cut off is not in it, nor that rows were chosen by
        their noisy values (HAVING, LIMIT). Columns that do not show one noisy number each, such as AVG, are absent; of several
        columns of one name it is the widest.
        """
        found: dict[str, int | Decimal] = {}
        for one in self._noisy:
            name = self.columns[one.column]
            found[name] = max(one.half_width, found.get(name, one.half_width))
        return found

    @property
    def drowned(self) -> tuple[str, ...]:
        """Columns of which more than half of the values are less than their interval: they could as well be 0."""
        return tuple(self.columns[one.column] for one in self._noisy if _drowned(self._values(one), one.half_width))

    @property
    def warning(self) -> str:
        """For people, where noise drowns columns; else ''."""
        names = self.drowned
        if not names:
            return ""
        widths = ", ".join(f"{name} ± {self.intervals[name]:,}" for name in names)
        return (f"Most values are less than their noise, within 95%: {widths}. They could as well be 0: ask for fewer groups, "
                "narrower bounds or more epsilon.")  # fmt: skip

    def plot(self, path: str | Path | None = None) -> str:
        """Noisy columns as SVG: each value with its interval, and how likely noise of which size is. Written to `path` too.

        Raises ValueError where no column has an interval.
        """
        if not self._noisy:
            raise ValueError("No column of this result has an interval.")
        labels = self._labels()
        text = plot([Drawn(self.columns[one.column], _rows(labels, self._values(one)), one) for one in self._noisy])
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @property
    def _noisy(self) -> tuple[Shown, ...]:
        if self.plan is None:
            return ()
        placed = self.plan.placed
        return shown(placed.top, len(placed.schema), len(placed.parties))

    def _labels(self) -> list[str]:
        """What tells rows apart: the columns that are no numbers of noise, nor computed from such."""
        left_out = {one.column for one in self._noisy}
        left_out |= {place for place, kind in enumerate(self.table.schema.types) if pa.types.is_floating(kind)}
        named = [[cell for place, cell in enumerate(row) if place not in left_out] for row in self.texts()]
        return [", ".join("NULL" if cell is None else cell for cell in row) for row in named]

    def _values(self, one: Shown) -> list[Any]:
        return self.table.column(one.column).to_pylist()

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        with self._relation() as relation:
            return str(relation)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}<br><small>{html.escape(kind)}</small></th>"
                       for name, kind in zip(self.columns, self.types, strict=True))
        rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in self.texts(SHOWN_ROWS))
        more = f", the first {SHOWN_ROWS} shown" if len(self) > SHOWN_ROWS else ""
        return (f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
                f"<small>{len(self):,} rows{more}; {html.escape(str(self.cost))}</small>")

    @contextmanager
    def _relation(self, *, as_text: bool = False) -> Iterator[duckdb.DuckDBPyRelation]:
        """The rows in a DuckDB of their own, with the types put back that Arrow has no name for."""
        import duckdb  # a caller that takes Arrow alone does not wait for it

        with duckdb.connect(":memory:", config={"python_enable_replacements": "false"}) as connection:
            zone = self.plan.placed.question.timezone if self.plan is not None else "UTC"
            connection.execute("SET TimeZone = $1", [zone])
            connection.register("sdh result", self.table)
            columns = self._columns([str(kind) for kind in connection.table('"sdh result"').types])
            text = "::VARCHAR" if as_text else ""
            yield connection.sql(f"SELECT {', '.join(f'{value}{text} AS {name}' for value, name in columns)} "
                                 'FROM "sdh result"')

    def _columns(self, got: list[str]) -> list[tuple[str, str]]:
        """Each column as an SQL value of the type the plan has for it, and its quoted name. Names may repeat, so
        columns are taken by position; `got` are the types that DuckDB reads out of Arrow."""
        planned = [str(column.type) for column in self.plan.placed.schema] if self.plan is not None else []
        wanted = planned if len(planned) == len(got) else got
        names = ['"' + name.replace('"', '""') + '"' for name in self.columns]
        return [(f"#{number}" if want == had else f"#{number}::{want}", name or '""')
                for number, (want, had, name) in enumerate(zip(wanted, got, names, strict=True), start=1)]


def _drowned(values: Sequence[Any], half: int | Decimal) -> bool:
    known = [value for value in values if value is not None]
    return sum(bool(abs(value) < half) for value in known) > len(known) / 2


def _rows(labels: Sequence[str], values: Sequence[Any]) -> list[tuple[str, float]]:
    return [(label, float(value)) for label, value in zip(labels, values, strict=True) if value is not None]


def _cell(text: str | None) -> str:
    return "<td><i>NULL</i></td>" if text is None else f"<td>{html.escape(text)}</td>"
