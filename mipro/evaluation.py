"""A candidate × examples → scored outcomes, on any `concurrent.futures.Executor`.

One example that fails (a reply without its field, a metric that raises) is a failed outcome at the
metric's worst, with its reason. A failure that every other example would meet too is raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from mipro.data import Example
from mipro.errors import MetricError, RunError
from mipro.lm.base import LM, LMError, Usage
from mipro.lm.meter import Ledger, Metered
from mipro.metrics import Metric
from mipro.preflight import check_task
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate
from mipro.programs.trace import Prediction, Trace
from mipro.stats import interval
from mipro.workers import in_order


@dataclass(frozen=True)
class Outcome:
    """One example's result. `error` says why it failed; `prediction` is then None.

    `ledger` is only set on the way home from another process.
    """

    index: int
    score: float
    prediction: Prediction | None
    trace: Trace
    seconds: float
    error: str | None = None
    ledger: Ledger | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Evaluation:
    """The outcomes of one candidate, in the order of the examples."""

    outcomes: tuple[Outcome, ...]

    @property
    def n(self) -> int:
        """How many examples are behind the score."""
        return len(self.outcomes)

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """One score an example."""
        return tuple(outcome.score for outcome in self.outcomes)

    @cached_property
    def score(self) -> float:
        """The mean score."""
        return float(np.mean(self.scores))

    @cached_property
    def interval(self) -> tuple[float, float]:
        """A 95% confidence interval for the mean (`stats.interval`)."""
        return interval(self.scores)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes that failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.error is not None)

    @property
    def usage(self) -> Usage:
        """Tokens spent, cached replies not counted."""
        return sum((outcome.trace.usage for outcome in self.outcomes), Usage())


def evaluate(
    program: Program,
    examples: Sequence[Example],
    metric: Metric | Callable[..., Any],
    *,
    lm: LM,
    candidate: Candidate | None = None,
    adapter: Adapter | None = None,
    executor: Executor | None = None,
    threads: int = 1,
    rollout: int = 0,
    allow_all_failed: bool = False,
) -> Evaluation:
    """Run `program` with `candidate` on every example and score it.

    The work goes to `executor`, or to `threads` threads of its own; the outcomes are the same
    either way. Before the first call the fields of the data and the metric are tried
    (`preflight.check_task`).

    Raises `ConfigError`, `DataError` and `MetricError` for a program, data and metrics that cannot
    be used, `CandidateError` for a candidate that does not fit, `LMError` of a
    systemic kind at once, and `RunError` if every example fails (unless `allow_all_failed`).
    """
    wrapped, examples = Metric.of(metric), tuple(examples)
    check_task(program, examples, wrapped)
    program.checked(candidate or {})
    job = _Job(program, wrapped, lm, candidate, adapter, rollout)
    outcomes = in_order(job, examples, executor=executor, threads=threads)
    evaluation = Evaluation(tuple(_home(outcome, lm) for outcome in outcomes))
    if len(evaluation.failures) == evaluation.n and not allow_all_failed:
        raise RunError(
            f"every one of {evaluation.n} examples failed. The first: {outcomes[0].error}"
        )
    return evaluation


@dataclass(frozen=True)
class _Job:
    """What a worker needs to score one example; it travels to other processes whole."""

    program: Program
    metric: Metric
    lm: LM
    candidate: Candidate | None
    adapter: Adapter | None
    rollout: int

    def __call__(self, index: int, example: Example) -> Outcome:
        started = time.perf_counter()
        lm, abroad = self.lm, None
        if isinstance(lm, Metered) and lm.ledger.detached:
            # in another process: a ledger for this example alone, as the job may serve for many
            abroad = Ledger(detached=True)
            lm = replace(lm, ledger=abroad)
        run = self.program.run(
            example.inputs,
            lm=lm,
            candidate=self.candidate,
            adapter=self.adapter,
            rollout=self.rollout,
        )
        if isinstance(run.error, LMError) and run.error.systemic:
            raise run.error
        score, error = self.metric.worst, _reason(run.error)
        if run.prediction is not None:
            try:
                score = self.metric(example, run.prediction, run.trace)
            except MetricError as fault:  # the metric is at fault, not one reply
                raise MetricError(f"{fault} (example {index})") from fault
            except Exception as fault:  # noqa: BLE001 - a user's metric may raise anything
                error = f"metric {self.metric.name} raised {type(fault).__name__}: {fault}"
        prediction = run.prediction if error is None else None
        seconds = time.perf_counter() - started
        return Outcome(index, score, prediction, run.trace, seconds, error, abroad)


def _reason(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"


def _home(outcome: Outcome, lm: LM) -> Outcome:
    """Book what a worker in another process spent, which its own ledger brought back."""
    if outcome.ledger is None or not isinstance(lm, Metered):
        return outcome
    lm.ledger.merge(outcome.ledger)
    return replace(outcome, ledger=None)
