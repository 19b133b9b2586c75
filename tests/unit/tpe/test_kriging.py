"""What is recommended: posterior means under a Gaussian process on the choices shared."""

from __future__ import annotations

from fractions import Fraction
from math import exp

import numpy as np
import pytest

from mipro.tpe import TPE, Choice, Space
from mipro.tpe.kriging import kriged
from mipro.tpe.split import Pool, shrink

# a parent of two values, of which the second has two children
TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(2, when=("b", 1))})


def told(seed, count=12):
    """Shares of successes, at configurations drawn at random."""
    rng = np.random.default_rng(seed)
    keys = list(dict.fromkeys(tuple(row) for row in TREE.sample_codes(rng, count).tolist()))
    ns = rng.integers(5, 60, size=len(keys)).tolist()
    scores = [rng.binomial(m, 0.3 + 0.2 * k[0]) / m for k, m in zip(keys, ns, strict=True)]
    return Pool.of(keys, scores, ns)


def likeness(codes):
    """k of every pair, one pair at a time."""
    vary = sum(len(set(column)) > 1 for column in zip(*codes, strict=True))
    return np.array(
        [
            [
                1.0
                if u == v
                else 0.99 * exp(-sum(x != y for x, y in zip(u, v, strict=True)) / vary)
                for v in codes
            ]
            for u in codes
        ]
    )


def by_hand(pool):
    """θ by dense inverses."""
    base, count = shrink(pool), len(pool.n)
    k = likeness(pool.codes.tolist())
    unlike = np.mean([1 - k[u, v] for u in range(count) for v in range(count) if u != v])
    prior, one = base.spread / unlike * k, np.ones(count)
    inverse = np.linalg.inv(prior + np.diag(base.noise / pool.n))
    mu = one @ inverse @ pool.mean / (one @ inverse @ one)
    return mu + prior @ inverse @ (pool.mean - mu)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_posterior_by_dense_algebra(seed):
    pool = told(seed)
    np.testing.assert_allclose(kriged(pool), by_hand(pool), rtol=1e-9)


def test_three_configurations_in_rational_numbers():
    """The mean in fractions: Gauss's elimination on C x = [y, 1], no floating point."""
    pool = Pool.of([(0, 0), (0, 1), (2, 1)], [0.25, 0.5, 0.75], [4, 8, 4])
    base = shrink(pool)
    # each differs from the next in one of two variables, and the ends in both
    root = Fraction(exp(-1 / 2))
    near, far = Fraction(99, 100) * root, Fraction(99, 100) * root**2
    k = [[1, near, far], [near, 1, near], [far, near, 1]]
    scale = Fraction(base.spread) / (1 - (4 * near + 2 * far) / 6)
    noise = [Fraction(base.noise) / n for n in (4, 8, 4)]
    y = [Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)]
    rows = [
        [scale * k[u][v] + (noise[u] if u == v else 0) for v in range(3)] + [y[u], Fraction(1)]
        for u in range(3)
    ]
    for p in range(3):
        rows[p] = [x / rows[p][p] for x in rows[p]]
        for q in range(3):
            if q != p:
                rows[q] = [x - rows[q][p] * z for x, z in zip(rows[q], rows[p], strict=True)]
    mu = sum(row[3] for row in rows) / sum(row[4] for row in rows)
    expected = [y[u] - noise[u] * (rows[u][3] - mu * rows[u][4]) for u in range(3)]
    np.testing.assert_allclose(kriged(pool), [float(x) for x in expected], rtol=1e-9)


def test_of_one_variable_it_is_shrinking_to_the_mean_of_configurations():
    """All are as unlike as any: nobody has nearer neighbours."""
    pool = Pool.of([(a, 7) for a in range(5)], [0.2, 0.4, 0.9, 0.6, 0.5], [10, 20, 20, 40, 10])
    base = shrink(pool)
    weight = 1 / (base.spread + base.noise / pool.n)
    mu = weight @ pool.mean / weight.sum()
    s = base.noise / base.spread
    expected = (pool.n * pool.mean + s * mu) / (pool.n + s)
    np.testing.assert_allclose(kriged(pool), expected, rtol=1e-9)


