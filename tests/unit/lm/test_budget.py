"""The budget: exact for calls at any concurrency, overrun by what was in flight and no more."""

from __future__ import annotations

import pickle
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from doubles import QA, CountingLM, EchoLM, TwoStep, examples

import mipro
from mipro import Budget, Ledger, Message, Metered, Price, Request, Usage
from mipro.errors import ConfigError
from mipro.lm.base import Completion, LMTimeoutError
from mipro.lm.budget import Amount, BudgetExceeded
from mipro.lm.cache import Cached
from mipro.lm.spending import Budgeted, Spending, budgeted
from mipro.metrics import exact_match


def request(text: str = "hello") -> Request:
    return Request((Message("user", text),))


def outcome(lm: mipro.LM, text: str) -> str:
    try:
        return lm(request(text)).text
    except BudgetExceeded as error:
        return error.limit


def on_threads(lm: mipro.LM, calls: int, threads: int = 128) -> list[str]:
    """What became of `calls` calls that all begin at once."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    start = threading.Barrier(threads)

    def call(i: int) -> str:
        if i < threads:
            start.wait()
        return outcome(lm, str(i))

    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(call, range(calls)))
    finally:
        sys.setswitchinterval(before)


class Slow(CountingLM):
    """100 prompt and 10 reply tokens a call, that takes a moment."""

    model = "slow"

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(lambda request: "ok")
        self.seconds = seconds

    def __call__(self, request: Request, /) -> Completion:
        time.sleep(self.seconds)
        super().__call__(request)
        return Completion(("ok",), Usage(100, 10), self.model)


@pytest.mark.parametrize("limit", [1, 100, 777])
def test_calls_are_exact_with_128_threads(limit):
    lm = Slow()
    spending = Spending(Budget(calls=limit))
    results = on_threads(Budgeted(lm, spending), 1000)
    assert lm.calls == limit == spending.spent.calls
    assert (results.count("ok"), results.count("calls")) == (limit, 1000 - limit)


@pytest.mark.parametrize("threads", [1, 4, 128])
@pytest.mark.parametrize(("name", "most"), [("tokens", 11_000), ("usd", 0.12)])
def test_tokens_and_dollars_overrun_by_no_more_than_was_in_flight(name, most, threads):
    """A thread has one call in flight, so the last to be granted sees all but those of others."""
    lm = Slow(0.001)
    spending = Spending(Budget(**{name: most}), {"slow": Price(10.0, 20.0)})
    results = on_threads(Budgeted(lm, spending), 400, threads)
    a_call = {"tokens": 110, "usd": 0.0012}[name]
    assert most <= getattr(spending.spent, name) + 1e-9
    assert getattr(spending.spent, name) < most + threads * a_call + 1e-9
    assert results.count(name) == 400 - lm.calls > 0


def test_one_after_the_other_no_limit_is_overrun_by_more_than_a_call():
    lm, spending = Slow(), Spending(Budget(tokens=500))
    assert [outcome(Budgeted(lm, spending), str(i)) for i in range(7)] == ["ok"] * 5 + [
        "tokens"
    ] * 2
    assert spending.spent.tokens == 550


def test_time_is_looked_at_before_each_call():
    lm = Slow()
    spending = Spending(Budget(seconds=0.05))
    assert outcome(Budgeted(lm, spending), "early") == "ok"
    time.sleep(0.06)
    assert outcome(Budgeted(lm, spending), "late") == "seconds"
    assert lm.calls == 1


def test_a_call_that_fails_was_made_and_counts():
    failing = CountingLM(lambda request: LMTimeoutError("late"))
    lm = Budgeted(failing, Spending(Budget(calls=1)))
    with pytest.raises(LMTimeoutError):
        lm(request())
    with pytest.raises(BudgetExceeded):
        lm(request())
    assert failing.calls == 1


def test_what_is_in_a_cache_is_never_refused(tmp_path):
    inner = CountingLM(lambda request: "ok")
    cached = Cached(inner, tmp_path / "cache")
    cached(request("known"))
    spending = Spending(Budget(calls=1))
    lm = budgeted(cached, spending)
    assert lm.identity == cached.identity
    assert [lm(request("known")).cached for _ in range(3)] == [True] * 3
    assert (spending.spent.calls, spending.spent.tokens) == (0, 0)
    assert outcome(lm, "new") == "ok"
    assert outcome(lm, "newer") == "calls"
    assert [outcome(lm, text) for text in ("known", "new")] == ["ok", "ok"]
    assert cached(request("new")).cached  # one store, whichever way it is asked
    assert inner.calls == 2


def test_a_reply_that_comes_from_elsewhere_s_cache_costs_nothing():
    spending = Spending(Budget(calls=1, tokens=10))
    lm = Budgeted(CountingLM(lambda request: "ok", cached=True), spending)
    assert [outcome(lm, "x") for _ in range(5)] == ["ok"] * 5
    assert (spending.spent.calls, spending.spent.tokens) == (0, 0)


def test_what_is_kept_back_is_there_when_it_is_let_go():
    spending = Spending(Budget(calls=10))
    lm = Budgeted(Slow(), spending)
    spending.keep(full=Amount(calls=3), test=Amount(calls=1))
    assert [outcome(lm, str(i)) for i in range(8)] == ["ok"] * 6 + ["calls"] * 2
    with pytest.raises(BudgetExceeded, match="6 of 10 calls, 4 of them kept back"):
        lm(request())
    spending.let_go("full")
    assert [outcome(lm, str(i)) for i in range(5)] == ["ok"] * 3 + ["calls"] * 2
    spending.let_go("test")
    assert [outcome(lm, str(i)) for i in range(2)] == ["ok", "calls"]


def test_a_refused_call_is_not_in_the_ledger():
    ledger = Ledger()
    lm = Metered(Budgeted(EchoLM(), Spending(Budget(calls=1))), ledger)
    QA()(question="a", lm=lm)
    with pytest.raises(BudgetExceeded):
        QA()(question="b", lm=lm)
    assert (ledger.total.calls, ledger.total.failed) == (1, 0)


# ---- in an evaluation ---------------------------------------------------------------------------


def under(budget: Budget, lm: mipro.LM) -> tuple[Metered, Spending]:
    spending = Spending(budget)
    return Metered(Budgeted(lm, spending), Ledger(spending=spending)), spending


class Forgiving(QA):
    """Answers for itself where the LM fails."""

    def forward(self, question: str) -> mipro.Prediction:
        try:
            return super().forward(question)
        except mipro.MiproError:
            return mipro.Prediction(answer="never mind")


@pytest.mark.parametrize("program", [QA(), Forgiving()])
@pytest.mark.parametrize("threads", [1, 8])
def test_no_score_comes_of_an_evaluation_that_was_cut_short(program, threads):
    lm, spending = under(Budget(calls=5), EchoLM())
    with pytest.raises(BudgetExceeded):
        mipro.evaluate(program, examples(9), exact_match("answer"), lm=lm, threads=threads)
    assert spending.spent.calls == 5 == lm.ledger.total.calls


@pytest.mark.parametrize("calls", [4, 12, 20])
def test_a_process_pool_keeps_to_the_calls_too(calls):
    """TwoStep takes three calls an example: 12 of them are 36 calls."""
    lm, spending = under(Budget(calls=calls), EchoLM())
    with ProcessPoolExecutor(2) as pool, pytest.raises(BudgetExceeded):
        mipro.evaluate(TwoStep(), examples(12), exact_match("answer"), lm=lm, executor=pool)
    assert spending.spent.calls == lm.ledger.total.calls <= calls


def test_a_process_pool_spends_what_it_needs_and_brings_the_rest_home():
    lm, spending = under(Budget(calls=72, tokens=10**6), EchoLM())
    metric = exact_match("answer")
    with ProcessPoolExecutor(2) as pool:
        for part in (0, 12):
            some = examples(24)[part : part + 12]
            assert mipro.evaluate(TwoStep(), some, metric, lm=lm, executor=pool).n == 12
            assert spending.spent.calls == 3 * (part + 12)
        with pytest.raises(BudgetExceeded):
            mipro.evaluate(TwoStep(), examples(30)[24:], metric, lm=lm, executor=pool)
    assert spending.spent.calls == 72 == lm.ledger.total.calls
    assert spending.spent.tokens == lm.ledger.total.tokens


# ---- what is no budget --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"calls": 0}, {"calls": -1}, {"calls": 1.5}, {"calls": True}, {"usd": float("nan")},
     {"usd": float("inf")}, {"tokens": "many"}, {"seconds": 0}],
)  # fmt: skip
def test_nonsense_is_no_budget(settings):
    with pytest.raises(ConfigError, match=r"wanted|give calls"):
        Budget(**settings)


def test_a_name_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="'dollars': there are calls, tokens, usd, seconds"):
        Budget.of({"dollars": 4})


def test_dollars_need_a_price_for_every_model():
    prices = {"a": Price(1, 1)}
    Budget(usd=1.0).check_prices({"task": "a"}, prices)
    Budget(calls=1).check_prices({"task": "b"}, prices)
    with pytest.raises(ConfigError, match=r"'b' \(prompt\) has no price"):
        Budget(usd=1.0).check_prices({"task": "a", "prompt": "b"}, prices)


def test_the_error_travels():
    error = pickle.loads(pickle.dumps(BudgetExceeded("usd", 4.0, 4.01, 0.5)))
    assert (error.limit, error.most, error.spent, error.kept) == ("usd", 4.0, 4.01, 0.5)
    assert "4.0100 of 4.0000 usd" in str(error)
