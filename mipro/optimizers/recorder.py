"""The recorder of a run: its events to the journal and to a listener, its files to a directory."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mipro.data import Example
from mipro.errors import ConfigError
from mipro.journal import SCHEMA, Event, Journal, Listener
from mipro.lm.meter import Ledger
from mipro.optimizers.result import Result
from mipro.optimizers.task import Task
from mipro.programs import prompt as prompts
from mipro.programs.prompt import Candidate
from mipro.programs.signature import Signature


@dataclass
class Recorder:
    """Takes a run's events: to the journal, to a listener, and the notes to the result."""

    ledger: Ledger
    listener: Listener | None
    notes: list[str] = field(default_factory=list)
    journal: Journal | None = None
    directory: Path | None = None
    started: float = field(default_factory=time.perf_counter)

    def __call__(self, event: Event) -> None:
        """Record one event; a trial, the end and an error carry the ledger as it stands."""
        if event["event"] == "note":
            self.notes.append(str(event["text"]))
        if event["event"] in ("trial", "end", "error"):
            event = {**event, "usage": self.ledger.to_json()}
        if self.journal is not None:
            self.journal(event)
        if self.listener is not None:
            self.listener(event)

    def into(self, run_dir: str | Path | None) -> Recorder:
        """Keep the events in `run_dir` as well, made if it is not there."""
        if run_dir is not None:
            self.directory = Path(run_dir)
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"{run_dir}: cannot be made: {error.strerror}") from error
            self.journal = Journal(self.directory / "journal.jsonl")
        return self

    def __enter__(self) -> Recorder:
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
        warn_of_overlap(parts, self)

    def found(self, candidate: Candidate, signatures: Mapping[str, Signature]) -> None:
        """Keep the candidate before it is put to the test, for the test may fail."""
        if self.directory is not None:
            prompts.save(self.directory / "candidate.json", candidate, signatures)

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


def warn_of_overlap(parts: Mapping[str, Sequence[Example] | None], emit: Listener) -> None:
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
