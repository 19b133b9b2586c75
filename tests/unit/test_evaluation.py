"""Evaluation: the same outcomes on any executor, failures that are said, and faults that stop."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from doubles import QA, CountingLM, EchoLM, asked, chat, echo, examples, minus_length

import mipro
from mipro import Ledger, Metered, Price, metrics
from mipro.errors import ConfigError, MetricError, RunError
from mipro.lm.base import (
    AuthError,
    ContextLengthError,
    LMTimeoutError,
    ModelNotFoundError,
    RateLimitError,
    UnavailableError,
)
from mipro.workers import in_order

EXACT = metrics.exact_match("answer")


def moody(request):
    """Right, wrong, unreadable, or too long, by the question."""
    number = int(asked(request, "question")[1:])
    replies = [echo(request), chat(answer="wrong"), "no headers", ContextLengthError("too long")]
    return replies[number % 4]


def told(evaluation):
    """All of an evaluation but its times."""
    return [
        (o.index, o.score, o.prediction, o.error, [(c.inputs, c.reply, c.usage) for c in o.trace])
        for o in evaluation.outcomes
    ]


def ways(processes):
    yield {}
    yield {"threads": 8}
    yield {"threads": 32}
    yield {"executor": processes}


def test_the_outcomes_and_the_ledger_are_the_same_anywhere(processes):
    data = examples(40)
    seen, books = [], []
    for way in ways(processes):
        ledger = Ledger({"counting": Price(1.0, 2.0)})
        lm = Metered(CountingLM(moody), ledger)
        evaluation = mipro.evaluate(QA(), data, EXACT, lm=lm, **way)
        assert not any(outcome.ledger for outcome in evaluation.outcomes)
        seen.append(told(evaluation))
        books.append(ledger.to_json())
    assert all(one == seen[0] for one in seen)
    assert all(one == books[0] for one in books)
    task = books[0]["task"]
    assert (task["calls"], task["failed"], task["cached"]) == (30, 10, 0)
    usage = evaluation.usage
    assert (task["prompt_tokens"], task["completion_tokens"]) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )
    assert task["cost_usd"] == pytest.approx(
        (usage.prompt_tokens + 2 * usage.completion_tokens) / 1e6
    )


def test_a_worker_that_keeps_its_job_counts_no_call_twice():
    # some executors unpickle a job once, and use it for all its items
    from pickle import dumps, loads

    class Keeping(ThreadPoolExecutor):
        def submit(self, function, /, *arguments):
            self.kept = getattr(self, "kept", None) or loads(dumps(function))
            return super().submit(self.kept, *arguments)

    ledger = Ledger()
    with Keeping(4) as pool:
        mipro.evaluate(QA(), examples(12), EXACT, lm=Metered(EchoLM(), ledger), executor=pool)
    assert ledger.total.calls == 12


def test_a_failed_example_is_a_failed_outcome_with_its_reason():
    evaluation = mipro.evaluate(QA(), examples(4), EXACT, lm=CountingLM(moody))
    assert evaluation.scores == (1.0, 0.0, 0.0, 0.0)
    assert evaluation.score == 0.25
    assert [o.index for o in evaluation.failures] == [2, 3]
    unreadable, long = evaluation.failures
    assert unreadable.error.startswith(
        "ParseError: module 'answer': the reply has no field headers"
    )
    assert "no headers" in unreadable.error
    assert long.error == "ContextLengthError: too long"
    assert (long.prediction, len(long.trace)) == (None, 1)
    assert evaluation.interval == mipro.interval(evaluation.scores)
    assert evaluation.n == 4


def test_a_metric_that_raises_on_one_example_fails_that_one():
    def fragile(example, prediction):
        return 1 / (0 if prediction.answer == "q1" else 1)

    evaluation = mipro.evaluate(QA(), examples(3), fragile, lm=EchoLM())
    assert evaluation.scores == (1.0, 0.0, 1.0)
    (failed,) = evaluation.failures
    assert failed.error == "metric fragile raised ZeroDivisionError: division by zero"


def test_a_metric_that_returns_nothing_on_one_example_stops_and_names_it():
    def forgetful(example, prediction):
        return None if prediction.answer == "q1" else 1.0

    with pytest.raises(MetricError, match=r"forgetful returned None.*example 1"):
        mipro.evaluate(QA(), examples(3), forgetful, lm=EchoLM())


def test_every_example_failing_is_an_error_with_the_first_reason():
    lm = CountingLM(lambda request: LMTimeoutError(f"late: {asked(request, 'question')}"))
    with pytest.raises(RunError, match=r"every one of 3 examples failed\. The first: .*late: q0"):
        mipro.evaluate(QA(), examples(3), EXACT, lm=lm)
    allowed = mipro.evaluate(QA(), examples(3), minus_length, lm=lm, allow_all_failed=True)
    assert (allowed.score, len(allowed.failures)) == (-10.0, 3)


@pytest.mark.parametrize("kind", [AuthError, ModelNotFoundError, RateLimitError, UnavailableError])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_systemic_error_is_raised_and_stops_further_calls(kind, threads):
    lm = CountingLM(lambda request: time.sleep(0.002) or kind("out"))
    with pytest.raises(kind, match="out"):
        mipro.evaluate(QA(), examples(200), EXACT, lm=lm, threads=threads)
    assert lm.calls == 1 if threads == 1 else lm.calls < 100


def test_a_systemic_error_stops_further_calls_while_an_earlier_one_hangs():
    release = threading.Event()

    def reply(request):
        if asked(request, "question") == "q0":
            release.wait(0.5)
            return echo(request)
        time.sleep(0.002)
        return AuthError("wrong key")

    lm = CountingLM(reply)
    with pytest.raises(AuthError, match="wrong key"):
        mipro.evaluate(QA(), examples(300), EXACT, lm=lm, threads=2)
    assert lm.calls < 100


def test_a_systemic_error_comes_home_from_another_process(processes):
    lm = CountingLM(partial(_refuse, "wrong key"))
    with pytest.raises(AuthError, match="wrong key"):
        mipro.evaluate(QA(), examples(3), EXACT, lm=lm, executor=processes)


def _refuse(why, request):
    return AuthError(why)


def test_rollout_and_adapter_reach_the_request():
    lm = CountingLM(lambda request: '{"answer": "q0"}')
    adapter = mipro.JSONAdapter()
    made = mipro.evaluate(QA(), examples(1), EXACT, lm=lm, rollout=7, adapter=adapter)
    assert made.score == 1.0
    assert (lm.seen[0].rollout, lm.seen[0].schema is not None) == (7, True)


def test_examples_may_come_from_a_generator():
    made = mipro.evaluate(QA(), (e for e in examples(3)), EXACT, lm=EchoLM())
    assert made.scores == (1.0, 1.0, 1.0)


# --- work in order


def test_results_come_in_the_order_of_the_items():
    def slow(index, item):
        time.sleep(0.01 * (item % 3))
        return index, item

    assert in_order(slow, range(20), threads=8) == [(i, i) for i in range(20)]
    assert in_order(slow, [], threads=8) == []


def test_of_several_errors_the_first_in_order_is_raised():
    barrier = threading.Barrier(3)

    def fail(index, item):
        barrier.wait(5)
        time.sleep(0.02 * (3 - index))
        raise ValueError(str(index))

    with pytest.raises(ValueError, match="0"):
        in_order(fail, range(3), threads=3)


def test_at_least_one_thread_is_wanted():
    with pytest.raises(ConfigError, match="threads=0"):
        in_order(lambda i, x: x, [1], threads=0)
