"""What a config has tuned: a program, its data and its metric, or a task that has all three."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mipro import metrics
from mipro.config.checks import known_arguments, known_keys, listed, short, typed
from mipro.data import Example, load_csv, load_jsonl, split
from mipro.errors import ConfigError, DataError
from mipro.importing import named
from mipro.metrics import Metric
from mipro.programs.program import Program

# table → its keys. The first stands in place of the other three
PARTS: Mapping[str, tuple[str, ...]] = {
    "task": ("name", "data", "corpus", "seed"),
    "program": ("path", "arguments"),
    "data": ("file", "train", "val", "test", "inputs", "types", "split", "seed"),
    "metric": ("name", "field", "gold", "tolerance", "path"),
}
METRICS = ("exact_match", "same_text", "f1", "numeric_match", "title_recall", "all_titles")
_NO_PROGRAM = "no mipro.Program: name a subclass of it, or what makes one"
TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float}


def load_parts(body: Mapping[str, Any], here: Path, seed: Any) -> dict[str, Any]:
    """Program, metric, train, val, test and notes, by name.

    Raises `ConfigError` or what loading raises. `seed` is the run's, by which `optimize` splits a
    task's examples where it has no val.
    """
    if "task" in body:
        return _task(body["task"], here, seed)
    return {
        "program": _program(body["program"], here),
        "metric": _metric(body["metric"], here),
        **_data(body["data"], here),
    }


def _task(body: Mapping[str, Any], here: Path, seed: Any) -> dict[str, Any]:
    from mipro.optimizers.given import train_and_val
    from mipro.tasks import TASKS, load_task

    known_keys("task", body, PARTS["task"])
    name = body.get("name")
    if not isinstance(name, str) or name not in TASKS:
        raise ConfigError(f"[task] name = {short(name)}: there are {listed(TASKS)}")
    places = {
        key: here / typed("task", key, body[key], str, "a path")
        for key in ("data", "corpus")
        if key in body
    }
    own = typed("task", "seed", body.get("seed", 0), int, "a whole number from 0 up")
    task = load_task(name, seed=own, **places)
    train, val = train_and_val(task.train, task.val or None, seed)
    return {
        "program": task.program,
        "metric": task.metric,
        "train": tuple(train),
        "val": tuple(val),
        "test": task.test,
        "notes": task.notes,
    }


def _program(body: Mapping[str, Any], here: Path) -> Program:
    known_keys("program", body, PARTS["program"])
    target = named(body.get("path"), here, "program")
    program = target
    if not isinstance(target, Program):
        if not callable(target):
            raise ConfigError(f"[program] path = '{body['path']}' is {_NO_PROGRAM}")
        arguments = typed("program", "arguments", body.get("arguments", {}), dict, "a table")
        try:
            program = target(**arguments)
        except Exception as error:  # the user's own code may raise anything
            what = f"cannot be made: {type(error).__name__}: {error}"
            raise ConfigError(f"[program] path = '{body['path']}' {what}") from error
    if not isinstance(program, Program):
        made = f"makes a {type(program).__name__}, which is {_NO_PROGRAM}"
        raise ConfigError(f"[program] path = '{body['path']}' {made}")
    return program


def _metric(body: Mapping[str, Any], here: Path) -> Metric:
    known_keys("metric", body, PARTS["metric"])
    if "path" in body:
        return Metric.of(named(body["path"], here, "metric"))
    name = body.get("name")
    if name not in METRICS:
        raise ConfigError(
            f"[metric] name = {short(name)}: there are {listed(METRICS)}; or give `path`"
        )
    arguments = {key: value for key, value in body.items() if key != "name"}
    function = getattr(metrics, name)
    known_arguments("metric", function, arguments, f"of name = '{name}' ")
    for key, value in arguments.items():
        kind, what = (int | float, "a number") if key == "tolerance" else (str, "a field's name")
        typed("metric", key, value, kind, what)
    made: Metric = function(**arguments)
    return made


def _data(body: Mapping[str, Any], here: Path) -> dict[str, tuple[Example, ...]]:
    """The three parts: from files of their own, or one `file` cut by `split`."""
    known_keys("data", body, PARTS["data"])
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(name, str) for name in inputs):
        raise ConfigError('[data] inputs: a list of field names is wanted, say ["question"]')
    for name in ("file", "train", "val", "test"):
        typed("data", name, body.get(name, ""), str, "a path")
    if "file" in body:
        sizes = body.get("split", {"train": 0.4, "val": 0.3, "test": 0.3})
        typed("data", "split", sizes, dict, "a table, { train = 0.4, val = 0.3, test = 0.3 },")
        for name, size in sizes.items():
            if name not in ("train", "val", "test"):
                raise ConfigError(f"[data] split: no part is called '{name}': train, val, test")
            typed("data", f"split.{name}", size, int | float, "a count or a share")
        if "train" not in sizes:
            raise ConfigError("[data] split: the part 'train' is missing, say train = 0.4")
        examples = _load(here / body["file"], body)
        try:
            return split(examples, **sizes, seed=body.get("seed", 0))._asdict()
        except DataError as error:
            raise DataError(f"[data] split: {error}") from error
    if "train" not in body or "val" not in body:
        raise ConfigError("[data]: give `file` (to be split), or `train` and `val` (and `test`)")
    return {
        name: tuple(_load(here / body[name], body)) if name in body else ()
        for name in ("train", "val", "test")
    }


def _load(path: Path, body: Mapping[str, Any]) -> list[Example]:
    types = typed("data", "types", body.get("types", {}), dict, "a table, column = type,")
    for column, name in types.items():
        if not isinstance(name, str) or name not in TYPES:
            raise ConfigError(f"[data] types.{column} = {short(name)}: there are {listed(TYPES)}")
    if path.suffix == ".csv":
        return load_csv(path, body["inputs"], {c: TYPES[name] for c, name in types.items()})
    if path.suffix not in (".jsonl", ".ndjson"):
        raise ConfigError(f"[data] {path}: a .jsonl or .csv file is wanted")
    return load_jsonl(path, body["inputs"])
