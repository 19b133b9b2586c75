"""From told scores to memberships: pooling as it grows, noise from repeats, how good is good."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mipro.tpe.split import (
    Pool,
    Posterior,
    above,
    example_variance,
    expected_improvement,
    hard_membership,
    shrink,
    threshold,
)


def some_told(seed, count, distinct=30):
    rng = np.random.default_rng(seed)
    keys = [tuple(row) for row in rng.integers(0, distinct, size=(count, 1)).tolist()]
    return keys, rng.normal(size=count).tolist(), rng.integers(1, 40, size=count).tolist()


@pytest.mark.parametrize("count", [1, 15, 16, 17, 33, 400])
def test_a_pool_equals_pooling_by_hand(count):
    """Beyond 16 rows the arrays are made larger; the order is that of the first telling."""
    keys, scores, ns = some_told(count, count, distinct=max(2, count))
    pool, order = Pool(1), list(dict.fromkeys(keys))
    for row in zip(keys, scores, ns, strict=True):
        pool.add(*row)
    assert list(pool.rows) == order
    assert pool.examples == sum(ns)
    assert pool.grand_mean == pytest.approx(np.dot(scores, ns) / sum(ns))
    assert [tuple(row) for row in pool.codes.tolist()] == order
    for u, key in enumerate(order):
        mine = [i for i, other in enumerate(keys) if other == key]
        n = sum(ns[i] for i in mine)
        assert pool.n[u] == n
        assert pool.mean[u] == pytest.approx(sum(scores[i] * ns[i] for i in mine) / n)


def test_repeats_are_the_sum_of_squares_within_configurations():
    """Told one by one, yet Σ_u Σ_i n_i (y_i - y_u)², and one degree of freedom a repeat."""
    keys, scores, ns = some_told(0, 200)
    pool = Pool.of(keys, scores, ns)
    within = 0.0
    for key in set(keys):
        y = np.array([s for s, k in zip(scores, keys, strict=True) if k == key])
        n = np.array([n for n, k in zip(ns, keys, strict=True) if k == key])
        within += float(n @ (y - n @ y / n.sum()) ** 2)
    squares, count = pool.repeats
    assert squares == pytest.approx(within)
    assert count == len(keys) - len(set(keys))


def test_what_is_believed_is_not_changed_by_what_is_told_later():
    pool = Pool.of([(0, 1), (0, 0)], [0.5, 0.21], [10, 7])
    before = shrink(pool)
    mean, sd = before.mean.tolist(), before.sd.tolist()
    pool.add((0, 1), 1.0, 30)
    pool.add((1, 1), 0.25, 8)
    assert (before.mean.tolist(), before.sd.tolist()) == (mean, sd)
    assert pool.mean.tolist() == [0.875, 0.21, 0.25]


def test_noise_is_estimated_from_repeats():
    """σ² = 4, 200 runs of 40 repeats: squares / count is unbiased, by 4 standard errors.

    The estimate lies between that and the guess, and leans on the guess by 0.1 in 40.1.
    """
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        keys = [(u,) for u in range(40)] * 2
        ns = rng.integers(5, 60, size=80)
        true = np.tile(rng.normal(0, 3, size=40), 2)
        scores = true + rng.normal(0, 2 / np.sqrt(ns))
        pool = Pool.of(keys, scores.tolist(), ns.tolist())
        squares, count = pool.repeats
        assert count == 40
        found.append(squares / count)
        guess = 0.5 * pool.mean.var() / (1 / pool.n).mean()
        assert example_variance(pool) == pytest.approx((squares + 0.1 * guess) / 40.1)
    assert abs(np.mean(found) - 4) < 4 * np.std(found) / np.sqrt(len(found))


def test_one_repeat_outweighs_the_guess_and_an_identical_one_says_no_noise():
    keys, scores = [(0,), (1,), (2,)], [-1.0, 0.5, 2.3]
    guess = example_variance(Pool.of(keys, scores, [10, 10, 10]))
    assert guess == pytest.approx(0.5 * np.var(scores) * 10)
    again = Pool.of([*keys, (1,)], [*scores, 0.5], [10] * 4)
    assert example_variance(again) == 0.0
    np.testing.assert_array_equal(shrink(again).mean, again.mean)
    np.testing.assert_array_equal(shrink(again).sd, 0)
    near = Pool.of([*keys, (1,)], [*scores, 0.6], [10] * 4)  # squares: 0.1² · 10 · 10 / 20
    prior = 0.5 * near.mean.var() / (1 / near.n).mean()
    assert example_variance(near) == pytest.approx((0.05 + 0.1 * prior) / 1.1)


def test_scores_that_could_be_counts_of_successes_need_no_repeats():
    assert example_variance(Pool.of([(0,), (0,)], [0.2, 0.9], [10, 10])) == pytest.approx(
        (11.5 / 21) * (9.5 / 21)
    )
    # the share of successes would not be a whole number, or is beyond 1: not a Bernoulli's
    for scores in ([0.25, 0.75], [0.5, 1.5], [-0.5, 0.5]):
        pool = Pool.of(
            [(0,), (1,)], scores, [2, 2] if max(scores) > 1 or min(scores) < 0 else [3, 3]
        )
        assert example_variance(pool) == pytest.approx(0.5 * np.var(scores) * pool.n[0])


def test_shrinking_is_the_normal_posterior():
    """Bayes' rule spelt out, with the σ² and τ² that were estimated."""
    pool = Pool.of([(i,) for i in range(4)], [0.3, 0.5, 0.6, 0.9], [10, 20, 10, 40])
    mu = (0.3 * 10 + 0.5 * 20 + 0.6 * 10 + 0.9 * 40) / 80
    post = shrink(pool)
    s2 = (55.5 / 81) * (25.5 / 81)
    assert post.noise == pytest.approx(s2)
    seen = np.mean((pool.mean - mu) ** 2) - np.mean(s2 / pool.n)
    assert post.spread == pytest.approx((4 * seen + 5 * s2 / 12) / 9)
    precision = pool.n / post.noise + 1 / post.spread
    np.testing.assert_allclose(post.sd, precision**-0.5)
    np.testing.assert_allclose(
        post.mean, (pool.mean * pool.n / post.noise + mu / post.spread) / precision
    )


