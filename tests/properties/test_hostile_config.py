"""Config files, whatever is in them: a run, or one error; and nothing is written elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import DEEP, Tried, spoilt
from hypothesis import given
from hypothesis import strategies as st

from mipro.config import TABLES, load_config
from mipro.errors import ConfigError, MiproError
from mipro.optimizers.task import Options

PROGRAM = """
import mipro

class Ask(mipro.Program):
    def __init__(self, hops=1):
        self.step = mipro.Predict("question -> answer")

    def forward(self, question):
        return self.step(question=question)
"""
CONFIG = """
[program]
path = "asking.py:Ask"
arguments = { hops = 2 }

[data]
file = "data.jsonl"
inputs = ["question"]
split = { train = 4, val = 3, test = 0.3 }
seed = 3

[metric]
name = "exact_match"
field = "answer"

[optimize]
method = "mipro"
run_dir = "runs/first"
adapter = "chat"
trials = 3

[lm]
kind = "simulated"
seed = 1
cache = "replies.sqlite"
price = { prompt = 1.0, completion = 2 }

[prompt_lm]
kind = "openai"
model = "m"
base_url = "http://127.0.0.1:9/v1"

[budget]
calls = 100

[prices]
other = { prompt = 1, completion = 1 }
"""
VALUES = [
    *("0", "-1", "true", "1.5", "nan", "inf", "-inf", "1e999", '""', '"x"', '"a\\u0000b"', "[]"),
    *("[1]", '["a"]', "{}", "{ a = 1 }", "[{}]", "1979-05-27", "07:32:00", '"../up"', '"/"'),
    *('"http://[::1"', '"asking.py:Ask"', '"os:system"', '"\\u001b[2J"', "9223372036854775808"),
    *("9" * 5000, "[" * 700 + "]" * 700, "[" * DEEP, '"' + "x" * 2000 + '"'),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a program, data and a config, inside another that nothing may write to."""
    here = tmp_path / "outside/here"
    here.mkdir(parents=True)
    (here / "asking.py").write_text(PROGRAM)
    rows = "".join(f'{{"question": "q{i}", "answer": "{i}"}}\n' for i in range(12))
    (here / "data.jsonl").write_text(rows)
    paths, modules = list(sys.path), set(sys.modules)
    yield here
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        if name.startswith("mipro_user"):
            del sys.modules[name]


def load(folder: Path, text: str | bytes) -> Any:
    path = folder / "run.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path)


def changed(key: str, value: str) -> str:
    """The config with `key` of its table ("lm.seed") set to `value`."""
    table, _, name = key.partition(".")
    lines, inside, done = [], False, False
    for line in CONFIG.splitlines():
        if line.startswith("["):
            inside = line == f"[{table}]"
            lines.append(line)
            if inside:
                lines.append(f"{name} = {value}")
                done = True
        elif not (inside and line.partition(" =")[0] == name):
            lines.append(line)
    return "\n".join(lines) + ("" if done else f"\n[{table}]\n{name} = {value}\n")


KEYS = [
    *(f"program.{key}" for key in TABLES["program"]),
    *(f"data.{key}" for key in TABLES["data"]),
    *(f"metric.{key}" for key in TABLES["metric"]),
    *(f"optimize.{key}" for key in (*TABLES["optimize"], *Options.__dataclass_fields__)),
    *(f"lm.{k}" for k in ("kind", "path", "arguments", "cache", "price", "seed", "temperature")),
    *(f"lm.{key}" for key in ("latency", "malformed", "context_window")),
    *(f"prompt_lm.{key}" for key in ("model", "base_url", "api_key_env", "temperature", "seed")),
    *(f"prompt_lm.{k}" for k in ("timeout", "max_retries", "max_reasks", "patience")),
    *(f"prompt_lm.{k}" for k in ("structured", "cache", "max_tokens", "extra_body", "kind")),
    *(f"prompt_lm.{key}" for key in ("price", "arguments")),
    *(f"budget.{key}" for key in TABLES["budget"]),
    *("prices.other", "nonsense.key", "optimize.nonsense", "lm.nonsense"),
]


@pytest.mark.parametrize("key", KEYS)
def test_each_setting_may_be_anything_and_is_a_config_or_one_error(key, folder):
    tried = Tried()
    before = {path for path in folder.parent.rglob("*") if folder not in path.parents}
    for value in VALUES:
        loaded = tried(f"{key} = {value:.30}", lambda: load(folder, changed(key, value)))  # noqa: B023
        if loaded is not None:
            tried(f"{key} = {value:.30}: options", lambda: Options.of(loaded.settings))  # noqa: B023
    # the folder's own cache aside, loading writes nothing
    assert {p for p in folder.parent.rglob("*") if folder not in p.parents} == before
    assert tried.total >= len(VALUES)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("value", ["3", '"x"', "[]", "[{}]", "true", "{}", "nan"])
def test_a_table_may_be_anything(table, value, folder):
    head = f"{table} = {value}\n"
    kept, inside = [], False
    for line in CONFIG.splitlines():
        if line.startswith("["):
            inside = line == f"[{table}]"
        if not inside:
            kept.append(line)
    Tried()(head, lambda: load(folder, head + "\n".join(kept)))


def test_a_spoilt_config_is_read_or_refused(folder):
    tried = Tried()
    for what, text in spoilt(CONFIG.encode()):
        tried(what, lambda: load(folder, text))  # noqa: B023
    assert tried.total > 150
    assert tried.refused > 100
    assert tried.read > 5


