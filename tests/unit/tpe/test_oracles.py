"""The estimator against others: two libraries, exact rationals, plain loops, and the trivial case.

The libraries are extras (`pip install 'mipro[peers]'`): without one, its tests are skipped.
"""

from __future__ import annotations

from fractions import Fraction
from math import exp, log, prod, sqrt

import numpy as np
import pytest
from exact_anova import exact_importance
from hamming import hamming

from mipro.tpe import TPE, Choice, Effect, RandomSampler, Space
from mipro.tpe.bound import UpperBound
from mipro.tpe.parzen import (
    Mixture,
    forgetting,
    one_hot,
    published_density,
    uniform_mixture,
)
from mipro.tpe.split import shrink, sqrt_gamma

TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(2, when=("c", {0, 3}))})
ALL = np.array(list(TREE.enumerate_codes()))


def some_flat_history(seed: int) -> tuple[Space, np.ndarray, np.ndarray]:
    """A space, all its codes, and up to sixty codes drawn from it; often fewer, sometimes none."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=int(rng.integers(1, 5))).tolist()
    space = Space({f"v{d}": size for d, size in enumerate(sizes)})
    count = int(rng.choice([0, 1, 2, 9, 24, 25, 26, 60]))
    every = np.array(list(space.enumerate_codes()))
    return space, every, space.sample_codes(rng, count)


# --- Optuna ---------------------------------------------------------------------------------


def optuna_log_density(space: Space, codes: np.ndarray, at: np.ndarray, prior: float) -> np.ndarray:
    """log p of the library's own estimator, all variables of ``space`` jointly."""
    from optuna.distributions import CategoricalDistribution
    from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters

    estimator = _ParzenEstimator(
        {name: codes[:, d].astype(float) for d, name in enumerate(space.names)},
        {
            name: CategoricalDistribution(list(range(size)))
            for name, size in zip(space.names, space.sizes, strict=True)
        },
        _ParzenEstimatorParameters(
            prior_weight=prior,
            consider_magic_clip=True,
            consider_endpoints=False,
            weights=forgetting,
            multivariate=True,
        ),
    )
    return np.asarray(
        estimator.log_pdf({name: at[:, d].astype(float) for d, name in enumerate(space.names)})
    )


def optuna_independent(space: Space, codes: np.ndarray, at: np.ndarray, prior: float) -> np.ndarray:
    """log p of its univariate sampler, which makes an estimator for each variable alone."""
    total = np.zeros(len(at))
    for d, size in enumerate(space.sizes):
        alone = Space({"v": size})
        total += optuna_log_density(alone, codes[:, [d]], at[:, [d]], prior)
    return total


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "independent"])
def test_classic_log_ratio_equals_optuna_on_random_histories(joint):
    pytest.importorskip("optuna", minversion="5.0", reason="the oracle is not installed")
    theirs_of = optuna_log_density if joint else optuna_independent
    for seed in range(60):
        space, every, codes = some_flat_history(seed)
        prior = (1.0, 0.3, 2.5)[seed % 3]
        below = -(-len(codes) // 10)
        parts = codes[:below], codes[below:]
        theirs = [theirs_of(space, part, every, prior) for part in parts]
        ours = [published_density(space, part, prior, joint=joint).log_pmf(every) for part in parts]
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)
        np.testing.assert_allclose(ours[0] - ours[1], theirs[0] - theirs[1], rtol=0, atol=1e-10)


# --- hyperopt -------------------------------------------------------------------------------


def hyperopt_categorical(seen: np.ndarray, size: int, prior: float) -> np.ndarray:
    """The posterior its TPE makes of a categorical variable: normalised counts + prior each."""
    from hyperopt import tpe
    from hyperopt.pyll import Literal, rec_eval

    p = np.full((1, size), 1 / size)
    law = tpe.ap_categorical_sampler(Literal(seen), prior, Literal(p), size=(1,))
    (posterior,) = law.pos_args[:1]  # scope.categorical(p, ...): what it draws from
    return np.asarray(rec_eval(posterior), dtype=float)


def counting(space: Space, codes: np.ndarray, prior: float) -> Mixture:
    """Hyperopt's rule as a mixture: kernels without width, and a uniform one of weight C·prior.

    All variables have the same number of choices C, for a mixture has one prior.
    """
    (size,) = set(space.sizes)
    kernels = [uniform_mixture(size, 0.0)] * len(space.sizes)
    weights = forgetting(len(codes))
    return Mixture(space, codes, weights, kernels, prior=size * prior, joint=False)


