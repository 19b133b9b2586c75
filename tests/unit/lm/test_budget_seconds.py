"""A budget in seconds, and calls that wait to try again: they end with it, over real HTTP."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import doubles
import openai  # noqa: F401 - or else it is imported while seconds are counted
import pytest
from lm_doubles import KEY, ask, good

import mipro
from mipro import Budget, Ledger, Metered
from mipro.lm import base
from mipro.lm.budget import BudgetExceeded
from mipro.lm.openai import OpenAILM
from mipro.lm.replies import Once, Replies
from mipro.lm.spending import Budgeted, Spending
from mipro.metrics import exact_match

FINE = (200, good())
DOWN = (500, {"error": {"message": "oops", "code": None}})
LATER = (429, {"error": {"message": "slow down"}}, {"Retry-After": "60"})
DAMAGED = (200, b'{"choi')
ROOM = 3.0  # seconds a busy machine may take; what is waited for without the budget takes more


def limited(faulty, seconds: float, **settings: Any) -> tuple[Metered, Spending]:
    """An endpoint's LM under a budget that begins now, with a patience of ten minutes."""
    spending = Spending(Budget(seconds=seconds))
    lm = OpenAILM("m", base_url=faulty.base_url, api_key=KEY, **settings)
    return Metered(Budgeted(lm, spending), Ledger(spending=spending)), spending


def stopped(lm: mipro.LM, text: str = "hello") -> BudgetExceeded:
    with pytest.raises(BudgetExceeded) as caught:
        lm(ask(text))
    assert caught.value.limit == "seconds"
    return caught.value


@pytest.mark.parametrize(
    ("fault", "answered"),
    [
        pytest.param(DOWN, True, id="500"),
        pytest.param(DOWN, False, id="500 from the start"),
        pytest.param(LATER, True, id="Retry-After"),
        pytest.param(LATER, False, id="Retry-After from the start"),
        pytest.param("drop", True, id="no reply"),
        pytest.param(DAMAGED, True, id="half a reply"),
    ],
)
def test_a_call_that_waits_to_try_again_ends_with_the_seconds(faulty, timed, fault, answered):
    end = faulty(*[FINE] * answered, fault)
    lm, spending = limited(end, 1.2)
    if answered:
        lm(ask("before"))
    error = stopped(lm)
    assert 1.1 < timed() < 1.2 + ROOM
    assert (error.most, error.kept) == (1.2, 0)
    assert error.spent >= 1.2
    tried = len(end.seen) - answered
    assert tried == 1 if fault == LATER else tried > 1
    # the call was made: it is in the ledger, with its further tries
    assert (lm.ledger.total.calls, lm.ledger.total.failed) == (answered, 1)
    assert lm.ledger.total.retries == tried - 1
    assert spending.spent.calls == answered + 1
    sent = len(end.seen)
    stopped(lm, "another")
    assert len(end.seen) == sent
    assert lm.ledger.total.failed == 1


def test_what_is_in_flight_ends_by_its_own_deadline_and_is_not_sent_again(faulty, timed):
    end = faulty("hang")
    lm, _ = limited(end, 0.3, timeout=1.0)
    stopped(lm)
    assert 0.9 < timed() < 1.0 + ROOM  # five tries were five seconds and the back-off
    assert len(end.seen) == 1


def test_a_reply_that_comes_late_is_paid_for_and_kept(faulty):
    end = faulty(FINE)
    spending = Spending(Budget(seconds=0.2))

    def late(request: base.Request) -> base.Completion:
        time.sleep(0.3)
        return OpenAILM("m", base_url=end.base_url)(request)

    late.model = late.identity = "late"  # type: ignore[attr-defined]
    assert Budgeted(late, spending)(ask()).text == "fine"


def test_replies_of_no_use_are_paid_for_until_then(faulty):
    refused = good(choices=[{"message": {}, "finish_reason": "content_filter"}])
    end = faulty(FINE, (200, refused), DOWN)
    lm, spending = limited(end, 1.0)
    lm(ask("before"))
    assert stopped(lm).usage.total == 5
    assert spending.spent.tokens == lm.ledger.total.tokens == 10


