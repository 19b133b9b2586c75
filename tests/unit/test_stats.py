"""Intervals and paired tests, against scipy, hand computation, and simulation."""

from __future__ import annotations

from itertools import product
from math import comb, isnan

import numpy as np
import pytest
from scipy.stats import binomtest

from mipro import interval, paired_test
from mipro.errors import ConfigError


@pytest.mark.parametrize(("won", "n"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (499, 500)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_of_successes_is_wilson_s(won, n, level):
    low, high = interval([1.0] * won + [0.0] * (n - won), level)
    wanted = binomtest(won, n).proportion_ci(level, method="wilson")
    assert (low, high) == pytest.approx((wanted.low, wanted.high))
    assert 0 <= low < high <= 1


def test_wilson_s_formula_by_hand():
    # p = 8/10, z = 1.959964: centre (p + z²/2n) / (1 + z²/n), half-width by the book
    assert interval([1] * 8 + [0] * 2) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_the_interval_of_other_scores_lies_around_the_mean_and_is_the_same_each_time():
    scores = np.random.default_rng(1).normal(0.5, 0.1, 200)
    low, high = interval(scores)
    assert low < scores.mean() < high
    # the normal approximation, which is good at 200
    half = 1.96 * scores.std() / np.sqrt(200)
    assert (low, high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=0.003)
    assert interval(scores) == (low, high)
    narrow = interval(scores, 0.5)
    assert low < narrow[0] < narrow[1] < high


def test_the_interval_of_nothing_and_of_one():
    assert all(isnan(end) for end in interval([]))
    assert interval([0.3]) == (0.3, 0.3)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_share(level):
    with pytest.raises(ConfigError, match=f"level={level}"):
        interval([1.0], level)


def test_mcnemar_by_hand():
    # 6 pairs differ: 5 won, 1 lost. Two-sided: 2 · (C(6,0) + C(6,1)) / 2⁶
    before = [0] * 5 + [1] + [1] * 4
    after = [1] * 5 + [0] + [1] * 4
    made = paired_test(before, after)
    assert made.p_value == pytest.approx(2 * (comb(6, 0) + comb(6, 1)) / 2**6)
    assert (made.difference, made.n, made.method) == (pytest.approx(0.4), 10, "McNemar, exact")


def test_a_small_permutation_test_is_exact():
    before, after = np.array([0.1, 0.2, 0.3, 0.5, 0.4]), np.array([0.4, 0.3, 0.9, 0.45, 0.6])
    gain = after - before
    flipped = [abs(np.dot(signs, gain)) for signs in product((-1, 1), repeat=5)]
    exact = np.mean([value >= abs(gain.sum()) - 1e-12 for value in flipped])
    made = paired_test(before, after)
    assert made.p_value == pytest.approx(exact)
    assert made.difference == pytest.approx(gain.mean())
    assert made.method == "sign-flip permutation"


def test_a_large_permutation_test_agrees_with_the_t_test_and_repeats_itself():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(0)
    before = rng.random(60)
    after = before + rng.normal(0.02, 0.1, 60)
    made = paired_test(before, after)
    assert made.p_value == pytest.approx(ttest_rel(after, before).pvalue, abs=0.02)
    assert paired_test(before, after) == made


def test_the_order_of_the_two_turns_the_difference_only():
    one, other = [0, 0, 1, 0], [1, 1, 1, 0]
    assert paired_test(one, other).difference == -paired_test(other, one).difference
    assert paired_test(one, other).p_value == paired_test(other, one).p_value


def test_equal_scores_are_no_difference():
    made = paired_test([0.5, 1.0], [0.5, 1.0])
    assert (made.difference, made.p_value, made.n) == (0.0, 1.0, 2)


@pytest.mark.parametrize(("before", "after"), [([], []), ([1], [1, 0]), ([[1, 0]], [1, 0])])
def test_what_is_no_pairs_is_refused(before, after):
    with pytest.raises(ConfigError, match="pairs are wanted"):
        paired_test(before, after)


@pytest.mark.statistical
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_wilson_s_interval_covers_the_truth_as_often_as_it_says(share):
    # 2,000 intervals of 50 coin tosses. Exact coverage at p = 0.5 is 0.9351, at 0.9 it is 0.9703
    # (sums of binomial masses); ± 4 standard errors of 0.0055: a false alarm in 16,000
    exact = {0.5: 0.9351, 0.9: 0.9703}[share]
    tosses = np.random.default_rng(7).random((2000, 50)) < share
    held = np.mean([low <= share <= high for low, high in map(interval, tosses)])
    assert held == pytest.approx(exact, abs=0.022)


@pytest.mark.statistical
def test_the_bootstrap_interval_covers_the_truth_nearly_as_often_as_it_says():
    # null: coverage 0.94 (percentile bootstrap at n = 60 is a little narrow); 600 runs, standard
    # error 0.0097: below 0.90 by chance once in 30,000
    samples = np.random.default_rng(3).beta(2, 3, (600, 60))
    held = np.mean([low <= 0.4 <= high for low, high in map(interval, samples)])
    assert 0.90 <= held <= 0.98


@pytest.mark.statistical
def test_under_the_null_the_permutation_test_rejects_at_its_level():
    # 400 pairs of equal distribution, level 0.05: expected 20, sd 4.4; above 38 once in 20,000
    rng = np.random.default_rng(5)
    rejected = sum(
        paired_test(a, b).p_value < 0.05 for a, b in (rng.random((2, 12)) for _ in range(400))
    )
    assert 4 <= rejected <= 38
