"""A run's replies as lines of a file, and the commit that many threads share.

A line holds what came of a request, a completion or the failure it was. Lines are on disk before
the program sees its reply; threads that have one at the same moment share one sync.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from mipro.lines import LineFile, WriteError
from mipro.lm import base
from mipro.lm.base import Completion, LMError
from mipro.lm.cache import of_kind as _a
from mipro.lm.cache import read_texts, read_usage

Reply = Completion | LMError


class RepliesError(LMError):
    """The run's replies cannot be kept (systemic: every call would meet it)."""

    systemic = True


class Committer:
    """Group commit: one thread writes and syncs for all that wait."""

    def __init__(self, file: LineFile) -> None:
        self._file = file
        self._turn = threading.Condition()
        self._waiting: list[Mapping[str, Any]] = []
        self._taken = self._done = 0  # lines, counted as they come and as they are on disk
        self._writing = False
        self._broken: str | None = None

    def commit(self, lines: list[Mapping[str, Any]]) -> None:
        """Return when `lines` are on disk. Raises `RepliesError`, from the first failure on."""
        with self._turn:
            self._waiting += lines
            mine = self._taken = self._taken + len(lines)
            while self._writing and self._done < mine:
                self._turn.wait()
            if self._done >= mine:
                return
            self.check()
            self._writing = True
            batch, upto, self._waiting = self._waiting, self._taken, []
        failure: str | None = "the run was interrupted"
        try:
            self._file.append(batch)
            failure = None
        except WriteError as error:
            failure = str(error)
            raise RepliesError(failure) from error
        finally:
            with self._turn:
                self._writing = False
                self._broken = failure
                self._done = upto if failure is None else self._done
                self._turn.notify_all()

    def check(self) -> None:
        """Raise `RepliesError` if lines cannot be kept any more."""
        if self._broken is not None:
            raise RepliesError(self._broken)

    def close(self) -> None:
        """Wait for a write under way, and close."""
        with self._turn:
            self._turn.wait_for(lambda: not self._writing, 5)
            self._broken = "the run has ended"
            self._file.close()


def to_json(reply: Reply) -> dict[str, Any]:
    """What a line says of a reply or a failure."""
    body: dict[str, Any]
    if isinstance(reply, LMError):
        body = {"error": type(reply).__name__, "text": str(reply)}
    else:
        body = {"texts": reply.texts, "model": reply.model}
        body |= {"finish_reason": reply.finish_reason, "cached": reply.cached}
    usage = (reply.usage.prompt_tokens, reply.usage.completion_tokens)
    return {**body, "usage": usage, "retries": reply.retries}


def from_json(body: Mapping[str, Any]) -> Reply:
    """A reply as `to_json` writes it; `KeyError`, `TypeError` or `ValueError` for any other."""
    usage, retries = read_usage(body["usage"]), _a(int, body["retries"])
    if retries < 0:
        raise ValueError(f"retries: {retries}")
    if "error" in body:
        error = _kind(_a(str, body["error"]))(_a(str, body["text"]))
        error.usage, error.retries = usage, retries
        return error
    return Completion(
        texts=read_texts(body["texts"]),
        usage=usage,
        model=_a(str, body["model"]),
        finish_reason=_a(str, body["finish_reason"]),
        cached=_a(bool, body["cached"]),
        retries=retries,
    )


def _kind(name: str) -> type[LMError]:
    """The kind of error with that name: one of `base.py`, or a stand-in for a user's own."""
    found = getattr(base, name, None)
    if isinstance(found, type) and issubclass(found, LMError):
        return found
    if not name.isidentifier():
        raise ValueError(f"{name[:80]!r} names no error")
    return type(name, (LMError,), {})
