"""The inside of `importance`: its features exactly, its Gibbs sampler by brute force."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from exact_anova import exact_importance

from mipro.optimizers.result import importance_json
from mipro.tpe import Choice, Effect, Observation, Space, importance
from mipro.tpe.components import Component, components, density
from mipro.tpe.importance import GUESS, MEAN_WIDTH, SURE, TYPICAL, Part, parts, posterior

FLAT = Space({"a": 3, "b": 2, "c": 2})
BITS = Space({"a": 2, "b": 2, "c": 2})  # the rest has one degree of freedom
TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(2, when=("c", {0, 3}))})


@pytest.fixture
def draws(monkeypatch):
    def set_to(count):
        # the name `mipro.tpe.importance` leads to the function, so the module is looked up
        monkeypatch.setattr(sys.modules[Part.__module__], "DRAWS", count)

    return set_to


def full(space):
    """A model of every configuration, and their probabilities."""
    codes = np.array(list(space.enumerate_codes()))
    return parts(space, codes, components(space)), density(space, codes)


@pytest.mark.parametrize("space", [FLAT, BITS, TREE], ids=["flat", "bits", "tree"])
def test_the_features_are_an_orthonormal_basis_of_all_functions_of_mean_0(space):
    model, p = full(space)
    assert sum(part.freedom for part in model) == space.size() - 1
    count = len(space.names)
    mains, pairs, rest = np.split([part.typical for part in model], [count, -1])
    np.testing.assert_allclose(mains, TYPICAL / np.sqrt(count))
    there = sum(part.freedom > 0 for part in model[count:-1])
    np.testing.assert_allclose(pairs, TYPICAL / np.sqrt(there))
    assert rest == TYPICAL
    every = np.hstack([part.features * np.sqrt(part.freedom) for part in model])
    np.testing.assert_allclose(every.T @ (p[:, None] * every), np.eye(space.size() - 1), atol=1e-9)
    np.testing.assert_allclose(p @ every, 0, atol=1e-9)


def test_at_some_trials_the_rest_is_what_all_functions_have_beyond_mean_mains_and_pairs():
    space = Space({"a": 3, "b": 3, "c": 3})
    codes = np.array([[0, 0, 0], [0, 1, 2], [1, 1, 0], [2, 0, 1], [2, 2, 2]])
    *known, rest = parts(space, codes, components(space))
    kernels = [part.freedom * part.features @ part.features.T for part in (*known, rest)]
    np.testing.assert_allclose(1 + sum(kernels), 27 * np.eye(5), atol=1e-9)  # 1[x = x'] / p


def test_what_has_no_choice_takes_no_share_of_what_is_typical():
    """A variable of one choice, and its pairs, leave the prior of all others as it was."""
    here, there = Space({"a": 3, "b": 3, "c": 3}), Space({"a": 3, "b": 3, "c": 3, "one": 1})
    codes = here.sample_codes(np.random.default_rng(0), 6)
    wider = np.hstack([codes, np.zeros((6, 1), dtype=np.int64)])
    alone = parts(here, codes, components(here))
    beside = [part for part in parts(there, wider, components(there)) if part.freedom]
    assert [part.typical for part in beside] == [part.typical for part in alone]


def test_what_the_trials_do_not_see_is_drawn_too(draws):
    """Two trials tell two of the rest's 50 degrees of freedom; the others are chance."""
    draws(6_000)
    space = Space({"a": 6, "b": 6, "c": 3})
    model = parts(space, np.array([[0, 0, 0], [2, 1, 1]]), components(space))
    assert model[-1].freedom == 50
    assert model[-1].features.shape == (2, 2)
    y, told = np.array([1.0, -1.0]), np.array([0.6, 0.9])
    expected = brute_force(model, y, told, SURE, np.random.default_rng(1))[-1]
    found, _ = drawn(model, y, told, SURE)
    batches = found[:, -1].reshape(30, 200).mean(axis=1)
    error = batches.std() / np.sqrt(30)
    assert abs(batches.mean() - expected) < 5 * error + 0.03 * expected


def brute_force(model, y, told, sure, rng, count=60_000):
    """E[V_j | y] by drawing everything but w from its prior, weighed by the likelihood of y.

    w given the rest is normal, and integrated out in closed form.
    """
    J, U = len(model), len(y)
    freedom = np.array([part.freedom for part in model])
    kernels = np.array([part.features @ part.features.T for part in model])
    sigma = rng.standard_cauchy(size=(count, J)) * [part.typical for part in model]
    noise = told * (sure / rng.chisquare(sure, size=count))[:, None]
    k = np.einsum("nj,juv->nuv", sigma**2, kernels)
    cov = k + MEAN_WIDTH**2 + np.eye(U) * noise[:, None, :]
    a = np.linalg.solve(cov, np.tile(y[:, None], (count, 1, 1)))[..., 0]
    log_p = -0.5 * (a @ y) - 0.5 * np.linalg.slogdet(cov)[1]
    weight = np.exp(log_p - log_p.max())
    weight /= weight.sum()
    assert 1 / (weight**2).sum() > 500  # enough of the draws count
    # E[|w_j|² | y] = m_j + σ_j² aᵀ K_j a - σ_j² tr(C⁻¹ K_j), whatever of w_j the trials see
    told = np.einsum("nu,juv,nv->nj", a, kernels, a)
    spent = np.einsum("nuv,jvu->nj", np.linalg.inv(cov), kernels)
    squares = freedom + sigma**2 * (told - spent)
    return weight @ (sigma**2 * squares / np.maximum(freedom, 1))


