"""Runs under a budget: they end in order, with what was found, and never spend more."""

from __future__ import annotations

import pytest
from small_runs import counted, of, recorded, run, small

import mipro
from mipro import Budget, Price
from mipro.errors import ConfigError
from mipro.journal import read_journal

METHODS = ("random_search", "bayesian_bootstrap", "mipro_zero_shot", "mipro")
PRICES = {"counting": Price(1.0, 4.0)}


def smallest(method: str, **settings: object) -> int:
    """The smallest number of calls that is not refused, as the refusal says."""
    with pytest.raises(ConfigError, match="too small") as refused:
        run(small(), method, lm=counted(), budget=Budget(calls=1), **settings)
    return int(str(refused.value).rpartition("calls = ")[2].partition(";")[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_budget_too_small_is_refused_before_the_first_call_with_what_would_do(method):
    lm = counted()
    enough = smallest(method)
    with pytest.raises(ConfigError, match=f"smallest that would do is calls = {enough}"):
        run(small(), method, lm=lm, budget=Budget(calls=enough - 1))
    assert lm.calls == 0
    result = run(small(), method, lm=lm, budget=Budget(calls=enough))
    assert lm.calls == result.calls <= enough
    assert result.test is not None
    assert len([t for t in result.trials if t.n == 15]) >= 2  # the original, and a candidate


@pytest.mark.parametrize("more", [0, 30, 101])
@pytest.mark.parametrize("threads", [1, 16])
def test_a_run_that_meets_its_budget_ends_with_the_best_so_far(more, threads):
    lm, most = counted(), smallest("mipro") + more
    result, events = recorded(
        small(), "mipro", lm=lm, budget=Budget(calls=most), threads=threads, trials=40
    )
    assert lm.calls == result.calls <= most
    assert result.stopped == "calls"
    assert result.to_json()["stopped_by_budget"] == "calls"
    assert [event["limit"] for event in of(events, "stopped")] == ["calls"]
    # what is returned was evaluated in full, and is the best of what was
    assert result.chosen.n == 15
    assert result.score == max(t.score for t in result.trials if t.n == 15)
    # every trial that counts is whole
    assert {t.n for t in result.trials} <= {7, 15}
    assert all(len(t.scores) == t.n for t in result.trials)
    # the money for the leader and for the test was kept back
    assert result.trials[-1].kind == "full"
    assert result.test is not None


def test_the_leader_of_the_minibatches_is_what_the_last_full_evaluation_is_of():
    result = run(small(), "mipro", budget=Budget(calls=smallest("mipro") + 60), full_every=40)
    *before, last = result.trials
    assert last.kind == "full"
    assert last.config in [trial.config for trial in before if trial.kind == "minibatch"]


def test_calls_of_a_dropped_trial_are_in_the_ledger():
    lm = counted()
    result = run(small(), lm=lm, budget=Budget(calls=smallest("mipro") + 41))
    assert result.calls == lm.calls == sum(e["calls"] for e in result.phases.values())


@pytest.mark.parametrize("limit", ["tokens", "usd"])
def test_tokens_and_dollars_end_a_run_too(limit):
    free = run(small(), lm=counted(), prices=PRICES)
    spent = {
        "tokens": sum(e["prompt_tokens"] + e["completion_tokens"] for e in free.usage.values()),
        "usd": sum(e["cost_usd"] for e in free.usage.values()),
    }[limit]
    most = spent * 3 // 4 if limit == "tokens" else spent * 0.75
    result = run(small(), lm=counted(), prices=PRICES, budget=Budget(**{limit: most}), threads=1)
    entries = result.usage.values()
    now = {
        "tokens": sum(e["prompt_tokens"] + e["completion_tokens"] for e in entries),
        "usd": sum(e["cost_usd"] for e in entries),
    }[limit]
    assert result.stopped == limit
    assert now < most * 1.02  # one thread: by no more than a call
    assert result.chosen.n == 15


def test_time_ends_a_run_too():
    lm = counted(mipro.SimulatedLM(latency=0.02))
    budget = Budget(seconds=5.0)
    result = run(small(), "random_search", lm=lm, budget=budget, trials=400, threads=4)
    assert result.stopped == "seconds"
    assert result.chosen.n == 15


def test_dollars_without_a_price_are_refused_before_the_first_call():
    lm = counted()
    with pytest.raises(ConfigError, match=r"'counting' \(task\) has no price"):
        run(small(), lm=lm, budget=Budget(usd=1.0))
    assert lm.calls == 0


def test_enough_money_changes_nothing():
    free, rich = (
        run(small(), lm=counted(), budget=budget) for budget in (None, Budget(calls=10**6))
    )
    assert rich.stopped is None
    assert rich.trials == free.trials
    assert rich.usage == free.usage


def test_the_journal_says_that_and_why_it_stopped(tmp_path):
    budget = Budget(calls=smallest("mipro") + 20)
    run(small(), lm=counted(), budget=budget, run_dir=tmp_path / "run")
    kinds = [event["event"] for event in read_journal(tmp_path / "run" / "journal.jsonl")]
    assert "stopped" in kinds
    assert kinds[-1] == "end"
