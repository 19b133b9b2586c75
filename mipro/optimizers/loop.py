"""Algorithm 1 of the paper: the loop of which every optimizer is an instance.

    initialize(D, θ)
    for k = 1..I:
        candidate ← propose(θ)
        batch     ← B examples drawn from D
        σ         ← mean μ(Φ_candidate(x), x') over batch
        update(candidate, σ)
    return extract_optimized_variables()

One thing is added before the first k: the original program is evaluated in full, so that there is
something to compare with, and a task on which everything fails stops before money is spent on it.

With `trials_in_flight` above 1 the next candidates are proposed while trials are out (`in_flight`).

A budget may end the loop anywhere after that. A trial that was cut short is dropped (its calls are
paid, and in the ledger); the leader is then evaluated in full, from what was kept back for it, and
the best of the full evaluations is extracted.
"""

from __future__ import annotations

import time
from dataclasses import replace

from mipro.lm.budget import BudgetExceeded
from mipro.lm.spending import Spending
from mipro.optimizers.in_flight import in_flight
from mipro.optimizers.task import Extracted, Step, Strategy, Task, Trial
from mipro.optimizers.trials import evaluated
from mipro.tpe import Space


def run_loop(strategy: Strategy, task: Task) -> tuple[Extracted, list[Trial]]:
    """Run `strategy` on `task`: what it extracts, and all trials in order."""
    started = time.perf_counter()
    trials = [evaluated(Step({}, task.program.prompts(), "full"), task, 0)]
    if trials[0].failures:
        text = f"{trials[0].failures} of {trials[0].n} validation examples failed with the original"
        task.emit({"event": "note", "text": f"{text} program (why is in the journal)"})
    if task.ledger.spending is not None:
        _keep(task, task.ledger.spending, time.perf_counter() - started)
    begun = False
    try:
        strategy.initialize(task)
        begun = True
        strategy.update(trials[0])
        if task.options.trials_in_flight > 1:
            for trial in in_flight(strategy, task, trials):
                strategy.update(trial)
                trials.append(trial)
        else:
            while (step := strategy.propose()) is not None:
                _take(step, strategy, task, trials)
    except BudgetExceeded as error:
        _stopped(error, strategy if begun else None, task, trials)
    return (strategy.extract() if begun else _untouched(task, trials[0])), trials


def _take(step: Step, strategy: Strategy, task: Task, trials: list[Trial]) -> None:
    trial = evaluated(step, task, len(trials))
    strategy.update(trial)
    trials.append(trial)


def _keep(task: Task, spending: Spending, seconds: float) -> None:
    """Hold back what comes last; its time is reckoned from that of the original, by the tokens."""
    tokens = task.ledger.total.tokens
    spending.keep(
        **{
            name: replace(part, seconds=seconds * part.tokens / max(1, tokens))
            for name, part in task.kept.items()
        }
    )


def _stopped(
    error: BudgetExceeded, strategy: Strategy | None, task: Task, trials: list[Trial]
) -> None:
    """End in order: the leader is evaluated in full, from what was kept back for it."""
    task.emit({"event": "stopped", "by": "budget", "limit": error.limit, "most": error.most})
    if task.ledger.spending is not None:
        task.ledger.spending.let_go("full")
    step = None if strategy is None else strategy.conclude()
    if strategy is None or step is None:
        return
    try:
        _take(step, strategy, task, trials)
    except BudgetExceeded:
        text = "what was left did not reach to evaluate the leader in full"
        task.emit({"event": "note", "text": f"{text}: it is not considered"})


def _untouched(task: Task, trial: Trial) -> Extracted:
    """The program as it came, where the money did not even reach to prepare the search."""
    return Extracted(task.program.prompts(), trial, Space({}), {})
