"""What each choice is worth alone: against dense matrices, at every moment of a history."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from mipro.tpe import TPE, Choice, Settings, Space
from mipro.tpe.history import History
from mipro.tpe.regression import GUESSED, KEPT, MOST, SLOPE, Odds, Regression
from mipro.tpe.split import Pool, example_variance

FLAT = Space({"a": 4, "b": 3, "c": 6, "d": 2})
TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(5, when=("c", {0, 3}))})
LARGE = Space({f"v{d}": 5 for d in range(6)})
LEARNED = [2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 27, 33, 41, 51, 63, 78, 97, 121, 151, 188, 235]
LEARNED += [293, 366]  # a quarter more each time; the first beyond MOST is the last


def told(space, rows):
    """A history of (codes, score, n) or (codes, score, n, codes asked)."""
    history = History(space)
    for codes, score, n, *asked in rows:
        history.tell(space.decode(codes), score, n, space.decode(asked[0]) if asked else None)
    return history


def regressed(space, rows):
    regression = Regression(space)
    regression.follow(told(space, rows))
    return regression


def successes(rng, p, n):
    return float(rng.binomial(n, p)) / n


def some_rows(space, count, seed, *, repeats=0.3, asked=0.3, score=None):
    """Told at random: new ones and repeats, some of them as what came of another, often late."""
    rng, keys, rows = np.random.default_rng(seed), [], []
    draw = score or (lambda key, n: successes(rng, 0.2 + 0.15 * key[0] + 0.1 * (key[1] == 1), n))
    while len(rows) < count:
        if keys and rng.random() < repeats:
            key = keys[rng.integers(len(keys))]
        else:
            key = tuple(space.sample_codes(rng, 1)[0].tolist())
        keys.append(key)
        n = int(rng.integers(1, 40))
        row = (key, draw(key, n), n)
        if rng.random() < asked:
            row = (*row, tuple(space.sample_codes(rng, 1)[0].tolist()))
        rows.append(row)
    return rows


# --- an independent regression -----------------------------------------------------------------


def conditioned(prior, design, noise, seen):
    """Mean and covariance of z ~ N(0, prior) given design · z + N(0, noise) = seen."""
    across = prior @ design.T
    gain = np.linalg.solve(design @ across + np.diag(noise), across.T).T
    return gain @ seen, prior - gain @ across.T


def hot_of(history, keys, until):
    """H: a row for each configuration, 1 where it speaks for a choice, and for a."""
    space = history.space
    hot = np.zeros((len(keys), sum(space.sizes) + 1))
    hot[:, -1] = 1
    for key, other in zip(history.keys[:until], history.others[:until], strict=True):
        for codes in (key, other):
            for d, code in enumerate(codes):
                if code >= 0:
                    hot[keys.index(key), sum(space.sizes[:d]) + code] = 1
    return hot


def reference(history, learned_at):
    """c, v, m and P from the whole history, its c, σ², w and v from the first so many of it."""
    space, every = history.space, list(dict.fromkeys(history.keys))
    until = history.keys.index(every[learned_at - 1]) + 1
    told_then = history.keys[:until], history.scores[:until], history.ns[:until]
    pool, last = Pool.of(*told_then), slice(max(0, learned_at - MOST), None)
    y, spread = pool.mean[last], np.var(pool.mean[last])
    sigma2, least = example_variance(pool), 1e-8 * spread
    noise = np.maximum(sigma2 / pool.n[last], least)
    centre = np.average(y, weights=1 / (noise + spread))
    # one step of EM, on the effects, a and each e as one long vector with a diagonal prior
    true = max(spread - noise.mean(), spread / 4)
    sizes, count = np.array(space.sizes), len(y)
    w, v = np.full(len(sizes), true / 2 / len(sizes)), true / 2
    latent = np.diag(np.concatenate([np.repeat(w, sizes), [4 * true], np.full(count, v)]))
    hot = hot_of(history, every[:learned_at], until)[last]
    mean, covariance = conditioned(latent, np.hstack([hot, np.eye(count)]), noise, y - centre)
    square = mean**2 + np.diag(covariance)
    ends = np.cumsum(sizes)
    w = np.array(
        [
            (square[end - size : end].sum() + GUESSED * w_d) / (size + GUESSED)
            for end, size, w_d in zip(ends, sizes, w, strict=True)
        ]
    )
    v = (square[ends[-1] + 1 :].sum() + GUESSED * v) / (count + GUESSED)
    # the posterior of the effects and a, from all that was told by now
    pool = Pool.of(history.keys, history.scores, history.ns)
    prior = np.diag(np.append(np.repeat(w, sizes), 4 * true))
    r = v + np.maximum(sigma2 / pool.n, least)
    hot = hot_of(history, every, len(history.keys))
    return (centre, v, *conditioned(prior, hot, r, pool.mean - centre))


def assert_as_reference(regression, history, learned_at, precision=1e-8):
    centre, v, mean, covariance = reference(history, learned_at)
    ones = range(len(mean))
    found = np.array([regression._along(np.array([one])) for one in ones])
    width = covariance.diagonal().max()
    assert regression._centre == pytest.approx(centre, rel=precision)
    assert regression._rest == pytest.approx(v, rel=precision)
    np.testing.assert_allclose(regression._mean, mean, rtol=0, atol=precision * np.sqrt(width))
    np.testing.assert_allclose(found, covariance, rtol=0, atol=precision * width)
    diagonal = covariance.diagonal()
    np.testing.assert_allclose(regression._variance, diagonal, rtol=0, atol=precision * width)


def last_learned(configurations):
    return max(count for count in LEARNED if count <= configurations)


@pytest.mark.parametrize("asked", [0.0, 0.3])
@pytest.mark.parametrize("space", [FLAT, TREE, LARGE], ids=["flat", "tree", "large"])
def test_after_every_score_it_equals_the_dense_solution(space, asked):
    regression, rows = Regression(space), some_rows(space, 110, 1, asked=asked)
    for until in range(1, len(rows) + 1):
        history = told(space, rows[:until])
        regression.follow(history)
        if regression.is_silent:
            assert until <= 3
            continue
        assert_as_reference(regression, history, last_learned(len(history)))


@pytest.mark.parametrize("space", [FLAT, TREE], ids=["flat", "tree"])
def test_many_repeats_are_folded_in(space):
    """Many times as many changes since the last learning as are kept apart."""
    rows = some_rows(space, 12, 2, repeats=0.0, asked=0.0)
    keys = [row[0] for row in rows]
    rng = np.random.default_rng(3)
    for i in range(5 * KEPT + 3):
        asked = tuple(space.sample_codes(rng, 1)[0].tolist())
        rows.append((keys[i % 12], successes(rng, 0.4, 10), 10, *([asked] if i % 3 else [])))
    regression = Regression(space)
    for until in (12, 12 + KEPT - 1, 12 + KEPT, 12 + KEPT + 1, 12 + 3 * KEPT, len(rows)):
        history = told(space, rows[:until])
        regression.follow(history)
        assert_as_reference(regression, history, last_learned(len(history)))


@pytest.mark.parametrize("asked", [0.0, 0.3])
def test_a_history_longer_than_what_is_learned_from(asked):
    """At 366 configurations w and v are from the last 300, the effects from all."""
    regression, rows = Regression(LARGE), some_rows(LARGE, 560, 4, asked=asked, repeats=0.1)
    checked = set()
    for until in range(40, len(rows) + 1, 40):
        history = told(LARGE, rows[:until])
        regression.follow(history)
        checked.add(last_learned(len(history)))
        assert_as_reference(regression, history, last_learned(len(history)))
    assert len(history) > 366 + 2 * KEPT
    assert {293, 366} <= checked


@pytest.mark.parametrize("space", [FLAT, TREE], ids=["flat", "tree"])
def test_exact_scores(space):
    """Told again they are the same, so σ² is 0, and no more is believed than e allows."""
    worth = np.random.default_rng(5).normal(size=sum(space.sizes))

    def score(key, n):
        return float(-7 + sum(worth[o + v] for o, v in zip(space.offsets, key, strict=True)))

    rows = some_rows(space, 60, 6, score=score, asked=0.0)
    regression, history = regressed(space, rows), told(space, rows)
    assert regression._noise == 0
    assert_as_reference(regression, history, last_learned(len(history)))


def test_effects_in_rational_numbers():
    """Two choices, two exact scores; m and P by hand from w and v, 1/4 of the spread at first.

    Spread 1, half of it guessed as noise: σ²/n = 1/2 = t, w = v = 1/4, prior of a 2. K is
    [[w + A + v + t, A], [A, w + A + v + t]] with A = 2, so along y₁ - y₂ it is w + v + t = 1, and
    along y₁ + y₂ it is 5. From c = 0: y = (-1, 1) and b = (-w, w) after the first step.
    """
    found = regressed(Space({"a": 2}), [((0,), -1.0, 3), ((1,), 1.0, 3)])
    assert found._noise / 3 == pytest.approx(1 / 2)
    # E[b²] = w² + w - w² (K⁻¹)₁₁, and so for e; (K⁻¹)₁₁ = (1 + 1/5) / 2
    square = 1 / 16 + 1 / 4 - 1 / 16 * 3 / 5
    learned = (2 * square + 2 / 4) / 4  # of w and of v alike
    assert found._rest == pytest.approx(learned)
    effect = learned / (2 * learned + 1 / 2)
    np.testing.assert_allclose(found._mean, [-effect, effect, 0], atol=1e-12)
    odds = found.odds(0.5, 1.0, 0.1)
    slope = 1.7 / sqrt(learned + 1)
    np.testing.assert_allclose(odds.gain, [-slope * effect, slope * effect])
    assert odds.base == pytest.approx(-slope / 2)


# --- when ---------------------------------------------------------------------------------------


def test_it_learns_at_a_quarter_more_configurations_and_never_after_the_most():
    rng, regression, history, learned = np.random.default_rng(0), Regression(LARGE), None, []
    history = History(LARGE)
    before = None
    while len(history) < 620:
        codes = LARGE.sample_codes(rng, 1)[0]
        fresh = LARGE.key(LARGE.decode(codes)) not in history
        history.tell(LARGE.decode(codes), float(rng.normal()), 5)
        regression.follow(history)
        if (regression._centre, regression._rest) != before:
            before = (regression._centre, regression._rest)
            if len(history) > 1:
                assert fresh  # a repeat alone changes neither
                learned.append(len(history))
    assert learned == LEARNED


@pytest.mark.parametrize("equal", [36, 37])
@pytest.mark.parametrize("score", [0.5, 1.0, 0.0, -2.0, 0.1, 0.7, 1 / 3, -3.3])
def test_it_is_silent_until_two_scores_differ_and_learns_at_once_then(score, equal):
    """However long they were equal, and whether or not a float holds the score exactly."""
    space, rng = Space({"a": 40, "b": 2}), np.random.default_rng(0)
    history, regression = History(space), Regression(space)
    for a in range(equal):
        history.tell({"a": a, "b": int(rng.integers(2))}, score, int(rng.integers(1, 30)))
        regression.follow(history)
        assert regression.is_silent
        odds = regression.odds(score, 0.0, 0.2)
        assert odds.base == pytest.approx(log(0.2 / 0.8))
        assert not odds.gain.any()
        assert not odds.variance.any()
    history.tell({"a": 38, "b": 0}, score + 0.25, 8)
    regression.follow(history)
    assert not regression.is_silent
    assert regression.odds(score, 0.01, 0.2).gain[38] > 0


def test_one_configuration_is_not_enough():
    regression = regressed(FLAT, [((0, 0, 0, 0), 0.2, 5), ((0, 0, 0, 0), 0.8, 5)])
    assert regression.is_silent


def test_to_follow_in_one_go_is_to_follow_step_by_step():
    """Bit for bit, wherever it paused, so that a restored sampler goes on as if never saved."""
    for space in (FLAT, TREE, LARGE):
        rows, rng = some_rows(space, 150, 7), np.random.default_rng(8)
        history, steps, jumps = History(space), Regression(space), Regression(space)
        for codes, score, n, *asked in rows:
            other = space.decode(asked[0]) if asked else None
            history.tell(space.decode(codes), score, n, other)
            steps.follow(history)
            if rng.random() < 0.1:
                jumps.follow(history)
        jumps.follow(history)
        for regression in (jumps, regressed(space, rows)):
            one, other = (r.odds(0.5, 0.03, 0.1) for r in (steps, regression))
            np.testing.assert_array_equal(one.gain, other.gain)
            np.testing.assert_array_equal(one.variance, other.variance)
            assert one.base == other.base


@pytest.mark.parametrize("exact_limit", [1, 1000])
def test_a_sampler_restored_after_late_news_of_what_was_asked_goes_on_identically(exact_limit):
    settings = Settings(exact_limit=exact_limit)
    sampler, rng = TPE(TREE, 3, startup=4, settings=settings), np.random.default_rng(9)
    for i in range(40):
        config = sampler.ask()
        p = 0.2 + 0.2 * TREE.key(config)[0]
        sampler.tell(config, successes(rng, p, 20), 20)
        if i % 4 == 3:  # told as itself before, now as what came of another
            asked = TREE.decode(TREE.sample_codes(rng, 1)[0])
            sampler.tell(config, successes(rng, p, 20), 20, asked=asked)
        copy = TPE.from_state(TREE, sampler.state())
        sampler = TPE.from_state(TREE, copy.state()) if i % 5 == 0 else sampler
        for _ in range(2):
            assert copy.ask() == sampler.ask()
        assert copy.state() == sampler.state()


# --- odds ---------------------------------------------------------------------------------------


def test_odds_are_slope_times_the_effects():
    rows = some_rows(TREE, 90, 10)
    history, regression = told(TREE, rows), regressed(TREE, rows)
    centre, v, mean, covariance = reference(history, last_learned(len(history)))
    for level, spread in ((0.7, 0.02), (0.1, 0.5)):
        odds, slope = regression.odds(level, spread, 0.3), SLOPE / sqrt(v + spread)
        np.testing.assert_allclose(odds.gain, slope * mean[:-1], rtol=1e-6, atol=1e-9)
        variance = slope**2 * covariance.diagonal()[:-1]
        np.testing.assert_allclose(odds.variance, variance, rtol=1e-6)
        assert odds.base == pytest.approx(slope * (centre + mean[-1] - level))
    x = np.linspace(-4, 4, 161)
    assert np.abs(stats.norm.cdf(x) - 1 / (1 + np.exp(-SLOPE * x))).max() < 0.01


def test_rounding_leaves_no_negative_variance():
    regression = regressed(FLAT, some_rows(FLAT, 30, 11))
    regression._variance[3] = -1e-19
    assert regression.odds(0.5, 0.1, 0.1).variance[3] == 0


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_silent_odds_are_the_share_whatever_the_choices(share):
    for odds in (Odds.silent(TREE, share), Regression(TREE).odds(0.3, 0.1, share)):
        assert 1 / (1 + np.exp(-odds.base)) == pytest.approx(share)
        assert odds.gain.tolist() == odds.variance.tolist() == [0.0] * 14


# --- what it is for -----------------------------------------------------------------------------


def odds_of(space, codes, scores, n=20, level=None):
    """Of a level one standard deviation above the mean, where none is given."""
    scores = np.asarray(scores, dtype=float)
    rows = [
        (tuple(x), float(y), n) for x, y in zip(np.asarray(codes).tolist(), scores, strict=True)
    ]
    level = scores.mean() + scores.std() if level is None else level
    return regressed(space, rows).odds(level, float(scores.var()), 0.1)


def design(space, count, seed=0):
    return np.unique(space.sample_codes(np.random.default_rng(seed), 3 * count), axis=0)[:count]


def test_a_variable_that_matters_is_told_from_one_that_does_not():
    space, rng = Space({"matters": 5, "does not": 25}), np.random.default_rng(0)
    codes = rng.permutation(list(space.enumerate_codes()))[:100]
    scores = rng.binomial(20, np.where(codes[:, 0] == 2, 0.8, 0.3)) / 20
    found = odds_of(space, codes, scores)
    matters, other = found.gain[:5], found.gain[5:]
    assert matters.argmax() == 2
    assert matters[2] > 2 > 0 > matters[[0, 1, 3, 4]].max()
    assert np.abs(other).max() < 0.5


def test_few_observations_are_believed_less_than_many():
    space = Space({"a": 3, "b": 20})
    few, many = (
        odds_of(space, [(a, b) for b in range(count) for a in range(3)], [0.9, 0.3, 0.3] * count)
        for count in (1, 20)
    )
    assert 0 < few.gain[0] < many.gain[0]
    rare = [(a, b) for b in range(20) for a in range(3) if a or b < 2]  # a = 0 twice
    found = odds_of(space, rare, [0.3 + 0.3 * (a == 0) for a, _ in rare])
    assert found.variance[0] > found.variance[1:3].max()


def test_few_examples_are_believed_less_than_many():
    space, codes = Space({"a": 3}), [(0,), (1,), (2,)]
    few, many = (odds_of(space, codes, [0.8, 0.4, 0.4], n=n, level=0.7) for n in (5, 500))
    assert 0 < few.gain[0] < many.gain[0]
    rows = [(key, score, 5) for key, score in zip(codes, (0.8, 0.4, 0.4), strict=True)]
    once, again = (
        regressed(space, more).odds(0.7, 0.04, 0.1) for more in (rows, [*rows, ((0,), 0.8, 500)])
    )
    assert again.gain[0] > once.gain[0]
    assert again.variance[0] < once.variance[0]


def test_a_choice_never_seen_is_average_and_the_least_known():
    space = Space({"a": 4, "b": 5})
    codes = [(a, b) for b in range(5) for a in range(3)]
    found = odds_of(space, codes, [0.9, 0.3, 0.3] * 5)
    assert found.gain[1] < found.gain[3] < found.gain[0]
    assert found.gain[3] == pytest.approx(0, abs=1e-9)
    assert found.variance[3] > found.variance[:3].max()


def test_a_good_branch_is_not_credited_to_what_hangs_from_it():
    """All under b = 1 is good, whatever c is: b has the credit, c's choices are alike."""
    space = Space({"z": 30, "b": 2, "c": Choice(3, when=("b", 1))})
    codes = design(space, 120)
    found = odds_of(space, codes, np.where(codes[:, 1] == 1, 0.8, 0.3))
    bad, good = found.gain[30:32]
    assert good > 1 > -1 > bad
    assert np.abs(found.gain[32:]).max() < 0.2


