"""A gate before the work of a call, so that threads which can only wait do so where it is free.

One thread of an interpreter computes at a time. One that waits for its turn wakes every 5 ms to ask
for it, and whoever has the turn is made to hand it over; with a hundred calls in flight that costs
more than the calls do (`experiments/throughput.md`). One that waits on a lock costs nothing. So
only a few may prepare a request at once, until it has left; those whose replies come back are not
held up, and each that sends makes room for the next.
"""

from __future__ import annotations

import threading
from types import TracebackType

PLACES = 2  # one computes, and the next is ready when it waits for the network


class Gate:
    """Lets `places` threads in at a time; a thread may leave before its `with` block ends."""

    def __init__(self, places: int = PLACES) -> None:
        self._free = threading.Semaphore(places)
        self._here = threading.local()

    def __enter__(self) -> None:
        self._free.acquire()
        self._here.inside = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Make room, if this thread is inside."""
        if getattr(self._here, "inside", False):
            self._here.inside = False
            self._free.release()
