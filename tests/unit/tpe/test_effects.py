"""What each choice is worth alone: against dense matrices, at every moment of a history."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from mipro.tpe import TPE, Choice, Settings, Space
from mipro.tpe.effects import TOGETHER, Effects
from mipro.tpe.history import History
from mipro.tpe.split import Pool, shrink

FLAT = Space({"a": 4, "b": 3, "c": 6, "d": 2})
TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(5, when=("c", {0, 3}))})
LARGE = Space({f"v{d}": 5 for d in range(6)})
LEARNED = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 27, 33, 41, 51, 63, 78, 97, 121, 151, 188]


def tell(history, effects, codes, score, n, asked=None):
    space = history.space
    other = None if asked is None else space.decode(asked)
    key = history.tell(space.decode(codes), score, n, other)
    hot = history.hot(np.array([key], dtype=np.int64))
    effects.tell(history.pool, hot[0], score, n)


def told(space, rows):
    history, effects = History(space), Effects(space)
    for row in rows:
        tell(history, effects, *row)
    return history, effects


def successes(rng, p, n):
    return float(rng.binomial(n, p)) / n


def some_rows(space, count, seed, *, repeats=0.3, asked=0.3):
    """Told at random: new ones and repeats, some of them as what came of another, often late."""
    rng, keys, rows = np.random.default_rng(seed), [], []
    while len(rows) < count:
        if keys and rng.random() < repeats:
            key = keys[rng.integers(len(keys))]
        else:
            key = tuple(space.sample_codes(rng, 1)[0].tolist())
        keys.append(key)
        n = int(rng.integers(1, 40))
        row = (key, successes(rng, 0.2 + 0.15 * key[0] + 0.1 * (key[1] == 1), n), n)
        if rng.random() < asked:
            row = (*row, tuple(space.sample_codes(rng, 1)[0].tolist()))
        rows.append(row)
    return rows


def reference(space, rows, learned_at):
    """Effects by conditioning the joint normal of effects, rests and scores on the scores.

    s/w is of the moment when `learned_at` scores had been told, the rest of now. A score speaks
    for what was told and, from then on, for what that came of first.
    """
    first, hot = {}, np.zeros((len(rows), sum(space.sizes)))
    for t, (key, _, _, *asked) in enumerate(rows):
        if asked and asked[0] != key:
            first.setdefault(key, asked[0])
        for codes in (key, first.get(key, key)):
            for d, code in enumerate(codes):
                if code >= 0:
                    hot[t, sum(space.sizes[:d]) + code] = 1
    y, n = np.array([row[1] for row in rows]), np.array([float(row[2]) for row in rows])

    def assumed(count):
        pool = Pool.of(*zip(*[row[:3] for row in rows[:count]], strict=True))
        found = shrink(pool)
        s = found.noise + TOGETHER * found.spread * n[:count].sum() / len(pool.rows)
        return s, (1 - TOGETHER) * found.spread / len(space.sizes)

    (s, w), s_now = assumed(learned_at), assumed(len(rows))[0]
    mean = n @ y / n.sum()
    effect = w * hot.T @ np.linalg.solve(w * hot @ hot.T + np.diag(s / n), y - mean)
    return mean, effect, s_now / (hot.T @ n + s / w)


def last_learned(scores):
    return max(count for count in LEARNED if count <= scores)


@pytest.mark.parametrize("asked", [0.0, 0.3])
@pytest.mark.parametrize("space", [FLAT, TREE, LARGE], ids=["flat", "tree", "large"])
def test_after_every_score_it_equals_the_dense_solution(space, asked):
    history, effects = History(space), Effects(space)
    rows = some_rows(space, 110, 1, asked=asked)
    for count, row in enumerate(rows, start=1):
        tell(history, effects, *row)
        found = effects.worth(history.pool, shrink(history.pool))
        mean, effect, variance = reference(space, rows[:count], last_learned(count))
        assert found.mean == pytest.approx(mean, rel=1e-9)
        np.testing.assert_allclose(found.effect, effect, atol=1e-9)
        np.testing.assert_allclose(found.variance, variance, rtol=1e-9)


def test_two_variables_in_rational_numbers():
    """Four exact scores, every one its own example: by hand."""
    space = Space({"a": 2, "b": 2})
    rows = [((0, 0), -1.0, 1), ((0, 1), 1.0, 1), ((1, 0), -1.0, 1), ((1, 1), 3.0, 1)]
    history, effects = told(space, [*rows, *rows])  # told again the same: no noise
    found = effects.worth(history.pool, shrink(history.pool))
    # s/w = 2 · 2/4 examples, for a configuration has 2; every choice stands in 4. Balanced, so a
    # and b part: Σ n (y - 1/2) of a=0: 2 (-3/2 + 1/2) = -2, of a=1: 2; b: -6 and 6. Over 4 + 1.
    assert found.mean == pytest.approx(0.5)
    expected = [Fraction(x, 5) for x in (-2, 2, -6, 6)]
    np.testing.assert_allclose(found.effect, [float(x) for x in expected])


def test_what_is_assumed_is_made_again_at_a_quarter_more_scores():
    effects, history, made = Effects(LARGE), History(LARGE), []
    for count, row in enumerate(some_rows(LARGE, 190, 4), start=1):
        before = getattr(effects, "believed", None)
        tell(history, effects, *row)
        if effects.believed is not before:
            made.append(count)
    assert made == LEARNED


def test_told_step_by_step_or_restored_it_is_bit_for_bit_the_same():
    for space in (FLAT, TREE, LARGE):
        rows = some_rows(space, 150, 7)
        history, effects = told(space, rows)
        _, again = told(space, rows)
        one, other = (e.worth(history.pool, shrink(history.pool)) for e in (effects, again))
        np.testing.assert_array_equal(one.effect, other.effect)
        np.testing.assert_array_equal(one.variance, other.variance)


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


@pytest.mark.parametrize("score", [0.5, 1.0, 0.0, -2.0, 0.1, 1 / 3])
def test_equal_scores_say_nothing_of_any_choice(score):
    space, rng = Space({"a": 40, "b": 2}), np.random.default_rng(0)
    rows = [((a, int(rng.integers(2))), score, int(rng.integers(1, 30))) for a in range(30)]
    history, effects = told(space, rows)
    found = effects.worth(history.pool, shrink(history.pool))
    np.testing.assert_allclose(found.effect, 0, atol=1e-12)
    assert found.mean == pytest.approx(score)
    assert np.all(np.isfinite(found.variance))


# --- what it is for -----------------------------------------------------------------------------


def worth_of(space, codes, scores, n=20):
    scores = np.asarray(scores, dtype=float)
    rows = [
        (tuple(x), float(y), n) for x, y in zip(np.asarray(codes).tolist(), scores, strict=True)
    ]
    history, effects = told(space, rows)
    return effects.worth(history.pool, shrink(history.pool))


def design(space, count, seed=0):
    return np.unique(space.sample_codes(np.random.default_rng(seed), 3 * count), axis=0)[:count]


def test_a_variable_that_matters_is_told_from_one_that_does_not():
    space, rng = Space({"matters": 5, "does not": 25}), np.random.default_rng(0)
    codes = rng.permutation(list(space.enumerate_codes()))[:100]
    scores = rng.binomial(20, np.where(codes[:, 0] == 2, 0.8, 0.3)) / 20
    found = worth_of(space, codes, scores)
    matters, other = found.effect[:5], found.effect[5:]
    assert matters.argmax() == 2
    assert matters[2] > 0.3 > 0 > matters[[0, 1, 3, 4]].max()
    assert np.abs(other).max() < 0.12


def test_few_observations_are_believed_less_than_many():
    space = Space({"a": 3, "b": 20})
    few, many = (
        worth_of(space, [(a, b) for b in range(count) for a in range(3)], [0.9, 0.3, 0.3] * count)
        for count in (1, 20)
    )
    assert 0 < few.effect[0] < many.effect[0]
    rare = [(a, b) for b in range(20) for a in range(3) if a or b < 2]  # a = 0 twice
    found = worth_of(space, rare, [0.3 + 0.3 * (a == 0) for a, _ in rare])
    assert found.variance[0] > found.variance[1:3].max()


def test_more_examples_behind_one_score_count_for_more():
    rows = [((0,), 0.8, 5), ((1,), 0.4, 5), ((2,), 0.4, 5)]
    both = [told(Space({"a": 3}), more) for more in (rows, [*rows, ((0,), 0.8, 500)])]
    pool = both[0][0].pool  # of one moment: what is asked is the effect of n alone
    once, again = (effects.worth(pool, shrink(pool)) for _, effects in both)
    assert again.variance[0] < once.variance[0]
    assert again.effect[0] > again.effect[1]


def test_a_choice_never_seen_is_average_and_the_least_known():
    space = Space({"a": 4, "b": 5})
    codes = [(a, b) for b in range(5) for a in range(3)]
    found = worth_of(space, codes, [0.9, 0.3, 0.3] * 5)
    assert found.effect[1] < found.effect[3] < found.effect[0]
    assert found.effect[3] == pytest.approx(0, abs=1e-12)
    assert found.variance[3] > found.variance[:3].max()


def test_a_good_branch_is_not_credited_to_what_hangs_from_it():
    """All under b = 1 is good, whatever c is: b has the credit, c's choices have little."""
    space = Space({"z": 30, "b": 2, "c": Choice(3, when=("b", 1))})
    codes = design(space, 120)
    found = worth_of(space, codes, np.where(codes[:, 1] == 1, 0.8, 0.3))
    bad, good = found.effect[30:32]
    assert good > 0.08 > -0.08 > bad
    assert good > found.effect[32:].max()
    assert np.ptp(found.effect[32:]) < 0.02


