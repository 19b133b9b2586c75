"""`experiments/evidence.py`: equal money for all arms, no example twice, the table against the real
run, and the report."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments"))

import evidence
from evidence_arms import ARMS, CHOICES

import mipro
from mipro.worlds import load_world

SETTINGS = {"trials": 12, "minibatch": 6, "full_every": 4, "instructions": 4}


@pytest.fixture(scope="module", params=["iris", "conditional"])
def table(request):
    world = load_world(request.param, 5)
    return evidence.Table(replace(world, val=world.val[:14], test=world.test[:6]))


@pytest.fixture(scope="module")
def rows(table):
    """Every arm's rows and its trials, by arm."""
    found, real = {}, evidence.evaluated
    for arm in ARMS:
        told = []

        def noted(step, *rest, told=told):
            told.append((step, real(step, *rest)))
            return told[-1][1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evidence, "evaluated", noted)
            found[arm] = evidence.run(table, 5, arm, SETTINGS, choices=True), told
    return found


def test_the_table_tells_what_the_real_run_finds(table, rows):
    result = mipro.optimize(
        table.world.program,
        table.world.train,
        table.world.metric,
        lm=table.world.lm,
        val=table.world.val,
        seed=5,
        demo_sets=20,
        threads=1,
        forecasts=False,
        **SETTINGS,
    )
    row = rows["paper"][0][0]
    assert row["val"] == result.score
    assert row["true"] == table.truth(result.candidate)
    asked = sum(entry["calls"] + entry["cached"] for entry in result.usage.values())
    assert row["calls"] == asked


@pytest.mark.parametrize("arm", [arm for arm, settings in ARMS.items() if settings is not None])
def test_an_arm_spends_its_money_and_no_more(table, rows, arm):
    (row,), told = rows[arm]
    search, final = 12 * 6, 3 * 14
    spent = sum(trial.n for _, trial in told[1:])
    assert spent <= search + final
    assert row["calls"] <= rows["paper"][0][0]["calls"]
    minibatches = sum(t.n for _, t in told[1:] if t.kind == "minibatch")
    if not ARMS[arm].get("halving"):
        assert minibatches == search
    assert told[-1][1].n == 14  # what may be returned was seen on everything


@pytest.mark.parametrize("arm", [arm for arm, settings in ARMS.items() if settings is not None])
def test_no_candidate_sees_an_example_twice_but_in_full(table, rows, arm):
    seen: set[tuple[str, int]] = set()
    for _, trial in rows[arm][1]:
        if trial.kind == "minibatch":
            cells = {(str(sorted(trial.config.items())), i) for i in trial.examples}
            assert len(cells) == trial.n
            assert not cells & seen
            seen |= cells


def test_another_choice_spends_what_the_search_left_for_it(rows):
    made, _ = rows["paper"]
    assert [row["arm"] for row in made[1:-1]] == [f"choice: {name}" for name in CHOICES]
    for row in made[1:]:
        assert row["calls"] <= made[0]["calls"]
    best = made[-1]
    assert best["true"] >= made[0]["true"]


def test_the_report_pairs_by_seed_and_leaves_out_seeds_that_are_not_whole():
    rows = [
        {"world": "w", "seed": seed, "arm": arm, "true": 0.1 * seed + gain, "val": 0.9}
        | {"calls": 10, "new": 5, "configs": 3}
        for seed in (1, 2, 3)
        for arm, gain in (("paper", 0.0), ("other", 0.02 * seed))
        if (seed, arm) != (3, "other")
    ]
    text = evidence.report(rows)
    assert "### w (2 seeds)" in text
    assert "| other | 0.180 ± 0.762 | 0.030 ± 0.127 |" in text
