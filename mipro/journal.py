"""The journal of a run: append-only JSONL, one event a line, on disk before the run goes on.

A run is resumed by running it again from its start: replies it had are not asked for again
(`lm/replies.py`), so it comes to the same events, and each is held against the journal's line
instead of being written. Behind the last line it is written on.

Two things at the end of a journal do not count, and are cut off when the run goes on: a torn line,
and the "error" with which a run says that it ended early. So the journal of a run that was
resumed is that of one that never stopped, but for times.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mipro.errors import ConfigError, RunError
from mipro.lines import LineFile, read_lines, written

SCHEMA = 1
TIMES = frozenset({"at", "seconds"})  # of an event itself: what differs between equal runs

Event = Mapping[str, Any]
Listener = Callable[[Event], None]


class Journal:
    """Writes events to `path`. A context manager.

    Raises `ConfigError` if another process writes there, or if `path` has a run already, unless
    `resume` asks to go on with it: `past` then holds its events, with which the next ones are
    compared. A run that ended in an error before its first trial, with nothing paid for, is
    replaced.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.past: list[dict[str, Any]] = []
        self._replayed = 0
        self._end: int | None = 0  # where the next event goes, until one is written
        self._file = LineFile(self.path)
        try:
            self._begin(resume)
        except BaseException:  # nobody else can close it
            self.close()
            raise

    def _begin(self, resume: bool) -> None:
        events, ends = read_lines(self.path)
        if not resume:
            if events and not _came_to_nothing(events):
                raise ConfigError(
                    f"{self.path} already holds a run: name another run directory, or go on with "
                    f"that one (mipro resume {self.path.parent})"
                )
            return
        check_schema(self.path, events)
        if events and events[-1].get("event") == "error":
            events.pop()
        self._end = ends[len(events) - 1] if events else 0
        self.past = events

    @property
    def replaying(self) -> bool:
        """Is the next event one that the journal has already?"""
        return self._replayed < len(self.past)

    def __call__(self, event: Event) -> None:
        """Append one event with the time, flushed and synced to disk; or compare it with the past.

        Raises `RunError` where it is not what the journal says, and `WriteError` (a `RunError`).
        """
        if event["event"] == "error" and (self.replaying or self._end == 0):
            return  # interrupted before anything new came about
        if self.replaying:
            self._compare(event)
            self._replayed += 1
            return
        if self._end is not None:
            self._file.keep(self._end)
            self._end = None
        self._file.append([{**event, "at": round(time.time(), 3)}])

    def _compare(self, event: Event) -> None:
        then = without_times(self.past[self._replayed])
        now = json.loads(json.dumps(without_times(event)))
        if now != then:
            raise RunError(
                f"{self.path}, line {self._replayed + 1}: the run does not go as it went: "
                f"{'; '.join(differences(then, now))}. Something it depends on has changed, or is "
                f"drawn anew each time. To go on all the same, say even_if_changed"
            )

    def set_aside(self) -> None:
        """Begin anew: what there is so far is kept beside it, as `journal-1.jsonl` and so on."""
        if self.past:
            names = (self.path.with_name(f"{self.path.stem}-{i}.jsonl") for i in itertools.count(1))
            free = next(path for path in names if not path.exists())
            written(free, self.path.read_text(encoding="utf-8", errors="surrogatepass"))
        self.past, self._end = [], 0

    def close(self) -> None:
        """Close the file."""
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


def _came_to_nothing(events: list[dict[str, Any]]) -> bool:
    """A run that ended in an error before its first trial, and for which no call was paid?"""
    kinds = [event.get("event") for event in events]
    if kinds[0] != "start" or kinds[-1] != "error" or "trial" in kinds:
        return False
    usage = events[-1].get("usage", {})
    entries = list(usage.values()) if isinstance(usage, dict) else [None]
    return all(isinstance(entry, dict) and not entry.get("calls") for entry in entries)


def read_journal(path: str | Path) -> list[dict[str, Any]]:
    """All events of a journal, a torn last line left out.

    Raises `ConfigError` with the line that cannot be read.
    """
    return read_lines(path).objects


def check_schema(path: Path, events: list[dict[str, Any]]) -> None:
    """Raise `ConfigError` unless it is a journal, of the schema that this version writes."""
    if events and (events[0].get("event") != "start" or "schema" not in events[0]):
        raise ConfigError(f"{path}, line 1: this is no journal of a run")
    if events and events[0]["schema"] != SCHEMA:
        raise ConfigError(
            f"{path}, line 1: its schema is {_short(events[0]['schema'])}, this version's is "
            f"{SCHEMA}: use the version of mipro that wrote it"
        )


def without_times(event: Event) -> dict[str, Any]:
    """The event without what differs between two equal runs.

    Times stand in the event itself; what is further down is the user's, whatever it is called.
    """
    return {key: value for key, value in event.items() if key not in TIMES}


def differences(then: Any, now: Any, where: str = "", most: int = 8) -> list[str]:
    """What differs between two JSON values, each by its place: "options.trials was 30, is 40"."""
    if isinstance(then, dict) and isinstance(now, dict):
        found = []
        for key in [*then, *(key for key in now if key not in then)]:
            place = f"{where}.{key}" if where else str(key)
            if key not in now:
                found.append(f"{place} was {_short(then[key])}, is not there any more")
            elif key not in then:
                found.append(f"{place} is new: {_short(now[key])}")
            else:
                found += differences(then[key], now[key], place, most)
        return found if len(found) <= most else [*found[:most], f"and {len(found) - most} more"]
    return [] if then == now else [f"{where} was {_short(then)}, is {_short(now)}"]


def _short(value: Any, most: int = 80) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}…"
