"""What a further instruction can be expected to bring: the model against its definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from mipro.optimizers import paying
from mipro.optimizers.paying import SPREADS, WIDE, Paying
from mipro.tpe.split import Pool

BATCH = 35


def pool(rows: list[tuple[tuple[int, ...], float, int]]) -> Pool:
    return Pool.of(*map(list, zip(*rows, strict=True)))


def trials(
    instructions: list[float], demos: list[float], seed: int = 0, n: int = BATCH
) -> list[tuple[tuple[int, ...], float, int]]:
    """Each instruction with two or three demo sets: shares of successes of what both add up to."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, d in itertools.product(range(len(instructions)), range(len(demos))):
        if (i + d) % 3 == 0 or (i, d) == (0, 0):
            rows.append(((i, d), rng.binomial(n, instructions[i] + demos[d]) / n, n))
    return rows


MIXED = trials([0.2, 0.3, 0.5, 0.4], [0.0, 0.2, 0.3, 0.1, 0.25])


def dense(model: Paying, spreads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The covariances of a and of y, written out."""
    D = np.diag([WIDE**2 if kind < 0 else spreads[kind] ** 2 for kind in model.kind])
    return D, model.W @ D @ model.W.T + np.diag(model.noise + spreads[-1] ** 2)


@pytest.mark.parametrize("spreads", [(1.0, 0.5, 0.25), (0.0625, 2.0, 0.125)])
def test_effects_are_the_conditional_mean_of_the_joint_normal(spreads: tuple[float, ...]):
    model, given = Paying(pool(MIXED), (4, 5), BATCH), np.array(spreads)
    found = model._effects(given)
    D, V = dense(model, given)
    np.testing.assert_allclose(found.mean, D @ model.W.T @ np.linalg.solve(V, model.y), atol=1e-9)
    covariance = D - D @ model.W.T @ np.linalg.solve(V, model.W @ D)
    np.testing.assert_allclose(
        np.linalg.inv(found.half @ found.half.T), covariance, atol=1e-7, rtol=1e-6
    )


def test_the_likelihood_is_that_of_the_joint_normal():
    model = Paying(pool(MIXED), (4, 5), BATCH)
    some = [np.array(spreads) for spreads in itertools.product((0.125, 1.0), repeat=3)]
    got = np.array([model._effects(spreads).log_likelihood for spreads in some])
    wanted = [stats.multivariate_normal(cov=dense(model, s)[1]).logpdf(model.y) for s in some]
    np.testing.assert_allclose(got - got[0], np.array(wanted) - wanted[0], atol=1e-7)


def test_of_the_program_as_it_came_alone_nothing_is_known_and_half_of_all_is_better():
    """τ is in no score yet, so each of `SPREADS` is as likely; and a new one wins as often as not.

    The one score is in the middle: a_0 ~ N(0, ·), so that P(N(0, τ²) > a_0) = 1/2.
    """
    model = Paying(pool([((0, 0), 0.4, 80)]), (1, 1), BATCH)
    belief, effects = model._believed(0)
    np.testing.assert_allclose(belief, 1 / len(SPREADS))
    assert [model._better(e, 0, t, 1) for e, t in zip(effects, SPREADS, strict=True)] == (
        pytest.approx([0.5] * len(SPREADS))
    )
    own = SPREADS**2 / (SPREADS**2 + model.spreads[-1] ** 2 + model.trial_noise)
    bound = own.mean() / 2 + paying.OPTIMISM * own.std() / 2
    assert model.chance(0, 1) == pytest.approx(bound)


def test_better_is_how_often_the_largest_of_so_many_draws_is_above_the_best():
    model = Paying(pool(MIXED), (4, 5), BATCH)
    effects = model._effects(np.array([0.8, 0.8, 0.25]))
    part = slice(1, 5)  # μ comes first
    best = 1 + int(np.argmax(effects.mean[part]))
    sd = np.linalg.inv(effects.half @ effects.half.T)[best, best] ** 0.5
    rng = np.random.default_rng(1)
    for further in (1, 4):
        heights = rng.normal(effects.mean[best], sd, 200_000)
        drawn = 0.8 * rng.normal(size=(200_000, further)).max(axis=1)
        often = float((drawn > heights).mean())  # its standard error is at most 0.0012
        assert model._better(effects, 0, 0.8, further) == pytest.approx(often, abs=0.005)


@pytest.mark.parametrize(("there", "further"), [(5, 1), (5, 5), (8, 2)])
def test_of_draws_of_one_kind_the_best_is_among_the_further_as_often_as_they_are_many(
    there: int, further: int
):
    """P = further/(further + there) by symmetry, in the mean over what was drawn before.

    600 draws; its standard error is at most 0.012. The original is far below them all.
    """
    rng = np.random.default_rng(3)
    found = []
    for _ in range(600):
        heights = rng.normal(size=there)
        rows = [((0,), -6.0, 35), *(((i + 1,), float(y), 35) for i, y in enumerate(heights))]
        model = Paying(pool(rows * 2), (there + 1,), BATCH)  # told twice: without noise
        tau = 1 / float(np.std([-6.0, *heights]))
        effects = model._effects(np.array([tau, 0.0]))
        found.append(model._better(effects, 0, tau, further))
    assert np.mean(found) == pytest.approx(further / (further + there), abs=0.036)


def test_shift_and_scale_of_the_scores_do_not_count():
    rng = np.random.default_rng(2)
    keys = [(i, d) for i in range(4) for d in range(3)]
    scores = rng.normal(size=len(keys)).tolist()
    ns = [30] * len(keys)
    again = keys[:6], (np.array(scores[:6]) + rng.normal(size=6) / 5).tolist(), ns[:6]
    keys, scores, ns = keys + again[0], scores + again[1], ns + again[2]
    before = Paying(Pool.of(keys, scores, ns), (4, 3), 30)
    moved = Paying(Pool.of(keys, [7 - 300 + 40 * s for s in scores], ns), (4, 3), 30)
    assert before.chance(0, 4) == pytest.approx(moved.chance(0, 4), rel=1e-6)
    assert before.chance(1, 4) == pytest.approx(moved.chance(1, 4), rel=1e-6)


ALIKE, APART = [0.3] * 12, [0.3, 0.0, 0.1, 0.6, 0.0, 0.5, 0.1, 0.6, 0.3, 0.0, 0.5, 0.6]
SETS = [0.0, 0.35, 0.1, 0.3, 0.2, 0.35]


def test_where_instructions_are_all_alike_little_is_expected_of_more():
    """Whatever the demonstrations do; over ten draws of the luck."""
    chances = [
        [Paying(pool(trials(each, SETS, seed)), (12, 6), BATCH).chance(0, 4) for seed in range(10)]
        for each in (ALIKE, APART)
    ]
    alike, apart = np.mean(chances, axis=1)
    assert alike < 0.2
    assert apart > 2 * alike


def test_where_the_best_is_hard_to_beat_little_is_expected_of_more():
    """The original among what was proposed, and far above it; over ten draws of the luck."""
    proposed, sets = [0.05, 0.1, 0.15, 0.05, 0.1, 0.1, 0.12], [0.0, 0.1, 0.2]
    among, above = (
        np.mean(
            [
                Paying(pool(trials([o, *proposed], sets, s)), (8, 3), BATCH).chance(0, 4)
                for s in range(10)
            ]
        )
        for o in (0.1, 0.6)
    )
    assert above < 0.1 < 0.2 < among


def test_what_an_instruction_was_tried_with_is_taken_out():
    """All are alike; the later half were tried with demonstrations that are worth 0.6."""
    rows = [((i, 1 if i < 6 else 2), 0.1 if i < 6 else 0.7, BATCH) for i in range(1, 12)]
    rows += [((0, 0), 0.1, 80), ((1, 2), 0.7, BATCH), ((7, 1), 0.1, BATCH)]
    model = Paying(pool(rows), (12, 3), BATCH)
    effects = model._effects(model.spreads).mean[1:13]
    assert np.ptp(effects[1:]) < 0.1  # of the scores' sd, 0.3
    assert model.chance(0, 4) < 0.25


@pytest.mark.parametrize("score", [0.0, 1.0, 0.3, -4.2])
def test_scores_that_are_all_equal_say_that_proposals_make_no_difference(score: float):
    rows = [((i, i % 3), score, BATCH) for i in range(12)]
    early, late = (
        Paying(pool(rows[:count]), (12, 3), BATCH).chance(0, 4) for count in (2, len(rows))
    )
    assert 0 < late < early <= 1


def test_scores_without_noise_are_taken_at_their_word():
    """Told twice, each was the same: a difference is a difference, however small."""
    rows = [((i, 0), 0.3 + i % 4 / 1000, 7) for i in range(8)] * 2
    model = Paying(pool(rows), (8, 1), 7)
    assert model.trial_noise < 1e-3
    assert model.chance(0, 4) > 0.4


def test_the_more_are_to_come_the_likelier_one_of_them_pays():
    model = Paying(pool(trials(APART, SETS)), (12, 6), BATCH)
    chances = [model.chance(0, further) for further in (1, 2, 4, 8)]
    assert chances == sorted(chances)
    assert all(0 < chance <= 1 for chance in chances)
