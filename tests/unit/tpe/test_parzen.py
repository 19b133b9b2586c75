"""Densities against a naive reference in rational arithmetic, then samples against densities."""

from fractions import Fraction
from math import log

import numpy as np
import pytest
from hamming import hamming
from scipy import stats

from mipro.tpe import Choice, Space
from mipro.tpe.bound import UpperBound
from mipro.tpe.parzen import (
    Mixture,
    aitchison_aitken,
    left_out,
    one_hot,
    published_density,
    uniform_mixture,
)

TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(2, when=("c", {0, 3}))})
CENTRES = [[0, 0, -1, -1], [2, 1, 3, 1], [2, 1, 2, -1], [0, 0, -1, -1], [1, 1, 0, 0]]
WEIGHTS = [Fraction(1), Fraction(3), Fraction(1, 2), Fraction(2), Fraction(1)]
ALL = np.array(list(TREE.enumerate_codes()))


def rational_kernel(size: int, alpha: Fraction) -> list[list[Fraction]]:
    return [
        [((1 if v == c else 0) + alpha) / (1 + alpha * size) for v in range(size)]
        for c in range(size)
    ]


def naive(x, centres, weights, kernels, prior, joint):
    """l(x) or g(x), term by term."""
    sizes = TREE.sizes

    def k(d, centre):
        return Fraction(1, sizes[d]) if centre[d] < 0 else kernels[d][centre[d]][x[d]]

    nothing = [-1] * len(sizes)
    active = [d for d in range(len(sizes)) if x[d] >= 0]
    parts = [*zip(centres, weights, strict=True), (nothing, prior)]
    if joint:
        total = Fraction(0)
        for centre, weight in parts:
            term = weight
            for d in active:
                term *= k(d, centre)
            total += term
        return total / sum(weight for _, weight in parts)
    product = Fraction(1)
    for d in active:
        spoken = [(c, w) for c, w in parts if c[d] >= 0 or c is nothing]
        product *= sum(w * k(d, c) for c, w in spoken) / sum(w for _, w in spoken)
    return product


@pytest.mark.parametrize("joint", [True, False])
def test_l_g_and_their_ratio_equal_the_rational_reference(joint):
    alpha, prior = Fraction(1, 6), Fraction(1)
    exact = [rational_kernel(c, alpha) for c in TREE.sizes]
    kernels = [uniform_mixture(c, float(alpha)) for c in TREE.sizes]
    densities = []
    for rows in (slice(0, 2), slice(2, 5)):
        mixture = Mixture(
            TREE,
            np.array(CENTRES[rows]),
            np.array([float(w) for w in WEIGHTS[rows]]),
            kernels,
            prior=float(prior),
            joint=joint,
        )
        reference = [
            naive(x, CENTRES[rows], WEIGHTS[rows], exact, prior, joint) for x in ALL.tolist()
        ]
        assert sum(reference) == 1
        np.testing.assert_allclose(mixture.pmf(ALL), [float(p) for p in reference], rtol=1e-12)
        densities.append((mixture, reference))
    (good, l_x), (bad, g_x) = densities
    np.testing.assert_allclose(
        good.log_pmf(ALL) - bad.log_pmf(ALL),
        [log(p / q) for p, q in zip(l_x, g_x, strict=True)],
        atol=1e-12,
    )


@pytest.mark.parametrize("size", [1, 2, 7])
def test_kernels_are_stochastic_and_symmetric(size):
    for kernel in (
        aitchison_aitken(size, 0.3 * (size - 1) / size),
        uniform_mixture(size, 0.2),
    ):
        np.testing.assert_allclose(kernel.sum(axis=1), 1)
        np.testing.assert_allclose(kernel, kernel.T)
        assert np.all(np.diag(kernel) >= kernel.min())


def test_the_limits_of_the_aitchison_aitken_kernel():
    np.testing.assert_array_equal(aitchison_aitken(4, 0.0), np.eye(4))
    np.testing.assert_allclose(aitchison_aitken(4, 0.75), np.full((4, 4), 0.25))
    with pytest.raises(ValueError, match=r"bandwidth 0.9 is not in \[0, 0.75\]"):
        aitchison_aitken(4, 0.9)


def test_hamming_has_one_ratio_whatever_the_size():
    for size in (2, 5, 30):
        kernel = hamming(size, 0.1)
        assert kernel[0, 1] / kernel[0, 0] == pytest.approx(0.1)


def test_no_observations_leave_the_prior():
    kernels = [hamming(c, 0.1) for c in TREE.sizes]
    none = np.zeros((0, 4), dtype=np.int64)
    for joint in (True, False):
        p = Mixture(TREE, none, np.zeros(0), kernels, joint=joint).pmf(ALL)
        expected = [
            np.prod([1 / c for c, v in zip(TREE.sizes, x, strict=True) if v >= 0]) for x in ALL
        ]
        np.testing.assert_allclose(p, expected)


def test_one_variable_joint_and_independent_agree():
    space = Space({"a": 5})
    centres = np.array([[0], [3], [3]])
    kernels = [hamming(5, 0.2)]
    x = np.arange(5)[:, None]
    joint, independent = (
        Mixture(space, centres, np.ones(3), kernels, joint=joint) for joint in (True, False)
    )
    np.testing.assert_allclose(joint.pmf(x), independent.pmf(x))


def test_joint_sees_that_two_choices_go_together():
    space = Space({"a": 2, "b": 2})
    centres = np.array([[0, 0], [1, 1]] * 5)
    kernels = [hamming(2, 0.05)] * 2
    together, apart = np.array([[0, 0]]), np.array([[0, 1]])
    joint = Mixture(space, centres, np.ones(10), kernels)
    independent = Mixture(space, centres, np.ones(10), kernels, joint=False)
    assert joint.pmf(together) > 4 * joint.pmf(apart)
    np.testing.assert_allclose(independent.pmf(together), independent.pmf(apart))


