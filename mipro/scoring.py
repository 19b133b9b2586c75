"""One example run and scored, in this process or in another: the piece of work of an evaluation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from uuid import uuid4

from mipro.data import Example
from mipro.errors import MetricError
from mipro.lm.base import LM, LMError
from mipro.lm.budget import Amount, BudgetExceeded
from mipro.lm.meter import Ledger, Metered
from mipro.lm.replies import Luggage, Once, Replies
from mipro.metrics import Metric
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate
from mipro.programs.trace import Prediction, Run, Trace
from mipro.workers import Packed


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

    def at_home(self) -> Outcome:
        """Without what it brought home: that is booked by now."""
        if self.ledger is None:
            return self
        return replace(self, ledger=None, luggage=None, spent=None, refused=())


class Item(NamedTuple):
    """One example on its way, with what it takes along to another process."""

    example: Example
    luggage: Luggage | None
    share: Amount


class _Home(NamedTuple):
    """What an outcome brings home from another process, as `Outcome` has it."""

    ledger: Ledger | None = None
    luggage: Luggage | None = None
    spent: Amount | None = None
    refused: tuple[BudgetExceeded, ...] = ()


@dataclass(frozen=True)
class Job:
    """What a worker needs to score one example."""

    program: Program
    metric: Metric
    lm: LM
    candidate: Candidate | None
    adapter: Adapter | None
    rollout: int

    def __call__(self, index: int, item: Item) -> Outcome:
        """The outcome. Raises a failure that every other example would meet too."""
        started = time.perf_counter()
        if isinstance(self.lm, Metered) and self.lm.ledger.detached:
            run, home = self._abroad(self.lm, item)
        else:
            run, home = self._run(self.lm, item.example), _Home()
        # a refusal in another process comes home in the outcome, with what was spent before it
        if isinstance(run.error, LMError) and run.error.systemic and not home.refused:
            raise run.error
        score, error = self._scored(run, index, item.example)
        prediction = run.prediction if error is None else None
        seconds = time.perf_counter() - started
        return Outcome(index, score, prediction, run.trace, seconds, error, *home)

    def _abroad(self, lm: Metered, item: Item) -> tuple[Run, _Home]:
        """In another process: a ledger for this example alone, as the job may serve for many."""
        own, replies = replace(lm, ledger=Ledger(detached=True)), None
        if isinstance(lm.lm, Once):
            replies = Replies(item.luggage or Luggage())
            own = replace(own, lm=Once(lm.lm.lm, replies))
        if lm.ledger.spending is None:
            run, home = self._run(own, item.example), _Home(own.ledger)
        else:
            with lm.ledger.spending.allowance(item.share) as share:
                run = self._run(own, item.example)
            home = _Home(own.ledger, spent=share.spent, refused=share.refused)
        return run, home if replies is None else home._replace(luggage=replies.luggage())

    def _run(self, lm: LM, example: Example) -> Run:
        return self.program.run(
            example.inputs,
            lm=lm,
            candidate=self.candidate,
            adapter=self.adapter,
            rollout=self.rollout,
        )

    def _scored(self, run: Run, index: int, example: Example) -> tuple[float, str | None]:
        """The score, and why it is the worst where the run or the metric failed."""
        if run.prediction is None:
            return self.metric.worst, _reason(run.error)
        try:
            return self.metric(example, run.prediction, run.trace), _reason(run.error)
        except MetricError as fault:  # the metric is at fault, not one reply
            raise MetricError(f"{fault} (example {index})") from fault
        except Exception as fault:  # the user's metric may raise anything: it costs this example
            if isinstance(fault, LMError) and fault.systemic:
                raise  # a judge's endpoint: every other example would meet it too
            reason = f"metric {self.metric.name} raised {type(fault).__name__}: {fault}"
            return self.metric.worst, reason


@dataclass(frozen=True)
class Sent:
    """A job on its way to other processes: what is the whole run's apart from what is its own."""

    shared: Packed[tuple[Program, Metric, Adapter | None]]
    own: Packed[tuple[LM, Candidate | None, int]]
    # Dask takes equal calls of a function for one: two evaluations of one candidate are two
    nonce: str = field(default_factory=lambda: uuid4().hex)

    @classmethod
    def of(cls, job: Job) -> Sent:
        """The job, packed."""
        shared = (job.program, job.metric, job.adapter)
        return cls(Packed(shared), Packed((job.lm, job.candidate, job.rollout)))

    def __call__(self, index: int, item: Item) -> Outcome:
        """As the job, unpacked."""
        program, metric, adapter = self.shared.value()
        lm, candidate, rollout = self.own.value()
        return Job(program, metric, lm, candidate, adapter, rollout)(index, item)


def _reason(error: Exception | None) -> str | None:
    return None if error is None else f"{type(error).__name__}: {error}"
