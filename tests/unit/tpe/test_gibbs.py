"""The inside of `importance`: its kernels and prior exactly, its Gibbs sampler by brute force."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from exact_anova import exact_importance

from mipro.optimizers.result import importance_json
from mipro.tpe import Choice, Effect, Observation, Space, importance
from mipro.tpe.components import Component, components, density
from mipro.tpe.importance import GUESS, MEAN_WIDTH, WIDTHS, _mixture, _Model, _posterior, _table
from mipro.tpe.split import Pool

FLAT = Space({"a": 3, "b": 2, "c": 2})
BITS = Space({"a": 2, "b": 2, "c": 2})  # the rest has one degree of freedom
TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(2, when=("c", {0, 3}))})


@pytest.fixture
def draws(monkeypatch):
    def set_to(count):
        # the name `mipro.tpe.importance` leads to the function, so the module is looked up
        monkeypatch.setattr(sys.modules[_Model.__module__], "DRAWS", count)

    return set_to


def full(space):
    """A model of every configuration, told once, and their probabilities."""
    codes = np.array(list(space.enumerate_codes()))
    pool = Pool(codes, np.zeros(len(codes)), np.ones(len(codes)))
    return _Model.of(space, pool, components(space)), density(space, codes)


@pytest.mark.parametrize("space", [FLAT, BITS, TREE], ids=["flat", "bits", "tree"])
def test_components_and_the_rest_make_up_all_functions(space):
    """1 + Σ_j m_j k_j is the identity on functions, and each m_j k_j a projection of its trace."""
    model, p = full(space)
    total = 1 + np.tensordot(model.freedom, model.kernels, 1)
    np.testing.assert_allclose(total, np.diag(1 / p), atol=1e-9)
    assert model.freedom.sum() == space.size() - 1
    assert model.order[-1] == 2
    assert np.sum(model.order == 0) == len(space.names)
    for m, kernel in zip(model.freedom, model.kernels, strict=True):
        projection = m * kernel * p
        np.testing.assert_allclose(projection @ projection, projection, atol=1e-9)
        assert np.trace(projection) == pytest.approx(m)


@pytest.mark.parametrize("space", [FLAT, TREE], ids=["flat", "tree"])
def test_a_prior_draw_has_the_variance_that_its_coefficients_say(space):
    """E_p[g_j²] = |w_j|² / m_j where every configuration was told; and G ~ N(0, k_j)."""
    model, p = full(space)
    values, squares = model.prior(np.random.default_rng(0), 20_000)
    held = np.einsum("u,nuj->nj", p, values**2)
    np.testing.assert_allclose(held, squares / model.freedom, rtol=1e-6)
    for j, kernel in enumerate(model.kernels):
        covariance = values[:, :, j].T @ values[:, :, j] / len(values)
        # 6 standard errors of a covariance, at the largest variance there is
        np.testing.assert_allclose(covariance, kernel, atol=6 * kernel.max() * np.sqrt(2 / 20_000))


def test_what_the_trials_do_not_see_is_drawn_too():
    """Two of seven choices told: of the six degrees of freedom four are chance, E[|w|²] = 6."""
    space = Space({"a": 7})
    pool = Pool(np.array([[0], [4]]), np.zeros(2), np.ones(2))
    model = _Model.of(space, pool, components(space))
    _, squares = model.prior(np.random.default_rng(0), 20_000)
    assert squares.mean() == pytest.approx(6, abs=5 * np.sqrt(12 / 20_000))
    assert squares.var() == pytest.approx(12, rel=0.1)


def brute_force(model, p, y, told, known, rng, count=60_000):
    """E[V_j | y] by drawing everything but G from its prior, weighed by the likelihood of y.

    G given the rest is normal, and integrated out in closed form.
    """
    J, U, _ = model.kernels.shape
    common = rng.dirichlet(np.ones(len(WIDTHS)), size=(count, 3))
    cumulative = common.cumsum(axis=2)[:, model.order]
    which = (rng.random((count, J, 1)) > cumulative[:, :, :-1]).sum(axis=2)
    sigma = WIDTHS[which] * rng.normal(size=(count, J))
    noise = np.tile(told, (count, 1))
    if not known:
        noise *= (GUESS / rng.chisquare(GUESS, size=count))[:, None]
    k = np.einsum("nj,juv->nuv", sigma**2, model.kernels)
    cov = k + MEAN_WIDTH**2 + np.eye(U) * noise[:, None, :]
    a = np.linalg.solve(cov, np.tile(y[:, None], (count, 1, 1)))[..., 0]
    log_p = -0.5 * (a @ y) - 0.5 * np.linalg.slogdet(cov)[1]
    weight = np.exp(log_p - log_p.max())
    weight /= weight.sum()
    assert 1 / (weight**2).sum() > 500  # enough of the draws count
    inverse = np.linalg.inv(cov)
    found = []
    for j, kernel in enumerate(model.kernels):
        s2 = (sigma[:, j] ** 2)[:, None]
        mean = s2 * (a @ kernel)  # of σ_j g_j(x_u)
        spent = np.einsum("uv,nvw,wu->nu", kernel, inverse, kernel)
        variance = s2 * np.diag(kernel) - s2**2 * spent
        found.append(weight @ ((mean**2 + variance) @ p))
    return np.array(found)


@pytest.mark.parametrize("known", [True, False])
def test_the_gibbs_sampler_has_the_posterior_of_brute_force(known, draws):
    """Posterior means of V_j, six configurations with one clear effect; 5 standard errors.

    Of 4,500 draws by 30 batches, and 3% for the brute force itself.
    """
    draws(4_500)
    space = Space({"a": 3, "b": 2})
    model, p = full(space)
    y = np.array([-1.2, -0.9, 0.1, 0.4, 0.6, 1.3])
    y = (y - y.mean()) / y.std()
    told = np.array([0.1, 0.2, 0.15, 0.1, 0.3, 0.12])
    expected = brute_force(model, p, y, told, known, np.random.default_rng(1))
    kept = _posterior(model, y, told, known, np.random.default_rng(0))
    assert kept.variances.shape == (4_500, 3)
    batches = kept.variances.reshape(30, 150, 3).mean(axis=1)
    error = batches.std(axis=0) / np.sqrt(30)
    np.testing.assert_array_less(
        np.abs(batches.mean(axis=0) - expected), 5 * error + 0.03 * expected
    )
    # on the full factorial V_j is the mean square of the component at the configurations
    held = (kept.mains**2 * p[:, None]).sum(axis=1)
    np.testing.assert_allclose(held, kept.variances[:, :2], atol=1e-12)


def test_the_unknown_mean_has_the_width_it_is_said_to_have(draws):
    """Two configurations do not outweigh the prior of μ: its draws are seen. 5 standard errors."""
    draws(6_000)
    model, p = full(Space({"a": 2}))
    y, told = np.array([1.0, -1.0]), np.array([0.6, 0.9])
    expected = brute_force(model, p, y, told, True, np.random.default_rng(1))
    kept = _posterior(model, y, told, True, np.random.default_rng(0))
    batches = kept.variances.reshape(30, 200, -1).mean(axis=1)
    error = batches.std(axis=0) / np.sqrt(30)
    assert np.all(error < 0.1 * expected)
    np.testing.assert_array_less(
        np.abs(batches.mean(axis=0) - expected), 5 * error + 0.03 * expected
    )


def test_choices_never_tried_follow_the_prior_given_those_that_were():
    """Draws of three tried and two untried of five, against the conditional normal law."""
    space = Space({"a": 5})
    (component,) = components(space)
    codes, count = np.array([[1], [1], [4], [0]]), 40_000
    at_trials = np.tile([0.5, 0.5, -0.2, 0.1], (count, 1))
    scale = np.full(count, 0.7)
    table = _table(component, codes[:, 0], at_trials, scale, np.random.default_rng(0))
    np.testing.assert_allclose(table.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(table[:, [1, 4, 0]], np.tile([0.5, -0.2, 0.1], (count, 1)))
    kernel = 0.49 * component.kernel(np.arange(5)[:, None])
    seen, unseen = [1, 4, 0], [2, 3]
    gain = kernel[np.ix_(unseen, seen)] @ np.linalg.pinv(kernel[np.ix_(seen, seen)])
    mean = gain @ [0.5, -0.2, 0.1]
    covariance = kernel[np.ix_(unseen, unseen)] - gain @ kernel[np.ix_(seen, unseen)]
    np.testing.assert_allclose(table[:, unseen].mean(axis=0), mean, atol=0.02)
    np.testing.assert_allclose(np.cov(table[:, unseen].T), covariance, atol=0.03)


def test_a_component_knows_where_in_the_tree_it_is_active():
    """By enumeration: which values each variable of a pair takes together, how often active."""
    codes = np.array(list(TREE.enumerate_codes()))
    p = density(TREE, codes)
    assert p.sum() == pytest.approx(1)
    for columns in [(0,), (1,), (2,), (3,), (0, 1), (0, 3), (1, 2), (2, 3)]:
        component = Component.of(TREE, columns)
        active = np.all(codes[:, columns] >= 0, axis=1)
        assert component.probability == pytest.approx(p[active].sum())
        for d, allowed in zip(columns, component.allowed, strict=True):
            assert allowed.tolist() == sorted(set(codes[active, d].tolist()))


def test_a_variable_of_one_choice_has_no_share_for_sure():
    space = Space({"one": 1, "a": 2, "x": Choice(2, when=("a", 0))})
    rng = np.random.default_rng(0)
    told = [Observation(space.sample(rng), float(rng.normal()), 5) for _ in range(30)]
    found, none = importance(space, told), Effect(0.0, 0.0, 0.0)
    assert found.main["one"] == found.pairs["one", "a"] == none
    assert found.choices["one"] == {0: none}
    assert found.main["a"].low < found.main["a"].value < found.main["a"].high
    assert set(found.choices["x"]) == {0, 1}


@pytest.mark.parametrize("exact", [False, True], ids=["from trials", "exact"])
def test_a_pair_never_active_together_has_no_share_for_sure(exact):
    """x hangs from one value of a, y from the other: what they do together is nothing."""
    space = Space({"a": 2, "x": Choice(2, when=("a", 0)), "y": Choice(2, when=("a", 1))})
    rng = np.random.default_rng(0)
    told = [Observation(space.sample(rng), float(rng.normal()), 5) for _ in range(30)]
    if exact:
        found = exact_importance(space, lambda c: c["a"] + c.get("x", 0) + 2 * c.get("y", 0))
    else:
        found = importance(space, told)
    assert found.pairs["x", "y"] == Effect(0.0, 0.0, 0.0)
    values = [effect.value for effect in (*found.main.values(), *found.pairs.values(), found.rest)]
    assert sum(values) == pytest.approx(1)


def test_an_untried_choice_of_a_child_varies_as_its_kernel_says():
    """Active half of the time: the kernel is twice as high where it is."""
    space = Space({"a": 2, "b": Choice(4, when=("a", 1))})
    component = next(c for c in components(space) if c.columns == (1,))
    column, count = np.array([-1, 2, 0]), 40_000
    at_trials = np.tile([0.0, 0.3, 0.1], (count, 1))
    rng = np.random.default_rng(0)
    table = _table(component, column, at_trials, np.full(count, 0.5), rng)
    every = np.array([[1, b] for b in range(4)])
    kernel = 0.25 * component.kernel(every)
    np.testing.assert_allclose(kernel[0, 0], 0.25 * 3 / (3 * 0.5))
    seen, unseen = [2, 0], [1, 3]
    gain = kernel[np.ix_(unseen, seen)] @ np.linalg.inv(kernel[np.ix_(seen, seen)])
    covariance = kernel[np.ix_(unseen, unseen)] - gain @ kernel[np.ix_(seen, unseen)]
    np.testing.assert_allclose(table[:, unseen].mean(axis=0), gain @ [0.3, 0.1], atol=0.02)
    np.testing.assert_allclose(np.cov(table[:, unseen].T), covariance, atol=0.02)
    np.testing.assert_allclose(table[:, seen], np.tile([0.3, 0.1], (count, 1)))


def test_as_json_every_share_is_called_one_and_every_effect_another():
    space = Space({"a": 2, "b": 2})
    told = [Observation(c, (c["a"] + 2 * c["b"]) / 4, 8) for c in space.enumerate()]
    found = importance_json(importance(space, told))
    assert set(found["rest"]) == set(found["main"]["a"])
    assert found["rest"]["share"] == 0
    assert {"share", "of"} < set(found["pairs"][0])
    assert {"effect", "choice"} < set(found["choices"]["a"][0])
    assert "sd" in found["spread"]
    assert [row["choice"] for row in found["choices"]["a"]] == [0, 1]
    named = Space({"a": ("x", None, (1, 2))})
    told = [Observation(c, y, 8) for c, y in zip(named.enumerate(), (0.25, 0.5, 1), strict=True)]
    rows = importance_json(importance(named, told))["choices"]["a"]
    assert [row["choice"] for row in rows] == ["x", "None", "(1, 2)"]


def test_whether_noise_is_known_is_told_by_what_example_variance_took(monkeypatch):
    """Shares of successes have a Bernoulli's σ², taken as known; any other σ² is a guess."""
    seen = []

    def spy(model, y, told, known, rng):
        seen.append(known)
        return _posterior(model, y, told, known, rng)

    monkeypatch.setattr(sys.modules[_Model.__module__], "_posterior", spy)
    space = Space({"a": 4})
    for scores in ([0.2, 0.4, 0.6, 0.8], [0.21, 0.43, 0.66, 0.8]):
        importance(space, [Observation({"a": a}, y, 5) for a, y in enumerate(scores)])
    assert seen == [True, False]


