"""Retries reach the ledger once, whoever waits for the call that took them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from lm_doubles import ask

from mipro.lm.base import Completion, LMTimeoutError, Request, Usage
from mipro.lm.cache import Cached
from mipro.lm.meter import Ledger, Metered


class Slow:
    """Answers, or fails, after some retries, when all callers are there."""

    model = identity = "slow"

    def __init__(self, fails: bool) -> None:
        self.fails, self.calls, self.ready = fails, 0, threading.Event()

    def __call__(self, request: Request, /) -> Completion:
        self.calls += 1
        assert self.ready.wait(5)
        if self.fails:
            error = LMTimeoutError("too late")
            error.retries, error.usage = 4, Usage(3, 2)
            raise error
        return Completion(("fine",), Usage(9, 6), self.model, retries=2)


@pytest.mark.parametrize(("fails", "retries", "tokens"), [(False, 2, 15), (True, 4, 5)])
def test_equal_requests_in_flight_book_one_calls_retries(fails, retries, tokens):
    slow, ledger = Slow(fails), Ledger()
    lm = Metered(Cached(slow), ledger)

    def call(_: int) -> None:
        with pytest.raises(LMTimeoutError, match="too late") if fails else nullcontext():
            lm(ask())

    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(call, i) for i in range(4)]
        time.sleep(0.2)  # for all of them to be in flight
        slow.ready.set()
        for one in calls:
            one.result()
    total = ledger.total
    assert slow.calls == 1
    assert (total.retries, total.tokens) == (retries, tokens)
    assert (total.calls, total.failed, total.cached) == ((0, 1, 3) if fails else (1, 0, 3))
