"""`optimize`: set a run up, run the loop, test what it found, write it all down."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from mipro.bootstrapping import Teacher
from mipro.data import Example
from mipro.data import split as split_data
from mipro.errors import ConfigError, DataError, MetricError
from mipro.evaluation import Evaluation, evaluate
from mipro.journal import Listener
from mipro.lm.base import LM
from mipro.lm.meter import Ledger, Metered, Price
from mipro.metrics import Metric
from mipro.optimizers.loop import run_loop
from mipro.optimizers.mipro import Mipro
from mipro.optimizers.random_search import RandomSearch
from mipro.optimizers.recorder import Recorder
from mipro.optimizers.result import Comparison, Result
from mipro.optimizers.task import Extracted, Options, Strategy, Task, Trial
from mipro.preflight import check_task
from mipro.programs.adapter import Adapter
from mipro.programs.program import Program
from mipro.programs.prompt import Candidate
from mipro.tpe import Observation, importance

METHODS: Mapping[str, Callable[[], Strategy]] = {
    "random_search": RandomSearch,
    "bayesian_bootstrap": lambda: Mipro(instructions=False),
    "mipro_zero_shot": lambda: Mipro(demos=False),
    "mipro": Mipro,
}


def optimize(
    program: Program,
    train: Sequence[Example],
    metric: Metric | Callable[..., Any],
    *,
    lm: LM,
    val: Sequence[Example] | None = None,
    test: Sequence[Example] | None = None,
    method: str = "mipro",
    prompt_lm: LM | None = None,
    teacher: Teacher | None = None,
    adapter: Adapter | None = None,
    executor: Executor | None = None,
    prices: Mapping[str, Price] | None = None,
    run_dir: str | Path | None = None,
    on_event: Listener | None = None,
    **settings: Any,
) -> Result:
    """Tune the instructions and demonstrations of `program`.

    `train` gives demonstrations and data summaries, `val` scores candidates (without it, half of
    `train` by the seed), `test` is used only at the end. `settings` are those of `Options`: trials,
    minibatch, full_every, instructions, demo_sets, seed, threads, …. `prompt_lm` writes
    instructions and `teacher` demonstrations, both with `lm` unless told; `prices` is model →
    price. `run_dir` will hold `config.json`, `journal.jsonl`, `result.json` and `candidate.json`.

    Raises `ConfigError`, `DataError` and `MetricError` before the first call; later `LMError` of a
    systemic kind, and `RunError` when the run cannot go on, the journal already on disk.
    """
    options = Options.of(settings)
    for name, given in (("lm", lm), ("prompt_lm", prompt_lm)):
        if given is not None and not isinstance(given, LM):
            what = "mipro.OpenAILM(…), say, or a callable with `model` and `identity`"
            raise ConfigError(f"{name}={given!r} is no language model: {what}")
    strategy = _strategy(method)
    train, val = _parts(train, val, options.seed)
    wrapped = Metric.of(metric)
    for name, part in (("train", train), ("val", val), ("test", test)):
        if part is not None:
            _checked(name, program, part, wrapped)
    ledger = Ledger(prices)
    recorder = Recorder(ledger, on_event)
    task = Task(
        program=program,
        train=train,
        val=val,
        metric=wrapped,
        lm=Metered(lm, ledger, "task"),
        prompt_lm=Metered(lm if prompt_lm is None else prompt_lm, ledger, "prompt"),
        teacher=_metered(teacher or Teacher(), lm, ledger),
        options=options,
        emit=recorder,
        adapter=adapter,
        executor=executor,
    )
    with recorder.into(run_dir):
        recorder.start(method, task, test)
        return _finished(method, strategy, task, test, ledger, recorder)


def _finished(
    method: str,
    strategy: Strategy,
    task: Task,
    test: Sequence[Example] | None,
    ledger: Ledger,
    recorder: Recorder,
) -> Result:
    """Run the loop, and put what it found to the test."""
    extracted, trials = run_loop(strategy, task)
    recorder.found(extracted.candidate, task.program.signatures())
    compared = None if test is None else _compared(task, extracted.candidate, test)
    result = Result(
        method=method,
        candidate=extracted.candidate,
        original=task.program.prompts(),
        score=extracted.trial.score,
        baseline=trials[0].score,
        trials=tuple(trials),
        chosen=extracted.trial,
        usage=ledger.to_json(),
        importances=_importances(extracted, trials),
        seconds=time.perf_counter() - recorder.started,
        test=compared,
        notes=tuple(recorder.notes),
        signatures=task.program.signatures(),
        run_dir=recorder.directory,
    )
    recorder.end(result)
    return result


def _strategy(method: str) -> Strategy:
    if method not in METHODS:
        raise ConfigError(f"no method is called '{method}': there are {', '.join(METHODS)}")
    return METHODS[method]()


def _parts(
    train: Sequence[Example], val: Sequence[Example] | None, seed: int
) -> tuple[Sequence[Example], Sequence[Example]]:
    """Training and validation examples, never the same ones."""
    if val is not None:
        return train, val
    if len(train) < 4:
        raise DataError(f"{len(train)} examples cannot be split: give `val`, or more of them")
    parts = split_data(train, train=len(train) // 2, val=len(train) - len(train) // 2, seed=seed)
    return parts.train, parts.val


def _checked(name: str, program: Program, part: Sequence[Example], metric: Metric) -> None:
    try:
        check_task(program, part, metric)
    except (DataError, MetricError) as error:
        raise type(error)(f"{name}: {error}") from error


def _metered(teacher: Teacher, lm: LM, ledger: Ledger) -> Teacher:
    metered = Metered(lm if teacher.lm is None else teacher.lm, ledger, "teacher")
    return Teacher(teacher.program, teacher.candidate, metered)


def _compared(task: Task, candidate: Candidate, test: Sequence[Example]) -> Comparison:
    """Original and candidate on the test set; an unchanged program is run once."""

    def scored(prompts: Candidate) -> Evaluation:
        return evaluate(
            task.program,
            test,
            task.metric,
            lm=task.lm,
            candidate=prompts,
            adapter=task.adapter,
            executor=task.executor,
            threads=task.options.threads,
            allow_all_failed=True,
        )

    original = task.program.prompts()
    before = scored(original)
    after = before if dict(candidate) == original else scored(candidate)
    if after.failures:
        first = after.failures[0].error
        text = f"{len(after.failures)} of {after.n} test examples failed with the tuned program"
        task.emit({"event": "note", "text": f"{text}, the first: {first}"})
    return Comparison.of(before, after)


def _importances(extracted: Extracted, trials: Sequence[Trial]) -> dict[str, float]:
    """Main effects of the slots that the trials can tell: some choice in two configurations."""
    told = [
        Observation(dict(trial.config or extracted.original), trial.score, trial.n)
        for trial in trials
    ]
    distinct = {extracted.space.key(o.config): o.config for o in told}.values()
    shares = importance(extracted.space, told)
    return {
        name: share
        for name, share in shares.items()
        if len({config[name] for config in distinct}) < len(distinct)
    }
