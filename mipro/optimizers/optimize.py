"""`optimize`: set a run up, run the loop, test what it found, write it all down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from mipro.bootstrapping import Bootstrap, Teacher
from mipro.data import Example
from mipro.data import split as split_data
from mipro.errors import ConfigError, DataError, MetricError
from mipro.journal import Listener
from mipro.lm.base import LM
from mipro.lm.budget import Budget, Spending, budgeted
from mipro.lm.meter import Ledger, Metered, Price
from mipro.lm.replies import Once, Replies
from mipro.metrics import Metric
from mipro.optimizers.forecast import Forecast, forecast
from mipro.optimizers.loop import run_loop
from mipro.optimizers.methods import Method, name_of, new_strategy
from mipro.optimizers.probing import dry_probe, paid_probe
from mipro.optimizers.recorder import Recorder, Sitting
from mipro.optimizers.result import Result
from mipro.optimizers.task import Extracted, Options, Strategy, Task, Trial
from mipro.optimizers.testing import check_looks, tested
from mipro.preflight import check_task
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
    return sit(
        Sitting(run_dir),
        program,
        train,
        metric,
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
        **settings,
    )


def sit(
    sitting: Sitting,
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
    on_event: Listener | None = None,
    **settings: Any,
) -> Result:
    """One sitting of a run, its first or a later one: what `optimize` and `resume` share."""
    options = Options.of(settings)
    for name, given in (("lm", lm), ("prompt_lm", prompt_lm)):
        if given is not None and not isinstance(given, LM):
            what = "mipro.OpenAILM(…), say, or a callable with `model` and `identity`"
            raise ConfigError(f"{name}={given!r} is no language model: {what}")
    strategy = new_strategy(method)
    train, val = train_and_val(train, val, options.seed)
    wrapped = Metric.of(metric)
    for name, part in (("train", train), ("val", val), ("test", test)):
        if part is not None:
            check_part(name, program, part, wrapped)
    check_looks(options, test)
    spending = None if budget is None else Spending(budget, prices)
    ledger = Ledger(prices, spending=spending)
    recorder = Recorder(ledger, on_event)
    replies = Replies()

    def asked(asked_lm: LM | None, role: str) -> Metered:
        """One ledger, one store of replies and one budget for all; a stored reply is free."""
        base = lm if asked_lm is None else asked_lm
        under = base if spending is None else budgeted(base, spending)
        return Metered(Once(under, replies), ledger, role)

    taught = teacher or Teacher()
    task = Task(
        program=program,
        train=train,
        val=val,
        metric=wrapped,
        lm=asked(lm, "task"),
        prompt_lm=asked(prompt_lm, "prompt"),
        teacher=Teacher(taught.program, taught.candidate, asked(taught.lm, "teacher")),
        options=options,
        emit=recorder,
        adapter=adapter,
        executor=executor,
        ledger=ledger,
    )
    if budget is not None:
        if not options.forecasts:
            raise ConfigError(
                "a budget keeps back what the last steps are forecast to take: leave "
                "forecasts=False out"
            )
        lms = {"task": task.lm, "prompt": task.prompt_lm, "teacher": task.teacher.lm or task.lm}
        models = {role: asked.model for role, asked in lms.items()}
        for run in (program, taught.program or program):
            models |= {f"module {name}": own.model for name, own in run.own_lms().items()}
        budget.check_prices(models, ledger.prices)
        dry = forecast(new_strategy(method), task, len(test or ()), ledger.prices, dry_probe(task))
        dry.check(budget)
    with recorder.into(sitting, replies):
        if spending is not None:
            spending.had(replies.paid)
        recorder.start(method, task, test)
        return _finished(method, strategy, task, test, ledger, recorder)


def _finished(
    method: Method,
    strategy: Strategy,
    task: Task,
    test: Sequence[Example] | None,
    ledger: Ledger,
    recorder: Recorder,
) -> Result:
    """Say what is expected, run the loop, and put what it found to the test."""
    forecasts: list[Forecast] = []
    probe = paid_probe(task) if task.options.forecasts else None

    def expect(made: Bootstrap | None = None) -> None:
        """At the start, and again once the demonstrations are there."""
        if probe is None:
            return
        new = new_strategy(method)
        forecasts.append(forecast(new, task, len(test or ()), ledger.prices, probe, made))
        after = "start" if made is None else "bootstrap"
        task.emit({"event": "forecast", "after": after, **forecasts[-1].to_json()})

    expect()
    kept = {"full": forecasts[0].full, "test": forecasts[0].test} if forecasts else {}
    extracted, trials = run_loop(strategy, replace(task, kept=kept, prepared=expect))
    recorder.found(extracted.candidate, task.program.signatures())
    held_out = tested(task, extracted.candidate, test, (trials[0], extracted.trial))
    result = Result(
        method=name_of(method),
        candidate=extracted.candidate,
        original=task.program.prompts(),
        score=extracted.trial.score,
        baseline=trials[0].score,
        trials=tuple(trials),
        chosen=extracted.trial,
        usage=ledger.to_json(),
        importances=_importances(extracted, trials),
        seconds=time.perf_counter() - recorder.started,
        test=held_out.comparison,
        improvement=held_out.improvement,
        optimism=held_out.optimism,
        notes=tuple(recorder.notes),
        signatures=task.program.signatures(),
        run_dir=recorder.directory,
        phases={name: entry.to_json() for name, entry in ledger.phases.items()},
        forecast=forecasts[0] if forecasts else None,
        reforecast=forecasts[1] if len(forecasts) > 1 else None,
        stopped=recorder.stopped,
        settings_importances=extracted.settings and importance(*extracted.settings),
    )
    recorder.end(result)
    return result


def train_and_val(
    train: Sequence[Example], val: Sequence[Example] | None, seed: int
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Training and validation examples, never the same ones."""
    if val is not None:
        return train, val
    if len(train) < 4:
        raise DataError(f"{len(train)} examples cannot be split: give `val`, or more of them")
    parts = split_data(train, train=len(train) // 2, val=len(train) - len(train) // 2, seed=seed)
    return parts.train, parts.val


def check_part(name: str, program: Program, part: Sequence[Example], metric: Metric) -> None:
    """`check_task`, its errors naming the part of the data."""
    try:
        check_task(program, part, metric)
    except (DataError, MetricError) as error:
        raise type(error)(f"{name}: {error}") from error


def _importances(extracted: Extracted, trials: Sequence[Trial]) -> Importance:
    """What the trials say of each slot, each pair of slots and each choice."""
    told = [
        Observation(dict(trial.config or extracted.original), trial.score, trial.n)
        for trial in trials
    ]
    return importance(extracted.space, told)