def test_counting_equals_hyperopt():
    """p(v) = (Σ_i w_i [x_i = v] + prior) / Σ; the trials older than 25 on the same ramp."""
    pytest.importorskip("hyperopt", reason="the oracle is not installed")
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 8):
        for count in (0, 1, 24, 25, 26, 90):
            prior = float(rng.choice([1.0, 0.25]))
            space = Space({"a": size, "b": size})
            codes = space.sample_codes(rng, count)
            mixture = counting(space, codes, prior)
            assert len(mixture.rows) == 1
            for d, ours in enumerate(np.split(np.exp(mixture.rows[0]), 2)):
                theirs = hyperopt_categorical(codes[:, d], size, prior)
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_sqrt_gamma_splits_as_hyperopt():
    """⌈0.25 √n⌉, at most 25, whichever of the two sides is counted."""
    pytest.importorskip("hyperopt", reason="the oracle is not installed")
    from hyperopt.tpe import ap_split_trials

    for n in range(1, 501):
        ids, losses = np.arange(n), np.random.default_rng(n).permutation(n)
        below, above = ap_split_trials(ids, ids, ids, losses, 0.25)
        assert len(below) == sqrt_gamma(n)
        assert len(above) == n - len(below)


# --- exact rationals and plain loops ----------------------------------------------------------


def rational_similarity(x, centre, ratio: Fraction) -> Fraction:
    """k(x, x_i): λ for each difference; an inactive centre is as good as an average choice."""
    k = Fraction(1)
    for d, size in enumerate(TREE.sizes):
        if x[d] >= 0 and centre[d] < 0:
            k *= (1 + (size - 1) * ratio) / size
        elif x[d] >= 0 and centre[d] != x[d]:
            k *= ratio
    return k


@pytest.mark.parametrize("ratio", [Fraction(1, 20), Fraction(2, 5), Fraction(9, 10)])
def test_the_bound_equals_a_plain_double_loop(ratio):
    rng = np.random.default_rng(7)
    centres = TREE.sample_codes(rng, 9)
    good = [Fraction(int(g), 8) for g in rng.integers(0, 9, size=9)]
    prior, curiosity, optimism = Fraction(3, 2), 0.7, 1.3
    base, gain, variance = -2.1, rng.normal(size=11), rng.random(11)
    bound = UpperBound(
        TREE,
        one_hot(TREE, centres),
        np.array([float(g) for g in good]),
        base,
        gain,
        curiosity**2 * variance,
        float(ratio),
        float(prior),
        optimism,
    )
    a, n = bound.evidence(ALL)
    score = bound(ALL)
    for row, x in enumerate(ALL.tolist()):
        odds, doubt = base, 0.0
        for d, v in enumerate(x):
            if v >= 0:
                odds += gain[TREE.offsets[d] + v]
                doubt += variance[TREE.offsets[d] + v]
        p_0 = 1 / (1 + exp(-odds - curiosity * sqrt(doubt)))
        near = [rational_similarity(x, centre, ratio) for centre in centres.tolist()]
        n_x = float(prior + sum(near))
        a_x = float(prior) * p_0 + float(sum(m * k for m, k in zip(good, near, strict=True)))
        assert (a[row], n[row]) == pytest.approx((a_x, n_x), rel=1e-12)
        p = a_x / n_x
        assert score[row] == pytest.approx(p + optimism * sqrt(p * (1 - p) / (n_x + 1)), rel=1e-12)


# --- where there is nothing to choose or nothing to go by --------------------------------------

SAMPLERS = {
    "tpe": lambda space: TPE(space, 3, startup=2),
    "independent": lambda space: TPE(space, 3, startup=2, multivariate=False),
    "classic": lambda space: TPE.classic(space, 3),
    "classic independent": lambda space: TPE.classic(space, 3, multivariate=False),
    "random": lambda space: RandomSampler(space, 3),
}


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=list(SAMPLERS))
@pytest.mark.parametrize("variables", [{}, {"a": 1}, {"a": ("only",), "b": 1}])
def test_a_space_of_one_configuration_leaves_nothing_to_choose(make, variables):
    space = Space(variables)
    (only,) = space.enumerate()
    sampler = make(space)
    for score in (0.5, 0.25, 0.75):
        assert sampler.ask() == only
        sampler.tell(only, score, 4)
    assert sampler.exhausted
    assert sampler.best().config == only
    assert sampler.best().n == 12
    assert sampler.best().mean == pytest.approx(0.5)


@pytest.mark.parametrize("joint", [True, False])
def test_densities_without_choice_or_history(joint):
    one, none = Space({"a": 1, "b": 1}), Space({})
    for space in (one, none):
        every = np.array(list(space.enumerate_codes())).reshape(1, -1)
        seen = np.repeat(every, 5, axis=0)
        assert published_density(space, seen, 1.0, joint=joint).pmf(every) == pytest.approx([1])
    nothing = np.zeros((0, 4), dtype=np.int64)
    density = published_density(TREE, nothing, 1.0, joint=joint)
    uniform = [prod(1 / c for c, v in zip(TREE.sizes, x, strict=True) if v >= 0) for x in ALL]
    np.testing.assert_allclose(density.pmf(ALL), uniform)


