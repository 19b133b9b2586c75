"""Append-only JSONL files that outlive a kill, a full disk and a second process.

A line counts once its newline is on disk. So what stands behind the last newline is a torn write,
and is dropped; a whole line that cannot be read is damage, and is refused with its number.
"""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mipro import strict
from mipro.errors import ConfigError, RunError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


class WriteError(RunError):
    """A line that could not be written (a full disk, say). The lines before it are whole."""


class Read(NamedTuple):
    """A file's objects, and for each the offset in bytes at which its line ends."""

    objects: list[dict[str, Any]]
    ends: list[int]


def read_lines(path: str | Path) -> Read:
    """The whole lines of a file. Raises `ConfigError` with the line that cannot be read."""
    import jsonlines

    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    lines = data.split(b"\n")[:-1]  # what follows the last newline is torn, or nothing
    ends, end = [], 0
    for line in lines:
        end += len(line) + 1
        ends.append(end)
    try:
        with jsonlines.Reader(lines, loads=partial(strict.loads, finite=False)) as reader:
            return Read(list(reader.iter(type=dict)), ends)
    except jsonlines.InvalidLineError as error:
        raise ConfigError(f"{path}, line {error.lineno}: {error}") from error


def written(path: Path, text: str) -> None:
    """Write a small file whole or not at all. Raises `WriteError`."""
    beside = path.with_name(f"{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise _unwritten(path, error) from error


class LineFile:
    """A file open for appending lines, by one process at a time. Not for several threads at once.

    Opening makes the file and takes its lock; nothing is read or changed yet. Raises `ConfigError`
    where another process has it, or it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        import jsonlines

        self.path = Path(path)
        try:
            self._file = os.open(self.path, _FLAGS, 0o666)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._lock: Path | None = None
        try:
            self._take()
        except BaseException:  # nobody else can close it
            os.close(self._file)
            raise
        _OPEN.add(self)
        self._text = io.StringIO()
        self._writer = jsonlines.Writer(self._text, compact=True)

    def append(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Write a line for each object, on disk when this returns. Raises `WriteError`.

        Where it fails, or is interrupted with a line half written, nothing of it stays.
        """
        data = memoryview(self._encoded(objects))
        before = os.fstat(self._file).st_size
        try:
            while data:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError as error:
            self._cut(before)
            raise _unwritten(self.path, error) from error
        except BaseException:  # interrupted: half a line must not stay
            if data:
                self._cut(before)
            raise

    def keep(self, end: int) -> None:
        """Cut off what lies behind offset `end`."""
        try:
            if os.fstat(self._file).st_size != end:
                os.ftruncate(self._file, end)
                os.fsync(self._file)
        except OSError as error:
            raise _unwritten(self.path, error) from error

    def close(self) -> None:
        """Close the file and give up its lock. A second time is no error."""
        if self in _OPEN:
            _OPEN.discard(self)
            os.close(self._file)
            if self._lock is not None:
                self._lock.unlink(missing_ok=True)

    def _encoded(self, objects: Iterable[Mapping[str, Any]]) -> bytes:
        self._text.seek(0)
        self._text.truncate()
        for item in objects:
            self._writer.write(item)
        # half a surrogate pair, which UTF-8 has no bytes for, is written as JSON's own escape
        return self._text.getvalue().encode("utf-8", "backslashreplace")

    def _cut(self, size: int) -> None:
        with suppress(OSError):  # a torn line is dropped by whoever reads it
            os.ftruncate(self._file, size)

    def _take(self) -> None:
        """Lock the file: by the system, which frees a dead process's lock, or by a second file."""
        busy = f"{self.path.parent} is in use by another run: wait for its end, or name another"
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(busy) from error
            except OSError:
                pass  # a file system without locks
            return
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            with lock.open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError as error:
            owner = lock.read_text()
            raise ConfigError(
                f"{busy} (if no process {owner} is running, delete {lock})"
            ) from error
        self._lock = lock


_OPEN: weakref.WeakSet[LineFile] = weakref.WeakSet()


def _leave_to_parent() -> None:
    """In a forked child: close the files, so that a lock ends with the process that took it."""
    for file in list(_OPEN):
        _OPEN.discard(file)
        os.close(file._file)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _unwritten(path: Path, error: OSError) -> WriteError:
    return WriteError(
        f"{path}: cannot be written: {error.strerror}. What was written before it is whole: "
        f"mend that (free the disk, say), then resume the run"
    )
