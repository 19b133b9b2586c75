"""A candidate × examples → scored outcomes, on any `concurrent.futures.Executor`.

One example that fails (a reply without its field, a metric that raises) is a failed outcome at the
metric's worst, with its reason. A failure that every other example would meet too is raised.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from mipro.data import Example
from mipro.errors import MetricError, RunError
from mipro.lm.base import LM, LMError, Usage
from mipro.lm.budget import Amount, BudgetExceeded, Spending
from mipro.lm.meter import Ledger, Metered
from mipro.lm.replies import Luggage, Once, Place, Replies
from mipro.metrics import Metric
from mipro.preflight import check_task
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate
from mipro.programs.trace import Prediction, Trace
from mipro.stats import interval
from mipro.workers import Packed, in_order


@dataclass(frozen=True)
class Outcome:
    """One example's result. `error` says why it failed; `prediction` is then None.

    `ledger`, `luggage`, `spent` and `refused` are only set on the way home from another process.
    """

    index: int
    score: float
    prediction: Prediction | None
    trace: Trace
    seconds: float
    error: str | None = None
    ledger: Ledger | None = field(default=None, repr=False)
    luggage: Luggage | None = field(default=None, repr=False)
    spent: Amount | None = field(default=None, repr=False)
    refused: tuple[BudgetExceeded, ...] = field(default=(), repr=False)


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
    systemic kind at once (`BudgetExceeded` for a call that the budget refuses), and `RunError` if
    every example fails (unless `allow_all_failed`).
    """
    under_way = Evaluating(
        program,
        examples,
        metric,
        lm=lm,
        candidate=candidate,
        adapter=adapter,
        abroad=executor is not None,
        rollout=rollout,
        allow_all_failed=allow_all_failed,
    )
    with under_way:
        outcomes = in_order(
            under_way.job,
            under_way.items,
            executor=executor,
            threads=threads,
            arrived=under_way.arrived,
        )
        return under_way.finished(outcomes)


class Evaluating:
    """An evaluation under way, its `job` run on its `items` by whoever began it.

    Begun and `finished` in turn, several are what they would be one after the other, whichever is
    done first; only the shares of a budget that `abroad`, in other processes, each may spend are
    smaller: one in `together`. A context manager: what it was promised and did not use is released.
    """

    def __init__(
        self,
        program: Program,
        examples: Sequence[Example],
        metric: Metric | Callable[..., Any],
        *,
        lm: LM,
        candidate: Candidate | None = None,
        adapter: Adapter | None = None,
        abroad: bool = False,
        rollout: int = 0,
        allow_all_failed: bool = False,
        together: int | None = None,
    ) -> None:
        wrapped, examples = Metric.of(metric), tuple(examples)
        check_task(program, examples, wrapped)
        program.checked(candidate or {})
        self._lm, self._allow_all_failed = lm, allow_all_failed
        self._ledger = lm.ledger if isinstance(lm, Metered) else Ledger()
        self._refusals = len(self._ledger.refusals)
        kept = isinstance(lm, Metered) and isinstance(lm.lm, Once)
        self._replies: Replies = lm.lm.replies if kept else Replies()  # type: ignore[attr-defined]
        self._keys = [_key(example) for example in examples] if abroad else []
        number, packed = self._replies.packed(self._keys)
        self._number: int = number
        self._share = Amount()
        self._away = 0  # examples out with a share of the budget
        if abroad and self._ledger.spending is not None:
            self._away = len(examples)
            self._share = self._ledger.spending.share(self._away, together or self._away)
        luggage: Sequence[Luggage | None] = packed or [None] * len(examples)
        self.items = [
            _Item(example, packed, self._share)
            for example, packed in zip(examples, luggage, strict=True)
        ]
        job = _Job(program, wrapped, lm, candidate, adapter, rollout)
        self.job: Callable[[int, _Item], Outcome] = _Sent.of(job) if abroad else job

    def arrived(self, outcomes: Sequence[Outcome]) -> None:
        """Keep and book what workers in other processes brought home; call it once for each."""
        homes: dict[Place, Luggage] = {}
        for outcome in outcomes:
            if outcome.ledger is not None:
                self._ledger.merge(outcome.ledger)
                self._ledger.refusals += outcome.refused
            if self._ledger.spending is not None and outcome.spent is not None:
                self._ledger.spending.came_home(self._share, outcome.spent)
                self._away -= 1
            if outcome.luggage is not None:
                homes[self._number, outcome.index] = outcome.luggage
        if homes:
            self._replies.unpacked(homes, self._lm.model)

    def finished(self, outcomes: Sequence[Outcome]) -> Evaluation:
        """The evaluation, once all outcomes have arrived. Raises as `evaluate` does."""
        for outcome, key in zip(outcomes, self._keys, strict=False):
            if outcome.luggage is not None:
                self._replies.learnt(key, outcome.luggage)
        evaluation = Evaluation(tuple(_at_home(outcome) for outcome in outcomes))
        if len(self._ledger.refusals) > self._refusals:
            # in another process, or caught by the program: no full score
            raise self._ledger.refusals[self._refusals]
        if len(evaluation.failures) == evaluation.n and not self._allow_all_failed:
            raise RunError(
                f"every one of {evaluation.n} examples failed. The first: {outcomes[0].error}"
            )
        return evaluation

    def __enter__(self) -> Evaluating:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ledger.spending is not None and self._away:
            self._ledger.spending.came_home(self._share, items=self._away)
            self._away = 0


