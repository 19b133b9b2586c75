"""A run described by a TOML file: program, data, metric and LMs, named by import path or file.

Paths are relative to the file. A table or key that is not known is refused, by name.

A config names code of the user's own (program, metric, an LM), which is run as any import is; so a
stranger's config is to be read as a stranger's script is. Nothing else in it is executed. What a
run writes stays below the config's folder: `run_dir` and `cache` may not lead out of it, neither by
`..`, nor as absolute paths, nor by a link. Elsewhere is for the command line (`--run-dir`) and for
Python.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

from mipro import metrics
from mipro.data import Example, load_csv, load_jsonl, split
from mipro.errors import ConfigError, MiproError
from mipro.importing import named
from mipro.lm.base import LM
from mipro.lm.budget import LIMITS, Budget
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
    "budget": LIMITS,
    "prices": (),  # model = { prompt = …, completion = … }
}
LM_KEYS = ("kind", "path", "arguments", "cache", "price")
ADAPTERS: Mapping[str, type[ChatAdapter] | type[JSONAdapter]] = {
    "chat": ChatAdapter,
    "json": JSONAdapter,
}
METRICS = ("exact_match", "same_text", "f1", "numeric_match", "title_recall")
TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float}
LARGEST = 2**20  # bytes of a config
# the standard library's reader takes a time that is quadratic in the parts of a key
_LONG_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){50}""")


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
    budget: Budget | None = None
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
    _typed(str(path), "optimize", body.get("optimize", {}), dict, "a table")
    here = path.resolve().parent
    run = dict(body.get("optimize", {}))
    directory = run.pop("run_dir", None)
    if directory is not None:
        directory = _below("optimize", "run_dir", directory, here)
    prices = _prices(body.get("prices", {}))
    lms = {name: _lm(body[name], name, here, prices) for name in _lms(body)}
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
        budget=_budget(body.get("budget")),
        method=_typed("optimize", "method", run.pop("method", "mipro"), str, "a name"),
        run_dir=directory,
        settings=run,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    except ValueError as error:  # a name that no file can have: a NUL in it, say
        raise ConfigError(f"{str(path)!r}: cannot be read: {error}") from error
    if len(text) > LARGEST:
        raise ConfigError(f"{path}: has {len(text)} characters; a config has {LARGEST} at most")
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise ConfigError(f"{path}, line {line}: a key of 50 parts and more is none of a config")
    try:
        body = tomllib.loads(text)
        # the interpreter reads hexadecimal numbers of any length, which it then cannot show
        repr(body)
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply") from error
    except ValueError as error:  # of which a `TOMLDecodeError` is one; a number of 5000 digits
        raise ConfigError(f"{path}: is not TOML that can be used: {error}") from error
    return body


def _below(table: str, key: str, path: Any, here: Path) -> Path:
    """A path that a run writes to: below the config's folder. Raises `ConfigError`."""
    _typed(table, key, path, str, "a path")
    try:
        inside = here in (here / path).resolve().parents
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it, links in a circle
        raise ConfigError(f"[{table}] {key} = {_short(path)}: {error}") from error
    if not inside or Path(path).is_absolute():
        elsewhere = ", or give --run-dir on the command line" if key == "run_dir" else ""
        raise ConfigError(
            f"[{table}] {key} = {_short(path)}: a path below the folder of the config is wanted "
            f"({here}){elsewhere}"
        )
    below: Path = here / path
    return below


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _lms(body: Mapping[str, Any]) -> list[str]:
    return [name for name in ("lm", "prompt_lm", "teacher_lm") if name in body]


def _typed(table: str, key: str, value: Any, wanted: type | UnionType, what: str) -> Any:
    """The value, if it is of the type wanted; else `ConfigError` with what that is."""
    if not isinstance(value, wanted) or isinstance(value, bool):  # which is an int to Python
        raise ConfigError(f"[{table}] {key} = {_short(value)}: {what} is wanted")
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
        arguments = _typed("program", "arguments", body.get("arguments", {}), dict, "a table")
        try:
            program = target(**arguments)
        except Exception as error:  # the user's own code may raise anything
            what = f"cannot be made: {type(error).__name__}: {error}"
            raise ConfigError(f"[program] '{body['path']}' {what}") from error
    if not isinstance(program, Program):
        raise ConfigError(f"[program] '{body['path']}' made a {type(program).__name__}")
    return program


