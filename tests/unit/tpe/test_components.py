"""The exact functional ANOVA: by hand, as a decomposition, and its kernels against its law."""

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
def test_kernels_are_projections_on_functions_that_have_nothing_in_common(space):
    codes = np.array(list(space.enumerate_codes()))
    p = density(space, codes)
    assert p.sum() == pytest.approx(1)
    found = components(space)
    projections = [c.freedom * c.kernel(codes) * p for c in found]
    for i, first in enumerate(projections):
        assert np.trace(first) == pytest.approx(found[i].freedom)
        assert first @ np.ones(len(p)) == pytest.approx(0)
        for j, second in enumerate(projections):
            assert first @ second == pytest.approx(first if i == j else 0 * first, abs=1e-12)


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
        part = component.freedom * component.kernel(codes) @ (p * f)
        names = tuple(space.names[d] for d in component.columns)
        share = found.main[names[0]] if len(names) == 1 else found.pairs[names]
        assert share.value == pytest.approx(p @ part**2 / (p @ (f - p @ f) ** 2))
