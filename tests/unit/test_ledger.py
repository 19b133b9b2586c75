"""The ledger: exact at any concurrency, priced at the end, by role."""

from __future__ import annotations

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from doubles import QA, CountingLM, EchoLM, chat

from mipro import Completion, Ledger, Message, Metered, Price, Request, Usage
from mipro.lm.base import LMTimeoutError
from mipro.lm.meter import Entry

REQUEST = Request((Message("user", "hello"),))


@pytest.fixture
def hectic():
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hectic")
def test_calls_from_many_threads_are_all_booked():
    ledger, lm = Ledger({"counting": Price(1.0, 10.0)}), CountingLM(lambda request: "ok")
    metered = Metered(lm, ledger)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: metered(REQUEST), range(800)))
    assert lm.calls == 800
    assert ledger["task"] == Entry(800, 0, 0, 4000, 1600, (4000 * 1.0 + 1600 * 10.0) / 1e6)
    assert ledger.total == ledger["task"]
    assert ledger.total.tokens == 5600


def test_failed_and_cached_calls_are_counted_apart_and_cost_nothing():
    ledger = Ledger({"counting": Price(1.0, 1.0)})
    with pytest.raises(LMTimeoutError):
        Metered(CountingLM(lambda r: LMTimeoutError("late")), ledger)(REQUEST)
    Metered(CountingLM(lambda r: "ok", cached=True), ledger)(REQUEST)
    assert ledger["task"] == Entry(0, 1, 1, 0, 0, 0.0)


def test_roles_are_apart_and_the_known_ones_come_first():
    ledger = Ledger()
    task = Metered(EchoLM(), ledger)
    for role in ("zebra", "teacher", "prompt"):
        QA()(question="?", lm=Metered(task.lm, ledger, role))
    QA()(question="?", lm=task)
    assert list(ledger.roles) == ["task", "prompt", "teacher", "zebra"]
    assert ledger["nobody"] == Entry()
    assert ledger.total.calls == 4
    assert list(ledger.to_json()["task"]) == [
        "calls",
        "cached",
        "failed",
        "prompt_tokens",
        "completion_tokens",
        "retries",
    ]


def test_a_cost_is_known_only_where_a_price_is():
    ledger = Ledger({"a": Price(2.0, 4.0)})
    ledger.completed("task", "unpriced", Completion(("x",), Usage(1000, 1000)))
    assert ledger["task"].cost is None
    assert "cost_usd" not in ledger.to_json()["task"]
    ledger.completed("task", "a", Completion(("x",), Usage(500_000, 250_000)))
    assert ledger["task"].cost == pytest.approx(2.0)
    assert ledger.to_json()["task"]["cost_usd"] == 2.0


def test_entries_add_and_subtract():
    one, two = Entry(3, 1, 1, 10, 5, 0.5), Entry(1, 1, 0, 4, 2)
    assert one + two == Entry(4, 2, 1, 14, 7, 0.5)
    assert one - two == Entry(2, 0, 1, 6, 3, 0.5)
    assert two + two == Entry(2, 2, 0, 8, 4, None)


def test_a_ledger_travels_out_empty_and_comes_home_full():
    home = Ledger({"echo": Price(1.0, 1.0)})
    home.completed("task", "echo", Completion(("x",), Usage(1, 1)))
    away = pickle.loads(pickle.dumps(home))
    assert (away.detached, away.total.calls, home.detached) == (True, 0, False)
    away.completed("task", "echo", Completion(("x",), Usage(2, 3)))
    away.failed("prompt", "echo")
    home.merge(pickle.loads(pickle.dumps(away)))
    assert home["task"] == Entry(2, 0, 0, 3, 4, 7 / 1e6)
    assert home["prompt"].failed == 1


def test_metering_changes_no_reply():
    lm = CountingLM(lambda request: chat(x="1"))
    metered = Metered(lm, Ledger(), "prompt")
    assert metered(REQUEST) == lm(REQUEST)
    assert (metered.model, metered.identity) == (lm.model, lm.identity)
