"""The recorder of a run: its events to the journal and to a listener, its files to a directory."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mipro.data import Example
from mipro.errors import ConfigError
from mipro.journal import SCHEMA, Event, Journal, Listener, differences
from mipro.lines import WriteError, written
from mipro.lm.meter import Ledger
from mipro.lm.replies import Replies
from mipro.optimizers.fingerprint import described
from mipro.optimizers.methods import Method
from mipro.optimizers.result import Result
from mipro.optimizers.run_dir import CONFIG, check_free, recorded
from mipro.optimizers.task import Task
from mipro.programs import prompt as prompts
from mipro.programs.prompt import Candidate
from mipro.programs.signature import Signature


@dataclass(frozen=True)
class Sitting:
    """Where a run is kept, and whether it is gone on with there.

    `origin` is what the command needs to find the run's parts again, as JSON.
    """

    run_dir: str | Path | None = None
    resume: bool = False
    even_if_changed: bool = False
    origin: Mapping[str, Any] | None = None


@dataclass
class Recorder:
    """Takes a run's events: to the journal, to a listener, and the notes to the result."""

    ledger: Ledger
    listener: Listener | None
    notes: list[str] = field(default_factory=list)
    stopped: str | None = None  # the limit of the budget that ended the run
    journal: Journal | None = None
    directory: Path | None = None
    replies: Replies | None = None
    sitting: Sitting = field(default_factory=Sitting)
    started: float = field(default_factory=time.perf_counter)

    def __call__(self, event: Event) -> None:
        """Record one event; a trial, the end and an error carry the ledger as it stands."""
        if event["event"] == "note":
            self.notes.append(str(event["text"]))
        if event["event"] == "stopped":
            self.stopped = str(event["limit"])
        if event["event"] in ("trial", "end", "error"):
            event = {**event, "usage": self.ledger.to_json()}
        if self.journal is not None:
            self.journal(event)
        if self.listener is not None:
            self.listener(event)

    def into(self, sitting: Sitting, replies: Replies) -> Recorder:
        """Keep events and replies in the run's directory as well, made if it is not there.

        Raises `ConfigError` where it is in use, damaged, or holds a run that is not to be resumed.
        """
        self.sitting = sitting
        if sitting.run_dir is not None:
            self.directory = Path(sitting.run_dir)
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                what = f"no directory can be made there: {error.strerror}"
                raise ConfigError(f"{self.directory}: {what}") from error
            check_free(self.directory)
            journal = Journal(self.directory / "journal.jsonl", resume=sitting.resume)
            try:
                replies.keep(self.directory / "replies.jsonl", resume=sitting.resume)
            except BaseException:  # nobody else can close it
                journal.close()
                raise
            self.journal, self.replies = journal, replies
        return self

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """A run that ends in an error, whosever it is, says so in its journal."""
        try:
            if error is not None:
                with suppress(WriteError):  # a full disk, say, which is the error already
                    self({"event": "error", "kind": type(error).__name__, "text": str(error)})
        finally:
            if self.replies is not None:
                self.replies.close()
            if self.journal is not None:
                self.journal.close()

    def start(self, method: Method, task: Task, test: Sequence[Example] | None) -> None:
        """Record what is run on what. Raises `ConfigError` if a run that is resumed is another."""
        config = described(method, task, test, self.ledger.prices)
        changes = self._changes(config)
        if self.directory is not None:
            body = {**config, "origin": self.sitting.origin}
            text = json.dumps(body, indent=2, ensure_ascii=False)
            written(self.directory / CONFIG, text + "\n")
        self({"event": "start", "schema": SCHEMA, **config})
        if changes:
            text = f"resumed though it had changed: {'; '.join(changes)}"
            self({"event": "note", "text": text, "changed": changes})
        warn_of_overlap({"train": task.train, "val": task.val, "test": test}, self)

    def _changes(self, config: Mapping[str, Any]) -> list[str]:
        """What is not as it was when the run began; refused, unless the sitting allows it."""
        if self.journal is None or self.directory is None or not self.sitting.resume:
            return []
        then = recorded(self.directory)
        changes = [] if then is None else differences(then, dict(config))
        past = self.journal.past
        if not changes and not self.sitting.even_if_changed and len(past) > 1:
            said = past[1].get("changed", [])  # by an earlier sitting, here
            return [str(change) for change in said] if isinstance(said, list) else []
        if changes and not self.sitting.even_if_changed:
            raise ConfigError(
                f"{self.directory} was begun with something else: {'; '.join(changes)}. Put it "
                f"back; or say --even-if-changed (even_if_changed=True in Python), to keep the "
                f"journal so far beside a new one and run again from the start, the same requests "
                f"not asked twice"
            )
        if self.sitting.even_if_changed:
            self.journal.set_aside()
        return changes

    def found(self, candidate: Candidate, signatures: Mapping[str, Signature]) -> None:
        """Keep the candidate before it is put to the test, for the test may fail."""
        if self.directory is not None:
            body = prompts.to_json(candidate, signatures)
            text = json.dumps(body, indent=2, ensure_ascii=False)
            written(self.directory / "candidate.json", text + "\n")

    def end(self, result: Result) -> None:
        """Record what was found."""
        if self.directory is not None and not (
            # a finished run, resumed: its files hold the times of the run itself
            self.journal is not None
            and self.journal.replaying
            and (self.directory / "result.json").is_file()
        ):
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
