import numpy as np
import pytest
from scipy.stats import binomtest

from mipro.tpe.split import (
    Pool,
    Posterior,
    above,
    example_variance,
    expected_improvement,
    hard_membership,
    linear_gamma,
    shrink,
    sqrt_gamma,
    threshold,
)


def pool(means, ns):
    return Pool.of([(i,) for i in range(len(means))], means, ns)


def test_pooling_weights_by_n():
    p = Pool.of([(0, 1), (2, 2), (0, 1)], [0.5, 1.0, 0.8], [10, 4, 20])
    assert p.codes.tolist() == [[0, 1], [2, 2]]
    np.testing.assert_allclose(p.mean, [0.7, 1.0])
    np.testing.assert_array_equal(p.n, [30, 4])


def test_two_trials_of_n_equal_one_of_two_n():
    keys = [(0,), (1,), (2,)]
    once = Pool.of(keys, [0.6, 0.5, 0.2], [40, 20, 20])
    twice = Pool.of([keys[0], *keys], [0.5, 0.7, 0.5, 0.2], [20, 20, 20, 20])
    np.testing.assert_allclose(shrink(twice).mean, shrink(once).mean)
    np.testing.assert_allclose(shrink(twice).sd, shrink(once).sd)


def test_few_examples_are_shrunk_more():
    means = [0.3, 0.4, 0.5, 0.6, 0.9, 0.9]
    posterior = shrink(pool(means, [30, 30, 30, 30, 10, 500]))
    assert posterior.mean[4] < posterior.mean[5] < 0.9
    assert posterior.sd[4] > posterior.sd[5]


def test_share_of_successes_is_bernoulli_and_anything_else_is_not():
    assert example_variance(pool([0.2, 0.4, 0.6], [10, 10, 10])) == pytest.approx(0.24, abs=0.01)
    # F1 scores, or negative ones: half of what is seen
    assert example_variance(pool([-1.0, -2.0], [4, 4])) == pytest.approx(0.5 * 0.25 * 4)


def test_shrinking_an_arbitrary_score_does_not_depend_on_its_scale():
    means, ns = np.array([0.123, 0.456, 0.789, 0.3]), [10, 20, 30, 5]
    here = shrink(pool(means, ns))
    there = shrink(pool(1000 * means - 7777, ns))
    np.testing.assert_allclose(there.mean, 1000 * here.mean - 7777)
    np.testing.assert_allclose(there.sd, 1000 * here.sd)


@pytest.mark.parametrize("means", [[0.5, 0.5, 0.5], [0.0, 0.0], [1.0], [-3.0, -3.0]])
def test_equal_scores_stay_equal(means):
    posterior = shrink(pool(means, [10] * len(means)))
    assert np.all(np.isfinite(posterior.mean))
    assert np.ptp(posterior.mean) < 1e-12
    assert np.ptp(above(posterior, threshold(posterior.mean, 1))) < 1e-9


def test_gamma_rules():
    assert [linear_gamma(n) for n in (1, 10, 11, 100, 250, 1000)] == [1, 1, 2, 10, 25, 25]
    assert [sqrt_gamma(n) for n in (1, 16, 100, 10_000, 20_000)] == [1, 1, 3, 25, 25]


def test_hard_membership_takes_the_highest_and_of_equals_the_earlier():
    assert hard_membership(np.array([1.0, 3.0, 2.0, 3.0]), 2).tolist() == [0, 1, 0, 1]
    assert hard_membership(np.array([1.0, 1.0, 1.0]), 1).tolist() == [1, 0, 0]


def test_soft_membership_rises_with_the_mean_and_tends_to_the_hard_one():
    mean = np.array([0.1, 0.5, 0.3, 0.9, 0.7])
    for sd in (1e-6, 0.05, 0.5):
        good = above(Posterior(mean, np.full(5, sd), 1.0, 1.0), 0.6)
        assert np.all(np.diff(good[np.argsort(mean)]) >= 0)
        if sd == 1e-6:
            np.testing.assert_allclose(good, hard_membership(mean, 2), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 7, 60])
def test_a_threshold_is_the_lowest_of_the_highest(count):
    values = np.random.default_rng(count).permutation(60).astype(float)
    assert threshold(values, count) == 60 - count


def test_soft_membership_is_the_share_of_posterior_draws_above():
    """Null: the shares of 40,000 draws are P(θ > y*); five tests at 1e-4 each."""
    rng = np.random.default_rng(0)
    posterior = Posterior(rng.random(5), rng.uniform(0.05, 0.3, 5), 0.2, 0.02)
    draws = posterior.mean + posterior.sd * rng.normal(size=(40_000, 5))
    hits = (draws > 0.5).sum(axis=0)
    good = above(posterior, 0.5)
    for hit, p in zip(hits.tolist(), good.tolist(), strict=True):
        assert binomtest(hit, 40_000, p).pvalue > 1e-4


def test_improvement_is_the_mean_excess_of_posterior_draws():
    rng = np.random.default_rng(1)
    posterior = Posterior(rng.random(5), rng.uniform(0.05, 0.3, 5), 0.2, 0.02)
    draws = posterior.mean + posterior.sd * rng.normal(size=(200_000, 5))
    excess = np.maximum(draws - 0.6, 0).mean(axis=0)
    np.testing.assert_allclose(
        expected_improvement(posterior, 0.6), excess / excess.max(), atol=0.02
    )
