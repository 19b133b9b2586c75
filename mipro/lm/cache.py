"""`Cached`: an LM that asks the same thing once, and remembers the reply in an SQLite file.

A reply is stored under the digest of the request and of the LM's identity; neither prompts nor keys
are written. The file may be shared by threads and by processes of one machine (it is in WAL mode,
which network file systems do not support). Errors are never stored; replies cut off at their
length are, for they were paid for.

Equal requests of one process that are in flight at the same moment are sent once: the first leads,
the others wait for its reply and get it with `cached=True`. If the leader fails, each that waits
gets an error of the same kind and message: were they to retry in turn, sixteen of them would wait
out sixteen time-outs. Different processes do not wait for each other; the first reply stored stays.
"""

from __future__ import annotations

import copy
import json
import os
import sqlite3
import threading
import time
import weakref
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from mipro.lm.base import LM, Completion, LMError, Request, Usage

_APPLICATION = 0x4D495052  # "MIPR", in the file's header: a file that is ours says so
_VERSION = 1
_SCHEMA = "CREATE TABLE IF NOT EXISTS replies (digest TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID"
_PATIENCE = 60.0  # seconds to wait for another process that is writing


class CacheError(LMError):
    """The cache file cannot be read or written (systemic: every call would meet it)."""

    systemic = True


class Cached:
    """Answers from the cache at `path`, else from `lm`, whose reply it keeps.

    `path=None` keeps the replies in memory. A hit is the stored completion with `cached=True`; its
    `usage` is that of the call once made. Safe on many threads. A pickle holds the LM and the path,
    not the replies. Raises `CacheError` for a file that is no cache, or is damaged.
    """

    def __init__(self, lm: LM, path: str | Path | None = None) -> None:
        self.lm = lm
        self.path = None if path is None else Path(path).absolute()
        self._lock = threading.Lock()  # over the connection and what is in flight
        self._in_flight: dict[str, Future[Completion]] = {}
        self._connect()

    @property
    def model(self) -> str:
        """The wrapped LM's model."""
        return self.lm.model

    @property
    def identity(self) -> str:
        """The wrapped LM's identity: remembering changes no reply."""
        return self.lm.identity

    def __call__(self, request: Request, /) -> Completion:
        """The stored reply to `request`, else the LM's. Raises as it does, and `CacheError`."""
        digest = request.digest(self.lm.identity)
        while True:
            with self._lock:
                stored = self._get(digest)
                if stored is not None:
                    return stored
                reply = self._in_flight.get(digest)
                if reply is None:
                    lead = self._in_flight[digest] = Future()
            if reply is None:
                return self._ask(request, digest, lead)
            completion = self._await(reply)
            if completion is not None:
                return completion

    def _ask(self, request: Request, digest: str, lead: Future[Completion]) -> Completion:
        """Ask the LM, and tell those who wait whatever comes of it."""
        try:
            completion = self.lm(request)
            with self._lock:
                self._put(digest, completion)
        except LMError as error:
            lead.set_exception(error)
            raise
        else:
            lead.set_result(completion)
            return completion
        finally:
            with self._lock:
                del self._in_flight[digest]
            lead.cancel()  # where nothing was set, it was interrupted: who waits asks itself

    @staticmethod
    def _await(reply: Future[Completion]) -> Completion | None:
        """The leader's reply; None where it was interrupted and left none."""
        try:
            error = reply.exception()
        except CancelledError:
            return None
        if error is None:
            return replace(reply.result(), cached=True)
        raise copy.copy(error)  # each waiter's own: a shared one would mix their tracebacks

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
            body = json.loads(row[0])
            usage = Usage(*body["usage"])
            return Completion(
                tuple(body["texts"]), usage, body["model"], body["finish_reason"], cached=True
            )
        except (ValueError, TypeError, KeyError) as error:
            raise self._error(f"its reply {digest} cannot be read ({error!r})") from error

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