def test_one_variable_has_one_form():
    """Joint and independent are the same where there is one variable, as densities and as ratio."""
    space = Space({"a": 6})
    every = np.arange(6)[:, None]
    codes = space.sample_codes(np.random.default_rng(0), 40)
    ratios = []
    for joint in (True, False):
        good, bad = (published_density(space, c, 1.0, joint=joint) for c in (codes[:4], codes[4:]))
        ratios.append(good.log_pmf(every) - bad.log_pmf(every))
    np.testing.assert_allclose(ratios[0], ratios[1], atol=1e-12)
    nothing = np.zeros(6)
    bound = UpperBound(space, one_hot(space, codes[:1]), np.ones(1), 0.0, nothing, nothing, 0.2)
    on = hamming(6, 0.2)
    np.testing.assert_allclose(bound.evidence(every)[1] - 1, (on / on[0, 0])[codes[0, 0]])


@pytest.mark.parametrize("name", ["tpe", "independent"])
def test_one_variable_is_gone_through_and_only_the_leader_asked_again(name):
    sampler = SAMPLERS[name](Space({"a": 9}))
    scores = [0.1, 0.5, 0.2, 0.9, 0.4, 0.0, 0.6, 0.3, 0.7]
    told: set[int] = set()
    while len(told) < 9:
        leader = max(told, key=lambda a: scores[a], default=None)
        a = sampler.ask()["a"]
        assert a not in told or a == leader
        told.add(a)
        sampler.tell({"a": a}, scores[a], 10)
    assert len(sampler.observations) <= 9 + 6
    assert sampler.best().config == {"a": 3}


def test_the_bound_without_history_is_the_same_everywhere():
    """p + κ₂ √(p (1 - p) / (prior + 1)): nothing but the prior."""
    share, nothing = 0.05, np.zeros(11)
    base = log(share / (1 - share))
    none = np.zeros((0, 11)), np.zeros(0)
    bound = UpperBound(TREE, *none, base, nothing, nothing, prior=2.0, optimism=1.5)
    np.testing.assert_allclose(bound(ALL), share + 1.5 * sqrt(share * (1 - share) / 3))


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=list(SAMPLERS))
def test_before_anything_comes_back_a_space_is_gone_through_without_a_repeat(make):
    sampler = make(Space({"a": 3, "b": 2}))
    asked = [tuple(sampler.ask().values()) for _ in range(6)]
    assert len(set(asked)) == 6


def test_a_variable_of_one_choice_changes_nothing():
    """It is the same in every configuration, so no score may depend on whether it is there."""
    plain, more = Space({"a": 4, "b": 3}), Space({"a": 4, "b": 3, "one": 1, "only": 1})
    told = np.random.default_rng(2).binomial(20, np.linspace(0.2, 0.8, 12)) / 20
    scores = []
    for space in (plain, more):
        sampler = TPE(space, startup=1)
        every = np.array(list(space.enumerate_codes()))
        for codes, score in zip(every, told, strict=True):
            sampler.tell(space.decode(codes), score, 20)
        pool = sampler._history.pool
        scores.append(sampler._upper_bound(pool, shrink(pool))(every))
    np.testing.assert_allclose(scores[0], scores[1])


@pytest.mark.parametrize("joint", [True, False])
def test_what_a_kernel_without_width_never_saw_has_no_probability(joint):
    """No width and no prior: a histogram, with zeros, and no warning for their logarithms."""
    space = Space({"a": 3, "b": 2})
    every = np.array(list(space.enumerate_codes()))
    kernels = [uniform_mixture(size, 0.0) for size in space.sizes]
    centres, weights = np.array([[0, 0], [1, 1], [2, 0]]), np.array([1.0, 3.0, 0.0])
    p = Mixture(space, centres, weights, kernels, prior=0.0, joint=joint).pmf(every)
    expected = np.zeros((3, 2))
    if joint:
        expected[0, 0], expected[1, 1] = 1 / 4, 3 / 4
    else:
        expected = np.outer([1 / 4, 3 / 4, 0], [1 / 4, 3 / 4])
    np.testing.assert_allclose(p, expected.ravel(), atol=1e-12)


@pytest.mark.parametrize("score", [0.0, -2.0, 1e-30])
def test_exactly_equal_scores_have_no_importances(score):
    found = exact_importance(TREE, lambda config: score)
    effects = [*found.main.values(), *found.pairs.values(), found.rest]
    assert all(effect == Effect(0.0, 0.0, 0.0) for effect in effects)
    assert found.spread.value == pytest.approx(0)
