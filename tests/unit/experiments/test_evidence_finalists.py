"""The last choice: the budget to the example, equal parts, and the best where there is no noise."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments"))

from evidence_finalists import Halving, contenders


def names(count: int) -> list[tuple[int, ...]]:
    return [(i,) for i in range(count)]


def gone_through(leaders, money, examples, seen, ranking):
    """All rounds: the looks of each, and who is left."""
    halving, known, rounds = Halving(leaders, money), {k: set(seen.get(k, ())) for k in leaders}, []
    while not halving.over:
        looks = halving.looks(
            range(examples), lambda key: [i for i in range(examples) if i not in known[key]]
        )
        rounds.append((list(halving.left), looks))
        for key, looked in looks:
            assert not known[key] & set(looked)  # nothing is looked at twice
            known[key] |= set(looked)
        halving.cut(ranking(known))
    return halving, rounds


@given(
    st.integers(1, 20),
    st.integers(0, 500),
    st.integers(1, 60),
    st.data(),
)
def test_the_budget_is_kept_and_one_is_left(count, money, examples, data):
    leaders = names(count)
    seen = {
        key: data.draw(st.sets(st.integers(0, examples - 1)), label=f"seen by {key}")
        for key in leaders
    }
    order = data.draw(st.permutations(leaders))
    halving, rounds = gone_through(leaders, money, examples, seen, lambda known: order)
    spent = sum(len(looked) for _, looks in rounds for _, looked in looks)
    assert spent + halving.money == money
    assert halving.money >= 0
    assert halving.left == [order[0]]
    assert len(rounds) == (count - 1).bit_length()  # ⌈log2 K⌉
    for left, looks in rounds:
        most = max((len(looked) for _, looked in looks), default=0)
        for key, looked in looks:
            assert key in left
            # an equal part each, but for who has no more to see
            assert len(looked) == most or not set(range(examples)) - seen[key] - set().union(
                *(set(x) for _, ls in rounds for k, x in ls if k == key)
            )


def test_with_nothing_seen_the_whole_budget_is_spent():
    halving, rounds = gone_through(names(8), 3 * 96, 1000, {}, lambda known: names(8))
    assert [[len(looked) for _, looked in looks] for _, looks in rounds] == [
        [12] * 8,
        [24] * 4,
        [48] * 2,
    ]
    assert halving.money == 0


def test_all_look_at_the_same_examples_as_far_as_they_can():
    _, rounds = gone_through(names(2), 8, 10, {(0,): {0}, (1,): {3}}, lambda known: names(2))
    assert rounds[0][1] == [((0,), (1, 2, 3, 4)), ((1,), (0, 1, 2, 4))]


@given(st.integers(1, 17), st.integers(0, 16), st.sampled_from([-100.0, 0.0, 3.0]))
def test_without_noise_the_best_is_left(count, best, origin):
    leaders = names(count)
    truth = {key: origin + (key == (best % count,)) for key in leaders}

    def ranking(known):
        return sorted(leaders, key=lambda key: -truth[key])

    halving, _ = gone_through(leaders, 400, 40, {}, ranking)
    assert halving.left == [(best % count,)]


def test_of_equals_the_ranking_decides_and_one_needs_no_round():
    halving, _ = gone_through(names(5), 50, 10, {}, lambda known: names(5)[::-1])
    assert halving.left == [(4,)]
    assert Halving(names(1), 80).over
    assert Halving([], 80).over


def test_one_example_and_no_money_are_no_trouble():
    halving, rounds = gone_through(names(4), 0, 1, {}, lambda known: names(4))
    assert halving.left == [(0,)]
    assert all(looks == [] for _, looks in rounds)
    halving, rounds = gone_through(names(4), 9, 1, {(0,): {0}}, lambda known: names(4))
    assert halving.money == 9 - 3  # the first was seen on all there is


@pytest.mark.parametrize(
    ("money", "examples", "minibatch", "count"),
    [(320, 80, 35, 16), (0, 80, 35, 2), (10, 35, 35, 20), (45, 80, 35, 2), (46, 80, 35, 4)],
)
def test_twice_as_many_contend_as_could_be_seen_in_full(money, examples, minibatch, count):
    assert contenders(money, examples, minibatch) == count
