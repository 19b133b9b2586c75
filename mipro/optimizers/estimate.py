"""`estimate`: what a run would take, without running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from mipro.bootstrapping import Teacher
from mipro.data import Example
from mipro.lm.base import LM
from mipro.lm.meter import Ledger, Metered, Price
from mipro.metrics import Metric
from mipro.optimizers.forecast import Forecast, forecast
from mipro.optimizers.methods import Method, new_strategy
from mipro.optimizers.optimize import check_part, train_and_val
from mipro.optimizers.probing import dry_probe, paid_probe
from mipro.optimizers.task import Options, Task
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program


def estimate(
    program: Program,
    train: Sequence[Example],
    metric: Metric | Callable[..., Any],
    *,
    lm: LM,
    val: Sequence[Example] | None = None,
    test: Sequence[Example] | None = None,
    method: Method = "mipro",
    prompt_lm: LM | None = None,
    teacher: Teacher | None = None,
    adapter: Adapter | None = None,
    executor: Executor | None = None,
    prices: Mapping[str, Price] | None = None,
    probe: int = 0,
    **settings: Any,
) -> Forecast:
    """Forecast `optimize` with these arguments: calls, tokens and cost of each phase, with a range.

    Without `probe` no LM is called: the program's own code runs on made-up replies for a few
    examples, and the replies' lengths are assumed. With it, so many validation examples are run.

    Raises `ConfigError`, `DataError` and `MetricError`, and with `probe` what `evaluate` raises.
    """
    options = Options.of(settings)
    strategy = new_strategy(method)
    train, val = train_and_val(train, val, options.seed)
    wrapped, taught, ledger = Metric.of(metric), teacher or Teacher(), Ledger(prices)
    for name, part in (("train", train), ("val", val), ("test", test)):
        if part is not None:
            check_part(name, program, part, wrapped)
    task = Task(
        program=program,
        train=train,
        val=val,
        metric=wrapped,
        lm=Metered(lm, ledger, "task"),
        prompt_lm=lm if prompt_lm is None else prompt_lm,
        teacher=Teacher(taught.program, taught.candidate, taught.lm or lm),
        options=options,
        emit=lambda event: None,
        adapter=adapter,
        executor=executor,
        ledger=ledger,
    )
    probed = paid_probe(task, probe) if probe else dry_probe(task)
    return forecast(strategy, task, len(test or ()), ledger.prices, probed)