def test_order_and_labels_do_not_matter():
    space, other = Space({"a": 3, "b": 12}), Space({"b": 12, "a": 3})
    codes, rng = design(space, 30), np.random.default_rng(1)
    scores = rng.binomial(20, 0.3 + 0.2 * codes[:, 0]) / 20
    one, two = odds_of(space, codes, scores), odds_of(other, codes[:, ::-1], scores)
    np.testing.assert_allclose(one.gain[:3], two.gain[12:], rtol=1e-9)
    np.testing.assert_allclose(one.variance[3:], two.variance[:12], rtol=1e-9)
    assert one.base == pytest.approx(two.base, rel=1e-9)
    turned = odds_of(space, (codes + np.array([1, 5])) % [3, 12], scores)
    np.testing.assert_allclose(np.roll(one.gain[:3], 1), turned.gain[:3], rtol=1e-9)
    np.testing.assert_allclose(np.roll(one.gain[3:], 5), turned.gain[3:], rtol=1e-9)


def test_scores_shifted_and_scaled_are_the_same_odds():
    """Of scores that are no shares; a power of two bit for bit."""
    codes, rng = design(FLAT, 40), np.random.default_rng(2)
    scores = -2 + rng.normal(size=40) + codes[:, 0]
    here = odds_of(FLAT, codes, scores)
    for scale, shift in ((2.0**40, 0.0), (2.0**-40, 0.0), (3.7, 0.0), (0.001, -4.0), (1e6, 9.0)):
        there = odds_of(FLAT, codes, scale * scores + shift)
        rtol = 0 if shift == 0 and scale != 3.7 else 1e-7
        np.testing.assert_allclose(there.gain, here.gain, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(there.variance, here.variance, rtol=rtol)
        assert there.base == pytest.approx(here.base, rel=rtol, abs=0)


def test_effects_are_recovered_better_than_by_the_mean_of_each_choice():
    """60 choices, 36 trials of 30 examples: three of ten variables matter, additively.

    By the squared error of the effects, and by the score of the best choices put together. Null:
    in half of the instances the means are better. Of 40 instances 35 or more are then won with
    a probability of 7e-7.
    """
    assert stats.binom.sf(34, 40, 0.5) < 1e-6
    space, nearer, lost = Space({f"v{d}": 6 for d in range(10)}), 0, np.zeros(2)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        worth = np.zeros((10, 6))
        worth[:3] = rng.normal(scale=0.1, size=(3, 6))
        worth -= worth.mean(axis=1, keepdims=True)
        codes = space.sample_codes(rng, 36)
        p = np.clip(0.5 + sum(worth[d, codes[:, d]] for d in range(10)), 0, 1)
        scores = rng.binomial(30, p) / 30
        found = odds_of(space, codes, scores)
        slope = SLOPE / sqrt(
            regressed(
                space, [(tuple(x), y, 30) for x, y in zip(codes.tolist(), scores, strict=True)]
            )._rest
            + scores.var()
        )
        ours = found.gain.reshape(10, 6) / slope
        means = np.zeros((10, 6))
        for d in range(10):
            for v in range(6):
                mine = codes[:, d] == v
                means[d, v] = scores[mine].mean() - scores.mean() if mine.any() else 0.0
        nearer += ((ours - worth) ** 2).sum() < ((means - worth) ** 2).sum()
        for i, table in enumerate((ours, means)):
            lost[i] += sum(worth[d].max() - worth[d, table[d].argmax()] for d in range(10))
    assert nearer >= 35
    assert lost[0] < lost[1]
