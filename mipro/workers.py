"""Work handed out, results taken in order: the same at any concurrency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from mipro.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    job: Callable[[int, T], R],
    items: Sequence[T],
    *,
    executor: Executor | None = None,
    threads: int = 1,
) -> list[R]:
    """`job(index, item)` for every item, results in the order of the items.

    On `executor`, or on `threads` threads of its own. An exception cancels at once what has not
    begun, and is raised; of several, the first in that same order.
    """
    if threads < 1:
        raise ConfigError(f"threads={threads}: at least 1 is wanted")
    if executor is not None:
        return _on(executor, job, items)
    if threads == 1 or len(items) < 2:
        return [job(i, item) for i, item in enumerate(items)]
    with ThreadPoolExecutor(min(threads, len(items)), thread_name_prefix="mipro") as own:
        return _on(own, job, items)


def _on(executor: Executor, job: Callable[[int, T], R], items: Sequence[T]) -> list[R]:
    futures: list[Future[R]] = []
    try:
        futures += [executor.submit(job, i, item) for i, item in enumerate(items)]
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        for future in futures:
            future.cancel()  # nothing, where all are done
    return [future.result() for future in futures if not future.cancelled()]
