"""What a config gets wrong is said in the config's own words: its table, its key, its value."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mipro.cli import app
from mipro.config import load_config
from mipro.errors import MiproError

PROGRAM = """
from mipro import Input, Output, Predict, Program

class Sort:
    '''Which team?'''
    message: str = Input()
    team: str = Output()

class Support(Program):
    def __init__(self):
        self.route = Predict(Sort)

    def forward(self, message):
        return self.route(message=message)
"""
TABLES = {
    "program": 'path = "triage.py:Support"',
    "data": 'file = "rows.jsonl"\ninputs = ["message"]',
    "metric": 'name = "exact_match"\nfield = "team"',
    "lm": 'kind = "simulated"',
    "optimize": "trials = 2",
}
OPENAI = 'kind = "openai"\nmodel = "m"\n'


@pytest.fixture
def config(tmp_path: Path):
    """Writes a config, some of its tables replaced, and returns its path."""
    (tmp_path / "triage.py").write_text(PROGRAM, encoding="utf-8")
    rows = [{"message": f"message {i}", "team": "ab"[i % 2]} for i in range(20)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")

    def write(**tables: str) -> Path:
        path = tmp_path / "run.toml"
        parts = {**TABLES, **tables}.items()
        path.write_text("".join(f"[{name}]\n{body}\n" for name, body in parts), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("table", "body", "said"),
    [
        ("optimize", "trials = 0", r"\[optimize\] trials = 0: at least 1 is wanted"),
        ("optimize", "forecasts = 1", r"\[optimize\] forecasts = 1: true or false is wanted"),
        ("optimize", 'method = "mipr0"', r"\[optimize\] method = 'mipr0': there are .*mipro_tree"),
        ("optimize", 'method = "triage.py:No"', r"\[optimize\] method = 'triage.py:No': triage.py"),
        ("optimize", "looks = 99", r"^looks = 99: the test set has 6 examples"),
        ("budget", "calls = 5", r"budget calls = 5 is too small.*would do is calls = \d+;"),
        ("budget", "usd = -1", r"^\[budget\] usd = -1: a number above 0 is wanted"),
        ("budget", "calls = 2.5", r"^\[budget\] calls = 2.5: a whole number above 0 is wanted"),
        ("budget", "dollars = 1", r"^\[budget\]: no key is called 'dollars': there are calls"),
        ("budget", "usd = 1.5", r"'simulated' \(task\) has no price.*`price` in the LM's table"),
        ("lm", OPENAI + "temprature = 1", r"^\[lm\]: no key is called 'temprature': there are mo"),
        ("lm", 'kind = "openai"', r"^\[lm\]: the key 'model' is missing"),
        ("lm", OPENAI + 'base_url = "127.0.0.1:9"', r"^\[lm\] base_url"),
        ("lm", 'kind = "simulated"\nmalformed = 2', r"^\[lm\] malformed"),
        ("lm", 'kind = "simulated"\nprice = 3', r"^\[lm\] price = 3: \{ prompt = …, comp"),
        ("metric", 'name = "exact_match"', r"^\[metric\]: the key 'field' of name = 'exact_match'"),
        (
            "metric",
            'name = "f1"\nfield = "team"\ntolerance = 1',
            r"^\[metric\]: no key of name = 'f1' is called",
        ),
        ("program", 'path = "triage.py:Sort"', r"^\[program\] path = .* which is no mipro.Program"),
        (
            "data",
            'file = "rows.jsonl"\ninputs = ["message"]\nsplit = { train = 0.9, val = 0.3 }',
            r"^\[data\] split: train 18 \+ val 6 .*examples are asked of 20",
        ),
    ],
)
def test_a_mistake_is_said_by_its_table_and_key(config, table: str, body: str, said: str):
    path = config(**{table: body})
    ran = CliRunner().invoke(app, ["estimate", str(path)])
    assert isinstance(ran.exception, MiproError)
    assert re.search(said, str(ran.exception).removeprefix(f"{path}: "), re.DOTALL), ran.exception
    for python in ("__init__", "argument", "True or False", "=='", "api_key="):
        assert python not in str(ran.exception)


def test_a_budget_without_a_forecast_is_refused_naming_the_table(config):
    path = config(optimize="forecasts = false", budget="calls = 500")
    with pytest.raises(MiproError, match=r"leave out `forecasts` \(\[optimize\] in a config\)"):
        load_config(path).given().checked()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--method", "foo"], "--method foo: there are random_search"),
        (["serve", "--host", "0.0.0.0"], "say so with --allow-remote"),
        (["resume", "nowhere"], "nowhere is not there; `mipro resume` takes the directory"),
        (["resume", __file__], "is a file: its directory is wanted"),
    ],
)
def test_a_mistake_on_the_command_line_is_said_by_its_flag(arguments: list[str], said: str):
    ran = CliRunner().invoke(app, arguments)
    assert isinstance(ran.exception, MiproError)
    assert said in str(ran.exception)


def test_a_directory_with_a_file_of_ones_own_is_not_written_over(config):
    path = config(optimize='trials = 2\nforecasts = false\nrun_dir = "mine"')
    mine = path.parent / "mine" / "config.json"
    mine.parent.mkdir()
    mine.write_text("my own", encoding="utf-8")
    ran = CliRunner().invoke(app, ["optimize", str(path)])
    assert "holds a config.json and no run" in str(ran.exception)
    assert mine.read_text(encoding="utf-8") == "my own"
    assert [file.name for file in mine.parent.iterdir()] == ["config.json"]


def test_a_run_that_was_refused_is_not_said_to_be_kept(config, capsys):
    """Another run's journal may lie in that directory."""
    path = config(metric='name = "exact_match"\nfield = "tem"', optimize='run_dir = "here"')
    (path.parent / "here").mkdir()
    (path.parent / "here" / "journal.jsonl").write_text("", encoding="utf-8")
    ran = CliRunner().invoke(app, ["optimize", str(path)])
    assert "no field 'tem'" in str(ran.exception)
    assert "kept in" not in ran.output + capsys.readouterr().err