@given(st.binary(max_size=100))
def test_any_bytes_are_a_config_error(data):
    with tempfile.TemporaryDirectory() as place, pytest.raises(ConfigError, match=r"run\.toml"):
        load(Path(place), data)


def test_a_byte_order_mark_and_other_line_ends_change_nothing(folder):
    for text in (b"\xef\xbb\xbf" + CONFIG.encode(), CONFIG.replace("\n", "\r\n").encode()):
        assert load(folder, text).run_dir == folder / "runs/first"


@pytest.mark.parametrize("text", ["a." * 100_000 + "b = 1", "[" + "a." * 100_000 + "b]"])
def test_a_key_of_a_hundred_thousand_parts_takes_no_time(text, folder):
    Tried()("dots", lambda: load(folder, text), "run.toml")


# ---- paths --------------------------------------------------------------------------------------

OUTSIDE = ["..", "../other", "runs/../../other", "/tmp/other", "~/../other/../..", "link/other"]


@pytest.mark.parametrize("key", ["optimize.run_dir", "lm.cache", "prompt_lm.cache"])
@pytest.mark.parametrize("path", [*OUTSIDE, "", ".", "runs/.."])
def test_a_config_cannot_write_outside_of_its_folder(key, path, folder):
    (folder / "link").symlink_to(folder.parent)
    before = set(folder.parent.rglob("*"))
    with pytest.raises(ConfigError, match="below the folder of the config"):
        load(folder, changed(key, f'"{path}"'))
    new = set(folder.parent.rglob("*")) - before
    assert {path.parent for path in new} == {folder}


@pytest.mark.parametrize("path", ["run", "runs/./a", "a/../b", "deep/er/one", "..a"])
def test_paths_below_the_folder_are_taken(path, folder):
    assert load(folder, changed("optimize.run_dir", f'"{path}"')).run_dir == folder / path


def test_a_config_is_read_by_its_own_folder_wherever_one_stands(folder, monkeypatch):
    (folder / "run.toml").write_text(CONFIG)
    monkeypatch.chdir(folder.parent)
    loaded = load_config("here/run.toml")
    assert loaded.run_dir == folder / "runs/first"
    assert (folder / "replies.sqlite").exists()
    assert not (folder.parent / "replies.sqlite").exists()


# ---- nothing is executed but what the config names as code --------------------------------------


@pytest.mark.parametrize("text", ["__import__('os').system('touch hit')", "${touch hit}", "`x`"])
def test_no_text_of_a_config_is_evaluated(text, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for key in KEYS:
        Tried()(key, lambda: load(folder, changed(key, f"{text!r}")))  # noqa: B023
    assert not list(folder.parent.rglob("hit"))


@pytest.mark.parametrize("table", ["lm", "prompt_lm"])
@pytest.mark.parametrize(
    "line",
    [
        'api_key = "sk-planted-5up3rs3cr3t"',
        'arguments = { api_key = "sk-planted-5up3rs3cr3t" }',
        'extra_body = { deep = { api_key = "sk-planted-5up3rs3cr3t" } }',
        'api_key_env = "sk-planted-5up3rs3cr3t"',
        'base_url = "htps://me:sk-planted-5up3rs3cr3t@host/v1"',
        'base_url = "http://me:sk-planted-5up3rs3cr3t@host/v1"',
        'base_url = "http://host/v1?key=sk-planted-5up3rs3cr3t"',
    ],
)
def test_a_key_in_a_config_is_refused_unseen(table, line, folder):
    text = CONFIG.replace(f"[{table}]", f"[{table}]\n{line}").replace("simulated", "openai")
    if "base_url" in line:
        text = text.replace('base_url = "http://127.0.0.1:9/v1"\n', "")
    with pytest.raises(MiproError) as caught:
        load(folder, text.replace("seed = 1\n", 'seed = 1\nmodel = "m"\n', 1))
    assert "sk-planted" not in str(caught.value)


# ---- the screen ---------------------------------------------------------------------------------

COMPLAINING = """
def complaining(example, prediction):
    raise ValueError(f"of no use: {example.question} and {prediction.answer}")
"""


@pytest.mark.parametrize("text", ["\ud800 \x1b[2J\x1b]0;owned\x07 \x9b31m a\0b\x08\x7f"])
def test_no_data_reaches_the_terminal_but_as_plain_text(text, folder):
    rows = [{"question": f"{text}{i}", "answer": text or "x"} for i in range(12)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "asking.py").write_text(PROGRAM + COMPLAINING)
    config = changed("metric.path", '"asking.py:complaining"').replace(
        "[prompt_lm]", "[teacher_lm]"
    )
    config = config.replace(
        'kind = "openai"\nmodel = "m"\nbase_url = "http://127.0.0.1:9/v1"\n', ""
    )
    (folder / "run.toml").write_text(config.replace("[teacher_lm]\n", ""))
    for arguments in (["eval", "run.toml", "--on", "train"], ["optimize", "run.toml"]):
        command = [sys.executable, "-m", "mipro.cli", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=100)
        said = (done.stdout + done.stderr).decode("utf-8")  # which half a pair is not
        assert "Traceback" not in said
        assert "of no use" in said
        assert not [c for c in said if ord(c) < 32 and c not in "\n\t"]
        assert not [c for c in said if 127 <= ord(c) < 160]
