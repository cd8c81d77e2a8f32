"""Results as text and bytes for a terminal, a file or another program."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sdh.audit import Entry
from sdh.planners.units import duration
from sdh.result import Result

if TYPE_CHECKING:
    from rich.table import Table


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    ARROW = "arrow"


NUMBERS = frozenset("TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT DECIMAL "
                    "FLOAT DOUBLE".split())


def rich_table(result: Result) -> Table:
    """The rows for a terminal: numbers to the right, NULL dimmed; it narrows to the width it is printed at."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.ROUNDED, header_style="bold")
    for name, kind in zip(result.columns, result.types, strict=True):
        number = kind.partition("(")[0] in NUMBERS
        table.add_column(Text(f"{name}\n").append(kind.lower(), style="dim not bold"),
                         justify="right" if number else "left", overflow="fold")
    if result.intervals:
        table.caption = ", ".join(f"{name}: ± {half:,} with 95%" for name, half in result.intervals.items())
    for row in result.texts():
        table.add_row(*(Text("NULL", style="dim") if value is None else Text(value) for value in row))
    return table


def explained(result: Result) -> str | None:
    """The text of an EXPLAIN, which no frame should cut; None for rows."""
    return str(result.table.column(1)[0]) if result.columns == ["explain_key", "explain_value"] else None


def audited(party: str, entry: Entry) -> str:
    """An entry of a party's book, for its owner."""
    lines = [f"{entry.when}  {party} for {entry.client}: plan {entry.plan[:16]}, session {entry.session[:16]}",
             *(f"  {line}" for line in entry.question.strip().splitlines()),
             *(f"  revealed: {reveal}" for reveal in entry.revealed)]
    for title, steps in (("on clear data, told to nobody", entry.clear), ("on shares", entry.shared)):
        if steps:
            each = ", ".join(f"{step} {duration(seconds)}" for step, seconds in steps.items())
            lines.append(f"  {title}: {duration(sum(steps.values()))} ({each})")
    return "\n".join(lines) + "\n"


def csv_lines(result: Result) -> Iterator[str]:
    """RFC 4180 with a line of names: NULL is nothing, an empty string is "". Lines end in a line feed."""
    yield ",".join(map(_csv_value, result.columns)) + "\n"
    for row in result.texts():
        yield ",".join(map(_csv_value, row)) + "\n"


def _csv_value(value: str | None) -> str:
    if value is None:
        return ""
    if value == "" or any(character in value for character in ',"\r\n'):
        return '"' + value.replace('"', '""') + '"'
    return value


def json_lines(result: Result) -> Iterator[str]:
    """An array of objects, one to a line. Numbers keep every digit; a repeated name gets a number, as in DuckDB."""
    names = [json.dumps(name) for name in distinct(result.columns)]
    rows = result.fetchall()
    objects = (", ".join(f"{name}: {_json(value)}" for name, value in zip(names, row, strict=True)) for row in rows)
    for number, members in enumerate(objects):
        yield f"{',' if number else '['}\n{{{members}}}"
    yield "\n]\n" if rows else "[]\n"


def distinct(names: Iterable[str]) -> list[str]:
    """Column names made different from each other: a, a_1, ..."""
    taken: set[str] = set()
    found = []
    for name in names:
        number, fresh = 0, name
        while fresh.lower() in taken:
            number += 1
            fresh = f"{name}_{number}"
        taken.add(fresh.lower())
        found.append(fresh)
    return found


def _json(value: Any) -> str:
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else json.dumps(str(value))
        case Decimal():
            return f"{value:f}"
        case datetime():
            return json.dumps(value.isoformat(" "))
        case date() | time():
            return json.dumps(value.isoformat())
        case bytes():
            return json.dumps(value.hex())
        case list() | tuple():
            return f"[{', '.join(map(_json, value))}]"
        case dict():
            return f"{{{', '.join(f'{json.dumps(str(key))}: {_json(one)}' for key, one in value.items())}}}"
        case _:
            return json.dumps(str(value))


def write_arrow(result: Result, sink: Any) -> None:
    """An Arrow IPC stream into a binary file."""
    from pyarrow import ipc

    table = result.arrow()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