class _Item(NamedTuple):
    """One example on its way, with what it takes along to another process."""

    example: Example
    luggage: Luggage | None
    share: Amount


@dataclass(frozen=True)
class _Job:
    """What a worker needs to score one example."""

    program: Program
    metric: Metric
    lm: LM
    candidate: Candidate | None
    adapter: Adapter | None
    rollout: int

    def __call__(self, index: int, item: _Item) -> Outcome:
        started = time.perf_counter()
        example, packed, allowed = item
        lm, abroad, replies = self.lm, None, None
        share: AbstractContextManager[Spending | None] = nullcontext()
        if isinstance(lm, Metered) and lm.ledger.detached:
            # in another process: a ledger for this example alone, as the job may serve for many
            abroad = Ledger(detached=True)
            if lm.ledger.spending is not None:
                share = lm.ledger.spending.allowance(allowed)
            lm = replace(lm, ledger=abroad)
            if isinstance(lm.lm, Once):
                replies = Replies(packed or Luggage())
                lm = replace(lm, lm=Once(lm.lm.lm, replies))
        with share as own:
            run = self.program.run(
                example.inputs,
                lm=lm,
                candidate=self.candidate,
                adapter=self.adapter,
                rollout=self.rollout,
            )
        spent, refused = (own.spent, own.refused) if own is not None else (None, ())
        # a refusal in another process comes home in the outcome, with what was spent before it
        if isinstance(run.error, LMError) and run.error.systemic and not refused:
            raise run.error
        score, error = self.metric.worst, _reason(run.error)
        if run.prediction is not None:
            try:
                score = self.metric(example, run.prediction, run.trace)
            except MetricError as fault:  # the metric is at fault, not one reply
                raise MetricError(f"{fault} (example {index})") from fault
            except Exception as fault:
                if isinstance(fault, LMError) and fault.systemic:
                    raise  # a judge's endpoint: every other example would meet it too
                error = f"metric {self.metric.name} raised {type(fault).__name__}: {fault}"
        prediction = run.prediction if error is None else None
        seconds = time.perf_counter() - started
        luggage = None if replies is None else replies.luggage()
        home = (abroad, luggage, spent, refused)
        return Outcome(index, score, prediction, run.trace, seconds, error, *home)


@dataclass(frozen=True)
class _Sent:
    """A job on its way to other processes: what is the whole run's apart from what is its own."""

    shared: Packed[tuple[Program, Metric, Adapter | None]]
    own: Packed[tuple[LM, Candidate | None, int]]
    # Dask takes equal calls of a function for one: two evaluations of one candidate are two
    nonce: str = field(default_factory=lambda: uuid4().hex)

    @classmethod
    def of(cls, job: _Job) -> _Sent:
        shared = (job.program, job.metric, job.adapter)
        return cls(Packed(shared), Packed((job.lm, job.candidate, job.rollout)))

    def __call__(self, index: int, item: _Item) -> Outcome:
        program, metric, adapter = self.shared.value()
        lm, candidate, rollout = self.own.value()
        return _Job(program, metric, lm, candidate, adapter, rollout)(index, item)


def _reason(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"


def _at_home(outcome: Outcome) -> Outcome:
    """Without what it brought home: that is booked by now."""
    if outcome.ledger is None:
        return outcome
    return replace(outcome, ledger=None, luggage=None, spent=None, refused=())


def _key(example: Example) -> str:
    """What tells an example's own replies from another's."""
    text = json.dumps(dict(example.inputs), sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
