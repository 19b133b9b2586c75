"""The comparison of `experiments/surrogates.py`: pairing, the two rules, reuse, the tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments"))

import surrogates
from surrogates_report import Regrets, report
from surrogates_samplers import OTHERS, OURS, SEARCHES

CELL = surrogates.CELLS.index(("pairwise", "4-6 slots", 25))
JOB = ("tune", CELL, 3, 20, "random")


class Script:
    """Asks what it is told to ask, recommends the first, remembers the scores."""

    def __init__(self, asked):
        self.asked, self.told = list(asked), []

    def ask(self):
        return self.asked[len(self.told)]

    def tell(self, codes, score, n):
        self.told.append((score, n))

    def own(self):
        return self.asked[0]


def test_there_are_72_cells_and_no_instance_is_in_two_of_them_or_in_two_blocks():
    assert len(surrogates.CELLS) == 72
    optima = [
        surrogates.instance(block, cell, seed).optimum
        for block in ("tune", "report")
        for cell in range(72)
        for seed in range(4)
    ]
    assert len(set(optima)) == len(optima)


def test_slots_and_choices_are_those_the_cell_names():
    for cell, (family, shape, _) in enumerate(surrogates.CELLS):
        for seed in range(10):
            sizes = surrogates.instance("report", cell, seed).sizes
            low, high = surrogates.SHAPES[shape]
            assert low <= len(sizes) <= high
            least, most = (2, 50) if family == "mixed" else (6, 18)
            assert least <= min(sizes) <= max(sizes) <= most


def test_equal_searches_have_equal_luck_and_each_trial_its_own():
    objective = surrogates.instance("tune", CELL, 0)
    luck = np.random.default_rng(0).random((20, 50))
    one, two = (Script([(0,) * len(objective.sizes)] * 20) for _ in range(2))
    for script in (one, two):
        surrogates.follow(script, objective, luck, 25, 20)
    assert one.told == two.told
    assert len(set(one.told)) > 3
    assert all(n == 25 and score * 25 == pytest.approx(round(score * 25)) for score, n in one.told)


def test_noise_is_unbiased_and_none_where_scores_are_exact():
    objective = surrogates.instance("tune", CELL, 0)
    codes = tuple(objective.argmax.tolist())
    luck = np.random.default_rng(1).random((200, 50))
    noisy, exact = Script([codes] * 200), Script([codes] * 200)
    surrogates.follow(noisy, objective, luck, 50, 200)
    surrogates.follow(exact, objective, luck, 0, 200)
    # 10 000 Bernoulli draws: standard error at most 0.005
    assert np.mean([score for score, _ in noisy.told]) == pytest.approx(objective.optimum, abs=0.02)
    assert {score for score, _ in exact.told} == {objective.optimum}


def test_the_highest_mean_pools_repeats_and_its_own_is_the_samplers():
    objective = surrogates.instance("tune", CELL, 0)
    p = objective.optimum
    other = tuple((objective.argmax + 1) % objective.sizes)
    best = tuple(objective.argmax.tolist())
    luck = np.full((10, 1), 0.99)  # a failure
    luck[1:9] = 0.0  # a success
    # ``other`` succeeds in 1 of 2 looks, ``best`` in 7 of 8
    script = Script([other, other, *[best] * 8])
    found = surrogates.follow(script, objective, luck, 1, 10)["10"]
    assert found["mean"] == 0
    assert found["own"] == objective.regret(objective.true(objective.space.decode(other)))
    luck[:] = 0.0  # now equal: the earlier wins, though ``best`` has more examples
    found = surrogates.follow(Script([other, *[best] * 9]), objective, luck, 1, 10)["10"]
    assert found["mean"] == found["own"] > 0
    assert objective.regret(p) == 0


def test_a_search_is_the_same_when_run_again():
    one, two = surrogates.run(JOB), surrogates.run(JOB)
    assert {**one, "seconds": 0} == {**two, "seconds": 0}
    assert list(one["regret"]) == ["10", "15", "20"]


@pytest.mark.parametrize("name", list(OURS))
def test_ours_can_be_run(name):
    row = surrogates.run(("tune", CELL, 0, 12, name))
    assert 0 <= row["regret"]["10"]["own"] < 2


@pytest.mark.parametrize("name", list(OTHERS))
def test_others_ask_of_the_space_and_recommend_what_was_told(name):
    if name != "random":
        pytest.importorskip(name.split()[0])  # an extra: peers
    space = surrogates.instance("tune", CELL, 0).space
    search = SEARCHES[name](space, 0, 12)
    asked = []
    for t in range(12):
        asked.append(search.ask())
        assert all(0 <= code < size for code, size in zip(asked[-1], space.sizes, strict=True))
        search.tell(asked[-1], 1.0 if t == 4 else 0.0, 1)
    assert search.own() == asked[4]


def test_results_of_others_are_reused_and_ours_never(tmp_path):
    row = surrogates.run(JOB)
    jobs = [JOB, (*JOB[:-1], "default")]
    path = tmp_path / "raw.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "sampler": "default"}) + "\n")
    known = surrogates.kept(surrogates.read([path]), jobs)
    assert list(known) == [JOB]
    longer = [(*JOB[:3], 30, "random")]
    assert surrogates.kept([row], longer) == {}
    with pytest.raises(SystemExit, match="not the one"):
        surrogates.kept([{**row, "optimum": 0.5}], jobs)


def rows(regrets):
    """One instance a seed; {sampler: regrets by seed}."""
    return [
        {
            **{"block": "tune", "family": "sparse", "shape": "2-3 slots", "noise": 0, "seed": seed},
            **{"sampler": name, "regret": {"10": {"mean": r, "own": r / 2}}, "seconds": 1.0},
        }
        for name, of in regrets.items()
        for seed, r in enumerate(of)
    ]


def test_ratios_are_of_pooled_regrets_over_the_instances_that_all_met():
    found = rows({"optuna multivariate": [0.2, 0.4, 0.6], "default": [0.1, 0.2]})
    regrets = Regrets(found)
    assert len(regrets.clusters) == 2
    mean, resampled = regrets.pooled("default", "mean", regrets.where())
    assert mean == pytest.approx([0.15])
    assert resampled.min() == pytest.approx(0.1)
    assert resampled.max() == pytest.approx(0.2)
    text = report(found)
    assert "| default | highest mean | 0.50 [0.50, 0.50] |" in text  # paired: no spread
    assert "| default | its own | 0.25 [0.25, 0.25] |" in text
    assert "### The same, noise: exact" in text


def test_the_interval_is_that_of_the_mean_over_seeds():
    values = np.random.default_rng(0).random(200).tolist()
    regrets = Regrets(rows({"random": values}), resamples=4000)
    _, resampled = regrets.pooled("random", "mean", regrets.where())
    assert resampled.std() == pytest.approx(np.std(values) / np.sqrt(200), rel=0.05)


def test_no_instance_in_common_is_said():
    first, second = rows({"random": [0.1], "default": [0.2]})
    with pytest.raises(ValueError, match="every sampler"):
        report([first, {**second, "seed": 7}])


def test_only_the_families_asked_for_are_run(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(surrogates, "answered", lambda jobs, *_: ran.extend(jobs) or [])
    monkeypatch.setattr(surrogates, "report", str)
    surrogates.main(["--families", "sparse", "mixed", "--seeds", "2", "--samplers", "random"])
    assert {surrogates.CELLS[cell][0] for _, cell, *_ in ran} == {"sparse", "mixed"}
    assert len(ran) == 2 * 24
