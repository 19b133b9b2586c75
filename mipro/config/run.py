"""The whole of a config: its tables, and the run they make together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mipro.bootstrapping import Teacher
from mipro.config.checks import below, listed, read_toml, short, typed
from mipro.config.models import load_budget, load_lm, load_prices
from mipro.config.parts import PARTS, load_parts
from mipro.data import Example
from mipro.errors import ConfigError
from mipro.importing import named
from mipro.lm.base import LM
from mipro.lm.budget import LIMITS, Budget
from mipro.lm.meter import Price
from mipro.metrics import Metric
from mipro.optimizers.given import Given
from mipro.optimizers.methods import METHODS, Method
from mipro.optimizers.task import Options
from mipro.programs.adapter import Adapter, ChatAdapter, JSONAdapter
from mipro.programs.program import Program

TABLES: Mapping[str, tuple[str, ...]] = {
    **PARTS,
    "optimize": ("method", "adapter", "run_dir"),  # and the names of `Options`
    "lm": (),  # depends on its kind, see `models`
    "prompt_lm": (),
    "teacher_lm": (),
    "budget": LIMITS,
    "prices": (),  # model = { prompt = …, completion = … }
}
ADAPTERS: Mapping[str, type[ChatAdapter] | type[JSONAdapter]] = {
    "chat": ChatAdapter,
    "json": JSONAdapter,
}


@dataclass(frozen=True)
class RunConfig:
    """All that a config file names, loaded; `notes` say what of a task is not as in the paper."""

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
    method: Method = "mipro"
    run_dir: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def given(self) -> Given:
        """The run's arguments, as `optimize` takes them."""
        return Given(
            program=self.program,
            train=self.train,
            metric=self.metric,
            lm=self.lm,
            val=self.val,
            test=self.test or None,
            method=self.method,
            prompt_lm=self.prompt_lm,
            teacher=Teacher(lm=self.teacher_lm),
            adapter=self.adapter,
            prices=self.prices,
            budget=self.budget,
            settings=self.settings,
        )


def load_config(path: str | Path) -> RunConfig:
    """Read a config file and load what it names. Raises `ConfigError` (or what loading raises)."""
    path = Path(path)
    body = read_toml(path)
    _check_tables(body, path)
    here = path.resolve().parent
    run = dict(body.get("optimize", {}))
    _check_settings(run, path)
    directory = run.pop("run_dir", None)
    if directory is not None:
        directory = below("optimize", "run_dir", directory, here)
    prices = load_prices(body.get("prices", {}))
    lms = {name: load_lm(body[name], name, here, prices) for name in _lms(body)}
    return RunConfig(
        path=path,
        lm=lms["lm"],
        **load_parts(body, here, run.get("seed", 0)),
        prompt_lm=lms.get("prompt_lm"),
        teacher_lm=lms.get("teacher_lm"),
        adapter=_adapter(run.pop("adapter", "chat")),
        prices=prices,
        budget=load_budget(body.get("budget")),
        method=_method(run.pop("method", "mipro"), here),
        run_dir=directory,
        settings=run,
    )


def _check_settings(run: Mapping[str, Any], path: Path) -> None:
    """The settings of `[optimize]` are those there are, with values they can have."""
    try:
        Options.of({name: v for name, v in run.items() if name not in TABLES["optimize"]})
    except ConfigError as error:
        raise ConfigError(f"{path}: [optimize] {error}") from error


def _check_tables(body: Mapping[str, Any], path: Path) -> None:
    """Every table known, none missing, and what is tuned named in one way only."""
    for table in body:
        if table not in TABLES:
            raise ConfigError(f"{path}: no table is called [{table}]: there are {listed(TABLES)}")
    own = ("program", "data", "metric")
    for table in own:
        if "task" in body and table in body:
            raise ConfigError(
                f"{path}: [task] brings its own program, data and metric: leave out [{table}], or "
                f"[task]"
            )
    for table in ("task", "lm") if "task" in body else (*own, "lm"):
        if not isinstance(body.get(table), dict):
            what = "is missing" if table not in body else "must be a table"
            raise ConfigError(f"{path}: the table [{table}] {what}")
    typed(str(path), "optimize", body.get("optimize", {}), dict, "a table")


def _lms(body: Mapping[str, Any]) -> list[str]:
    return [name for name in ("lm", "prompt_lm", "teacher_lm") if name in body]


def _method(given: Any, here: Path) -> Method:
    """A method's name, or one's own strategy by its path."""
    name: str = typed("optimize", "method", given, str, "a name, or 'file.py:Strategy'")
    if ":" not in name:
        if name not in METHODS:
            raise ConfigError(
                f"[optimize] method = {short(name)}: there are {listed(METHODS)}; or your own, as "
                f"'file.py:Name'"
            )
        return name
    own: Method = named(name, here, "optimize", "method")
    return own


def _adapter(name: Any) -> Adapter:
    if not isinstance(name, str) or name not in ADAPTERS:
        raise ConfigError(f"[optimize] adapter = {short(name)}: there are {listed(ADAPTERS)}")
    return ADAPTERS[name]()