def test_whole_scores_are_not_taken_for_shares_of_successes():
    """Ratings of 1 to 5 and the same ones less 0.3: the shares cannot differ."""
    space, rng = Space({"a": 3, "b": 3}), np.random.default_rng(0)
    ratings = [(c, int(rng.integers(1, 4)) + c["a"]) for c in space.enumerate()]
    here, there = (
        importance(space, [Observation(c, y - shift, 1) for c, y in ratings])
        for shift in (0.0, 0.3)
    )
    for name in space.names:
        assert here.main[name].value == pytest.approx(there.main[name].value, abs=1e-6)


def test_the_same_trials_give_the_same_answer_for_choices_never_tried():
    space = Space({"a": 5, "b": 2})
    told = [Observation({"a": a, "b": b}, (a + b) / 8, 8) for a in range(3) for b in range(2)]
    assert importance(space, told) == importance(space, told)


def test_each_component_draws_a_width_of_its_own():
    """Of 40 alike, half-way between two widths, some get the one and some the other."""
    order, common = np.zeros(40, dtype=np.int64), np.full((3, len(WIDTHS)), 1 / len(WIDTHS))
    widths, _ = _mixture(order, np.full(40, 0.1), common, np.random.default_rng(0))
    assert len(set(widths.tolist())) > 1
