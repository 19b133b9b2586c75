"""What a run is given, and the task that is made of it: shared by `optimize`, `resume`, `estimate`.

Everything here comes before the first call: what cannot be run is refused, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from mipro.bootstrapping import Teacher
from mipro.data import Example, split
from mipro.errors import ConfigError, DataError, MetricError
from mipro.journal import Listener
from mipro.lm.base import LM, Keyed
from mipro.lm.budget import Budget
from mipro.lm.meter import Ledger, Price
from mipro.metrics import Metric
from mipro.optimizers.methods import Method
from mipro.optimizers.task import Options, Task
from mipro.optimizers.testing import check_looks
from mipro.preflight import check_task
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program


@dataclass(frozen=True, kw_only=True)
class Given:
    """The arguments of a run, as `optimize` says what they are; `settings` are those of `Options`.

    Nothing is checked yet.
    """

    program: Program
    train: Sequence[Example]
    metric: Metric | Callable[..., Any]
    lm: LM
    val: Sequence[Example] | None = None
    test: Sequence[Example] | None = None
    method: Method = "mipro"
    prompt_lm: LM | None = None
    teacher: Teacher | None = None
    adapter: Adapter | None = None
    executor: Executor | None = None
    prices: Mapping[str, Price] | None = None
    budget: Budget | None = None
    on_event: Listener | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, **arguments: Any) -> Given:
        """From keyword arguments in any order: what is no field is a setting."""
        names = {f.name for f in fields(cls)} - {"settings"}
        own = {name: value for name, value in arguments.items() if name in names}
        return cls(**own, settings={n: v for n, v in arguments.items() if n not in names})

    @cached_property
    def options(self) -> Options:
        """The settings, checked. Raises `ConfigError`."""
        return Options.of(self.settings)

    def checked(self) -> Task:
        """The task of the run, its LMs as they were given, with a ledger that nobody writes to.

        Raises `ConfigError`, `DataError` and `MetricError` for what cannot be run.
        """
        options = self.options
        for name in ("lm", "prompt_lm"):
            _check_lm(name, getattr(self, name))
        train, val = train_and_val(self.train, self.val, options.seed)
        metric = Metric.of(self.metric)
        for name, part in (("train", train), ("val", val), ("test", self.test)):
            if part is not None:
                _check_part(name, self.program, part, metric)
        check_looks(options, self.test)
        taught = self.teacher or Teacher()
        task = Task(
            program=self.program,
            train=train,
            val=val,
            metric=metric,
            lm=self.lm,
            prompt_lm=self.lm if self.prompt_lm is None else self.prompt_lm,
            teacher=Teacher(taught.program, taught.candidate, taught.lm_or(self.lm)),
            options=options,
            emit=lambda event: None,
            adapter=self.adapter,
            executor=self.executor,
            ledger=Ledger(self.prices),
        )
        if self.budget is not None:
            _check_budget(self.budget, task)
        return task

    def check_keys(self) -> None:
        """Raise `AuthError` where an LM lacks its key, which is known before anything is made.

        Nothing is said of workers elsewhere, which have keys of their own.
        """
        if self.executor is not None:
            return
        programs = [self.program] if self.teacher is None else [self.program, self.teacher.program]
        modules = [lm for p in programs if p is not None for lm in p.own_lms().values()]
        for lm in (self.lm, self.prompt_lm, self.teacher and self.teacher.lm, *modules):
            if isinstance(lm, Keyed):
                lm.check_key()


def train_and_val(
    train: Sequence[Example], val: Sequence[Example] | None, seed: int
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Training and validation examples, never the same ones."""
    if val is not None:
        return train, val
    if len(train) < 4:
        raise DataError(f"{len(train)} examples cannot be split: give `val`, or more of them")
    parts = split(train, train=len(train) // 2, val=len(train) - len(train) // 2, seed=seed)
    return parts.train, parts.val


def _check_budget(budget: Budget, task: Task) -> None:
    """Its prices are known, and what the last steps take will be."""
    if not task.options.forecasts:
        raise ConfigError(
            "a budget keeps back what the last steps are forecast to take: leave out "
            "`forecasts` ([optimize] in a config), which is off"
        )
    lms = {"task": task.lm, "prompt": task.prompt_lm, "teacher": task.teacher.lm_or(task.lm)}
    models = {role: lm.model for role, lm in lms.items()}
    for program in (task.program, task.teacher.program or task.program):
        models |= {f"module {name}": own.model for name, own in program.own_lms().items()}
    budget.check_prices(models, task.ledger.prices)


def _check_lm(name: str, given: LM | None) -> None:
    """None is the run's own, where there may be none."""
    if given is not None and not isinstance(given, LM):
        what = "mipro.OpenAILM(…), say, or a callable with `model` and `identity`"
        raise ConfigError(f"{name}={given!r} is no language model: {what}")


def _check_part(name: str, program: Program, part: Sequence[Example], metric: Metric) -> None:
    """`check_task`, its errors naming the part of the data."""
    try:
        check_task(program, part, metric)
    except (DataError, MetricError) as error:
        raise type(error)(f"{name}: {error}") from error
