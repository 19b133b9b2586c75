"""How long a call to an endpoint goes on asking, by what is wrong and what the endpoint has shown.

Two kinds of fault have two allowances:

- *silence*: no reply at all (no connection, 429, 5xx, too late). Nothing is paid for, so it is a
  matter of time: an endpoint that has answered is given `patience` seconds to do so again, and a
  run of hours outlives its restart. One that has not answered yet is given `max_retries` further
  tries: the address may be wrong, and whoever began the run is still watching.
- *useless replies* (not JSON, empty, refused, cut off): each is paid for, so it is a matter of
  number: two further tries (`FREE`) are always worth it. Beyond them, up to `max_reasks`, asking
  again has to show that it helps: such tries are drawn on a credit that all calls of an LM share.
  It holds `CREDIT` tries from the first good reply on. A call that the first two bring to a good
  reply earns one, a call that those beyond bring to it `EARNED`. Where replies fail by chance it
  lasts; where prompts are refused each time, a run pays for `CREDIT` replies more than those two a
  call, and no more (figures: `experiments/reliability.md`).

Which call draws the last of the credit depends on the order of threads. Until then nothing does.

Whoever makes a call may have less time than that (a budget in seconds): a try that has begun ends
by its own time-out, but none begins, nor is waited for, after `trying_until`.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto

from mipro.lm.base import LMError, Usage

FREE = 2  # further tries for a useless reply that need no credit
CREDIT = 40
EARNED = 10  # what a prompt that is refused each time draws at most, by default
RECENT = 5.0  # seconds for which an endpoint that was found gone is not waited for anew
MANY = 30  # silent tries after which the prompt is suspected, and not the endpoint
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds, as the `openai` client has them


_until: ContextVar[float] = ContextVar("mipro_until", default=math.inf)


class OutOfTime(LMError):
    """The caller's time was up before the call could be tried again (systemic)."""

    systemic = True


@contextmanager
def trying_until(moment: float) -> Iterator[None]:
    """Calls made in it (in this thread) are not tried again after `moment`, by `time.monotonic`."""
    token = _until.set(min(moment, _until.get()))
    try:
        yield
    finally:
        _until.reset(token)


def waited(seconds: float) -> bool:
    """Wait before another try. False: the caller's time is up, and no longer was waited."""
    end, until = time.monotonic() + seconds, _until.get()
    while (left := min(end, until) - time.monotonic()) > 0:
        time.sleep(left)
    return end < until


def is_late() -> bool:
    """Is the caller's time up?"""
    return time.monotonic() >= _until.get()


class Fault(Enum):
    """What may pass if it is tried again."""

    SILENCE = auto()  # no reply at all
    DAMAGED = auto()  # one that is no chat completion
    USELESS = auto()  # one that came whole, and holds nothing of use


@dataclass
class Call:
    """What one call has come to so far.

    `silent` tries found no reply, `useless` further ones went to replies of no use. `answers`: did
    the endpoint answer a question of a word in the meantime? None: it was not asked.
    """

    retries: int = 0
    usage: Usage = field(default_factory=Usage)
    silent: int = 0
    useless: int = 0
    answers: bool | None = None
    began: float = field(default_factory=time.monotonic)

    def is_suspect(self) -> bool:
        """So often, that it is time to ask whether it is this prompt (once)."""
        return self.silent >= MANY and self.answers is None


class Allowance:
    """What the calls of one LM may still try; shared by its threads.

    `max_retries` and `max_reasks` are numbers of further tries, `patience` is in seconds. With
    `max_retries=0` nothing is tried again. `has_answered` holds from a good reply on, until a call
    has found the endpoint gone.
    """

    def __init__(self, max_retries: int, max_reasks: int, patience: float) -> None:
        self.max_retries, self.max_reasks, self.patience = max_retries, max_reasks, patience
        self._lock = threading.Lock()
        self.has_answered = False
        self.ever_answered = False  # the credit is given once
        self._credit = 0
        self._told = False
        self._gone = float("-inf")  # when it was found to be

    def tries(self, call: Call) -> int:
        """How often the client may try again by itself where it finds no reply."""
        if time.monotonic() - self._gone < RECENT:
            return 0
        return self.max_retries if self.has_answered else max(0, self.max_retries - call.retries)

    def answered(self, call: Call) -> None:
        """A good reply: what the endpoint owes is settled."""
        if self.has_answered and not call.useless and not self._told:
            return  # nothing changes, and no lock is wanted
        with self._lock:
            self.has_answered, self._told, self._gone = True, False, float("-inf")
            if not self.ever_answered:
                self.ever_answered, self._credit = True, CREDIT
            elif call.useless:
                earned = EARNED if call.useless > FREE else 1
                self._credit = min(CREDIT, self._credit + earned)

    def given_up(self) -> None:
        """The endpoint is gone: calls that still wait for it stop too, until it answers again."""
        self.has_answered, self._gone = False, time.monotonic()

    def after_silence(self, call: Call) -> float | None:
        """Seconds to wait before the client tries once more; None: it is not to."""
        waited = time.monotonic() - call.began
        if not self.max_retries or not self.has_answered or waited >= self.patience:
            return None
        return _jittered(LONGEST_PAUSE)

    def is_first_to_wait(self) -> bool:
        """Is this the first call to wait since the endpoint last answered?"""
        with self._lock:
            first, self._told = not self._told, True
        return first

    def after_useless(self, call: Call, fault: Fault) -> float | None:
        """Seconds to wait before asking again, one more try that is paid for; None: not to."""
        if not self.max_retries or call.useless >= self.max_reasks:
            return None
        if not self.has_answered and (call.useless >= FREE or call.retries >= self.max_retries):
            return None
        if call.useless >= FREE and not self._drawn():
            return None
        call.useless += 1
        pause = min(FIRST_PAUSE * 2 ** (call.useless - 1), LONGEST_PAUSE)
        return _jittered(pause) if fault is Fault.DAMAGED else 0.0

    def _drawn(self) -> bool:
        with self._lock:
            if not self._credit:
                return False
            self._credit -= 1
            return True


def _jittered(seconds: float) -> float:
    return seconds * (1 - 0.25 * random.random())