def _metric(body: Mapping[str, Any], here: Path) -> Metric:
    _known("metric", body, TABLES["metric"])
    if "path" in body:
        return Metric.of(named(body["path"], here, "metric"))
    name = body.get("name")
    if name not in METRICS:
        raise ConfigError(
            f"[metric] name = {_short(name)}: there are {_list(METRICS)}; or give `path`"
        )
    arguments = {key: value for key, value in body.items() if key != "name"}
    function = getattr(metrics, name)
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"[metric] {name}: {error}") from error
    for key, value in arguments.items():
        kind, what = (int | float, "a number") if key == "tolerance" else (str, "a field's name")
        _typed("metric", key, value, kind, what)
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
        if "train" not in sizes:
            raise ConfigError("[data] split: the part 'train' is missing, say train = 0.4")
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
        if not isinstance(name, str) or name not in TYPES:
            raise ConfigError(f"[data] types.{column} = {_short(name)}: there are {_list(TYPES)}")
    if path.suffix == ".csv":
        return load_csv(path, body["inputs"], {c: TYPES[name] for c, name in types.items()})
    if path.suffix not in (".jsonl", ".ndjson"):
        raise ConfigError(f"[data] {path}: a .jsonl or .csv file is wanted")
    return load_jsonl(path, body["inputs"])


def _adapter(name: Any) -> Adapter:
    if not isinstance(name, str) or name not in ADAPTERS:
        raise ConfigError(f"[optimize] adapter = {_short(name)}: there are {_list(ADAPTERS)}")
    return ADAPTERS[name]()


def _lm(body: Any, table: str, here: Path, prices: dict[str, Price]) -> LM:
    """The LM a table describes, in a cache if it names one; its price goes to `prices`."""
    if not isinstance(body, dict):
        raise ConfigError(f"[{table}]: a table is wanted")
    if _names_key(body):
        raise ConfigError(
            f"[{table}] api_key: keys do not belong in a file; put it in an environment variable "
            f'and name that: api_key_env = "OPENAI_API_KEY"'
        )
    settings = {key: value for key, value in body.items() if key not in LM_KEYS}
    lm = _made(body, table, here, settings)
    if "price" in body:
        prices[lm.model] = _price(table, "price", body["price"])
    if "cache" in body:
        from mipro.lm.cache import Cached

        return Cached(lm, _below(table, "cache", body["cache"], here))
    return lm


def _names_key(value: Any) -> bool:
    """Is anything in it, at any depth, called `api_key`?"""
    if isinstance(value, dict):
        return "api_key" in value or any(map(_names_key, value.values()))
    return isinstance(value, list) and any(map(_names_key, value))


def _price(table: str, name: str, price: Any) -> Price:
    if not isinstance(price, dict) or set(price) != {"prompt", "completion"}:
        raise ConfigError(
            f"[{table}] {name}: {{ prompt = …, completion = … }} in dollars per million tokens"
        )
    for key, value in price.items():
        _typed(table, f"{name}.{key}", value, int | float, "a number of dollars")
        if not 0 <= value < 1e9:
            raise ConfigError(f"[{table}] {name}.{key} = {_short(value)}: dollars from 0 up")
    return Price(float(price["prompt"]), float(price["completion"]))


def _prices(body: Any) -> dict[str, Price]:
    """Model → price; one in an LM's own table goes before it."""
    if not isinstance(body, dict):
        raise ConfigError('[prices]: a table is wanted, "model" = { prompt = …, completion = … }')
    return {model: _price("prices", model, price) for model, price in body.items()}


def _budget(body: Any) -> Budget | None:
    if body is None:
        return None
    if not isinstance(body, dict):
        raise ConfigError(f"[budget]: a table is wanted, with {_list(LIMITS)}, any of them")
    return Budget.of(body)


def _made(body: Mapping[str, Any], table: str, here: Path, settings: dict[str, Any]) -> LM:
    kind = "path" if "path" in body else body.get("kind", "openai")
    make: Any
    if kind == "path":
        made = named(body["path"], here, table)
        if not isinstance(made, type):
            return _language_model(made, table, body)
        arguments = _typed(table, "arguments", body.get("arguments", {}), dict, "a table")
        make, settings = made, dict(arguments)
    elif kind == "simulated":
        from mipro.lm.simulated import SimulatedLM as make
    elif kind == "openai":
        from mipro.lm.openai import OpenAILM as make
    else:
        raise ConfigError(
            f"[{table}] kind = {_short(kind)}: there are openai and simulated; or a `path`"
        )
    try:
        return _language_model(make(**settings), table, body)
    except MiproError:
        raise
    except TypeError as error:
        raise ConfigError(f"[{table}]: {error}; its settings are {_settings(make)}") from error
    except Exception as error:  # the user's own class may raise anything
        raise ConfigError(f"[{table}]: {type(error).__name__}: {error}") from error


def _settings(make: Any) -> str:
    try:
        return _list(name for name in inspect.signature(make).parameters if name != "api_key")
    except (TypeError, ValueError):  # a class of C code, say
        return "not known"


def _language_model(made: Any, table: str, body: Mapping[str, Any]) -> LM:
    if not callable(made) or not isinstance(getattr(made, "model", None), str):
        raise ConfigError(
            f"[{table}] path = {_short(body.get('path'))} is no language model: a callable with a "
            f"`model` (its name) is wanted"
        )
    lm: LM = made
    return lm