# --- memberships -----------------------------------------------------------------------------


def some_posterior(seed, count=25, scale=1.0):
    rng = np.random.default_rng(seed)
    mean = scale * rng.normal(size=count)
    return Posterior(mean, scale * rng.uniform(0.05, 1.5, size=count), 1.0, 1.0)


def level(posterior, total):
    """y* by plain bisection: Σ P(θ_u > y*) = total."""
    low, high = -100.0, 100.0
    for _ in range(200):
        middle = (low + high) / 2
        above = stats.norm.sf(middle, posterior.mean, posterior.sd).sum()
        low, high = (middle, high) if above > total else (low, middle)
    return low


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [1, 4, 20])
def test_memberships_are_the_probabilities_over_one_level(seed, count):
    posterior = some_posterior(seed)
    at = threshold(posterior.mean, count)
    assert at == np.sort(posterior.mean)[-count]
    expected = stats.norm.sf(at, posterior.mean, posterior.sd)
    np.testing.assert_allclose(above(posterior, at), expected, atol=1e-9)


def test_memberships_of_what_is_sure_and_of_what_is_not_side_by_side():
    """One configuration known exactly and others not at all."""
    mean = np.array([0.5, 0.2, 0.9, 0.4])
    posterior = Posterior(mean, np.array([0.0, 1e-12, 0.3, 1e-5]), 1.0, 1.0)
    good = above(posterior, 0.45)
    np.testing.assert_allclose(good, [1, 0, stats.norm.cdf(0.45 / 0.3), 0], atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_sure_scores_have_hard_memberships(scale):
    mean = scale * np.array([3.0, -1.0, 2.0, 7.0, 0.0])
    posterior = Posterior(mean, np.zeros(5), 0.0, 0.0)
    np.testing.assert_allclose(above(posterior, 2.5 * scale), hard_membership(mean, 2), atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_expected_improvement_equals_monte_carlo(seed):
    """E[max(θ - y*, 0)] over its largest, by 400,000 draws a configuration: 5 standard errors."""
    posterior = some_posterior(seed, count=6)
    y = level(posterior, 1.5)
    found = expected_improvement(posterior, y)
    assert found.min() >= 0
    assert found.max() == 1
    z = np.random.default_rng(seed).normal(size=(400_000, 1))
    gain = np.maximum(posterior.mean + posterior.sd * z - y, 0)
    drawn, error = gain.mean(axis=0), gain.std(axis=0) / np.sqrt(len(z))
    largest = drawn.max()
    np.testing.assert_array_less(np.abs(found - drawn / largest), 10 * error / largest + 1e-5)


def test_expected_improvement_has_no_unit_and_no_origin():
    here = some_posterior(3)
    there = Posterior(1e4 * here.mean - 77, 1e4 * here.sd, 1e8, 1e8)
    levels = [threshold(posterior.mean, 3) for posterior in (there, here)]
    assert levels[0] == pytest.approx(1e4 * levels[1] - 77, rel=1e-6)
    np.testing.assert_allclose(
        expected_improvement(there, levels[0]),
        expected_improvement(here, levels[1]),
        rtol=1e-5,
        atol=1e-9,
    )
    np.testing.assert_allclose(above(there, levels[0]), above(here, levels[1]), atol=1e-6)


def test_expected_improvement_says_by_how_much():
    """Of two that are surely good the higher counts more, for membership alike."""
    mean = np.array([10.0, 5.0, 0.0, 0.0, 0.0])
    posterior = Posterior(mean, np.full(5, 0.1), 1.0, 1.0)
    share, gain = above(posterior, 2.5), expected_improvement(posterior, 2.5)
    assert share[0] - share[1] < 1e-6
    assert gain[0] == 1 > gain[1] > gain[2:].max()


def test_a_pool_of_nothing_is_empty():
    pool = Pool.of([], [], [])
    assert (len(pool.rows), pool.examples, pool.mean.tolist()) == (0, 0, [])
