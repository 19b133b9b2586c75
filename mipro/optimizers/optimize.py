"""`optimize`: set a run up, run the loop, test what it found, write it all down."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mipro.bootstrapping import Teacher
from mipro.data import Example
from mipro.data import split as split_data
from mipro.errors import ConfigError, DataError, MetricError
from mipro.evaluation import Evaluation, evaluate
from mipro.journal import SCHEMA, Event, Journal, Listener
from mipro.lm.base import LM
from mipro.lm.meter import Ledger, Metered, Price
from mipro.metrics import Metric
from mipro.optimizers.loop import run_loop
from mipro.optimizers.mipro import Mipro
from mipro.optimizers.random_search import RandomSearch
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
    strategy = _strategy(method)
    train, val = _parts(train, val, options.seed)
    wrapped = Metric.of(metric)
    for name, part in (("train", train), ("val", val), ("test", test)):
        if part is not None:
            _checked(name, program, part, wrapped)
    ledger = Ledger(prices)
    recorder = _Recorder(ledger, on_event)
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
    recorder: _Recorder,
) -> Result:
    """Run the loop, and put what it found to the test."""
    extracted, trials = run_loop(strategy, task)
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
    return Comparison.of(before, before if dict(candidate) == original else scored(candidate))


def _importances(extracted: Extracted, trials: Sequence[Trial]) -> dict[str, float]:
    told = [
        Observation(dict(trial.config or extracted.original), trial.score, trial.n)
        for trial in trials
    ]
    return importance(extracted.space, told)


@dataclass
class _Recorder:
    """Takes a run's events: to the journal, to a listener, and the notes to the result."""

    ledger: Ledger
    listener: Listener | None
    notes: list[str] = field(default_factory=list)
    journal: Journal | None = None
    directory: Path | None = None
    started: float = field(default_factory=time.perf_counter)

    def __call__(self, event: Event) -> None:
        """Record one event; a trial and the end carry the ledger as it stands."""
        if event["event"] == "note":
            self.notes.append(str(event["text"]))
        if event["event"] in ("trial", "end"):
            event = {**event, "usage": self.ledger.to_json()}
        if self.journal is not None:
            self.journal(event)
        if self.listener is not None:
            self.listener(event)

    def into(self, run_dir: str | Path | None) -> _Recorder:
        """Keep the events in `run_dir` as well, made if it is not there."""
        if run_dir is not None:
            self.directory = Path(run_dir)
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"{run_dir}: cannot be made: {error.strerror}") from error
            self.journal = Journal(self.directory / "journal.jsonl")
        return self

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """A run that ends in an error, whosever it is, says so in its journal."""
        try:
            if error is not None:
                self({"event": "error", "kind": type(error).__name__, "text": str(error)})
        finally:
            if self.journal is not None:
                self.journal.close()

    def start(self, method: str, task: Task, test: Sequence[Example] | None) -> None:
        """Record what is run on what."""
        parts = {"train": task.train, "val": task.val, "test": test}
        config = {
            "method": method,
            "options": task.options.to_json(),
            "metric": task.metric.name,
            "program": type(task.program).__name__,
            "modules": {name: str(s) for name, s in task.program.signatures().items()},
            "adapter": type(task.adapter).__name__ if task.adapter else "ChatAdapter",
            "lm": task.lm.identity,
            "prompt_lm": task.prompt_lm.identity,
            "teacher_lm": task.teacher.lm.identity if task.teacher.lm else None,
            "data": {name: _digest(part) for name, part in parts.items() if part is not None},
        }
        if self.directory is not None:
            text = json.dumps(config, indent=2, ensure_ascii=False)
            (self.directory / "config.json").write_text(text + "\n", encoding="utf-8")
        self({"event": "start", "schema": SCHEMA, **config})
        _warn_of_overlap(parts, self)

    def end(self, result: Result) -> None:
        """Record what was found."""
        if self.directory is not None:
            result.write(self.directory)
        self(
            {
                "event": "end",
                "chosen_trial": result.chosen.number,
                "score": result.score,
                "test": result.test.to_json() if result.test else None,
                "seconds": round(result.seconds, 3),
            }
        )


def _digest(examples: Sequence[Example]) -> dict[str, Any]:
    text = json.dumps([dict(e) for e in examples], sort_keys=True, default=str)
    return {"n": len(examples), "digest": hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}


def _warn_of_overlap(parts: Mapping[str, Sequence[Example] | None], emit: Listener) -> None:
    """Examples that stand in two parts flatter the score: said, for data may truly repeat."""
    keys = {
        name: [json.dumps(dict(e), sort_keys=True, default=str) for e in part or ()]
        for name, part in parts.items()
    }
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        known = set(keys[a])
        both = sum(key in known for key in keys[b])
        if both:
            emit({"event": "note", "text": f"{both} examples of {b} stand in {a} as well"})
