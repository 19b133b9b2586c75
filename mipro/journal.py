"""The journal of a run: append-only JSONL, one event a line, on disk before the run goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mipro.errors import ConfigError

SCHEMA = 1
TIMES = frozenset({"at", "seconds"})  # the keys whose values differ between equal runs

Event = Mapping[str, Any]
Listener = Callable[[Event], None]


class Journal:
    """Writes events to `path`. A context manager; raises `ConfigError` if `path` has a run.

    A run that ended in an error before its first trial is replaced.
    """

    def __init__(self, path: str | Path) -> None:
        import jsonlines

        self.path = Path(path)
        if self.path.is_file() and _came_to_nothing(self.path):
            self.path.unlink()  # say the key was missing: there is nothing to lose
        try:
            # "x" refuses a file that is there: a run already paid for is never overwritten. Half
            # a surrogate pair, which UTF-8 has no bytes for, is written as JSON's own escape
            self._file = self.path.open(
                "x", encoding="utf-8", errors="backslashreplace", newline="\n"
            )
        except FileExistsError as error:
            raise ConfigError(
                f"{self.path} already holds a run: name another run directory"
            ) from error
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._writer = jsonlines.Writer(self._file, compact=True, flush=True)

    def __call__(self, event: Event) -> None:
        """Append one event with the time, flushed and synced to disk."""
        self._writer.write({**event, "at": round(time.time(), 3)})
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _came_to_nothing(path: Path) -> bool:
    """Is it a journal of ours, of a run that ended in an error before its first trial?"""
    try:
        kinds = [event.get("event") for event in read_journal(path)]
    except ConfigError:
        return False
    return kinds[:1] == ["start"] and kinds[-1] == "error" and "trial" not in kinds


def read_journal(path: str | Path) -> list[dict[str, Any]]:
    """All events of a journal. Raises `ConfigError` with the line that cannot be read."""
    import jsonlines

    events: list[dict[str, Any]] = []
    try:
        with open(path, "rb") as file, jsonlines.Reader(file) as reader:
            events.extend(reader.iter(type=dict))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except jsonlines.InvalidLineError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error}") from error
    return events


def without_times(event: Event) -> dict[str, Any]:
    """The event without what differs between two equal runs, at any depth."""
    return {key: _timeless(value) for key, value in event.items() if key not in TIMES}


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return without_times(value) if isinstance(value, dict) else value
