"""The exact functional ANOVA: by hand, as a decomposition, and its features against its law."""

import numpy as np
import pytest
from exact_anova import exact_importance

from mipro.tpe import Choice, Space
from mipro.tpe.components import components, density

TREE = Space({"a": 3, "b": Choice(4, when=("a", {1, 2})), "c": Choice(2, when=("b", 3)), "d": 2})


def test_an_additive_score_has_the_shares_of_its_variances():
    space = Space({"a": 2, "b": 2})
    found = exact_importance(space, lambda c: 0.2 + 0.3 * c["a"] + 0.15 * c["b"])
    assert found.main["a"].value == pytest.approx(0.8)
    assert found.main["b"].value == pytest.approx(0.2)
    assert found.spread.value == pytest.approx(np.hypot(0.15, 0.075))
    assert found.pairs["a", "b"].value == pytest.approx(0)
    assert found.choices["a"][1].value == pytest.approx(0.15)


def test_exclusive_or_is_all_pair_and_parity_of_three_all_rest():
    space = Space({"a": 2, "b": 2, "c": 2})
    pair = exact_importance(space, lambda c: c["a"] ^ c["b"])
    assert pair.pairs["a", "b"].value == pytest.approx(1)
    assert pair.main["a"].value == pair.main["b"].value == pytest.approx(0)
    assert pair.rest.value == pytest.approx(0)
    three = exact_importance(space, lambda c: c["a"] ^ c["b"] ^ c["c"])
    assert three.rest.value == pytest.approx(1)


def test_in_a_tree_a_share_counts_how_often_the_variable_is_active():
    space = Space({"a": 2, "b": Choice(2, when=("a", 1))})
    # under a = 1 (half of the time) b moves the score by ±1; a moves it by ±1 always
    found = exact_importance(space, lambda c: 2 * c["a"] + 2 * c.get("b", 0.5))
    assert found.main["a"].value == pytest.approx(1 / 1.5)
    assert found.main["b"].value == pytest.approx(0.5 / 1.5)
    assert found.pairs["a", "b"].value == 0
    assert found.choices["b"][1].value == pytest.approx(1)


def test_equal_scores_have_no_shares():
    found = exact_importance(Space({"a": 2, "b": 3}), lambda c: 0.3)
    for effect in (*found.main.values(), *found.pairs.values(), found.rest):
        assert effect.value == 0


@pytest.mark.parametrize("space", [Space({"a": 3, "b": 2, "c": 4}), TREE])
def test_features_are_of_one_component_each_and_have_nothing_in_common(space):
    codes = np.array(list(space.enumerate_codes()))
    p = density(space, codes)
    assert p.sum() == pytest.approx(1)
    every = []
    for component in components(space):
        own = codes[:, component.columns]
        features = component.features(*own.T)
        assert features.shape == (len(codes), component.freedom)
        assert not features[np.any(own < 0, axis=1)].any()  # 0 where it is not active
        for values in np.unique(own, axis=0):  # and nothing but its own variables matter
            assert np.ptp(features[np.all(own == values, axis=1)], axis=0) == pytest.approx(0)
        every.append(features)
    phi = np.hstack(every)
    assert phi.T @ (p[:, None] * phi) == pytest.approx(np.eye(phi.shape[1]), abs=1e-12)
    assert p @ phi == pytest.approx(np.zeros(phi.shape[1]), abs=1e-12)


@pytest.mark.parametrize("space", [Space({"a": 3, "b": 2, "c": 4}), TREE])
def test_shares_are_the_variances_of_the_projections(space):
    codes = np.array(list(space.enumerate_codes()))
    score = dict(
        zip(
            map(tuple, codes.tolist()),
            np.random.default_rng(1).normal(size=len(codes)),
            strict=True,
        )
    )
    f, p = np.array(list(score.values())), density(space, codes)
    found = exact_importance(space, lambda c: score[space.key(c)])
    for component in components(space):
        w = component.features(*codes[:, component.columns].T).T @ (p * f)
        names = tuple(space.names[d] for d in component.columns)
        share = found.main[names[0]] if len(names) == 1 else found.pairs[names]
        assert share.value == pytest.approx(w @ w / (p @ (f - p @ f) ** 2))
