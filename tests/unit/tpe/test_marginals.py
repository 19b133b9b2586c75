"""What each choice says alone: evidence for a variable, shrinkage, trees."""

from __future__ import annotations

import numpy as np
import pytest

from mipro.tpe import Choice, Space
from mipro.tpe.marginals import Marginals, marginals
from mipro.tpe.parzen import one_hot


def of(space, codes, good):
    hot = one_hot(space, np.asarray(codes))
    good = np.asarray(good, dtype=float)
    return marginals(space, good @ hot, (1 - good) @ hot, float(good.mean()))


def design(space, count, seed=0):
    return space.sample_codes(np.random.default_rng(seed), count)


def test_a_variable_that_matters_is_told_from_one_that_does_not():
    space = Space({"matters": 5, "does not": 5})
    codes = design(space, 100)
    found = of(space, codes, codes[:, 0] == 2)
    assert found.relevance[0] > 0.99
    assert found.relevance[1] < 0.5
    matters, other = found.log_ratio[:5], found.log_ratio[5:]
    assert matters.argmax() == 2
    assert matters[2] > 2 > 0 > matters[[0, 1, 3, 4]].max()
    assert np.abs(other).max() < 0.5


def test_few_observations_are_believed_less_than_many():
    space = Space({"a": 3})
    few = of(space, [[0], [1], [2]], [1, 0, 0])
    many = of(space, [[0], [1], [2]] * 20, [1, 0, 0] * 20)
    assert 0 < few.log_ratio[0] < many.log_ratio[0]
    assert few.variance[0] > many.variance[0]


def test_a_choice_never_seen_is_average_and_the_least_known():
    space = Space({"a": 4})
    found = of(space, [[0], [1], [2]] * 5, [1, 0, 0] * 5)
    assert found.log_ratio[1] < found.log_ratio[3] < found.log_ratio[0]
    assert found.log_ratio[3] == pytest.approx(0, abs=1e-9)
    assert found.variance[3] > found.variance[:3].max()


def test_nothing_seen_says_nothing():
    space = Space({"a": 4, "b": 2})
    nothing = np.zeros(6)
    found = marginals(space, nothing, nothing, 0.1)
    np.testing.assert_allclose(found.log_ratio, 0, atol=1e-12)
    assert np.all(np.isfinite(found.variance))
    silent = Marginals.silent(space)
    assert not silent.log_ratio.any()
    assert not silent.variance.any()


def test_a_good_branch_is_not_credited_to_what_hangs_from_it():
    """All under b = 1 is good, whatever c is: b has the credit, c's choices are alike."""
    space = Space({"b": 2, "c": Choice(3, when=("b", 1))})
    codes = design(space, 120)
    found = of(space, codes, codes[:, 0] == 1)
    assert found.log_ratio[1] > 1 > -1 > found.log_ratio[0]
    assert np.abs(found.log_ratio[2:]).max() < 0.2


def test_order_and_labels_do_not_matter():
    space, other = Space({"a": 3, "b": 2}), Space({"b": 2, "a": 3})
    codes = design(space, 30)
    good = np.random.default_rng(1).random(30)
    one, two = of(space, codes, good), of(other, codes[:, ::-1], good)
    np.testing.assert_allclose(one.log_ratio[:3], two.log_ratio[2:])
    np.testing.assert_allclose(one.variance[3:], two.variance[:2])
    np.testing.assert_allclose(one.relevance, two.relevance[::-1])
