"""Equal requests that are in flight at the same moment, sent once.

The first leads, the others wait for its reply and get it with `cached=True`. If the leader fails,
each that waits gets an error of the same kind and message: were they to retry in turn, sixteen of
them would wait out sixteen time-outs. If it is interrupted, those that wait ask for themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import replace

from mipro.lm.base import Completion, LMError


class Flights:
    """What is in flight, by key. `lock` also guards the store that replies are kept in."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._leads: dict[str, Future[Completion]] = {}

    def once(
        self,
        key: str,
        stored: Callable[[str], Completion | None],
        ask: Callable[[], Completion],
    ) -> Completion:
        """What is `stored` under `key` (looked up under the lock), else what one `ask` gives.

        `ask` has to store its reply before it returns. Raises what either raises.
        """
        while True:
            with self.lock:
                found = stored(key)
                if found is not None:
                    return found
                reply = self._leads.get(key)
                if reply is None:
                    lead = self._leads[key] = Future()
            if reply is None:
                return self._asked(key, lead, ask)
            completion = _awaited(reply)
            if completion is not None:
                return completion

    def _asked(
        self, key: str, lead: Future[Completion], ask: Callable[[], Completion]
    ) -> Completion:
        """Ask, and tell those who wait whatever comes of it."""
        try:
            completion = ask()
        except LMError as error:
            lead.set_exception(error)
            raise
        else:
            lead.set_result(completion)
            return completion
        finally:
            with self.lock:
                del self._leads[key]
            lead.cancel()  # where nothing was set, it was interrupted: who waits asks itself


def _awaited(reply: Future[Completion]) -> Completion | None:
    """The leader's reply; None where it was interrupted and left none."""
    try:
        error = reply.exception()
    except CancelledError:
        return None
    if error is None:
        return replace(reply.result(), cached=True, retries=0)
    # each waiter's own: a shared one would mix their tracebacks. The call is the leader's to book
    raise error.again() if isinstance(error, LMError) else error
