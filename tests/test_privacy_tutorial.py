"""docs/privacy.md does what it says: its Python runs from top to bottom, then its commands on the ledgers that are left."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdh.cli import app

TUTORIAL = Path(__file__).parent.parent / "docs" / "privacy.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.M | re.S)


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    exec(compile(code, str(TUTORIAL), "exec"), {"__name__": "tutorial"})
    assert "Differential privacy:" in capsys.readouterr().out
    assert ElementTree.parse(tmp_path / "costs.svg").getroot().tag.endswith("svg")
    shown = [CliRunner().invoke(app, shlex.split(line)[1:]) for line in "".join(blocks("sh")).splitlines()]
    assert [one.exit_code for one in shown] == [0, 0, 0]
    assert "1.5" in shown[0].output, "what was spent"
