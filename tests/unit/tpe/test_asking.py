"""How the parts are put together at an ask: what is seen, where it starts, what settings do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from mipro.tpe import TPE, Choice, Classic, RandomSampler, Settings, Space
from mipro.tpe.acquisition import coordinate_ascent, keys_of
from mipro.tpe.bound import UpperBound
from mipro.tpe.history import History
from mipro.tpe.parzen import one_hot, published_density
from mipro.tpe.split import Pool, Posterior, above, shrink
from mipro.tpe.tpe import SLOPE, top

FLAT = Space({"a": 4, "b": 3, "c": 2})
TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(2, when=("c", {0, 3}))})


def test_seen_is_told_pending_and_excluded():
    history = History(FLAT)
    history.tell({"a": 0, "b": 0, "c": 0}, 0.5, 4)
    history.busy.pending[(1, 0, 0)] = None
    history.busy.excluded = {(2, 0, 0)}
    assert [(a, 0, 0) in history for a in range(4)] == [True, True, True, False]
    assert [(a, 0, 0) in history.busy for a in range(4)] == [False, True, True, False]
    assert len(history) == 2  # the excluded one is no part of it
    history.busy.barred = {(1, 2)}
    assert [(3, b, 0) in history for b in range(3)] == [False, False, True]


def test_a_history_counts_each_configuration_once_and_each_example():
    history = History(TREE)
    told = [((0, 0, -1, -1), 0.5, 4), ((0, 1, 3, 1), 0.25, 8), ((0, 0, -1, -1), 1.0, 4)]
    for key, score, n in told:
        history.tell(TREE.decode(key), score, n)
    assert list(history.pool.rows) == [told[0][0], told[1][0]]
    assert (history.pool.examples, len(history)) == (16, 2)
    assert [one.asked for one in history.told] == [key for key, *_ in told]  # each for itself
    assert (history.pool.mean.tolist(), history.pool.n.tolist()) == ([0.75, 0.25], [8, 8])


@pytest.mark.parametrize("count", [1, 3, 7, 8, 20])
def test_top_keeps_the_highest_in_their_own_order(count):
    values = np.random.default_rng(count).permutation(8).astype(float)
    rows = top(values, count)
    assert rows.tolist() == sorted(rows.tolist())
    assert set(values[rows]) == set(range(max(0, 8 - count), 8))


def play(sampler, trials, seed=0):
    """Binomial scores of 20 examples, by a rule that has pairs in it."""
    rng, asked = np.random.default_rng(seed), []
    for _ in range(trials):
        config = sampler.ask()
        codes = sampler.space.encode(config)
        p = 0.2 + 0.1 * (codes[0] % 3) + 0.3 * (codes[0] == codes[1])
        sampler.tell(config, int(rng.binomial(20, p)) / 20, 20)
        asked.append(config)
    return asked


@pytest.mark.parametrize("space", [FLAT, TREE, Space({f"v{d}": 5 for d in range(6)})], ids=str)
@pytest.mark.parametrize(
    "settings",
    [Settings(improvement=True), Settings(multivariate=False), Settings(recheck=0, restarts=6)],
    ids=["improvement", "independent", "no recheck"],
)
def test_settings_survive_a_state_and_go_on_identically(space, settings):
    sampler = TPE(space, 5, startup=4, settings=settings)
    play(sampler, 12)
    copy = TPE.from_state(space, json.loads(json.dumps(sampler.state())))
    assert copy.settings == settings
    assert play(sampler, 12, seed=1) == play(copy, 12, seed=1)
    assert copy.best() == sampler.best()


def score_of(space, told, **settings):
    sampler = TPE(space, startup=1, settings=Settings(**settings))
    for key, score in told:
        sampler.tell(space.decode(key), score, 20)
    return bound_of(sampler)


def bound_of(sampler):
    """By what the sampler would choose its next configuration."""
    pool = sampler._history.pool
    return sampler._upper_bound(pool, shrink(pool))


@pytest.mark.parametrize("multivariate", [True, False])
@pytest.mark.parametrize("trials", [20, 60, 150])
@pytest.mark.parametrize("apart", [0, 1])
def test_scores_that_hardly_differ_make_a_bound_all_the_same(multivariate, trials, apart):
    """Of 10,000 examples 7,000 are right, and once 7,001 or not: less than chance would do."""
    space = Space({f"v{d}": 5 for d in range(5)})
    sampler = TPE(space, 0, startup=4, settings=Settings(recheck=0, multivariate=multivariate))
    codes = np.unique(space.sample_codes(np.random.default_rng(0), 2 * trials), axis=0)[:trials]
    for i, row in enumerate(codes):
        sampler.tell(space.decode(row), 0.7 + 1e-4 * apart * (i == 2), 10_000)
    values = bound_of(sampler)(codes)
    assert np.all(np.isfinite(values))
    assert np.all((values >= 0) & (values <= 2))
    space.encode(sampler.ask())


def test_improvement_weighs_by_how_much_and_membership_does_not():
    told = [((a, b, 0), (a + 4 * b) / 20) for a in range(4) for b in range(3)]
    by_share, by_gain = (score_of(FLAT, told, improvement=i) for i in (False, True))
    assert by_gain.good.max() == 1
    assert by_share.good.max() == pytest.approx(0.5)  # the leader is y*
    assert not np.allclose(by_share.good / by_share.good.max(), by_gain.good)


def test_independent_scores_do_not_depend_on_what_goes_together():
    """Two histories with equal effects; that which is good together differs, or does not."""
    space = Space({"a": 2, "b": 2})
    every = np.array(list(space.enumerate_codes()))
    low, high = 0.2, 0.8
    apart = [((0, 0), high), ((1, 1), high), ((0, 1), low), ((1, 0), low)]
    crossed = [((0, 0), low), ((1, 1), low), ((0, 1), high), ((1, 0), high)]
    one, other = (score_of(space, told, multivariate=False)(every) for told in (apart, crossed))
    np.testing.assert_allclose(one, other, atol=1e-9)
    assert np.ptp(one) < 1e-9  # every choice was as often good as not
    one, other = (score_of(space, told)(every) for told in (apart, crossed))
    assert one[[0, 3]].min() > one[[1, 2]].max() + 0.01  # joint: what was good together
    assert other[[1, 2]].min() > other[[0, 3]].max() + 0.01


def test_independent_scores_add_up_over_the_variables():
    """Without curiosity the logit of the score is a sum of one term a variable."""
    told = [((a, b, (a + b) % 2), ((3 * a + b) % 7) / 20) for a in range(4) for b in range(3)]
    score = score_of(FLAT, told, multivariate=False, curiosity=0.0, optimism=0.0)
    every = np.array(list(FLAT.enumerate_codes()))
    logit = np.log(score(every)) - np.log1p(-score(every))
    table = logit.reshape(FLAT.sizes)
    parts = [table.mean(axis=tuple(e for e in range(3) if e != d), keepdims=True) for d in range(3)]
    np.testing.assert_allclose(sum(parts) - 2 * table.mean(), table, atol=1e-9)


def some_score(seed, sizes=(6, 5, 4, 4)):
    """What a sampler would ask by after 25 random trials: 480 configurations."""
    space = Space({f"v{d}": size for d, size in enumerate(sizes)})
    rng = np.random.default_rng(seed)
    codes = space.sample_codes(rng, 25)
    good = rng.random(25) * (rng.random(25) < 0.5)
    gain, doubt = rng.normal(size=sum(sizes)), rng.random(sum(sizes))
    score = UpperBound(space, one_hot(space, codes), good, -3.0, gain, doubt, 0.2)
    return space, score, keys_of(codes)


def test_many_starts_and_steps_find_the_best_of_a_space_too_large_to_enumerate():
    """40 instances of 480 configurations, 25 of them seen: all but at most one are solved."""
    solved = 0
    for seed in range(40):
        space, score, seen = some_score(seed)
        every = np.array(list(space.enumerate_codes()))
        best = max(v for v, k in zip(score(every), keys_of(every), strict=True) if k not in seen)
        rng = np.random.default_rng(seed)
        starts = space.sample_codes(rng, 24)
        found = coordinate_ascent(space, score.moves, rng, seen, starts, steps=30)
        value = float(score(np.array([found]))[0])
        assert value <= best + 1e-12
        solved += value >= best - 1e-12
    assert solved >= 39


def test_the_sampler_itself_asks_for_the_best_or_one_close_to_it():
    """Ten starts and two steps against enumeration, on 30 histories over 625 configurations."""
    space = Space({f"v{d}": 5 for d in range(4)})
    every = np.array(list(space.enumerate_codes()))
    keys, ranks, shares = keys_of(every), [], []
    for seed in range(30):
        sampler = TPE(space, seed, startup=10, settings=Settings(recheck=0))
        play(sampler, 20 + seed, seed)
        score = bound_of(sampler)
        seen = sampler._history
        values = np.array(
            [-np.inf if k in seen else v for v, k in zip(score(every), keys, strict=True)]
        )
        asked = float(score(space.encode(sampler.ask())[None])[0])
        shares.append(asked / values.max())
        ranks.append(int((values > asked + 1e-9).sum()))
    assert min(shares) >= 0.92
    assert np.mean(shares) >= 0.985
    assert ranks.count(0) >= 15
    assert max(ranks) <= 12


# --- the parts of an ask -----------------------------------------------------------------------


def long_history(count, recheck=0, **settings):
    """Distinct random configurations of a space of 3,125, told 20 examples each."""
    space = Space({f"v{d}": 5 for d in range(5)})
    sampler = TPE(space, 1, startup=1, settings=Settings(recheck=recheck, **settings))
    rng = np.random.default_rng(0)
    codes = dict.fromkeys(keys_of(space.sample_codes(rng, 2 * count)))
    for key in list(codes)[:count]:
        sampler.tell(space.decode(key), int(rng.binomial(20, 0.1 + 0.15 * key[0])) / 20, 20)
    return sampler


@pytest.mark.parametrize("count", [40, 260, 1100])
def test_of_a_long_history_the_best_speak_and_the_others_count_as_bad(count):
    sampler = long_history(count)
    pool = sampler._history.pool
    posterior = shrink(pool)
    score = bound_of(sampler)
    speaking = min(count, 200)
    assert len(score.hot) == len(score.good) == speaking
    found = set(keys_of(score.hot.reshape(-1, 5, 5).argmax(axis=2)))
    kept = np.array([key in found for key in keys_of(pool.codes)])
    assert posterior.mean[kept].min() >= posterior.mean[~kept].max(initial=-np.inf)
    level = np.sort(posterior.mean)[-min(-(-count // 20), 25)]
    part = Posterior(posterior.mean[kept], posterior.sd[kept], posterior.noise, posterior.spread)
    np.testing.assert_array_equal(score.good, above(part, level))
    # the single choices: by all that were told
    worth = sampler._effects.worth(pool, posterior)
    seen = posterior.spread + posterior.noise / 20  # variance of the scores, all of 20 examples
    slope = SLOPE / np.sqrt(worth.together + seen)
    np.testing.assert_allclose(score.gain, slope * worth.effect)
    np.testing.assert_allclose(score.variance, slope**2 * worth.variance)
    assert score.base == pytest.approx(slope * (worth.mean - level))
    assert (score.ratio, score.prior, score.optimism) == (0.4, 1.0, 1.0)


def test_the_search_starts_from_the_best_and_from_each_variable_alone():
    sampler = long_history(60, restarts=6)
    pool = sampler._history.pool
    posterior = shrink(pool)
    score = bound_of(sampler)
    found = sampler._starts(pool, posterior, score)
    assert found.shape == (6, 5)
    assert set(keys_of(found[:4])) == set(keys_of(pool.codes[np.argsort(-posterior.mean)[:4]]))
    gain, sd = score.gain.reshape(5, 5), np.sqrt(score.variance)
    score = replace(score, gain=gain.ravel() / 50)  # so that doubt decides
    found = sampler._starts(pool, posterior, score)
    gain = gain / 50
    assert gain.argmax(axis=1).tolist() != (gain + sd.reshape(5, 5)).argmax(axis=1).tolist()
    assert found[4].tolist() == gain.argmax(axis=1).tolist()
    assert found[5].tolist() == (gain + sd.reshape(5, 5)).argmax(axis=1).tolist()


@pytest.mark.parametrize(("recheck", "looks"), [(0, 0), (200, 1), (30, 3), (18, 5)])
def test_the_leader_has_a_further_look_for_every_so_many_configurations(recheck, looks):
    """90 configurations of 20 examples each: round(90 / recheck) looks more, at least one."""
    sampler = long_history(90, recheck=recheck)
    leader = sampler.space.decode((4, 4, 4, 4, 4))
    sampler.tell(leader, 1.0, 20)
    asked = 0
    while sampler.ask() == leader:
        asked += 1
        sampler.tell(leader, 1.0, 20)
    assert asked == looks


@pytest.mark.parametrize("joint", [True, False])
def test_classic_asks_for_the_best_ratio_among_24_draws_from_the_good(joint):
    """Watanabe's and Optuna's rule, on the sampler's own generator: ⌈n / 10⌉ are good."""
    space = Space({"a": 6, "b": 5, "c": 4})
    for trials in (10, 11, 31, 60):
        sampler = TPE.classic(space, trials, multivariate=joint)
        play(sampler, trials, trials)
        rng = Classic.from_state(space, sampler.state())._rng
        told = sampler.observations
        codes = np.array([space.encode(o.config) for o in told])
        ranked = sorted(range(trials), key=lambda i: -told[i].score)  # stable: the earlier first
        good = np.isin(np.arange(trials), ranked[: -(-trials // 10)])
        l_x, g_x = (published_density(space, codes[p], 1.0, joint=joint) for p in (good, ~good))
        draws = l_x.sample(rng, 24)
        ratio = l_x.log_pmf(draws) - g_x.log_pmf(draws)
        assert sampler.ask() == space.decode(draws[ratio.argmax()])


@pytest.mark.parametrize(
    "wrong",
    [{"gamma": 0.0}, {"gamma": 2.0}, {"ratio": 0.0}, {"ratio": 1.0}, {"prior": 0.0}]
    + [{name: -1} for name in ("curiosity", "optimism", "recheck", "restarts", "exact_limit")]
    + [{name: float("nan")} for name in ("gamma", "ratio", "prior", "curiosity", "optimism")],
    ids=str,
)
def test_a_setting_out_of_its_range_is_refused_with_all_ranges(wrong):
    with pytest.raises(ValueError, match=r"gamma in \(0, 1\]") as error:
        Settings(**wrong)
    ((name, value),) = wrong.items()
    assert f"{name}={value}" in str(error.value)


@pytest.mark.parametrize("restarts", [0, 1, 2, 3])
def test_few_restarts_are_few_starts(restarts):
    sampler = long_history(12, restarts=restarts)
    pool = sampler._history.pool
    found = sampler._starts(pool, shrink(pool), bound_of(sampler))
    assert len(found) == max(restarts, 2)


def test_every_setting_reaches_the_score():
    told = [((a, b, 0), (a + 4 * b) / 20) for a in range(4) for b in range(3)]
    given = {"gamma": 0.1, "prior": 2.0, "curiosity": 0.5, "optimism": 0.25}
    for multivariate in (True, False):
        score = score_of(FLAT, told, multivariate=multivariate, ratio=0.3, **given)
        assert (score.ratio, score.prior) == (0.3, 2.0)
        assert score.optimism == (0.25 if multivariate else 0.0)
        assert len(score.hot) == len(score.good) == (12 if multivariate else 0)
        if multivariate:  # the second best is y*
            assert np.sort(score.good)[-2] == pytest.approx(0.5)
    one, half = (score_of(FLAT, told, curiosity=c).variance for c in (1.0, 0.5))
    np.testing.assert_allclose(half, one / 4)
    # a larger share of good ones: a lower level, and single choices stand for more
    wide, narrow = (score_of(FLAT, told, gamma=gamma) for gamma in (0.5, 0.05))
    assert wide.base > narrow.base
    np.testing.assert_array_equal(wide.gain, narrow.gain)  # the level is all that differs
    silent = score_of(FLAT, [(key, 0.5) for key, _ in told], gamma=0.3)
    np.testing.assert_allclose(silent.gain, 0, atol=1e-12)


def test_a_start_up_is_derived_from_the_number_of_trials():
    space = Space({"a": 30})
    assert [TPE(space, trials=t).startup for t in (None, 1, 2, 3, 15, 29, 30, 33, 300)] == [
        16, 1, 1, 1, 5, 9, 10, 11, 16,
    ]  # fmt: skip
    assert [TPE(space, trials=t).startup for t in (47, 48, 50, 51)] == [15, 16, 16, 16]
    assert TPE(space, trials=15, startup=12).startup == 12
    assert TPE(Space({"a": 4}), startup=9).startup == 4
    assert TPE.classic(space).startup == 10


def test_of_equals_the_one_with_more_examples_comes_first_then_the_earlier():
    sampler = TPE(Space({"a": 5}))
    for a, n in ((0, 10), (1, 30), (2, 10), (3, 30), (4, 10)):
        sampler.tell({"a": a}, 0.5, n)
    assert [(best.config["a"], best.n) for best in sampler.ranking()] == [
        (1, 30),
        (3, 30),
        (0, 10),
        (2, 10),
        (4, 10),
    ]


def test_what_is_asked_again_is_the_best_bound_then_any_then_the_first():
    sampler = RandomSampler(Space({"a": 3}), 0)
    every = [{"a": a} for a in range(3)]
    assert sampler.ask(every) == {"a": 0}
    sampler = RandomSampler(sampler.space, 0)
    assert sampler.ask([{"a": 0}, {"a": 1}]) == {"a": 2}
    assert sampler.ask(every) == {"a": 2}
    for a, score in enumerate((0.2, 0.8, 0.5)):
        sampler.tell({"a": a}, score, 20)
    assert sampler.ask() == {"a": 1}
    assert sampler.ask() == {"a": 2}  # 1 is out
    assert sampler.ask(every) == {"a": 1}


def test_random_search_recommends_by_the_mean_shrunk_to_the_grand_mean():
    space = Space({"a": 4})
    sampler = RandomSampler(space, 1)
    for a, score, n in ((0, 0.9, 10), (1, 0.85, 400), (2, 0.3, 40), (3, 0.4, 40)):
        sampler.tell({"a": a}, score, n)
    pool = Pool.of([(0,), (1,), (2,), (3,)], [0.9, 0.85, 0.3, 0.4], [10, 400, 40, 40])
    means = shrink(pool).mean
    assert [best.config["a"] for best in sampler.ranking()] == (-means).argsort().tolist()
    assert [best.mean for best in sampler.ranking()] == pytest.approx(sorted(means)[::-1])
    assert sampler.best() == sampler.ranking()[0]
    assert sampler.best().n == pool.n[means.argmax()]


def test_random_search_draws_each_choice_alike():
    """Null: each of 5 choices is asked first equally often, 2,000 seeds; false alarm 1e-4."""
    space = Space({"a": 5})
    first = np.bincount([RandomSampler(space, seed).ask()["a"] for seed in range(2_000)])
    assert chisquare(first).pvalue > 1e-4


@pytest.mark.parametrize("kind", [np.random.PCG64DXSM, np.random.Philox])
def test_a_sampler_on_another_generator_survives_its_state(kind):
    space = Space({f"v{d}": 9 for d in range(4)})
    for make in (TPE, RandomSampler):
        sampler = make(space, np.random.Generator(kind(3)))
        play(sampler, 3)
        copy = make.from_state(space, json.loads(json.dumps(sampler.state())))
        assert play(sampler, 12, seed=1) == play(copy, 12, seed=1)
    state = {**sampler.state(), "generator": {"bit_generator": "Dice"}}
    with pytest.raises(ValueError, match="'Dice'"):
        RandomSampler.from_state(space, state)


@pytest.mark.parametrize("make", [TPE, RandomSampler])
def test_growing_keeps_the_generator_the_design_and_the_settings(make):
    """A growth that adds nothing goes on identically, from any moment."""
    for before in (0, 3, 14, 20):
        sampler = make(TREE, 9)
        play(sampler, before)
        grown = sampler.regrow(TREE)
        assert grown.startup == sampler.startup
        assert play(grown, 12, seed=1) == play(sampler, 12, seed=1)
    tuned = TPE(TREE, settings=Settings(gamma=0.2), startup=4)
    assert tuned.regrow(TREE).settings == tuned.settings


@pytest.mark.parametrize("codes", [[0, 1], [0, 1, 0, 0]])
def test_codes_of_another_length_are_refused(codes):
    with pytest.raises(ValueError, match=r"shorter|longer"):
        FLAT.decode(codes)


def test_a_space_too_large_to_enumerate_is_asked_to_its_end_without_a_repeat():
    """Where the search finds nothing unseen near its tops, anything unseen will do."""
    space = Space({f"v{d}": 3 for d in range(4)})
    sampler = TPE(space, 0, startup=2, settings=Settings(exact_limit=1, recheck=0, restarts=2))
    asked = play(sampler, 81)
    assert len({space.key(config) for config in asked}) == 81


def test_other_choices_are_another_fingerprint():
    spaces = [Space({"a": values}) for values in (("x", "y"), ("x", "z"), ("y", "x"), (1, 2))]
    assert len({space.fingerprint() for space in spaces}) == 4


def test_apart_an_ask_starts_from_the_last_told_and_looks_at_no_mean():
    sampler = long_history(60, multivariate=False, restarts=6)
    pool, believed = sampler._history.pool, sampler._effects.believed
    assert len(believed.mean) < len(pool.rows)  # of some scores ago
    assert believed.spread > 0 < believed.noise
    nothing = Posterior(np.zeros(0), np.zeros(0), believed.noise, believed.spread)
    score = sampler._upper_bound(pool, nothing)
    found = sampler._starts(pool, nothing, score)
    assert found[:4].tolist() == pool.codes[-4:].tolist()
    every = np.array(list(sampler.space.enumerate_codes()))
    np.testing.assert_array_equal(score(every), sampler._upper_bound(pool, believed)(every))
    whole = sampler._upper_bound(pool, shrink(pool))  # with all means: nothing else is asked next
    assert score(every).argmax() == whole(every).argmax()
