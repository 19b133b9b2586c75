"""The test of improvement: its size by enumeration, its reductions, its properties; optimism."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb, inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test, ttest_rel

from mipro.errors import ConfigError
from mipro.improvement import Improvement, Optimism, holm, improvement, improvements
from mipro.looks import DRAWS, PairedLooks, allowed
from mipro.stats import difference_interval


def better(gains, sizes, level):
    """Does the test say "better" at some look?"""
    test = PairedLooks(sizes, level)
    for portion in np.split(np.asarray(gains, dtype=float), np.cumsum(sizes)[:-1]):
        if test.look(portion).better:
            return True
    return False


def looked(gains, sizes, level=0.05):
    """Every look taken."""
    test, found = PairedLooks(sizes, level), []
    for portion in np.split(np.asarray(gains, dtype=float), np.cumsum(sizes)[:-1]):
        if not test.over:
            found.append(test.look(portion))
    return found


# --- the size, by enumeration --------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.05, 0.2])
@pytest.mark.parametrize("sizes", [(7,), (4, 4), (3, 3, 3)])
def test_a_candidate_that_is_no_better_is_called_so_at_most_at_the_level(sizes, level):
    # every number of pairs that differ in every portion, and every number of them won. With a
    # chance of winning of 1/2 the sum is the exact false-alarm rate; with a smaller one, of a
    # candidate that is worse, it is smaller
    for differing in product(*(range(n + 1) for n in sizes)):
        rates = dict.fromkeys((Fraction(1, 2), Fraction(2, 5)), Fraction(0))
        for won in product(*(range(d + 1) for d in differing)):
            gains = [
                [1] * w + [-1] * (d - w) + [0] * (n - d)
                for w, d, n in zip(won, differing, sizes, strict=True)
            ]
            if better(np.concatenate(gains), sizes, level):
                for chance in rates:
                    mass = Fraction(1)
                    for w, d in zip(won, differing, strict=True):
                        mass *= comb(d, w) * chance**w * (1 - chance) ** (d - w)
                    rates[chance] += mass
        assert rates[Fraction(2, 5)] <= rates[Fraction(1, 2)] <= level


@pytest.mark.parametrize("sizes", [(8,), (4, 4), (2, 3, 3), (1,) * 8])
def test_gains_of_any_size_keep_the_level_too(sizes):
    # every sign of eight gains; the rate is a share of 256
    size = np.array([0.1, 0.2, 0.3, 0.3, 0.5, 0.25, 0.7, 0.01])
    for level in (0.05, 0.1, 0.3):
        signs = product((-1, 1), repeat=8)
        rate = np.mean([better(size * np.array(s), sizes, level) for s in signs])
        assert rate <= level


def naive(gains, sizes, level):
    """The p-value at the look where the test ends, from every path of signs, in rationals."""
    size, cuts, ends = [abs(g) for g in gains], [], np.cumsum(sizes)
    spent = Fraction(0)
    for end in ends:
        paths = [np.cumsum(np.multiply(s, size[:end])) for s in product((-1, 1), repeat=int(end))]
        alive = [
            path[-1]
            for path in paths
            if all(path[e - 1] < cut for e, cut in zip(ends, cuts, strict=False))
        ]

        whole = len(paths)

        def tail(value, alive=alive, whole=whole):
            return Fraction(sum(other >= value for other in alive), whole)

        p_value = spent + tail(sum(gains[:end]))
        bound = level * Fraction(int(end), int(ends[-1])) ** 2
        cut = min((v for v in alive if spent + tail(v) <= bound), default=inf)
        cuts.append(cut)
        spent += tail(cut)
        if p_value <= bound:
            break
    return p_value


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=9, max_size=9),
    st.sampled_from([(9,), (4, 5), (3, 3, 3), (1, 2, 3, 3)]),
    st.sampled_from([Fraction(1, 20), Fraction(1, 5), Fraction(1, 2)]),
)
def test_the_p_value_is_what_enumeration_gives(gains, sizes, level):
    last = looked(gains, sizes, float(level))[-1]
    assert last.p_value == pytest.approx(float(naive(gains, sizes, level)), abs=1e-12)


@pytest.mark.parametrize("sizes", [(3, 3), (2, 2, 2)])
def test_hopeless_is_said_only_where_no_outcome_of_the_rest_could_change_it(sizes):
    said = 0
    for level in (0.05, 0.15):
        for first in product((-1, 0, 1), repeat=sizes[0]):
            test = PairedLooks(sizes, level)
            test.look(first)
            rest = sum(sizes[1:])
            if not test.over and test.hopeless(1.0):
                said += 1
                assert not any(
                    better([*first, *others], sizes, level)
                    for others in product((-1, 0, 1), repeat=rest)
                )
    assert said


def test_hopeless_is_not_said_where_gains_have_no_bound_or_the_law_is_too_large():
    test = PairedLooks((20, 2))
    test.look(-np.random.default_rng(0).random(20))
    assert not test.hopeless(inf)
    assert not test.hopeless(1.0)  # though it is


# --- what it reduces to --------------------------------------------------------------------------


def test_one_look_at_right_and_wrong_is_mcnemar_s_test():
    rng = np.random.default_rng(0)
    for n in (1, 5, 40, 700):
        before, after = rng.integers(0, 2, (2, n))
        gain = after - before
        made = improvement(before, after)
        if gain.any():
            won, lost = int((gain > 0).sum()), int((gain < 0).sum())
            wanted = binomtest(won, won + lost, alternative="greater").pvalue
            assert made.p_value == pytest.approx(wanted, rel=1e-9)
        assert (made.n, made.most, made.looks, made.family) == (n, n, 1, 1)


def test_one_look_at_few_numbers_is_the_exact_sign_flip_test():
    before, after = np.random.default_rng(2).random((2, 10))
    wanted = permutation_test(
        (after - before,),
        lambda gain, axis: np.mean(gain, axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=inf,
    ).pvalue
    assert improvement(before, after).p_value == pytest.approx(wanted)


def test_many_numbers_are_tested_by_drawn_signs_and_the_same_each_time():
    rng = np.random.default_rng(0)
    before = rng.random(60)
    after = before + rng.normal(0.02, 0.1, 60)
    made = improvement(before, after)
    wanted = ttest_rel(after, before, alternative="greater").pvalue
    assert made.p_value == pytest.approx(wanted, abs=0.01)
    assert improvement(before, after) == made
    assert round(made.p_value * (DRAWS + 1)) == pytest.approx(made.p_value * (DRAWS + 1))


def test_looks_too_early_to_spend_anything_leave_the_last_as_it_was():
    # two pairs at the first look can never be enough, so nothing is lost there
    gains = [1, 1, 0, 1, -1, 1, 1, 1, 0, 1, 1, 1]
    assert looked(gains, (2, 10))[-1].p_value == looked(gains, (12,))[-1].p_value


def test_a_test_ends_at_the_look_that_shows_it():
    gains = np.ones(40)
    looks = looked(gains, (10, 10, 20))
    assert [look.better for look in looks] == [True]
    assert looks[0].n == 10
    assert looks[0].p_value == pytest.approx(2**-10)
    assert looks[0].allowed == pytest.approx(allowed(0.05, 10 / 40)) == pytest.approx(0.05 / 16)


def test_right_and_wrong_that_turn_out_to_be_numbers_are_followed():
    # the first looks have an exact law, the last does not
    rng = np.random.default_rng(4)
    gains = [*rng.integers(-1, 2, 20), *rng.normal(0.4, 0.5, 30)]
    last = looked(gains, (10, 10, 30))[-1]
    assert last.n == 50
    assert last.p_value == pytest.approx(looked(gains, (50,))[-1].p_value, abs=0.01)


# --- properties ----------------------------------------------------------------------------------

GAINS = st.lists(
    st.one_of(st.integers(-1, 1), st.floats(-1, 1).map(lambda x: round(x, 2))),
    min_size=12,
    max_size=12,
)
SIZES = st.sampled_from([(12,), (6, 6), (4, 4, 4), (2, 3, 7)])


@settings(max_examples=60, deadline=None)
@given(GAINS, SIZES, st.randoms(use_true_random=False))
def test_p_values_are_probabilities_that_order_and_unit_leave_alone(gains, sizes, random):
    looks = looked(gains, sizes)
    assert all(0 < look.p_value <= 1 for look in looks)
    assert all(look.better == (look.p_value <= look.allowed) for look in looks)
    portions = [list(p) for p in np.split(np.array(gains), np.cumsum(sizes)[:-1])]
    for portion in portions:
        random.shuffle(portion)
    shuffled = looked(np.concatenate(portions), sizes)
    assert [x.p_value for x in shuffled] == pytest.approx([x.p_value for x in looks])
    scaled = looked([1e-7 * g for g in gains], sizes)
    assert [x.p_value for x in scaled] == pytest.approx([x.p_value for x in looks])


@settings(max_examples=60, deadline=None)
@given(GAINS, SIZES, st.integers(0, 11))
def test_a_loss_turned_into_a_win_never_raises_the_p_value_of_a_look(gains, sizes, place):
    worse, more = list(gains), list(gains)
    worse[place], more[place] = -abs(gains[place]), abs(gains[place])
    for one, other in zip(looked(more, sizes), looked(worse, sizes), strict=False):
        assert one.p_value <= other.p_value + 1e-12


@settings(max_examples=60, deadline=None)
@given(GAINS)
def test_better_and_worse_are_mirror_images(gains):
    # P(S ≥ s) + P(S ≤ s) = 1 + P(S = s): not both small
    zeros = np.zeros(12)
    p_value = improvement(zeros, gains).p_value
    mirrored = improvement(zeros, [-g for g in gains]).p_value
    assert p_value + mirrored >= 1 - 1e-9
    if not any(gains):
        assert p_value == mirrored == 1


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "level", "said"), [((), 0.05, "sizes"), ((3, 0), 0.05, "sizes"), ((3,), 1, "level=1")]
)
def test_a_plan_that_is_none_is_refused(sizes, level, said):
    with pytest.raises(ConfigError, match=said):
        PairedLooks(sizes, level)


def test_another_number_of_gains_than_planned_is_refused():
    test = PairedLooks((2, 2))
    with pytest.raises(ConfigError, match="3 gains at look 1: 2 are wanted"):
        test.look([1, 0, 1])
    with pytest.raises(ConfigError, match="finite"):
        test.look([1, inf])
    test.look([0, 0])
    test.look([0, 0])
    with pytest.raises(ConfigError, match="look 3: none"):
        test.look([1, 1])
    with pytest.raises(ConfigError, match="pairs are wanted"):
        improvement([0, 1], [1])


# --- several candidates --------------------------------------------------------------------------


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.6]) == (1.0, 1.0)
    assert holm([]) == ()


def test_one_of_several_needs_more_than_it_would_alone():
    rng = np.random.default_rng(8)
    before = np.zeros(12)
    good = [1, 1, 1, 1, 1, 1, -1, 0, 0, 0, 0, 0]  # p = 8/128 = 0.0625 alone
    others = {f"other {i}": rng.integers(0, 2, 12) - rng.integers(0, 2, 12) for i in range(3)}
    found = improvements(before, {"good": good, **others}, level=0.1)
    assert improvement(before, good, 0.1).shown
    assert not found["good"].shown
    assert found["good"].p_value == pytest.approx(4 * 8 / 128)
    assert all(made.family == 4 for made in found.values())
    assert "4 candidates tested" in found["good"].text
    alone = improvements(before, {"good": good}, level=0.1)["good"]
    assert alone == improvement(before, good, 0.1)


# --- what it says --------------------------------------------------------------------------------


def test_nothing_tested_is_not_shown_and_says_so():
    made = Improvement(why="There is no test set.")
    assert not made.shown
    assert made.text == "Not shown better than the original: not tested. There is no test set."
    assert made.to_json()["shown_better"] is False
    assert made.to_json()["p_value"] is None


def test_what_was_shown_is_said_with_its_looks():
    made = improvement([0] * 10, [1] * 10)
    assert made.shown
    assert made.text == (
        "Shown better than the original: one-sided p = 0.00098 on 10 held-out examples "
        "(level 0.05, 1 look)."
    )


# --- optimism ------------------------------------------------------------------------------------


def test_the_interval_of_a_difference_is_newcombe_s():
    # his own example: 56/70 against 48/80, method 10 (Statistics in Medicine 17, 1998, table II)
    one, other = [1] * 56 + [0] * 14, [1] * 48 + [0] * 32
    assert difference_interval(one, other) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    low, high = difference_interval(other, one)
    assert (-high, -low) == pytest.approx(difference_interval(one, other))


def test_optimism_is_selected_minus_held_out_and_a_harder_test_set_is_no_optimism():
    # the test set is harder for both by 0.3; the candidate gains 0.4 on val and 0.2 on test
    val = [1] * 5 + [0] * 5, [1] * 9 + [0] * 1
    test = [1] * 4 + [0] * 16, [1] * 8 + [0] * 12
    made = Optimism.of(val, test)
    assert (made.selected, made.held_out) == (0.9, 0.4)
    assert made.value == pytest.approx(0.5)
    assert made.original == pytest.approx(0.3)
    assert made.net == pytest.approx(0.2)
    for value, (low, high) in (
        (made.value, made.interval),
        (made.original, made.original_interval),
        (made.net, made.net_interval),
    ):
        assert low < value < high
    assert made.interval == difference_interval(val[1], test[1])
    assert made.to_json()["optimism"] == made.value
