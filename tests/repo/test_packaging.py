"""What a person relies on from outside: files, commands, and that nothing is left half done."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import mipro

ROOT = Path(__file__).parents[2]


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == mipro.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(mipro.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    "target", ["demo", "test", "check", "statistical", "faults", "cluster", "kill"]
)
def test_make_targets_exist(target: str) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", text, re.MULTILINE)


def test_links_in_the_readme_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "experiments").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_sources_hold_no_unfinished_work() -> None:
    for path in (ROOT / "mipro").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"TODO|FIXME|XXX|NotImplementedError", text), path


def test_the_continuous_check_is_a_valid_script() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)
