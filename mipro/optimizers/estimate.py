"""`estimate`: what a run would take, without running it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mipro.data import Example
from mipro.lm.base import LM
from mipro.lm.meter import Metered
from mipro.metrics import Metric
from mipro.optimizers.forecast import Forecast, forecast
from mipro.optimizers.given import Given
from mipro.optimizers.methods import new_strategy
from mipro.optimizers.probing import dry_probe, paid_probe
from mipro.programs.program import Program


def estimate(
    program: Program,
    train: Sequence[Example],
    metric: Metric | Callable[..., Any],
    *,
    lm: LM,
    probe: int = 0,
    **arguments: Any,
) -> Forecast:
    """Forecast `optimize` with these arguments: calls, tokens and cost of each phase, with a range.

    The other `arguments` are those of `optimize`. Without `probe` no LM is called: the program's
    own code runs on made-up replies for a few examples, and the replies' lengths are assumed. With
    it, so many validation examples are run.

    Raises `ConfigError` (for a `budget` that is too small as well), `DataError` and `MetricError`,
    and with `probe` what `evaluate` raises.
    """
    given = Given.of(program=program, train=train, metric=metric, lm=lm, **arguments)
    made = estimated(given, probe)
    if given.budget is not None:
        made.check(given.budget)
    return made


def estimated(given: Given, probe: int = 0) -> Forecast:
    """`estimate`, of arguments in one piece."""
    strategy, task = new_strategy(given.method), given.checked()
    task = replace(task, lm=Metered(task.lm, task.ledger, "task"))
    probed = paid_probe(task, probe) if probe else dry_probe(task)
    return forecast(strategy, task, given.test or (), task.ledger.prices, probed)
