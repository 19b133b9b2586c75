"""Difficulty taken out: unbiased by enumeration, worth what it says, nothing where all is alike."""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments"))

from evidence_difficulty import Cells, Components, adjusted, components

scores = st.sampled_from([-3.0, -0.5, 0.0, 0.25, 1.0, 7.0])


def simulated(rng, candidates=40, examples=60, batch=20, difficulty=0.5, noise=1.0, truths=0.7):
    """A table of minibatches with known components, and each candidate's mean on all examples."""
    truth = rng.normal(0, truths, candidates)[:, None]
    whole = truth + rng.normal(0, difficulty**0.5, examples)
    whole = whole + rng.normal(0, noise**0.5, whole.shape)
    table = np.full(whole.shape, np.nan)
    for row in range(candidates):
        seen = rng.choice(examples, batch, replace=False)
        table[row, seen] = whole[row, seen]
    return table, whole.mean(axis=1)


@settings(max_examples=40)
@given(
    arrays(float, (2, 5), elements=scores),
    arrays(bool, (2, 5)),
    arrays(float, 5, elements=scores),
    st.floats(0.1, 10),
)
def test_over_all_minibatches_the_corrected_mean_is_that_of_the_validation_set(
    others, hidden, mine, difficulty
):
    hidden[:, 0] = False  # each was seen on something
    others = np.where(hidden, np.nan, others)
    parts = Components(noise=1.0, difficulty=difficulty)
    for size in (1, 2, 3, 5):
        means = []
        for batch in combinations(range(5), size):
            row = np.full(5, np.nan)
            row[list(batch)] = mine[list(batch)]
            means.append(adjusted(np.vstack([others, row]), parts)[0][-1])
        assert np.mean(means) == pytest.approx(mine.mean(), abs=1e-9)


def test_seen_on_all_examples_there_is_nothing_to_correct():
    rng = np.random.default_rng(0)
    table, _ = simulated(rng)
    table[3] = rng.normal(size=table.shape[1])
    mean, _ = adjusted(table)
    assert mean[3] == pytest.approx(table[3].mean())


@pytest.mark.parametrize("score", [0.0, 1.0, -2.5])
def test_where_all_scores_are_equal_nothing_changes(score):
    table = np.full((4, 6), score)
    table[1, 2:] = np.nan
    mean, worth = adjusted(table)
    assert mean.tolist() == [score] * 4
    assert worth.tolist() == [6, 2, 6, 6]


@pytest.mark.parametrize("table", [[[1.0]], [[1.0], [0.0]], [[np.nan, 1.0, 0.0]]])
def test_one_example_or_one_candidate_is_left_as_it_is(table):
    table = np.array(table)
    mean, worth = adjusted(table)
    assert mean == pytest.approx(np.nanmean(table, axis=1))
    assert worth.tolist() == (~np.isnan(table)).sum(axis=1).tolist()


def test_candidates_that_share_no_example_correct_nothing():
    table = np.array([[1.0, 0.0, np.nan, np.nan], [np.nan, np.nan, 1.0, 0.0]])
    assert components(table).difficulty == 0
    assert adjusted(table)[0].tolist() == [0.5, 0.5]


def test_an_unlucky_draw_of_hard_examples_is_made_good():
    easy_hard = np.tile([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], (8, 1))
    easy_hard[np.arange(8), np.arange(8) % 6] += 0.1  # not all alike
    row = np.array([np.nan, np.nan, np.nan, 0.1, 0.0, 0.0])
    mean, worth = adjusted(np.vstack([easy_hard, row]))
    assert mean[-1] > 0.3  # its plain mean is 0.03; others score 0.5 on such a set
    assert worth[-1] > 3


def test_components_are_found_on_average():
    """Mean over 60 simulated tables; the bounds are four standard errors of that mean."""
    rng = np.random.default_rng(1)
    found = [components(simulated(rng)[0]) for _ in range(60)]
    for name, truth in (("noise", 1.0), ("difficulty", 0.5)):
        values = np.array([getattr(parts, name) for parts in found])
        assert abs(values.mean() - truth) < 4 * values.std() / 60**0.5 + 0.05 * truth


def test_the_error_falls_by_what_the_examples_are_said_to_be_worth():
    """Mean squared errors over 60 simulated tables, σ_b² a third of the variance; no luck below."""
    rng = np.random.default_rng(2)
    plain, corrected, worth = [], [], []
    for _ in range(60):
        table, truth = simulated(rng)
        mean, n = adjusted(table)
        plain.append(np.mean((np.nanmean(table, axis=1) - truth) ** 2))
        corrected.append(np.mean((mean - truth) ** 2))
        worth.append(np.mean(n) / 20)
    assert np.mean(corrected) / np.mean(plain) == pytest.approx(1 / np.mean(worth), rel=0.1)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([0.01, 3.0, 1000.0]), st.floats(-50, 50))
def test_unit_and_origin_of_the_metric_do_not_count(seed, unit, origin):
    table, _ = simulated(np.random.default_rng(seed), 6, 8, 4)
    mean, worth = adjusted(table)
    other, same = adjusted(origin + unit * table)
    assert other == pytest.approx(origin + unit * mean, rel=1e-6, abs=1e-6 * unit)
    assert same == pytest.approx(worth, rel=1e-6)
    assert np.all(worth >= 4)


def test_cells_keep_each_example_once():
    cells = Cells(5)
    cells.add((0, 1), (0, 2), (1.0, 0.0))
    cells.add((0, 1), (2, 4), (0.0, 1.0))
    assert cells.unseen((0, 1)) == [1, 3]
    assert cells.unseen((9, 9)) == [0, 1, 2, 3, 4]
    assert np.nanmean(cells.table()[0]) == pytest.approx(2 / 3)
    assert list(cells.rows) == [(0, 1)]
