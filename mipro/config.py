"""A run described by a TOML file: program, data, metric and LMs, named by import path or file.

Paths are relative to the file. A table or key that is not known is refused, by name.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

from mipro import metrics
from mipro.data import Example, load_csv, load_jsonl, split
from mipro.errors import ConfigError
from mipro.importing import named
from mipro.lm.base import LM
from mipro.lm.meter import Price
from mipro.metrics import Metric
from mipro.programs.adapter import Adapter, ChatAdapter, JSONAdapter
from mipro.programs.program import Program

TABLES: Mapping[str, tuple[str, ...]] = {
    "program": ("path", "arguments"),
    "data": ("file", "train", "val", "test", "inputs", "types", "split", "seed"),
    "metric": ("name", "field", "gold", "tolerance", "path"),
    "optimize": ("method", "adapter", "run_dir"),  # and the names of `Options`
    "lm": (),  # depends on its kind, see `_lm`
    "prompt_lm": (),
    "teacher_lm": (),
}
LM_KEYS = ("kind", "path", "arguments", "cache", "price")
ADAPTERS: Mapping[str, type[ChatAdapter] | type[JSONAdapter]] = {
    "chat": ChatAdapter,
    "json": JSONAdapter,
}
METRICS = ("exact_match", "same_text", "f1", "numeric_match", "title_recall")
TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float}


@dataclass(frozen=True)
class RunConfig:
    """All that a config file names, loaded."""

    path: Path
    program: Program
    metric: Metric
    lm: LM
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    prompt_lm: LM | None = None
    teacher_lm: LM | None = None
    adapter: Adapter | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    method: str = "mipro"
    run_dir: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def load_config(path: str | Path) -> RunConfig:
    """Read a config file and load what it names. Raises `ConfigError` (or what loading raises)."""
    path = Path(path)
    body = _read(path)
    for table in body:
        if table not in TABLES:
            raise ConfigError(f"{path}: no table is called [{table}]: there are {_list(TABLES)}")
    for table in ("program", "data", "metric", "lm"):
        if not isinstance(body.get(table), dict):
            raise ConfigError(f"{path}: the table [{table}] is missing")
    here = path.resolve().parent
    run = dict(body.get("optimize", {}))
    prices: dict[str, Price] = {}
    lms = {name: _lm(body[name], name, here, prices) for name in _lms(body)}
    directory = run.pop("run_dir", None)
    if directory is not None:
        directory = here / _typed("optimize", "run_dir", directory, str, "a path")
    return RunConfig(
        path=path,
        program=_program(body["program"], here),
        metric=_metric(body["metric"], here),
        lm=lms["lm"],
        **_data(body["data"], here),
        prompt_lm=lms.get("prompt_lm"),
        teacher_lm=lms.get("teacher_lm"),
        adapter=_adapter(run.pop("adapter", "chat")),
        prices=prices,
        method=str(run.pop("method", "mipro")),
        run_dir=directory,
        settings=run,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def _lms(body: Mapping[str, Any]) -> list[str]:
    return [name for name in ("lm", "prompt_lm", "teacher_lm") if name in body]


def _typed(table: str, key: str, value: Any, wanted: type | UnionType, what: str) -> Any:
    """The value, if it is of the type wanted; else `ConfigError` with what that is."""
    if not isinstance(value, wanted):
        raise ConfigError(f"[{table}] {key} = {value!r}: {what} is wanted")
    return value


def _known(table: str, body: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in body:
        if key not in known:
            raise ConfigError(f"[{table}]: no key is called '{key}': there are {_list(known)}")


def _list(names: Any) -> str:
    return ", ".join(names)


def _program(body: Mapping[str, Any], here: Path) -> Program:
    _known("program", body, TABLES["program"])
    target = named(body.get("path"), here, "program")
    program = target
    if not isinstance(target, Program):
        if not callable(target):
            raise ConfigError(f"[program] path = '{body['path']}' is no program")
        try:
            program = target(**body.get("arguments", {}))
        except TypeError as error:
            raise ConfigError(f"[program] '{body['path']}' cannot be made: {error}") from error
    if not isinstance(program, Program):
        raise ConfigError(f"[program] '{body['path']}' made a {type(program).__name__}")
    return program


def _metric(body: Mapping[str, Any], here: Path) -> Metric:
    _known("metric", body, TABLES["metric"])
    if "path" in body:
        return Metric.of(named(body["path"], here, "metric"))
    name = body.get("name")
    if name not in METRICS:
        raise ConfigError(f"[metric] name = {name!r}: there are {_list(METRICS)}; or give `path`")
    arguments = {key: value for key, value in body.items() if key != "name"}
    function = getattr(metrics, name)
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"[metric] {name}: {error}") from error
    made: Metric = function(**arguments)
    return made


def _data(body: Mapping[str, Any], here: Path) -> dict[str, tuple[Example, ...]]:
    """The three parts: from files of their own, or one `file` cut by `split`."""
    _known("data", body, TABLES["data"])
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(isinstance(name, str) for name in inputs):
        raise ConfigError('[data] inputs: a list of field names is wanted, say ["question"]')
    for name in ("file", "train", "val", "test"):
        _typed("data", name, body.get(name, ""), str, "a path")
    if "file" in body:
        sizes = body.get("split", {"train": 0.4, "val": 0.3, "test": 0.3})
        _typed("data", "split", sizes, dict, "a table, { train = 0.4, val = 0.3, test = 0.3 },")
        for name, size in sizes.items():
            if name not in ("train", "val", "test"):
                raise ConfigError(f"[data] split: no part is called '{name}': train, val, test")
            _typed("data", f"split.{name}", size, int | float, "a count or a share")
        examples = _load(here / body["file"], body)
        return split(examples, **sizes, seed=body.get("seed", 0))._asdict()
    if "train" not in body or "val" not in body:
        raise ConfigError("[data]: give `file` (to be split), or `train` and `val` (and `test`)")
    return {
        name: tuple(_load(here / body[name], body)) if name in body else ()
        for name in ("train", "val", "test")
    }


def _load(path: Path, body: Mapping[str, Any]) -> list[Example]:
    types = _typed("data", "types", body.get("types", {}), dict, "a table, column = type,")
    for column, name in types.items():
        if name not in TYPES:
            raise ConfigError(f"[data] types.{column} = {name!r}: there are {_list(TYPES)}")
    if path.suffix == ".csv":
        return load_csv(path, body["inputs"], {c: TYPES[name] for c, name in types.items()})
    if path.suffix not in (".jsonl", ".ndjson"):
        raise ConfigError(f"[data] {path}: a .jsonl or .csv file is wanted")
    return load_jsonl(path, body["inputs"])


def _adapter(name: Any) -> Adapter:
    if name not in ADAPTERS:
        raise ConfigError(f"[optimize] adapter = {name!r}: there are {_list(ADAPTERS)}")
    return ADAPTERS[name]()


def _lm(body: Any, table: str, here: Path, prices: dict[str, Price]) -> LM:
    """The LM a table describes, in a cache if it names one; its price goes to `prices`."""
    if not isinstance(body, dict):
        raise ConfigError(f"[{table}]: a table is wanted")
    if "api_key" in body:
        raise ConfigError(
            f"[{table}] api_key: keys do not belong in a file; put it in an environment variable "
            f'and name that: api_key_env = "OPENAI_API_KEY"'
        )
    settings = {key: value for key, value in body.items() if key not in LM_KEYS}
    lm = _made(body, table, here, settings)
    if "price" in body:
        price = body["price"]
        if not isinstance(price, dict) or set(price) != {"prompt", "completion"}:
            raise ConfigError(
                f"[{table}] price: {{ prompt = …, completion = … }} in dollars per million tokens"
            )
        for key, value in price.items():
            _typed(table, f"price.{key}", value, int | float, "a number of dollars")
        prices[lm.model] = Price(float(price["prompt"]), float(price["completion"]))
    if "cache" in body:
        from mipro.lm.cache import Cached

        return Cached(lm, here / body["cache"])
    return lm


def _made(body: Mapping[str, Any], table: str, here: Path, settings: dict[str, Any]) -> LM:
    kind = "path" if "path" in body else body.get("kind", "openai")
    make: Any
    if kind == "path":
        made = named(body["path"], here, table)
        if not isinstance(made, type):
            lm: LM = made
            return lm
        make, settings = made, dict(body.get("arguments", {}))
    elif kind == "simulated":
        from mipro.lm.simulated import SimulatedLM as make
    elif kind == "openai":
        from mipro.lm.openai import OpenAILM as make
    else:
        raise ConfigError(f"[{table}] kind = {kind!r}: there are openai and simulated; or a `path`")
    try:
        built: LM = make(**settings)
    except TypeError as error:
        known = [n for n in inspect.signature(make).parameters if n != "api_key"]
        raise ConfigError(f"[{table}]: {error}; its settings are {_list(known)}") from error
    return built