def test_a_reply_cut_off_at_its_length_is_handed_on_rather_than_asked_for_again(faulty):
    cut = good(choices=[{"message": {"content": "half"}, "finish_reason": "length"}])
    end = faulty((200, cut))
    spending = Spending(Budget(seconds=0.1))
    inner = OpenAILM("m", base_url=end.base_url)

    def at_the_end(request: base.Request) -> base.Completion:
        time.sleep(0.2)
        return inner(request)

    at_the_end.model = at_the_end.identity = "m"  # type: ignore[attr-defined]
    assert Budgeted(at_the_end, spending)(ask()).text == "half"
    assert len(end.seen) == 1


def test_the_endpoint_is_not_held_to_be_gone_for_it(faulty):
    """What was kept back is spent at the same endpoint."""
    end = faulty(FINE, *[DOWN] * 3, FINE)
    lm = OpenAILM("m", base_url=end.base_url)
    short = Budgeted(lm, Spending(Budget(seconds=0.4)))
    short(ask("before"))
    stopped(short)
    assert lm._allowance.has_answered
    assert lm(ask("after")).text == "fine"  # without a budget it is waited for


def test_nothing_of_the_client_s_own_error_hangs_on_it(faulty):
    """It holds the headers of the request, and with them the key."""
    error = stopped(limited(faulty(DOWN), 0.3)[0])
    chain: list[BaseException] = [error]
    while (following := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(following)
    assert all(isinstance(e, base.LMError) for e in chain)
    assert KEY not in repr(chain)


def test_equal_calls_and_others_in_flight_end_with_it_too(faulty, timed):
    end = faulty(DOWN)
    lm, spending = limited(end, 0.8)
    once = Metered(Once(lm.lm, Replies()), lm.ledger)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: stopped(once, f"{i % 4}"), range(16)))
    assert 0.7 < timed() < 0.8 + ROOM
    assert spending.spent.calls == once.ledger.total.failed == 4  # nothing is sent twice


@pytest.mark.parametrize("threads", [1, 8])
def test_an_evaluation_ends_with_it_and_without_a_score(faulty, timed, threads):
    lm, _ = limited(faulty(FINE, DOWN), 1.0)
    lm(ask())
    with pytest.raises(BudgetExceeded):
        mipro.evaluate(
            doubles.QA(), doubles.examples(20), exact_match("answer"), lm=lm, threads=threads
        )
    assert 0.9 < timed() < 1.0 + ROOM


def test_the_error_travels_with_what_it_took():
    error = BudgetExceeded("seconds", 4.0, 4.01)
    again = pickle.loads(pickle.dumps(error))
    assert (again.limit, again.spent) == ("seconds", 4.01)


# ---- in other processes -------------------------------------------------------------------------


class Dawdling(doubles.EchoLM):
    """A fifth of a second a call."""

    def __call__(self, request: base.Request, /) -> base.Completion:
        time.sleep(0.2)
        return super().__call__(request)


def test_seconds_pass_for_work_that_waits_for_a_worker_too(timed):
    """30 examples of three calls are 9 seconds on two workers."""
    spending = Spending(Budget(seconds=2.0))
    lm = Metered(Budgeted(Dawdling(), spending), Ledger(spending=spending))
    with ProcessPoolExecutor(2) as pool, pytest.raises(BudgetExceeded, match="seconds"):
        mipro.evaluate(
            doubles.TwoStep(),
            doubles.examples(30),
            exact_match("answer"),
            lm=lm,
            executor=pool,
        )
    assert 1.9 < timed() < 2.0 + ROOM
    assert lm.ledger.total.calls == spending.spent.calls


def test_workers_end_their_waits_as_well(faulty, timed, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    spending = Spending(Budget(seconds=2.5))
    inner = OpenAILM("m", base_url=faulty(LATER).base_url)
    lm = Metered(Budgeted(inner, spending), Ledger(spending=spending))
    with ProcessPoolExecutor(2) as pool, pytest.raises(BudgetExceeded, match="seconds"):
        mipro.evaluate(
            doubles.QA(), doubles.examples(12), exact_match("answer"), lm=lm, executor=pool
        )
    assert 2.4 < timed() < 2.5 + ROOM
    assert lm.ledger.total.failed == spending.spent.calls == 2  # one in each worker's hands