def drawn(model, y, told, sure):
    """Variances, (DRAWS, J), and coefficients, J arrays (DRAWS, m_j)."""
    variances, w = zip(*posterior(model, y, told, sure), strict=True)
    return np.array(variances), [np.array(own) for own in zip(*w, strict=True)]


@pytest.mark.parametrize("sure", [SURE, GUESS])
def test_the_gibbs_sampler_has_the_posterior_of_brute_force(sure, draws):
    """Posterior means of V_j, six configurations with one clear effect; 5 standard errors.

    Of 4,500 draws by 30 batches, and 3% for the brute force itself.
    """
    draws(4_500)
    space = Space({"a": 3, "b": 2})
    model, p = full(space)
    y = np.array([-1.2, -0.9, 0.1, 0.4, 0.6, 1.3])
    y = (y - y.mean()) / y.std()
    told = np.array([0.1, 0.2, 0.15, 0.1, 0.3, 0.12])
    expected = brute_force(model, y, told, sure, np.random.default_rng(1))
    variances, coefficients = drawn(model, y, told, sure)
    assert variances.shape == (4_500, 4)
    np.testing.assert_array_equal(variances[:, 3], 0)  # of a and b and their pair nothing is left
    variances, expected = variances[:, :3], expected[:3]
    batches = variances.reshape(30, 150, 3).mean(axis=1)
    error = batches.std(axis=0) / np.sqrt(30)
    np.testing.assert_array_less(
        np.abs(batches.mean(axis=0) - expected), 5 * error + 0.03 * expected
    )
    # on the full factorial V_j is the mean square of the component at the configurations
    for j, part in enumerate(model[:3]):
        at = coefficients[j] @ (part.features * np.sqrt(part.freedom)).T
        np.testing.assert_allclose((at**2 * p).sum(axis=1), variances[:, j], atol=1e-12)


def test_the_unknown_mean_has_the_width_it_is_said_to_have(draws):
    """Two configurations do not outweigh the prior of μ: its draws are seen. 5 standard errors."""
    draws(6_000)
    model, _ = full(Space({"a": 2}))
    y, told = np.array([1.0, -1.0]), np.array([0.6, 0.9])
    expected = brute_force(model, y, told, SURE, np.random.default_rng(1))[:1]
    variances, _ = drawn(model, y, told, SURE)
    batches = variances[:, :1].reshape(30, 200, 1).mean(axis=1)
    error = batches.std(axis=0) / np.sqrt(30)
    assert np.all(error < 0.1 * expected)
    np.testing.assert_array_less(
        np.abs(batches.mean(axis=0) - expected), 5 * error + 0.03 * expected
    )


def test_choices_never_tried_are_drawn_given_those_that_were(draws):
    """Two of five choices told all but exactly: in each draw they differ as told, and the untried
    three, which nothing tells apart, sum to what is missing and are alike in law.
    """
    draws(6_000)
    space = Space({"a": 5})
    (component,) = components(space)
    model = parts(space, np.array([[1], [4]]), [component])
    assert model[0].features.shape == (2, 4)  # choices never tried have their contrasts, too
    y, told = np.array([1.0, -1.0]), np.array([1e-4, 1e-4])
    _, (own, _) = drawn(model, y, told, SURE)
    effects = own @ component.features(np.arange(5)).T  # (6,000, 5)
    np.testing.assert_allclose(effects.sum(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(effects[:, 1] - effects[:, 4], 2, atol=0.1)
    low, high = np.quantile(effects[:, [0, 2, 3]], (0.1, 0.9), axis=0)
    assert np.ptp(low) < 0.15 * (high - low).mean()
    assert np.ptp(high) < 0.15 * (high - low).mean()
    assert np.all(high - low > 1)


def test_a_component_knows_where_in_the_tree_it_is_active():
    """By enumeration: which values each variable of a pair takes together, how often active."""
    codes = np.array(list(TREE.enumerate_codes()))
    p = density(TREE, codes)
    assert p.sum() == pytest.approx(1)
    for columns in [(0,), (1,), (2,), (3,), (0, 1), (0, 3), (1, 2), (2, 3)]:
        component = Component.of(TREE, columns)
        active = np.all(codes[:, columns] >= 0, axis=1)
        assert component.scale == pytest.approx(p[active].sum() ** -0.5)
        for d, table in zip(columns, component.contrasts, strict=True):
            allowed = sorted(set(codes[active, d].tolist()))
            if len(allowed) > 1:
                assert np.flatnonzero(np.any(table != 0, axis=1)).tolist() == allowed
            square = len(allowed) * np.eye(len(allowed) - 1)
            np.testing.assert_allclose(table.T @ table, square, atol=1e-12)


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

    def spy(model, y, told, sure):
        seen.append(sure)
        return posterior(model, y, told, sure)

    monkeypatch.setattr(sys.modules[Part.__module__], "posterior", spy)
    space = Space({"a": 4})
    for scores in ([0.2, 0.4, 0.6, 0.8], [0.21, 0.43, 0.66, 0.8]):
        importance(space, [Observation({"a": a}, y, 5) for a, y in enumerate(scores)])
    assert seen == [SURE, GUESS]


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