def test_a_variable_of_one_value_changes_nothing():
    pool = told(0)
    keys = [(*key, 5, -1) for key in pool.codes.tolist()]
    wider = Pool.of(keys, pool.mean, pool.n)
    np.testing.assert_allclose(kriged(wider), kriged(pool), rtol=1e-12)


def test_what_neighbours_score_counts_and_more_the_nearer_they_are():
    """The same 20 of 40 beside good ones, and beside bad ones."""
    space = Space({"a": 2, "b": 6})
    keys = [space.key(config) for config in space.enumerate()]
    scores = [0.5 if b == 0 else 0.8 if a else 0.2 for a, b in keys]
    means = dict(zip(keys, kriged(Pool.of(keys, scores, [40] * 12)), strict=True))
    assert means[0, 0] < 0.48 < 0.52 < means[1, 0]


def test_inactive_variables_are_alike_where_both_are_and_differ_where_one_is():
    """Of a parent's other value two lack the same children; a child's absence is one difference."""
    keys = [(0, 0, -1, -1), (1, 0, -1, -1), (0, 1, 2, 0), (0, 1, 2, 1)]
    pool = Pool.of(keys, [0.2, 0.3, 0.9, 0.6], [20, 30, 10, 20])
    differ = np.array([[0, 1, 3, 3], [1, 0, 4, 4], [3, 4, 0, 1], [3, 4, 1, 0]])
    base = shrink(pool)
    k = np.where(differ == 0, 1.0, 0.99 * np.exp(-differ / 4))
    prior = base.spread / (1 - (k.sum() - 4) / 12) * k
    inverse = np.linalg.inv(prior + np.diag(base.noise / pool.n))
    mu = inverse.sum(axis=0) @ pool.mean / inverse.sum()
    expected = mu + prior @ inverse @ (pool.mean - mu)
    np.testing.assert_allclose(kriged(pool), expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_names_of_choices_and_the_order_of_telling_do_not_count(seed):
    pool, rng = told(seed), np.random.default_rng(seed)
    order = rng.permutation(len(pool.n))
    names = [rng.permutation(size) for size in TREE.sizes]
    codes = pool.codes[:, ::-1].copy()  # variables the other way round as well
    for d, name in enumerate(names[::-1]):
        codes[:, d] = np.where(codes[:, d] < 0, -1, name[codes[:, d]])
    other = Pool.of(list(map(tuple, codes[order].tolist())), pool.mean[order], pool.n[order])
    np.testing.assert_allclose(kriged(other), kriged(pool)[order], rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_unit_and_the_origin_of_a_score_do_not_count(seed):
    rng = np.random.default_rng(seed)
    keys = list(dict.fromkeys(tuple(row) for row in TREE.sample_codes(rng, 12).tolist()))
    scores, ns = rng.normal(size=len(keys)), rng.integers(5, 60, size=len(keys)).tolist()
    here = kriged(Pool.of([*keys, keys[0]], [*scores, 0.3], [*ns, 20]))
    there = kriged(Pool.of([*keys, keys[0]], [*(1e4 * scores - 77), 2923.0], [*ns, 20]))
    np.testing.assert_allclose(there, 1e4 * here - 77, rtol=1e-7)


def test_two_trials_of_n_are_one_of_two_n():
    keys = [(0, 0), (0, 1), (1, 1), (2, 0)]
    once = Pool.of(keys, [0.6, 0.5, 0.2, 0.75], [40, 20, 20, 20])
    twice = Pool.of([keys[0], *keys], [0.5, 0.7, 0.5, 0.2, 0.75], [20, 20, 20, 20, 20])
    np.testing.assert_allclose(kriged(twice), kriged(once))


def test_exact_scores_are_believed():
    """Told twice the same, nothing is noise: neighbours say nothing new."""
    keys = [(0, 0), (0, 1), (1, 1), (0, 0)]
    pool = Pool.of(keys, [0.123, 0.987, 0.5, 0.123], [1] * 4)
    np.testing.assert_array_equal(kriged(pool), pool.mean)


@pytest.mark.parametrize("n", [10**6, 10**9])
def test_with_many_examples_the_scores_are_returned(n):
    """300 neighbours, all of a space of 2⁹ but for some: k is as ill-conditioned as it gets."""
    space = Space({f"v{d}": 2 for d in range(9)})
    keys = [space.key(config) for config in space.enumerate()][:300]
    scores = np.random.default_rng(0).integers(0, n, size=300) / n
    np.testing.assert_allclose(kriged(Pool.of(keys, scores, [n] * 300)), scores, atol=3e-4)
    assert np.all(np.isfinite(kriged(Pool.of(keys, scores, [10**15] * 300))))


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0, -3.0])
def test_equal_scores_stay_equal_and_one_alone_is_itself(value):
    pool = Pool.of([(i, i % 2) for i in range(4)], [value] * 4, [10, 20, 30, 5])
    np.testing.assert_array_equal(kriged(pool), value)
    assert kriged(Pool.of([(1, 0)], [value], [10])).tolist() == [value]


