"""A config that names a task of the paper: loaded as the Python face loads it, or one error."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hostile import Tried
from real_data import real_task

import mipro
from mipro.config import TABLES, load_config
from mipro.errors import ConfigError
from mipro.optimizers.methods import METHODS
from mipro.optimizers.task import Options
from mipro.tasks import TASKS
from mipro.tasks import gsm8k as maths

CONFIGS = Path(__file__).parents[3] / "experiments" / "tasks"
LM = '[lm]\nkind = "simulated"\n'
VALUES = [
    *("0", "-1", "true", "1.5", "nan", '""', '"x"', '"a\\u0000b"', "[]", "{}", '"../up"', '"/"'),
    *("1979-05-27", '"' + "x" * 5000 + '"', "9" * 5000, '"scone"', '"~"'),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A folder with a GSM8K of six problems in `data`."""
    monkeypatch.setattr(maths, "ROWS", {"train": 4, "test": 2})
    monkeypatch.setattr(maths, "TRAIN", 2)
    monkeypatch.setattr(maths, "VAL", 2)
    place = tmp_path / "data/gsm8k"
    place.mkdir(parents=True)
    for part, n in maths.ROWS.items():
        rows = [{"question": f"{part} {i} + 1?", "answer": f"#### {i + 1}"} for i in range(n)]
        (place / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def load(folder: Path, text: str):
    (folder / "run.toml").write_text(text)
    return load_config(folder / "run.toml")


def test_a_task_brings_program_metric_and_data_by_its_name(folder) -> None:
    loaded = load(folder, f'[task]\nname = "gsm8k"\ndata = "data"\n{LM}[optimize]\ntrials = 3\n')
    task = mipro.load_task("gsm8k", folder / "data")
    assert type(loaded.program) is type(task.program)
    assert loaded.metric.name == task.metric.name == "numeric_match(answer)"
    assert (loaded.train, loaded.val, loaded.test) == (task.train, task.val, task.test)
    assert loaded.settings == {"trials": 3}


def test_the_tasks_seed_is_of_its_split(folder) -> None:
    splits = {
        seed: load(folder, f'[task]\nname = "gsm8k"\ndata = "data"\nseed = {seed}\n{LM}').train
        for seed in range(6)
    }
    for seed, train in splits.items():
        assert train == mipro.load_task("gsm8k", folder / "data", seed).train
    assert len(set(map(repr, splits.values()))) > 1


@pytest.mark.parametrize("name", ["iris", "iris_typo"])
def test_where_the_paper_has_no_val_half_of_train_is_it_by_the_runs_seed(name, folder) -> None:
    task = real_task(name)
    halves = []
    for seed in (0, 1):
        loaded = load(folder, f'[task]\nname = "{name}"\n{LM}[optimize]\nseed = {seed}\n')
        assert loaded.test == task.test
        assert (len(loaded.train), len(loaded.val)) == (37, 38)
        assert sorted(map(repr, loaded.train + loaded.val)) == sorted(map(repr, task.train))
        halves.append(loaded.train)
    assert halves[0] != halves[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[task]\nname = "scon"', r"\[task\] name = 'scon': there are scone, .*gsm8k"),
        ("[task]\nname = 3", r"\[task\] name = 3: there are"),
        ("[task]", r"\[task\] name = None: there are"),
        ('[task]\nname = "gsm8k"\nsplit = 1', r"\[task\]: no key is called 'split'"),
        ('[task]\nname = "gsm8k"\ndata = 3', r"\[task\] data = 3: a path is wanted"),
        ('[task]\nname = "gsm8k"\ndata = "nowhere"', r"nowhere'?, is no folder"),
        ('[task]\nname = "gsm8k"\nseed = "x"', r"\[task\] seed = 'x': a whole number from 0 up"),
        ('[task]\nname = "gsm8k"\ndata = "data"\nseed = -1', "seed=-1: a whole number from 0 up"),
        ('[task]\nname = "gsm8k"\ncorpus = "c.jsonl"', "the task 'gsm8k' searches no corpus"),
        ('[task]\nname = "gsm8k"\n[program]\npath = "a:b"', r"leave out \[program\], or \[task\]"),
        ('[task]\nname = "gsm8k"\n[data]\nfile = "x"', r"leave out \[data\], or \[task\]"),
        ('[task]\nname = "gsm8k"\n[metric]\nname = "f1"', r"leave out \[metric\], or \[task\]"),
        ("[[task]]", r"the table \[task\] must be a table"),
        ("", r"the table \[program\] is missing"),
    ],
)
def test_a_table_that_makes_no_task_is_refused_by_key(folder, text, said) -> None:
    with pytest.raises(ConfigError, match=said):
        load(folder, f"{text}\n{LM}")


@pytest.mark.parametrize("key", TABLES["task"])
def test_each_key_may_be_anything_and_is_a_config_or_one_error(folder, key) -> None:
    tried = Tried()
    keys = {"name": '"gsm8k"', "data": '"data"'}
    for value in VALUES:
        body = "".join(f"{k} = {v}\n" for k, v in {**keys, key: value}.items())
        tried(f"{key} = {value:.30}", lambda: load(folder, f"[task]\n{body}{LM}"))  # noqa: B023
    assert tried.total == len(VALUES)


# ---- the configs of the experiments -------------------------------------------------------------


def test_every_task_has_a_config_and_every_config_a_task() -> None:
    assert {path.stem for path in CONFIGS.glob("*.toml")} == set(TASKS)


# the paper's N, as far as it is said
N = {"scone": 70, "hotpotqa": 30, "hotpotqa_conditional": 30, "hover": 10, "iris": 30, "heart": 15}


@pytest.mark.parametrize("name", TASKS)
def test_a_config_has_the_papers_settings_and_an_endpoint_that_needs_none_of_ours(name) -> None:
    body = tomllib.loads((CONFIGS / f"{name}.toml").read_text(encoding="utf-8"))
    assert body["task"]["name"] == name
    assert set(body) <= set(TABLES)
    settings = {k: v for k, v in body["optimize"].items() if k not in TABLES["optimize"]}
    options = Options.of(settings)
    assert body["optimize"]["method"] in METHODS
    if name in N:
        assert (options.instructions, options.demo_sets) == (N[name], N[name])
    assert body["lm"]["kind"] == "openai"
    assert "api_key" not in body["lm"]


@pytest.mark.parametrize("name", ["scone", "iris", "iris_typo", "heart", "gsm8k"])
def test_a_config_loads_on_the_real_rows(name, monkeypatch) -> None:
    task = real_task(name)
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    loaded = load_config(CONFIGS / f"{name}.toml")
    assert loaded.test == task.test
    assert len(loaded.train) + len(loaded.val) == len(task.train) + len(task.val)
    assert list(loaded.program.modules()) == list(task.program.modules())
    assert loaded.lm.model == "meta-llama/Meta-Llama-3-8B-Instruct"
