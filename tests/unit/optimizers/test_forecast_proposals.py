"""Forecasts of methods that propose in every trial: what comes first, and what goes on."""

from __future__ import annotations

from small_runs import recorded, small, task_of

from mipro.optimizers.forecast import Forecast, forecast
from mipro.optimizers.methods import METHODS
from mipro.optimizers.probing import dry_probe
from mipro.optimizers.task import PROPOSALS


def expected(method: str, trials: int, seed: int = 0) -> Forecast:
    world = small()
    task = task_of(world, trials=trials, seed=seed)
    return forecast(METHODS[method](), task, world.test, {}, dry_probe(task))


def test_what_one_sensible_step_takes_does_not_grow_with_the_trials():
    # as many random trials in both, so that the first settings drawn are the same
    few, many = (expected("mipro_plus_plus", trials) for trials in (48, 192))
    assert many.smallest.calls == few.smallest.calls
    assert many.phases[PROPOSALS].calls.expected > 2.5 * few.phases[PROPOSALS].calls.expected


def test_proposals_of_more_trials_than_are_rehearsed_are_counted_where_they_go_on():
    """How often a rehearsal reuses an instruction is luck: the mean of three seeds."""
    ratios = []
    for seed in range(3):
        some, twice = (
            expected("mipro_plus_plus", trials, seed).phases[PROPOSALS].calls
            for trials in (150, 300)
        )
        ratios.append(twice.expected / some.expected)
    assert 1.75 < sum(ratios) / 3 < 2.2


def test_proposals_that_are_all_made_in_the_first_third_do_not_go_on():
    some, twice = (
        expected("mipro_zero_shot", trials).phases[PROPOSALS].calls for trials in (150, 300)
    )
    assert twice == some


def test_the_proposals_expected_are_near_those_made():
    result, events = recorded(small(), "mipro_plus_plus", trials=20, forecasts=True)
    (told,) = [e for e in events if e["event"] == "forecast" and e["after"] == "start"]
    low, middle, high = told["phases"][PROPOSALS]["calls"]
    made = result.phases[PROPOSALS]["calls"]
    assert low * 0.7 <= made <= high
    assert abs(middle - made) <= 0.3 * made
