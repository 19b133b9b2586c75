import numpy as np
import pytest
from hamming import hamming

from mipro.tpe import Choice, Space
from mipro.tpe.acquisition import (
    any_unseen,
    best_of,
    coordinate_ascent,
    exact,
    keys_of,
    leader_to_recheck,
    worth_a_second_look,
)
from mipro.tpe.bound import UpperBound
from mipro.tpe.parzen import Mixture, one_hot
from mipro.tpe.split import Pool, shrink

TREE = Space({"a": 3, "b": 2, "c": Choice(4, when=("b", 1)), "d": Choice(2, when=("c", {0, 3}))})
ALL = np.array(list(TREE.enumerate_codes()))


def some_bound(space, seed, n=12):
    rng = np.random.default_rng(seed)
    centres = space.sample_codes(rng, n)
    return plain(space, centres, rng.random(n), 0.2, 0.2)


CENTRES = TREE.sample_codes(np.random.default_rng(3), 12)  # of some_bound(TREE, 3)


def plain(space, centres, good, ratio, share, *, prior=1.0, optimism=1.0):
    """The bound where nothing is known of single choices."""
    nothing, base = np.zeros(sum(space.sizes)), np.log(share / (1 - share))
    hot = one_hot(space, centres)
    return UpperBound(space, hot, good, base, nothing, nothing, ratio, prior, optimism)


@pytest.mark.parametrize("seed", range(8))
def test_exact_equals_brute_force(seed):
    score = some_bound(TREE, seed)
    seen = set(keys_of(ALL[:: 2 + seed]))
    values = [(float(score(x[None])[0]), tuple(x)) for x in ALL if tuple(x) not in seen]
    found = exact(TREE, score, seen)
    assert score(np.array([found]))[0] == pytest.approx(max(values)[0])
    assert found not in seen


@pytest.mark.parametrize("seed", range(8))
def test_coordinate_ascent_finds_the_exact_optimum_of_small_trees(seed):
    score = some_bound(TREE, seed)
    rng = np.random.default_rng(seed)
    found = coordinate_ascent(TREE, score.moves, rng, set(), TREE.sample_codes(rng, 32), 30)
    assert score(np.array([found]))[0] == pytest.approx(score(ALL).max())


def test_coordinate_ascent_returns_only_unseen_and_valid_ones():
    score = some_bound(TREE, 0)
    rng = np.random.default_rng(0)
    seen = set()
    found = coordinate_ascent(TREE, score.moves, rng, seen, TREE.sample_codes(rng, 4), 30)
    while found is not None:  # until no neighbour of a top is left
        assert found not in seen
        TREE.encode(TREE.decode(found))
        seen.add(found)
        found = coordinate_ascent(TREE, score.moves, rng, seen, TREE.sample_codes(rng, 4), 30)
    assert len(seen) > 2
    assert exact(TREE, score, set(keys_of(ALL))) is None


def test_without_optimism_the_upper_bound_orders_as_the_ratio():
    evidence = some_bound(TREE, 3)
    kernels = [hamming(c, 0.2) for c in TREE.sizes]
    no_prior = plain(TREE, CENTRES, evidence.good, evidence.ratio, 0.2, prior=0.0, optimism=0.0)
    good = Mixture(TREE, CENTRES, evidence.good, kernels, prior=0)
    bad = Mixture(TREE, CENTRES, 1 - evidence.good, kernels, prior=0)
    ratio = good.log_pmf(ALL) - bad.log_pmf(ALL)
    bound = no_prior(ALL)
    by_ratio = np.argsort(ratio)
    assert np.all(np.diff(bound[by_ratio]) >= -1e-12)


def test_optimism_prefers_the_less_known_of_equal_shares():
    space = Space({"a": 3})
    centres = np.array([[0]] * 8 + [[1]] * 2)
    good = np.array([1.0, 0.0] * 5)
    known, less, _ = plain(space, centres, good, 1e-6, 0.5)(np.array([[0], [1], [2]]))
    assert less > known


def test_the_best_unseen_wins_and_of_none_none():
    score = some_bound(TREE, 1)
    ranked = np.argsort(-score(ALL), kind="stable")
    keys = keys_of(ALL)
    assert best_of(score(ALL), ALL.__getitem__, set()) == keys[ranked[0]]
    assert (
        best_of(score(ALL), ALL.__getitem__, {keys[row] for row in ranked[:3]}) == keys[ranked[3]]
    )
    assert best_of(score(ALL), ALL.__getitem__, set(keys)) is None
    assert best_of(score(ALL[:0]), ALL.__getitem__, set()) is None


def test_any_unseen_finds_the_last_one_and_then_none():
    space = Space({f"v{i}": 8 for i in range(4)})  # 4,096, so that draws miss the last one
    every = keys_of(np.array(list(space.enumerate_codes())))
    rng = np.random.default_rng(0)
    assert any_unseen(space, rng, set(every[:-1])) == (7, 7, 7, 7)
    assert any_unseen(space, rng, set(every)) is None


def test_the_leader_is_rechecked_until_it_stands():
    def ask(n, busy=(), noise=0.2, every=1):
        pool = Pool.of([(0,), (1,), (2,)], [0.2, 0.8, 0.4], [20, n, 20])
        return leader_to_recheck(pool, noise, busy, every=every, examples=20)

    assert ask(20) == ask(60) == (1,)
    assert ask(80) is None
    assert ask(20, busy=((1,),)) is None
    assert ask(20, noise=0.0) is None
    assert ask(20, every=0) is None


def test_worth_a_second_look_prefers_the_good_and_the_little_known():
    pool = Pool.of([(0,), (1,), (2,)], [0.5, 0.5, 0.1], [200, 10, 100])
    posterior = shrink(pool)
    assert worth_a_second_look(pool, posterior, ()) == (1,)
    assert worth_a_second_look(pool, posterior, ((1,),)) == (0,)
    assert worth_a_second_look(pool, posterior, ((0,), (1,), (2,))) == (1,)  # an answer is owed


def test_of_many_equal_rows_the_first_is_the_best():
    codes = np.arange(200)[:, None]
    assert best_of(np.zeros(200), codes.__getitem__, set()) == (0,)
    assert best_of(np.where(codes[:, 0] % 7 == 3, 1.0, 0.0), codes.__getitem__, {(3,)}) == (10,)