def test_order_and_labels_do_not_matter():
    space, other = Space({"a": 3, "b": 12}), Space({"b": 12, "a": 3})
    codes, rng = design(space, 30), np.random.default_rng(1)
    scores = rng.binomial(20, 0.3 + 0.2 * codes[:, 0]) / 20
    one, two = worth_of(space, codes, scores), worth_of(other, codes[:, ::-1], scores)
    np.testing.assert_allclose(one.effect[:3], two.effect[12:], rtol=1e-9)
    np.testing.assert_allclose(one.variance[3:], two.variance[:12], rtol=1e-9)
    assert one.mean == pytest.approx(two.mean, rel=1e-9)
    turned = worth_of(space, (codes + np.array([1, 5])) % [3, 12], scores)
    np.testing.assert_allclose(np.roll(one.effect[:3], 1), turned.effect[:3], rtol=1e-9)
    np.testing.assert_allclose(np.roll(one.effect[3:], 5), turned.effect[3:], rtol=1e-9)


def test_scores_shifted_and_scaled_have_effects_scaled():
    """Of scores that are no shares of successes."""
    codes, rng = design(FLAT, 40), np.random.default_rng(2)
    scores = -2 + rng.normal(size=40) + codes[:, 0]
    here = worth_of(FLAT, codes, scores)
    for scale, shift in ((2.0**40, 0.0), (3.7, 0.0), (0.001, -4.0), (1e6, 9.0)):
        there = worth_of(FLAT, codes, scale * scores + shift)
        np.testing.assert_allclose(there.effect, scale * here.effect, rtol=1e-7, atol=1e-9 * scale)
        np.testing.assert_allclose(there.variance, scale**2 * here.variance, rtol=1e-7)
        assert there.mean == pytest.approx(scale * here.mean + shift)


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
        ours = worth_of(space, codes, scores, n=30).effect.reshape(10, 6)
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
