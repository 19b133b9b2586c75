"""Work handed out, results taken in order: the same at any concurrency."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, wait
from queue import SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

from mipro.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")

GRACE = 2.0  # seconds that calls on their way are given when the run is interrupted


def in_order(
    job: Callable[[int, T], R],
    items: Sequence[T],
    *,
    executor: Executor | None = None,
    threads: int = 1,
    arrived: Callable[[list[R]], None] = lambda results: None,
) -> list[R]:
    """`job(index, item)` for every item, results in the order of the items.

    On `executor`, or on `threads` threads of its own. `arrived` is called here, with each result
    once, as they come. An exception cancels at once what has not begun, and is raised; of several,
    the first in that same order. An interruption (Ctrl-C) waits `GRACE` seconds at most for what
    has begun.
    """
    if threads < 1:
        raise ConfigError(f"threads={threads}: at least 1 is wanted")
    if executor is not None:
        return Handed(executor, job, items, arrived).results()
    if threads == 1 or len(items) < 2:
        return [_told(job(i, item), arrived) for i, item in enumerate(items)]
    with Threads(min(threads, len(items))) as own:
        return Handed(own, job, items, arrived).results()


def _told(result: R, arrived: Callable[[list[R]], None]) -> R:
    arrived([result])
    return result


class Handed(Generic[R]):
    """Work handed to an executor, its results to be taken later, in the order of the items.

    `arrived` is called with the results that have come, in the thread that waits for them; of
    several pieces of work that share an `inbox`, one is waited for, and all are taken note of.

    A future is let go as soon as its result is here. Dask keeps what a future stands for on a
    worker while one is held, and computes it anew, calls and all, where that worker is lost.
    """

    def __init__(
        self,
        executor: Executor,
        job: Callable[[int, T], R],
        items: Sequence[T],
        arrived: Callable[[list[R]], None] = lambda results: None,
        inbox: Inbox | None = None,
    ) -> None:
        self._arrived = arrived
        self._inbox: Inbox = SimpleQueue() if inbox is None else inbox
        self._awaited: dict[Future[R], int] = {}  # and the index of its item, in order
        self._results: dict[int, R] = {}
        self._errors: dict[int, BaseException] = {}
        try:
            for i, item in enumerate(items):
                self._awaited[executor.submit(job, i, item)] = i
        except BaseException:  # interrupted too: nothing is left behind that nobody waits for
            self.cancel()
            raise
        for future in self._awaited:
            future.add_done_callback(lambda done: self._inbox.put((self, done)))

    @property
    def failed(self) -> bool:
        """Has something failed?"""
        return bool(self._errors)

    @property
    def over(self) -> bool:
        """Has all of it come, or something failed?"""
        return self.failed or not self._awaited

    def wait_for(self) -> None:
        """Return when this is over."""
        while not self.over:
            came: dict[Handed[Any], list[Future[Any]]] = {}
            handed, future = self._inbox.get()
            came[handed] = [future]
            while not self._inbox.empty():  # nobody else takes from it
                handed, future = self._inbox.get()
                came.setdefault(handed, []).append(future)
            for handed, futures in came.items():
                handed._came(futures)

    def _came(self, futures: Iterable[Future[R]]) -> None:
        results = []
        for future in futures:
            index = self._awaited.pop(future, None)
            if index is None or future.cancelled():
                continue
            error = future.exception()
            if error is None:
                self._results[index] = future.result()
                results.append(self._results[index])
            else:
                self._errors[index] = error
        if self.failed:
            self.cancel()
        if results:
            self._arrived(results)

    def results(self) -> list[R]:
        """All results; raises the first exception in the order of the items."""
        try:
            self.wait_for()
        finally:
            self.cancel()  # nothing, where all are done
        if self._errors:
            raise self._first_error()
        return [self._results[index] for index in sorted(self._results)]

    def _first_error(self) -> BaseException:
        """Of what failed, or has begun and will; it is waited for."""
        first = min(self._errors)
        for future, index in self._awaited.items():
            if index < first and not future.cancelled():
                error = future.exception()
                if error is not None:
                    return error
        return self._errors[first]

    def cancel(self) -> None:
        """Call off what has not begun."""
        for future in tuple(self._awaited):
            if future.cancel():
                self._awaited.pop(future, None)

    def finish(self, seconds: float | None = None) -> None:
        """Take what is still to come, failures unseen, for `seconds` at most."""
        self._came(wait(tuple(self._awaited), seconds).done)


Inbox: TypeAlias = "SimpleQueue[tuple[Handed[Any], Future[Any]]]"


class Packed(Generic[T]):
    """A value on its way to other processes: pickled once, unpickled once in each.

    By `cloudpickle` where it is installed (Dask brings it), which takes along what a script or a
    notebook defines.
    """

    def __init__(self, value: T) -> None:
        self._payload = _dumps(value)
        self._digest = hashlib.blake2b(self._payload, digest_size=16).digest()

    def value(self) -> T:
        """The value here; the same object for all that come with it."""
        with _unpacking:
            if self._digest not in _unpacked:
                _unpacked[self._digest] = pickle.loads(self._payload)
                if len(_unpacked) > MOST_UNPACKED:
                    _unpacked.popitem(last=False)
            _unpacked.move_to_end(self._digest)
            found: T = _unpacked[self._digest]
        return found


def _dumps(value: Any) -> bytes:
    try:
        import cloudpickle
    except ImportError:
        return pickle.dumps(value)
    body: bytes = cloudpickle.dumps(value)
    return body


MOST_UNPACKED = 32  # values kept in a process: some evaluations' worth
_unpacked: OrderedDict[bytes, Any] = OrderedDict()
_unpacking = threading.Lock()


class Threads(Executor):
    """Threads that do not keep the process from ending, as those of `ThreadPoolExecutor` do.

    A call that hangs, in a run that was interrupted, is left to itself.
    """

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._out: set[Future[Any]] = set()  # handed in, and not over
        self._workers = [
            threading.Thread(target=self._work, name=f"mipro-{i}", daemon=True)
            for i in range(count)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, function: Callable[..., R], /, *arguments: Any, **named: Any) -> Future[R]:
        """Queue a call."""
        future: Future[R] = Future()
        self._out.add(future)
        future.add_done_callback(self._out.discard)
        self._tasks.put((future, lambda: function(*arguments, **named)))
        return future

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is taken
                future.set_exception(error)
            else:
                future.set_result(result)
            del task, future, call  # a result is not kept until the next call comes

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        for _worker in self._workers:
            self._tasks.put(None)
        if kind is None or issubclass(kind, Exception):
            for worker in self._workers:
                worker.join()
        else:
            wait(tuple(self._out), GRACE)
