"""A policy in a file: GRANT and SET statements, each ended by a semicolon; -- begins a comment.

SET floor = 3; SET rows = exact; SET facts = measured; and of differential privacy: SET unit.visits = patient;
SET budget.analyst = 2, 1e-6 (budget.* is of all together); SET epsilon = 0.5; SET delta = 1e-8 (of a question);
SET max_groups = 2; SET max_rows = 5; SET bounds.visits.cost = 0, 200; SET public.visits.city = 'Bern', 'Basel';
SET least_units = 10; SET space = patients.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sdh.errors import UnknownDeclaration
from sdh.policy import FACTS, ROWS, Policy
from sdh.privacy import PrivacyPolicy

_TOKENS = re.compile(r"--[^\n]*|'(?:[^']|'')*'|;|(?:(?!--)[^';])+|'")
_SET = re.compile(r"SET\s+(?P<name>[\w.*]+)\s*=\s*(?P<value>.+)", re.I | re.S)
_VALUE = re.compile(r"\s*(?:'(?P<text>(?:[^']|'')*)'|(?P<word>[^\s,']+))\s*(?:,|$)")
COUNTS = {"max_groups": "groups", "max_rows": "rows", "least_units": "least_units"}
CAPS = ("epsilon", "delta")
SETTINGS = ("Such are floor, rows, facts, unit.TABLE, budget.RECEIVER, epsilon, delta, max_groups, max_rows, "
            "bounds.TABLE.COLUMN, public.TABLE.COLUMN, least_units, space.")  # fmt: skip


def policy_of(text: str) -> Policy:
    """A policy of these statements. Raises UnknownDeclaration."""
    grants, settings, privacy = list[str](), dict[str, Any](), dict[str, Any]()
    for statement in _statements(text):
        found = _SET.fullmatch(statement)
        if found is None:
            grants.append(statement)
        else:
            _set(found["name"], found["value"].strip(), settings, privacy)
    return Policy.parse(";".join(grants), **settings, privacy=PrivacyPolicy.of(**privacy) if privacy else None)


def _statements(text: str) -> list[str]:
    """Semicolons and dashes in quotes are text."""
    found = [""]
    for token in _TOKENS.findall(text):
        if token == ";":
            found.append("")
        elif not token.startswith("--"):
            found[-1] += token
    return [one.strip() for one in found if one.strip()]


def _set(name: str, value: str, settings: dict[str, Any], privacy: dict[str, Any]) -> None:
    """One SET statement into what it sets. Raises UnknownDeclaration."""
    kind, _, of = name.partition(".")
    match kind.lower(), of, [text for text, _ in _quoted(value)]:
        case "floor", "", [number] if number.isdecimal():
            settings["floor"] = int(number)
        case "rows", "", [word] if word.lower() in ROWS:
            settings["rows"] = word.lower()
        case "facts", "", [word] if word.lower() in FACTS:
            settings["facts"] = word.lower()
        case "unit", table, [column] if table:
            settings.setdefault("unit", {})[table] = column
        case "budget", receiver, [epsilon, delta] if receiver:
            privacy.setdefault("budgets", {})[receiver] = (epsilon, delta)
        case cap, "", [number] if cap in CAPS:
            privacy[cap] = number
        case count, "", [number] if count in COUNTS and number.isdecimal():
            privacy[COUNTS[count]] = int(number)
        case "bounds", column, [low, high] if "." in column:
            privacy.setdefault("bounds", {})[column] = (low, high)
        case "public", column, [*_] if "." in column:
            privacy.setdefault("public", {})[column] = tuple(_literal(one) for one in _quoted(value))
        case "space", "", [word]:
            privacy["space"] = word
        case _:
            raise UnknownDeclaration(f"Not a setting of a policy: SET {name} = {value}.", advice=SETTINGS)


def _quoted(text: str) -> list[tuple[str, bool]]:
    """Values between commas: (text, whether it was in quotes). Raises UnknownDeclaration."""
    found, at = list[tuple[str, bool]](), 0
    while at < len(text):
        one = _VALUE.match(text, at)
        if one is None:
            raise UnknownDeclaration(f"Not a list of values: {text}.", advice="Write numbers and 'quoted' text, commas between.")
        found.append((one["word"], False) if one["text"] is None else (one["text"].replace("''", "'"), True))
        at = one.end()
    return found


def _literal(value: tuple[str, bool]) -> None | bool | int | str:
    text, quoted = value
    words: Mapping[str, None | bool] = {"null": None, "true": True, "false": False}
    if not quoted and text.lower() in words:
        return words[text.lower()]
    return int(text) if not quoted and re.fullmatch(r"[+-]?\d+", text) else text
