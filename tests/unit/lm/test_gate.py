"""The gate before a call: few inside, and nobody inside who only waits."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from lm_doubles import Faulty, ask, good

from mipro.lm import clients
from mipro.lm.base import LMError
from mipro.lm.gate import PLACES, Gate
from mipro.lm.openai import OpenAILM

WAIT = 5.0  # seconds that a test waits before it fails


def inside(gate: Gate, entered: threading.Barrier, go: threading.Event) -> threading.Thread:
    """A thread that enters, reports it, and stays until `go`."""

    def stay() -> None:
        with gate:
            entered.wait(WAIT)
            go.wait(WAIT)

    thread = threading.Thread(target=stay)
    thread.start()
    return thread


def free(gate: Gate) -> bool:
    """Can another thread get in at once?"""

    def try_it() -> bool:
        got = gate._free.acquire(blocking=False)
        if got:
            gate._free.release()
        return got

    with ThreadPoolExecutor(1) as other:
        return other.submit(try_it).result(WAIT)


def test_no_more_than_its_places_are_inside():
    gate, entered, go = Gate(2), threading.Barrier(3), threading.Event()
    threads = [inside(gate, entered, go) for _ in range(2)]
    entered.wait(WAIT)
    assert not free(gate)
    go.set()
    for thread in threads:
        thread.join(WAIT)
    assert free(gate)


def test_who_leaves_early_makes_room_once():
    gate = Gate(1)
    with gate:
        assert not free(gate)
        gate.leave()
        assert free(gate)
        gate.leave()  # of a place that is no longer its own
    gate.leave()
    with gate:
        assert not free(gate)


def test_an_error_inside_makes_room():
    gate = Gate(1)
    with pytest.raises(ZeroDivisionError), gate:
        _ = 1 / 0
    assert free(gate)


def the_gate() -> Gate:
    (client,) = clients._clients.values()
    assert isinstance(client.gate, Gate)
    return client.gate


def seen(end: Faulty, count: int) -> bool:
    """Did the endpoint come to see `count` requests in time?"""
    until = time.monotonic() + WAIT
    while len(end.seen) < count and time.monotonic() < until:
        time.sleep(0.01)
    return len(end.seen) >= count


def test_calls_that_wait_for_replies_are_not_inside(faulty):
    end = faulty("hang")
    lm = OpenAILM("m", base_url=end.base_url, max_retries=0, timeout=4 * WAIT)
    calls = 4 * PLACES
    with ThreadPoolExecutor(calls) as threads:
        answers = [threads.submit(lm, ask()) for _ in range(calls)]
        arrived = seen(end, calls)
        inside = not free(the_gate())
        end.done.set()
        assert all(isinstance(answer.exception(WAIT), LMError) for answer in answers)
    assert arrived
    assert not inside


def test_a_call_that_backs_off_is_not_inside(faulty):
    end = faulty((429, {"error": {"message": "later"}}, {"Retry-After": "1"}), (200, good()))
    lm = OpenAILM("m", base_url=end.base_url)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(lm, ask())
        assert seen(end, 1)
        time.sleep(0.1)
        assert free(the_gate())
        assert not first.done()
        assert first.result(WAIT).retries == 1


def test_a_call_that_cannot_be_sent_makes_room(faulty):
    end = faulty((200, good()))
    lm = OpenAILM("m", base_url=end.base_url, extra_body={"n": 1})
    lm._decisive["extra_body"] = {"bias": math.nan}  # no JSON
    for _ in range(PLACES + 1):
        with pytest.raises(LMError):
            lm(ask())
    lm._decisive["extra_body"] = {}
    assert lm(ask()).text == "fine"


def test_nobody_listening_makes_room():
    lm = OpenAILM("m", base_url="http://127.0.0.1:9/v1", max_retries=0)
    for _ in range(PLACES + 1):
        with pytest.raises(LMError):
            lm(ask())
    assert free(the_gate())
    clients.close_clients()
