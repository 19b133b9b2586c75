"""A run's directory: what was begun there, and what must not be written over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mipro import strict
from mipro.errors import ConfigError
from mipro.journal import check_schema, read_journal, without_times

CONFIG = "config.json"


def check_free(directory: Path) -> None:
    """Raise `ConfigError` where a file that no run has written there would be written over."""
    if not (directory / "journal.jsonl").exists():
        for name in (CONFIG, "replies.jsonl", "candidate.json", "result.json"):
            if (directory / name).exists():
                raise ConfigError(
                    f"{directory} holds a {name} and no run (no journal.jsonl): name another "
                    f"run directory, so that it is not written over"
                )


def recorded(directory: Path) -> dict[str, Any] | None:
    """What the run in `directory` was begun with; None if it did not come to say so.

    Raises `ConfigError` for a directory without a run, or a journal that cannot be read.
    """
    journal = directory / "journal.jsonl"
    if not journal.is_file():
        raise ConfigError(f"{directory} holds no run: there is no {journal}")
    events = read_journal(journal)
    check_schema(journal, events)
    if events:
        start = without_times(events[0])
        return {key: value for key, value in start.items() if key not in ("event", "schema")}
    config = read_config(directory)
    config.pop("origin", None)
    return config or None


def read_config(directory: Path) -> dict[str, Any]:
    """A run directory's `config.json`; empty if there is none."""
    path = directory / CONFIG
    try:
        body = strict.loads(path.read_text(encoding="utf-8"), finite=False)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: a JSON object is wanted")
    return body
