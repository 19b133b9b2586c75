"""The test at the end of a run: what is shown, in how many looks, and what is not tested at all."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import pytest
from doubles import QA, chat, examples
from resuming import begin, end_of, go_on
from rich.console import Console
from small_runs import SHORT, Dying, counted, of, recorded, run, small

import mipro
from mipro.errors import ConfigError
from mipro.lm.base import Completion, LMError, Usage
from mipro.optimizers.task import Options
from mipro.terminal import show_result

UNTUNED = {"demo_sets": 1, "trials": 1, "max_bootstrapped": 0, "max_labelled": 0}


def shown(result):
    """What a person sees."""
    text = StringIO()
    show_result(Console(file=text, width=200), result, simulated=True)
    return text.getvalue()


def good(**settings):
    """A run whose candidate is much better than the original, on 120 test examples."""
    world = small("conditional", train=100, val=60, test=120)
    given = {"trials": 20, "minibatch": 20, "full_every": 5, "instructions": 8, "threads": 1}
    return recorded(world, forecasts=False, **given, **settings)


def test_a_better_candidate_is_shown_better_everywhere(tmp_path):
    result, _ = good(run_dir=tmp_path)
    made = result.improvement
    assert made.shown
    assert (made.verdict, made.n, made.looks, made.planned) == ("better", 120, 1, 1)
    # one-sided, on the same pairs
    assert made.p_value == pytest.approx(result.test.paired.p_value / 2)
    body = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert body["improvement"]["shown_better"] is True
    assert body["improvement"]["p_value"] == made.p_value
    assert body["optimism"]["optimism"] == pytest.approx(result.score - result.test.after)
    assert result.optimism.original == pytest.approx(result.baseline - result.test.before)
    text = shown(result)
    assert "Shown better than the original: one-sided p" in text
    assert "Optimism, selected − held out" in text


def test_a_test_in_looks_ends_once_it_is_decided_and_saves_calls():
    one, _ = good()
    result, events = good(looks=4)
    made = result.improvement
    assert made.shown
    assert (made.planned, made.looks) == (4, len(of(events, "look")))
    assert made.looks < 4
    assert made.n == 30 * made.looks == result.test.paired.n
    assert result.phases["test"]["calls"] == one.phases["test"]["calls"] * made.looks // 4
    assert [e["number"] for e in of(events, "look")] == list(range(1, made.looks + 1))
    assert of(events, "look")[-1]["p_value"] == made.p_value
    # no p-value is given that is not adjusted
    assert result.test.paired.p_value == 2 * made.p_value
    assert "Ended early" in made.text
    assert result.candidate == one.candidate


def test_the_level_asked_is_the_level_used():
    result, _ = good(level=1e-30)
    assert not result.improvement.shown
    assert result.improvement.p_value > 1e-30
    assert result.improvement.level == 1e-30
    assert "Not shown better" in shown(result)


def test_a_test_that_can_no_longer_show_anything_ends():
    # 4 of 12 test examples are looked at; even 8 wins would not reach 1e-9
    result, events = recorded(small("iris"), looks=3, level=1e-9, forecasts=False, threads=1)
    made = result.improvement
    assert (made.looks, made.n, made.most, made.p_value) == (1, 4, 12, 1.0)
    assert "no longer be reached" in made.text
    assert len(of(events, "look")) == 1
    assert result.test.paired.p_value == 1.0


def test_a_metric_without_bounds_never_ends_a_test_as_hopeless():
    @mipro.metric(worst=-10.0)
    def shifted(example, prediction):
        return float(prediction.species == example.species) - 1.0

    world = replace(small("iris"), metric=shifted)
    result = run(world, looks=3, level=1e-9, forecasts=False, threads=1)
    assert (result.improvement.looks, result.improvement.n) == (3, 12)
    assert not result.improvement.shown


def test_without_a_test_set_nothing_is_shown_and_how_to_give_one_is_said():
    result = run(small("iris"), test=None, forecasts=False, threads=1)
    assert not result.improvement.shown
    assert result.improvement.verdict == "not tested"
    assert result.optimism is None
    assert "not tested. There is no test set: give `test`" in shown(result)
    body = result.to_json()
    assert body["improvement"]["verdict"] == "not tested"
    assert body["optimism"] is None


@pytest.mark.parametrize("looks", [1, 3])
def test_the_original_itself_is_not_better_and_its_optimism_is_the_difference_of_the_sets(looks):
    world, lm = small(), counted()
    result = run(world, "random_search", lm=lm, looks=looks, **UNTUNED)
    assert result.improvement.verdict == "unchanged"
    assert (result.improvement.p_value, result.improvement.shown) == (1.0, False)
    assert result.optimism.value == result.optimism.original
    assert result.optimism.net == 0
    assert lm.calls == 3 * (len(world.val) + len(world.test))


def test_examples_that_the_search_saw_do_not_count_as_held_out():
    world = small("iris", test=40)
    mixed = replace(world, test=(*world.val, *world.train[:5], *world.test))
    result = run(mixed, forecasts=False, threads=1)
    assert result.improvement.n == len(world.test)
    assert result.test.paired.n == len(mixed.test)
    assert result.optimism.held_out == pytest.approx(
        run(world, forecasts=False, threads=1).test.after
    )


@pytest.mark.parametrize("looks", [1, 2])
def test_a_test_on_the_validation_set_is_no_test(looks):
    world = small("iris")
    result = run(world, test=world.val, looks=looks, forecasts=False, threads=1)
    assert result.improvement.verdict == "not tested"
    assert "Every test example stands in `train` or `val`" in result.improvement.text
    assert result.test is not None
    assert result.optimism is None


def test_a_budget_that_does_not_reach_for_the_test_leaves_it_untested():
    # the forecast's share for the test is taken away by a model dearer than it was probed
    class Dearer:
        model = identity = "dearer"

        def __init__(self):
            self.calls = 0

        def __call__(self, request, /):
            self.calls += 1
            tokens = 10 if self.calls < 100 else 2_000
            return Completion((chat(answer="no"),), Usage(tokens, 1), self.model)

    budget = mipro.Budget(tokens=60_000)
    result = mipro.optimize(
        QA(),
        examples(4),
        mipro.metrics.exact_match("answer"),
        lm=Dearer(),
        val=examples(30)[10:20],
        test=examples(400)[100:300],
        budget=budget,
        method="random_search",
        threads=1,
        **UNTUNED,
    )
    assert result.stopped == "tokens"
    assert result.test is None
    assert not result.improvement.shown
    assert "budget did not reach" in result.improvement.text


def test_more_looks_than_test_examples_are_refused_before_the_first_call():
    lm = counted()
    with pytest.raises(ConfigError, match="looks = 13: the test set has 12 examples"):
        run(small(), lm=lm, looks=13)
    with pytest.raises(ConfigError, match="looks = 2: the test set has 0 examples"):
        run(small(), lm=lm, looks=2, test=None)
    assert lm.calls == 0


@pytest.mark.parametrize("level", [0, 1.0, 5, True, "0.05", float("nan")])
def test_a_level_is_a_share(level):
    with pytest.raises(ConfigError, match="level = "):
        Options(level=level)


def test_the_usual_looks_and_level_are_not_written_down_so_older_runs_go_on():
    assert {"looks", "level"}.isdisjoint(Options().to_json())
    assert Options(looks=3, level=0.01).to_json()["looks"] == 3
    assert Options(looks=3, level=0.01).to_json()["level"] == 0.01


def test_a_run_that_dies_between_two_looks_comes_to_the_same_end(tmp_path):
    world = small("iris", test=40)
    settings = {"looks": 4, "level": 0.001, "threads": 1, "forecasts": False}
    whole = begin(tmp_path / "whole", world.lm, world, **settings)
    assert whole.improvement.looks > 1
    calls = whole.calls - whole.phases["test"]["calls"] + 25  # 20 are made at the first look
    with pytest.raises(LMError):
        begin(tmp_path / "cut", Dying(calls), world, **settings)
    go_on(tmp_path / "cut", Dying(10_000), world, forecasts=False)
    events = [e["event"] for e in end_of(tmp_path / "cut")[0]]
    assert events.count("look") == whole.improvement.looks
    assert end_of(tmp_path / "cut")[1]["improvement"] == whole.improvement.to_json()


def test_looks_are_a_function_of_the_seed_at_any_number_of_threads():
    world = small("iris", test=40)
    one, four = (run(world, looks=5, threads=k, forecasts=False) for k in (1, 4))
    assert one.improvement == four.improvement
    assert one.test == four.test


def test_a_forecast_lets_a_test_in_looks_end_at_its_first():
    world = small("iris", test=40)
    parts = {"lm": world.lm, "val": world.val, "test": world.test, **SHORT}
    one, four = (
        mipro.estimate(world.program, world.train, world.metric, **parts, looks=k).phases["test"]
        for k in (1, 4)
    )
    assert four.calls.low == one.calls.high / 4  # both programs, on the first look's examples
    assert (four.calls.expected, four.calls.high) == (one.calls.expected, one.calls.high)
