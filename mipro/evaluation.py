"""A candidate × examples → scored outcomes, on any `concurrent.futures.Executor`.

One example that fails (a reply without its field, a metric that raises) is a failed outcome at the
metric's worst, with its reason. A failure that every other example would meet too is raised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mipro.data import Example
from mipro.errors import RunError
from mipro.lm.base import LM, Usage
from mipro.lm.budget import Amount
from mipro.lm.meter import Ledger, Metered
from mipro.lm.replies import Luggage, Once, Place, Replies
from mipro.metrics import Metric
from mipro.preflight import check_task
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate
from mipro.scoring import Item, Job, Outcome, Sent
from mipro.stats import interval
from mipro.workers import in_order

__all__ = ["Evaluating", "Evaluation", "Outcome", "evaluate"]


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
            Item(example, packed, self._share)
            for example, packed in zip(examples, luggage, strict=True)
        ]
        job = Job(program, wrapped, lm, candidate, adapter, rollout)
        self.job: Callable[[int, Item], Outcome] = Sent.of(job) if abroad else job

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
        evaluation = Evaluation(tuple(outcome.at_home() for outcome in outcomes))
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


def _key(example: Example) -> str:
    """What tells an example's own replies from another's."""
    text = json.dumps(dict(example.inputs), sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
