"""`optimize`: set a run up, run the loop, test what it found, write it all down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mipro.bootstrapping import Bootstrap, Teacher
from mipro.data import Example
from mipro.journal import Listener
from mipro.lm.base import LM
from mipro.lm.budget import Amount, Budget
from mipro.lm.meter import Ledger, Metered, Price
from mipro.lm.replies import Once, Replies
from mipro.lm.spending import Spending, budgeted
from mipro.metrics import Metric
from mipro.optimizers.forecast import Forecast, forecast
from mipro.optimizers.given import Given
from mipro.optimizers.loop import run_loop
from mipro.optimizers.methods import Method, name_of, new_strategy
from mipro.optimizers.probing import Probe, dry_probe, paid_probe
from mipro.optimizers.recorder import Recorder, Sitting
from mipro.optimizers.result import Result
from mipro.optimizers.task import Extracted, Strategy, Task, Trial
from mipro.optimizers.testing import tested
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.tpe import Importance, Observation, importance


def optimize(
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
    budget: Budget | None = None,
    run_dir: str | Path | None = None,
    on_event: Listener | None = None,
    **settings: Any,
) -> Result:
    """Tune the instructions and demonstrations of `program`.

    `train` gives demonstrations and data summaries, `val` scores candidates (without it, half of
    `train` by the seed), `test` is used only at the end. `method` is a name in `METHODS`, or what
    makes a `Strategy` of your own. `settings` are those of `Options`: trials, minibatch,
    full_every, instructions, demo_sets, seed, threads, …. `prompt_lm` writes instructions and
    `teacher` demonstrations, both with `lm` unless told; `prices` is model → price. `budget` limits
    calls, tokens, dollars or seconds: at a limit the run ends in order, with the best so far and
    `Result.stopped` set; what the last full evaluation and the test take by the forecast is kept
    back for them. A budget too small for one candidate is refused before the first call, as is one
    in dollars without a price for every model. `run_dir` will hold `config.json`, `journal.jsonl`,
    `replies.jsonl`, `result.json` and `candidate.json`; a run that stopped early is gone on with by
    `mipro.resume`.

    Raises `ConfigError`, `DataError` and `MetricError` before the first call; later `LMError` of a
    systemic kind, and `RunError` when the run cannot go on, the journal already on disk.
    """
    given = Given(
        program=program,
        train=train,
        metric=metric,
        lm=lm,
        val=val,
        test=test,
        method=method,
        prompt_lm=prompt_lm,
        teacher=teacher,
        adapter=adapter,
        executor=executor,
        prices=prices,
        budget=budget,
        on_event=on_event,
        settings=settings,
    )
    return sit(Sitting(run_dir), given)


def sit(sitting: Sitting, given: Given) -> Result:
    """One sitting of a run, its first or a later one: what `optimize` and `resume` share."""
    strategy = new_strategy(given.method)
    task = given.checked()
    spending = None if given.budget is None else Spending(given.budget, given.prices)
    ledger = Ledger(given.prices, spending=spending)
    recorder = Recorder(ledger, given.on_event)
    replies = Replies()

    def asked(lm: LM, role: str) -> Metered:
        """One ledger, one store of replies and one budget for all; a stored reply is free."""
        under = lm if spending is None else budgeted(lm, spending)
        return Metered(Once(under, replies), ledger, role)

    task = replace(
        task,
        lm=asked(task.lm, "task"),
        prompt_lm=asked(task.prompt_lm, "prompt"),
        teacher=replace(task.teacher, lm=asked(task.teacher.lm_or(task.lm), "teacher")),
        emit=recorder,
        ledger=ledger,
    )
    if given.budget is not None:
        _forecast(given, task, dry_probe(task)).check(given.budget)
    if not sitting.resume:  # a later sitting may have all its replies
        given.check_keys()
    with recorder.into(sitting, replies):
        if spending is not None:
            spending.had(replies.paid)
        recorder.start(given.method, task, given.test)
        return _run(strategy, given, task, recorder)


def _run(strategy: Strategy, given: Given, task: Task, recorder: Recorder) -> Result:
    """Say what is expected, run the loop, and put what it found to the test."""
    expecting = _Expecting(given, task, paid_probe(task) if task.options.forecasts else None)
    expecting()
    running = replace(task, kept=expecting.kept(), prepared=expecting)
    extracted, trials = run_loop(strategy, running)
    recorder.found(extracted.candidate, task.program.signatures())
    held_out = tested(task, extracted.candidate, given.test, (trials[0], extracted.trial))
    result = Result(
        method=name_of(given.method),
        candidate=extracted.candidate,
        original=task.program.prompts(),
        score=extracted.trial.score,
        baseline=trials[0].score,
        trials=tuple(trials),
        chosen=extracted.trial,
        usage=task.ledger.to_json(),
        importances=_importances(extracted, trials),
        seconds=time.perf_counter() - recorder.started,
        test=held_out.comparison,
        improvement=held_out.improvement,
        optimism=held_out.optimism,
        notes=tuple(recorder.notes),
        signatures=task.program.signatures(),
        run_dir=recorder.directory,
        phases={name: entry.to_json() for name, entry in task.ledger.phases.items()},
        models={name: entry.to_json() for name, entry in task.ledger.models.items()},
        forecast=expecting.made[0] if expecting.made else None,
        reforecast=expecting.made[1] if len(expecting.made) > 1 else None,
        stopped=recorder.stopped,
        settings_importances=extracted.settings and importance(*extracted.settings),
    )
    recorder.end(result)
    return result


@dataclass(frozen=True)
class _Expecting:
    """Says what is expected of the run: at its start, and again once the demonstrations are there.

    Without a probe nothing is.
    """

    given: Given
    task: Task
    probe: Probe | None
    made: list[Forecast] = field(default_factory=list)

    def __call__(self, demos: Bootstrap | None = None) -> None:
        """Make the forecast and emit it."""
        if self.probe is None:
            return
        self.made.append(_forecast(self.given, self.task, self.probe, demos))
        after = "start" if demos is None else "bootstrap"
        self.task.emit({"event": "forecast", "after": after, **self.made[-1].to_json()})

    def kept(self) -> Mapping[str, Amount]:
        """What of a budget is held back for the last steps."""
        return {"full": self.made[0].full, "test": self.made[0].test} if self.made else {}


def _forecast(given: Given, task: Task, probe: Probe, demos: Bootstrap | None = None) -> Forecast:
    """The forecast of a new strategy of the method."""
    test, prices = given.test or (), task.ledger.prices
    return forecast(new_strategy(given.method), task, test, prices, probe, demos)


def _importances(extracted: Extracted, trials: Sequence[Trial]) -> Importance:
    """What the trials say of each slot, each pair of slots and each choice."""
    told = [
        Observation(dict(trial.config or extracted.original), trial.score, trial.n)
        for trial in trials
    ]
    return importance(extracted.space, told)