@pytest.mark.parametrize("joint", [True, False])
def test_samples_follow_the_pmf(joint):
    """Null: samples are drawn from pmf. One χ² test, fixed seed; false alarm 1e-4 on a new one."""
    mixture = Mixture(
        TREE,
        np.array(CENTRES),
        np.array([float(w) for w in WEIGHTS]),
        [hamming(c, 0.2) for c in TREE.sizes],
        joint=joint,
    )
    row = {tuple(x): i for i, x in enumerate(ALL.tolist())}
    drawn = mixture.sample(np.random.default_rng(1), 20_000)
    assert drawn.dtype == np.int64  # codes, as keys are made of
    counts = np.bincount([row[tuple(x)] for x in drawn.tolist()], minlength=len(ALL))
    expected = mixture.pmf(ALL) * len(drawn)
    assert expected.min() > 5
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def test_weights_that_make_no_density_are_refused():
    none = np.zeros((0, 1), dtype=np.int64)
    with pytest.raises(ValueError, match="weights"):
        Mixture(Space({"a": 2}), none, np.zeros(0), [hamming(2, 0.1)], prior=0)
    with pytest.raises(ValueError, match="weights"):
        Mixture(Space({"a": 2}), np.array([[0]]), np.array([-1.0]), [hamming(2, 0.1)])


@pytest.mark.parametrize(("weights", "prior"), [([-1.0, 3.0], 1.0), ([1.0, 3.0], -1.0)])
def test_a_weight_below_zero_is_refused_however_large_the_others(weights, prior):
    space = Space({"a": 2})
    kernels = [hamming(2, 0.5)]
    with pytest.raises(ValueError, match="weights"):
        Mixture(space, np.array([[0], [1]]), np.array(weights), kernels, prior=prior)


def silent(space, centres, good, ratio, **settings):
    """The bound where nothing is known of single choices."""
    nothing = np.zeros(sum(space.sizes))
    hot = one_hot(space, centres)
    return UpperBound(space, hot, good, 0.0, nothing, nothing, ratio, **settings)


def similarity(space, codes, ratio):
    """k of every pair, as one centre after another adds it to n(x)."""
    each = [silent(space, row[None], np.ones(1), ratio, prior=0.0) for row in codes]
    return np.array([bound.evidence(codes)[1] for bound in each])


def test_similarity_is_one_at_the_centre_and_at_most_one():
    s = similarity(TREE, ALL, 0.3)
    np.testing.assert_allclose(np.diag(s), 1)
    assert s.max() <= 1 + 1e-12


def test_similarity_of_a_flat_space_is_a_power_of_the_hamming_distance():
    space = Space({"a": 3, "b": 4, "c": 2})
    x = np.array(list(space.enumerate_codes()))
    distance = (x[:, None] != x[None]).sum(axis=2)
    np.testing.assert_allclose(similarity(space, x, 0.2), 0.2**distance)


def test_evidence_is_the_share_of_l_in_l_and_g_with_one_kernel():
    good = np.array([0.9, 0.2, 0.5, 0.1, 0.0])
    kernels = [hamming(c, 0.25) for c in TREE.sizes]
    a, n = silent(TREE, np.array(CENTRES), good, 0.25, prior=0.0).evidence(ALL)
    l_x = Mixture(TREE, np.array(CENTRES), good, kernels, prior=0).pmf(ALL)
    g_x = Mixture(TREE, np.array(CENTRES), 1 - good, kernels, prior=0).pmf(ALL)
    gamma = good.mean()
    np.testing.assert_allclose(a / n, gamma * l_x / (gamma * l_x + (1 - gamma) * g_x))


# --- a bandwidth that is learned -----------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.01, 0.3])
def test_left_out_is_the_likelihood_of_each_under_a_mixture_of_the_others(alpha):
    rng = np.random.default_rng(4)
    codes, weights = TREE.sample_codes(rng, 14), rng.random(14)
    kernels = [uniform_mixture(size, alpha) for size in TREE.sizes]
    total = 0.0
    for i in range(14):
        others = np.arange(14) != i
        mixture = Mixture(TREE, codes[others], weights[others], kernels, prior=0.7, joint=False)
        total += float(mixture.log_pmf(codes[i : i + 1])[0])
    assert left_out(TREE, codes, weights, alpha, 0.7) == pytest.approx(total)


@pytest.mark.parametrize("joint", [True, False])
def test_a_learned_bandwidth_is_narrow_where_observations_agree_and_wide_where_not(joint):
    space, rng = Space({"a": 8, "b": 8, "c": 8}), np.random.default_rng(0)
    alike = np.tile([[3, 1, 6]], (20, 1))
    alone = np.array([[a, 7 - a, 3 * a % 8] for a in range(8)])
    at = {}
    for name, codes in (("alike", alike), ("alone", alone[rng.permutation(8)[:5]])):
        learned = published_density(space, codes, 1.0, joint=joint, learned=True)
        by_rule = published_density(space, codes, 1.0, joint=joint)
        at[name] = float((learned.log_pmf(codes) - by_rule.log_pmf(codes)).mean())
    assert at["alike"] > 0 > at["alone"]


def test_with_nothing_seen_there_is_nothing_to_learn():
    nothing = np.zeros((0, 4), dtype=np.int64)
    learned, by_rule = (
        published_density(TREE, nothing, 1.0, joint=True, learned=each).pmf(ALL)
        for each in (True, False)
    )
    np.testing.assert_allclose(learned, by_rule)
