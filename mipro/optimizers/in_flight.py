"""Trials in flight: trial t is asked for once trial t − k is told, whichever is over first.

    ask 1 … k;  tell 1, ask k + 1;  tell 2, ask k + 2;  …

Trials are told in the order they were asked for, so what a strategy knows when it proposes,
and with it the whole run, is a function of the seed and k alone. For the same reason

- a reply that several trials wanted is booked to the first of them (`Turn`), whoever asked first;
- examples in other processes take along what was told, not what happens to have come home;
- near the end of a budget one trial is out at a time: which of several is refused would be chance.

A strategy says "not yet" by proposing nothing while trials are out: it is asked again after the
next was told. What it proposes may be a full evaluation as well: that is a trial like any other.

Calls in flight are those of `threads`, or the executor's workers, which all trials share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from queue import SimpleQueue
from types import TracebackType

from mipro.evaluation import Outcome
from mipro.lm.base import LM
from mipro.lm.budget import Amount, BudgetExceeded
from mipro.lm.meter import Entry, Ledger, Metered
from mipro.lm.replies import Once, Turn
from mipro.optimizers.task import FULL, MINIBATCHES, PHASE_OF, Step, Strategy, Task, Trial
from mipro.optimizers.trials import Begun
from mipro.workers import GRACE, Handed, Inbox, Threads

ROOM = 2  # times the mean cost of an example that a trial yet to come may take


def in_flight(strategy: Strategy, task: Task, told: list[Trial]) -> Iterator[Trial]:
    """The trials of a search in their order; the caller tells the strategy, and adds to `told`.

    Raises what `evaluate` raises; what was out then is called off, its calls booked all the same.
    """
    with ExitStack() as stack:
        executor = task.executor or stack.enter_context(Threads(task.options.threads))
        out = stack.enter_context(_Out(task, executor))
        while True:
            width = _width(task, told)
            while not out.failed and len(out.trials) < width:
                step = strategy.propose()
                if step is None:
                    break
                out.ask(step, len(told) + len(out.trials), width)
            if not out.trials:
                return
            yield out.first()


@dataclass(frozen=True)
class _Flying:
    """One trial on its way: its evaluation, the work handed out, and who pays what it uses."""

    begun: Begun
    handed: Handed[Outcome]
    turn: Turn


class _Out:
    """The trials on their way, in order."""

    def __init__(self, task: Task, executor: Executor) -> None:
        self.task, self.executor = task, executor
        self.trials: deque[_Flying] = deque()
        self.inbox: Inbox = SimpleQueue()

    @property
    def failed(self) -> bool:
        """Has one of them failed? Then no more are asked for."""
        return any(flying.handed.failed for flying in self.trials)

    def ask(self, step: Step, number: int, width: int) -> None:
        """Send a trial on its way."""
        lm, turn = _in_turn(self.task)
        free = width - len(self.trials)
        together = len(self.task.val) * free if width > 1 else None
        begun = Begun.of(step, self.task, number, lm, together=together)
        work = begun.evaluating
        handed = Handed(self.executor, work.job, work.items, work.arrived, self.inbox)
        self.trials.append(_Flying(begun, handed, turn))

    def first(self) -> Trial:
        """Wait for the first of them, book what it took, and emit it."""
        flying = self.trials[0]
        flying.handed.wait_for()  # and take note of what comes of the others
        with flying.begun.evaluating as evaluating:
            evaluation = evaluating.finished(flying.handed.results())
        self._book(self.trials.popleft())
        return flying.begun.told(evaluation, self.task)

    def _book(self, flying: _Flying) -> None:
        if isinstance(self.task.lm, Metered) and isinstance(self.task.lm.lm, Once):
            self.task.lm.lm.replies.settle(flying.turn)
        with self.task.ledger.phase(PHASE_OF[flying.begun.step.kind]):
            self.task.ledger.merge(flying.turn.ledger)

    def __enter__(self) -> _Out:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Call off what is still out, and book what it took."""
        interrupted = kind is not None and not issubclass(kind, Exception)
        # on other machines what was begun may be called off too, and its cost would not come home
        let_come = self.task.executor is not None and isinstance(error, BudgetExceeded)
        for flying in self.trials:
            if not let_come:
                flying.handed.cancel()
        for flying in self.trials:
            with flying.begun.evaluating:
                flying.handed.finish(GRACE if interrupted else None)
            self._book(flying)
        self.trials.clear()


def _in_turn(task: Task) -> tuple[LM, Turn]:
    """The task's LM with a ledger of one trial's own."""
    ledger = Ledger(task.ledger.prices, spending=task.ledger.spending)
    lm = task.lm
    role = lm.role if isinstance(lm, Metered) else "task"
    turn = Turn(ledger, role)
    if isinstance(lm, Metered):
        inner = replace(lm.lm, turn=turn) if isinstance(lm.lm, Once) else lm.lm
        return replace(lm, lm=inner, ledger=ledger), turn
    return lm, turn


def _width(task: Task, told: list[Trial]) -> int:
    """How many trials may be out: one, where what is left might not do for them all."""
    most = task.options.trials_in_flight
    spending = task.ledger.spending
    if spending is None:
        return most
    phases = task.ledger.phases
    searched = phases.get(FULL, Entry()) + phases.get(MINIBATCHES, Entry())
    asked = searched.calls + searched.failed
    # as if no reply had been there already
    each = (asked + searched.cached) / max(1, asked) / sum(trial.n for trial in told)
    need = ROOM * each * len(task.val) * most
    taken = _amount(searched)
    spent, kept = _amount(task.ledger.total), spending.kept
    for name, limit in spending.limits.items():
        left = limit - getattr(spent, name) - getattr(kept, name)
        if name != "seconds" and left < need * getattr(taken, name):
            return 1
    return most


def _amount(entry: Entry) -> Amount:
    return Amount(entry.calls + entry.failed, entry.tokens, entry.cost or 0.0)
