import numpy as np
import pytest

from mipro.tpe.split import (
    Pool,
    Posterior,
    above,
    example_variance,
    hard_membership,
    linear_gamma,
    quantile,
    shrink,
    soft_membership,
    sqrt_gamma,
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
    assert np.ptp(soft_membership(posterior, 0.2)) < 1e-9


def test_gamma_rules():
    assert [linear_gamma()(n) for n in (1, 10, 11, 100, 250, 1000)] == [1, 1, 2, 10, 25, 25]
    assert [sqrt_gamma()(n) for n in (1, 16, 100, 10_000, 20_000)] == [1, 1, 3, 25, 25]


def test_hard_membership_takes_the_highest_and_of_equals_the_earlier():
    assert hard_membership(np.array([1.0, 3.0, 2.0, 3.0]), 2).tolist() == [0, 1, 0, 1]
    assert hard_membership(np.array([1.0, 1.0, 1.0]), 1).tolist() == [1, 0, 0]


def test_soft_membership_sums_to_the_share_and_tends_to_the_hard_one():
    mean = np.array([0.1, 0.5, 0.3, 0.9, 0.7])
    for sd in (1e-6, 0.05, 0.5):
        posterior = Posterior(mean, np.full(5, sd), 1.0, 1.0)
        good = soft_membership(posterior, 0.4)
        assert good.sum() == pytest.approx(2, abs=1e-6)
        assert np.all(np.diff(good[np.argsort(mean)]) >= 0)
        if sd == 1e-6:
            np.testing.assert_allclose(good, hard_membership(mean, 2), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 7, 60, 200])
@pytest.mark.parametrize("sure", [False, True])
def test_a_quantile_is_that_of_a_root_finder(count, sure):
    from scipy.optimize import brentq
    from scipy.stats import norm

    rng = np.random.default_rng([count, sure])
    mean, sd = rng.random(count), rng.uniform(1e-6 if sure else 0.02, 0.2, count)
    posterior = Posterior(mean, sd, 0.2, 0.02)
    for share in (0.15, 0.05):

        def excess(level, share=share):
            return norm.cdf((mean - level) / sd).sum() - share * count

        level = brentq(excess, -5, 6, xtol=1e-14, rtol=1e-14)
        found = quantile(posterior, share)
        assert found == pytest.approx(level, abs=1e-5 * sd.min())
        good = above(posterior, found)
        np.testing.assert_allclose(good, norm.cdf((mean - level) / sd), atol=1e-5)
        assert good.sum() == pytest.approx(share * count, rel=1e-6)
        np.testing.assert_array_equal(good, soft_membership(posterior, share))
