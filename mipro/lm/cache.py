"""`Cached`: an LM that asks the same thing once, and remembers the reply in an SQLite file.

A reply is stored under the digest of the request and of the LM's identity; neither prompts nor keys
are written. The file may be shared by threads and by processes of one machine (it is in WAL mode,
which network file systems do not support). Errors are never stored; replies cut off at their
length are, for they were paid for.

Equal requests of one process that are in flight at the same moment are sent once (`flights.py`).
Different processes do not wait for each other; the first reply stored stays.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, final

from mipro import strict
from mipro.lm.base import (
    LM,
    MOST_TOKENS,
    Completion,
    Keyed,
    LMError,
    OverLM,
    Request,
    Usage,
    through,
)
from mipro.lm.flights import Flights

_APPLICATION = 0x4D495052  # "MIPR", in the file's header: a file that is ours says so
_VERSION = 1
_SCHEMA = "CREATE TABLE IF NOT EXISTS replies (digest TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID"
Kind = TypeVar("Kind")
_PATIENCE = 60.0  # seconds to wait for another process that is writing


class CacheError(LMError):
    """The cache file cannot be read or written (systemic: every call would meet it)."""

    systemic = True


@final
class Cached(OverLM):
    """Answers from the cache at `path`, else from `lm`, whose reply it keeps.

    `path=None` keeps the replies in memory. A hit is the stored completion with `cached=True`; its
    `usage` is that of the call once made. Safe on many threads. A pickle holds the LM and the path,
    not the replies. Raises `CacheError` for a file that is no cache, or is damaged.
    """

    def __init__(self, lm: LM, path: str | Path | None = None) -> None:
        self.lm = lm
        self.path = None if path is None else Path(path).absolute()
        self._flights = Flights()
        self._lock = self._flights.lock  # over the connection too
        self._owner: Cached | None = None  # whose connection it is, if another's
        self._connect()

    def __call__(self, request: Request, /) -> Completion:
        """The stored reply to `request`, else the LM's. Raises as it does, and `CacheError`."""
        return self.answer(request)

    def answer(
        self, request: Request, paid: Callable[[Completion], None] = lambda completion: None
    ) -> Completion:
        """The same; `paid` is called with a reply of the LM itself before it is stored.

        So a run can keep what it paid for before others find it here, and if it is killed between
        the two it does not take its own call for somebody else's.
        """
        digest = request.digest(self.lm.identity)

        def ask() -> Completion:
            completion = self.lm(request)
            paid(completion)
            with self._lock:
                self._put(digest, completion)
            return completion

        return self._flights.once(digest, self._get, ask)

    def check_key(self) -> None:
        """Raise as the wrapped LM does where its key is missing, and nothing is stored to go by."""
        if isinstance(self.lm, Keyed) and not len(self):
            self.lm.check_key()

    def around(self, wrap: Callable[[LM], LM]) -> Cached:
        """The same cache, the same replies, before `wrap(lm)`: what is stored never reaches it."""
        other = object.__new__(Cached)
        other.__dict__.update(self.__dict__)
        other.lm, other._owner = wrap(self.lm), self  # the file stays open as long as either lives
        return other

    def over(self, own: LM) -> Cached:
        """`own` before the same file, its replies told apart by its identity.

        One that has a cache of its own keeps to that one.
        """
        under = through(self.lm, own)
        return under if isinstance(under, Cached) else self.around(lambda _: under)

    def __len__(self) -> int:
        """The number of replies stored."""
        with self._lock:
            row = self._execute("SELECT count(*) FROM replies")
        return int(row[0])

    def __bool__(self) -> bool:
        return True  # an empty cache is still an LM

    def clear(self) -> None:
        """Forget every reply, in the file too."""
        with self._lock:
            self._execute("DELETE FROM replies")

    def close(self) -> None:
        """Close the file. Not needed at the end of a process; the cache is of no use after."""
        self._close()

    def __repr__(self) -> str:
        return f"Cached({self.lm!r}, {str(self.path) if self.path else None!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"lm": self.lm, "path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Cached.__init__(self, state["lm"], state["path"])

    # ---- the file; all of it under the lock ---------------------------------------------------

    def _get(self, digest: str) -> Completion | None:
        row = self._execute("SELECT body FROM replies WHERE digest = ?", digest)
        if row is None:
            return None
        try:
            body = strict.loads(of_kind(str, row[0]))
            return Completion(
                read_texts(body["texts"]),
                read_usage(body["usage"]),
                of_kind(str, body["model"]),
                of_kind(str, body["finish_reason"]),
                cached=True,
            )
        except (ValueError, TypeError, KeyError) as error:
            reason = f"its reply {digest} cannot be read ({repr(error)[:200]})"
            raise self._error(reason) from error

    def _put(self, digest: str, completion: Completion) -> None:
        usage = completion.usage
        body = {
            "texts": completion.texts,
            "usage": (usage.prompt_tokens, usage.completion_tokens),
            "model": completion.model,
            "finish_reason": completion.finish_reason,
        }
        self._execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", digest, json.dumps(body))

    def _execute(self, statement: str, *values: str) -> Any:
        """The first row of the statement's result."""
        if self.path is not None and self._process != os.getpid():
            # SQLite's connections do not survive a fork: the parent's is left alone, not closed
            self._parents = self._close.detach()
            self._connect()
        try:
            return self._connection.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise self._error(str(error)) from error

    def _connect(self) -> None:
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path or ":memory:",
                timeout=_PATIENCE,
                isolation_level=None,  # every statement commits
                check_same_thread=False,  # the lock keeps threads apart
            )
        except (OSError, sqlite3.Error) as error:
            raise self._error(str(error)) from error
        self._close = weakref.finalize(self, connection.close)
        self._connection, self._process = connection, os.getpid()
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            self._close()
            raise self._error(str(error)) from error
        except CacheError:
            self._close()
            raise

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make a new file a cache; refuse one that is something else."""
        connection.execute("BEGIN")  # one look at the header, whatever another process is doing
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        new = tables == 0 and application == 0
        if not new and (application, version) != (_APPLICATION, _VERSION):
            raise self._error("it is another program's database, or of another version")
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")  # outlives a killed process
        if new:  # in one transaction, and the same if two processes do it
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("COMMIT")

    def _error(self, reason: str) -> CacheError:
        return CacheError(
            f"The cache {self.path or '(in memory)'} cannot be used: {reason}. "
            "Delete the file if it was a cache, free the disk, or give another path."
        )


def of_kind(kind: type[Kind], value: Any) -> Kind:
    """The value, if it is of exactly that kind. Raises `TypeError`."""
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} is wanted, not {repr(value)[:80]}")
    return value


def read_texts(value: Any) -> tuple[str, ...]:
    """The texts of a stored reply, one at least. Raises `TypeError` or `ValueError`."""
    texts = tuple(of_kind(str, text) for text in of_kind(list, value))
    if not texts:
        raise ValueError("a reply without a text")
    return texts


def read_usage(value: Any) -> Usage:
    """The usage of a stored reply: two counts. Raises `TypeError` or `ValueError`."""
    prompt, completion = (of_kind(int, count) for count in of_kind(list, value))
    if not (0 <= prompt <= MOST_TOKENS and 0 <= completion <= MOST_TOKENS):
        raise ValueError(f"no counts of tokens: {value}")
    return Usage(prompt, completion)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Set the journal mode, however many processes open a new file in the same moment.

    SQLite does not wait for another's lock here, whatever the connection's time-out.
    """
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
