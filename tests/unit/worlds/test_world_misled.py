"""The misled world: the data summary hurts, demonstrations help. All scores are exact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from mipro.bootstrapping import DemoSets, bootstrap
from mipro.lm.simulated.language import kind_of, rules_in, style_of
from mipro.programs.prompt import Prompt
from mipro.programs.trace import Prediction
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.settings import Settings
from mipro.worlds import World, exact_scores, load_world
from mipro.worlds.misled import OTHERS, quoted

DRAWS = 24


def test_the_first_training_rows_alone_are_the_other_annotators():
    world = load_world("misled")
    plain = load_world("conditional")
    styles = ["quotes" if row.answer.startswith('"') else "plain" for row in world.train]
    assert styles == ["quotes"] * OTHERS + ["plain"] * (100 - OTHERS)
    for part in ("train", "val", "test"):
        rows, same = getattr(world, part), getattr(plain, part)
        assert [row.question for row in rows] == [row.question for row in same]
    for row in (*world.val, *world.test, *world.train[OTHERS:]):
        assert row.answer in row.passage
        assert style_of(row.answer) != "quotes"


def test_the_metric_goes_by_the_letter():
    world = load_world("misled")
    row = world.val[0]
    for answer, score in ((row.answer, 1.0), (quoted(row.answer), 0.0), (row.answer.upper(), 0.0)):
        assert world.metric(row, Prediction(answer=answer)) == score


def made(world: World) -> tuple[GroundedProposer, DemoSets]:
    sets = bootstrap(
        world.program, world.train, world.metric, lm=world.lm, sets=3, max_labelled=0
    ).demo_sets
    return GroundedProposer(world.program, world.train, world.lm, demo_sets=sets), sets


def test_the_summary_states_the_other_annotators_form_for_every_kind():
    world = load_world("misled")
    proposer, _ = made(world)
    rules = rules_in(proposer.dataset_summary.text)
    assert set(rules.values()) == {"quotes"}
    assert len({kind_of(row.question) for row in world.val} & set(rules)) >= 5


@pytest.fixture(scope="module")
def scores() -> Mapping[tuple[bool, bool, bool], float]:
    """(data summary, program summary, demonstrations shown) → mean exact score of instructions."""
    found: dict[tuple[bool, bool, bool], list[float]] = {}
    for seed in (0, 1):
        world = load_world("misled", seed)
        proposer, _ = made(world)
        for shown in np.ndindex(2, 2, 2):
            data, program, demos = (bool(i) for i in shown)
            settings = Settings(data, program, demo_set=int(demos))
            for rollout in range(DRAWS):
                text = proposer.propose(
                    "answer", settings, current="Answer.", rollout=rollout
                ).instruction
                score = exact_scores(world, {"answer": Prompt(text)}, world.test[:30]).mean()
                found.setdefault((data, program, demos), []).append(float(score))
    return {key: float(np.mean(values)) for key, values in found.items()}


def test_the_data_summary_hurts_whatever_else_is_shown(scores):
    for program in (False, True):
        for demos in (False, True):
            assert scores[True, program, demos] < scores[False, program, demos] - 0.05


def test_demonstrations_help_whatever_else_is_shown(scores):
    for data in (False, True):
        for program in (False, True):
            assert scores[data, program, True] > scores[data, program, False] + 0.05


def test_the_best_grounds_are_far_above_the_original(scores):
    world = load_world("misled")
    original = float(exact_scores(world, {}, world.test[:30]).mean())
    best = max(scores, key=lambda shown: scores[shown])
    assert not best[0]
    assert best[2]
    assert scores[best] > original + 0.1
