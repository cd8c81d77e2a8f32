"""The wheel: its rooms are inside `sdh`, and it lives beside a user's own `parsers` and `connectors`."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("parsers", "planners", "executors", "connectors")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder of the checkout gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(ROOT, source, symlinks=True, ignore=unwanted)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)],
                   check=True, capture_output=True, text=True)
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_every_module_under_sdh_and_nothing_beside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"sdh"}
    expected = {f"sdh/{path.name}" for path in (ROOT / "sdh").glob("*.py")}
    expected |= {f"sdh/{room}/{path.name}" for room in ROOMS for path in (ROOT / room).glob("*.py")}
    assert {name for name in names if name.endswith(".py")} == expected
    assert "sdh/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_lives_beside_a_users_own_folders(wheel: Path, tmp_path: Path) -> None:
    site, project = tmp_path / "site", tmp_path / "project"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site),
                    str(wheel)], check=True, capture_output=True)
    for room in ROOMS:
        (project / room).mkdir(parents=True)
        (project / room / "__init__.py").write_text("OWNER = 'the user'\n")
    program = f"""
import importlib, sys
import sdh, parsers, connectors, planners, executors
assert sdh.__file__.startswith({str(site)!r}), sdh.__file__
for room in (parsers, connectors, planners, executors):
    assert room.OWNER == "the user"
    inner = importlib.import_module("sdh." + room.__name__)
    assert inner is not room and inner.__file__.startswith({str(site)!r})
from sdh.connectors.sources import from_path
from sdh.parsers.parse import parse
print(parse("SELECT 1").__class__.__name__, sdh.Policy.open().floor)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=project,
                          env={**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{site}"})
    assert (done.returncode, done.stdout) == (0, "Select 1\n"), done.stderr


def test_the_rooms_are_links_into_the_top_level_folders() -> None:
    for room in ROOMS:
        assert os.readlink(ROOT / "sdh" / room) == f"../{room}"


def test_importing_sdh_loads_the_standard_library_only() -> None:
    program = ("import sys; before = set(sys.modules); import sdh; sdh.Policy.open(); sdh.errors.SdhError; "
               "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))")
    loaded = set(run(program).split())
    assert loaded - set(sys.stdlib_module_names) == {"sdh"}


def test_importing_sdh_takes_under_30_ms() -> None:
    seconds = [float(run("from time import perf_counter as now; begun = now(); import sdh; print(now() - begun)"))
               for _ in range(7)]
    assert statistics.median(seconds) < 0.030, seconds


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT).stdout