def test_of_two_alike_the_one_with_more_examples_is_preferred():
    """Above all others, in mirrored places: the larger n is drawn down less. Below, less up."""
    keys = [(a, b) for a in range(4) for b in range(4) if (a, b) not in {(0, 0), (3, 3)}]
    ns = [30] * len(keys)
    scores = [0.4 + 0.1 * (a == b) for a, b in keys]
    for score, up in ((0.8, True), (0.1, False)):
        apart = 1.0
        for n in (30, 60, 120, 480, 10**6):
            pool = Pool.of([*keys, (0, 0), (3, 3)], [*scores, score, score], [*ns, 30, n])
            few, many = kriged(pool)[-2:].tolist()
            assert (few < many < score if up else score < many < few) or n == 30
            assert abs(many - score) < apart
            apart = abs(many - score)
        assert many == pytest.approx(score, abs=1e-3)


def test_of_a_long_history_only_the_best_lend_to_one_another():
    """The others keep `shrink`'s means, and noise and spread are those of all."""
    space = Space({"a": 5, "b": 6})
    keys = [space.key(config) for config in space.enumerate()]
    rng = np.random.default_rng(0)
    pool = Pool.of([*keys, keys[3]], [*(a + 0.1 * rng.normal() for a, _ in keys), 2.0], [20] * 31)
    alone = shrink(pool)
    means = kriged(pool, most=12)
    best = np.sort(np.argsort(-alone.mean, kind="stable")[:12])
    rest = np.setdiff1d(np.arange(30), best)
    np.testing.assert_array_equal(means[rest], alone.mean[rest])
    k = likeness(pool.codes[best].tolist())
    prior = alone.spread / (1 - (k.sum() - 12) / 132) * k
    inverse = np.linalg.inv(prior + np.diag(alone.noise / pool.n[best]))
    mu = inverse.sum(axis=0) @ pool.mean[best] / inverse.sum()
    np.testing.assert_allclose(means[best], mu + prior @ inverse @ (pool.mean[best] - mu))
    np.testing.assert_array_equal(kriged(pool, most=30), kriged(pool))


def test_it_is_nearer_the_truth_than_shrinking_where_neighbours_are_alike():
    """Drawn from the prior itself, 60 instances: mean square error, 3 standard errors below."""
    space = Space({"a": 4, "b": 4, "c": 4})
    codes = np.array([space.key(config) for config in space.enumerate()])
    root = np.linalg.cholesky(0.04 * likeness(codes.tolist()))
    gains = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = rng.choice(64, size=30, replace=False)
        true = np.clip(0.5 + root @ rng.normal(size=64), 0.02, 0.98)[rows]
        keys = list(map(tuple, codes[rows].tolist()))
        pool = Pool.of(keys, rng.binomial(25, true) / 25, [25] * 30)
        gains.append(((shrink(pool).mean - true) ** 2 - (kriged(pool) - true) ** 2).mean())
    assert np.mean(gains) > 3 * np.std(gains) / np.sqrt(len(gains))


def test_the_default_recommends_by_it_and_classic_does_not():
    pool = told(3)
    for sampler, means in ((TPE(TREE), kriged(pool)), (TPE.classic(TREE), shrink(pool).mean)):
        for key, score, n in zip(pool.codes, pool.mean, pool.n, strict=True):
            sampler.tell(TREE.decode(key), float(score), int(n))
        ranking = sampler.ranking()
        assert [best.mean for best in ranking] == pytest.approx(sorted(means, reverse=True))
        assert TREE.key(sampler.best().config) == tuple(pool.codes[means.argmax()])
