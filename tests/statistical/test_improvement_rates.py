"""False alarms, power and optimism of the test of improvement, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

import mipro
from mipro.improvement import Optimism, improvement
from mipro.looks import PairedLooks
from mipro.worlds import exact_scores, null_world

SMALL = {"trials": 12, "minibatch": 10, "full_every": 4, "instructions": 4, "demo_sets": 4}
pytestmark = pytest.mark.statistical


def shown(gains, looks: int) -> bool:
    """Called better at one of the looks?"""
    portions = np.array_split(gains, looks)
    test = PairedLooks([part.size for part in portions])
    return any(test.look(part).better for part in portions if not test.over)


def optimized(seed: int, looks: int = 1) -> mipro.Result:
    world = null_world(seed)
    parts = {"lm": world.lm, "val": world.val, "test": world.test, "seed": seed, "looks": looks}
    more = {"threads": 1, "forecasts": False, **SMALL}
    return mipro.optimize(world.program, world.train, world.metric, **parts, **more)


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_no_difference_is_called_better_at_most_at_the_level(looks):
    # null: a rate of at most 0.05 in 3,000 test sets of 100. Above 0.066 (199 of them) once in
    # 20,000: standard error 0.004
    chances = np.random.default_rng(looks).random(100)
    before, after = np.random.default_rng(looks).random((2, 3000, 100)) < chances
    assert np.mean([shown(gains, looks) for gains in after * 1.0 - before]) <= 0.066


def test_without_the_correction_five_looks_would_not_hold_the_level():
    # so that the test above is not idle; the uncorrected rate is 0.094 here, standard error 0.005
    before, after = np.random.default_rng(5).integers(0, 2, (2, 3000, 100))
    zeros, ends = np.zeros(100), (20, 40, 60, 80, 100)
    rate = np.mean([any(improvement(zeros[:e], g[:e]).shown for e in ends) for g in after - before])
    assert rate > 0.08


@pytest.mark.parametrize("looks", [1, 5])
def test_scores_that_are_no_counts_hold_the_level_too(looks):
    # null: at most 0.05 in 400 test sets whose signs are drawn; above 37 once in 7,000
    gains = np.random.default_rng(looks).laplace(size=(400, 40))
    assert sum(shown(g, looks) for g in gains) <= 37


def test_a_difference_of_a_fifth_is_shown_on_a_hundred_examples():
    # null: the power of one look is 0.856 (McNemar's, summed over the numbers of pairs that differ,
    # for shares of 0.4 and 0.6 that are independent), of five 0.01 or two less; 1,000 tests,
    # standard error 0.011: below 0.8 by chance once in a million, below 0.78 of 0.836 the same
    rng = np.random.default_rng(1)
    before, after = (rng.random((1000, 100)) < p for p in (0.4, 0.6))
    gains = after * 1.0 - before
    assert np.mean([shown(g, 1) for g in gains]) > 0.8
    assert np.mean([shown(g, 5) for g in gains]) > 0.78


def test_in_the_null_world_every_program_has_the_same_score():
    world = null_world(3, test=400)
    result = optimized(3)
    assert (exact_scores(world, {}) == 0.5).all()
    # null: 1/2 exactly; 400 coins, 4 standard errors of at most 0.025: a false alarm in 16,000
    assert exact_scores(world, result.candidate).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("looks", [1, 5])
def test_whole_runs_where_nothing_is_better_call_few_better_and_measure_their_optimism(looks):
    # null: at most 0.05 of 100 runs, above 13 once in 2,000 (binomial); here nothing is random
    # but by the seed, so a false alarm is a constant, not a nuisance
    results = [optimized(seed, looks) for seed in range(100)]
    assert sum(result.improvement.shown for result in results) <= 13
    true = np.array([result.score - 0.5 for result in results])
    measured = np.array([result.optimism.value for result in results])
    assert true.mean() > 0.05  # selecting did flatter
    # null: no bias; the difference is the luck of the test sets, 4 standard errors of 0.0065
    # a test that stops early is a little biased: up to 0.01 more is let pass
    assert measured.mean() == pytest.approx(true.mean(), abs=0.036)


def test_the_interval_of_optimism_holds_it():
    # null: coverage 0.95 or more of the expected difference, for a candidate that nobody selected;
    # 1,000 intervals, standard error 0.007: below 0.92 once in 100,000
    rng = np.random.default_rng(0)
    val, test = rng.random((1000, 2, 50)) < 0.7, rng.random((1000, 2, 100)) < 0.6
    made = [Optimism.of((v[0], v[1]), (t[0], t[1])) for v, t in zip(val, test, strict=True)]
    assert np.mean([m.interval[0] <= 0.1 <= m.interval[1] for m in made]) > 0.92
    assert np.mean([m.net_interval[0] <= 0 <= m.net_interval[1] for m in made]) > 0.92
