"""The exact expected score: against many seeds, by hand, and as the optimum of a slot space.

Against seeds: the mean over S seeds of the mean score of some examples has a standard error taken
from the seeds themselves; a test fails at 4 of them, a false alarm in 16,000.
"""

from __future__ import annotations

import numpy as np
import pytest
from slot_spaces import GOOD, brute_force, slot_space

from mipro.data import Example
from mipro.lm.simulated import SimulatedLM
from mipro.metrics import Metric, exact_match
from mipro.programs.module import ChainOfThought, Predict
from mipro.programs.program import Program
from mipro.programs.prompt import Prompt
from mipro.programs.trace import Prediction
from mipro.worlds import WORLDS, World, exact_scores, expected_score, load_world, optimum

SEEDS = 150


def sampled(world: World, candidate, examples, seeds: int = SEEDS) -> np.ndarray:
    """The mean score of the examples under each of many lucks, shape (seeds,)."""
    means = []
    for seed in range(seeds):
        lm = SimulatedLM(1_000 + seed)
        runs = [world.program.run(e.inputs, lm=lm, candidate=candidate) for e in examples]
        scores = [
            world.metric.worst if r.prediction is None else world.metric(e, r.prediction)
            for e, r in zip(examples, runs, strict=True)
        ]
        means.append(np.mean(scores))
    return np.array(means)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("tuned", [False, True])
def test_the_exact_score_is_the_mean_over_the_lms_luck(name: str, tuned: bool):
    world = load_world(name)
    candidate = {}
    if tuned:
        _, sets = slot_space(world)
        candidate = {m: Prompt(GOOD[name][m], sets[m][-1]) for m in sets}
    examples = world.test[:12]
    exact = exact_scores(world, candidate, examples)
    assert exact.shape == (12,)
    assert ((exact >= 0) & (exact <= 1)).all()
    means = sampled(world, candidate, examples)
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert abs(means.mean() - exact.mean()) <= 4 * error + 1e-9


class Twice(Program):
    """Asks the same thing twice."""

    def __init__(self) -> None:
        self.guess = Predict("size: float -> label: Literal['a', 'b', 'c']")

    def forward(self, size: float) -> Prediction:
        first, second = self.guess(size=size), self.guess(size=size)
        return Prediction(label="same" if first.label == second.label else "other")


class Apart(Program):
    """Two modules shown the same input."""

    def __init__(self) -> None:
        self.one = Predict("size: float -> label: Literal['a', 'b']")
        self.two = Predict("size: float -> mark: Literal['a', 'b']")

    def forward(self, size: float) -> Prediction:
        same = self.one(size=size).label == self.two(size=size).mark
        return Prediction(label="same" if same else "other")


SAME = Example({"size": 2.0, "label": "same"}, inputs=("size",))


def test_a_request_put_twice_gets_one_reply_in_the_exact_score_too():
    program, metric = Twice(), exact_match("label")
    assert all(program(lm=SimulatedLM(seed), size=2.0).label == "same" for seed in range(20))
    assert expected_score(program, SAME, metric, SimulatedLM(), {}) == pytest.approx(1)


def test_modules_shown_the_same_input_are_independent_as_the_exact_score_has_it():
    program = Apart()
    expected = expected_score(program, SAME, exact_match("label"), SimulatedLM(), {})
    assert expected == pytest.approx(0.5)
    same = [program(lm=SimulatedLM(seed), size=2.0).label == "same" for seed in range(1_000)]
    assert abs(np.mean(same) - 0.5) < 4 * 0.5 / np.sqrt(1_000)


def test_a_failed_run_scores_the_metrics_worst():
    world = load_world("iris")
    lm = SimulatedLM(malformed=0.25)
    metric = Metric(world.metric.function, "signed", worst=-3.0)
    example = world.test[0]
    whole = expected_score(world.program, example, metric, SimulatedLM(), {})
    broken = expected_score(world.program, example, metric, lm, {})
    assert broken == pytest.approx(0.75 * whole - 0.25 * 3)
    tiny = SimulatedLM(context_window=10)
    assert expected_score(world.program, example, metric, tiny, {}) == -3.0


def test_a_reply_cut_by_max_tokens_is_cut_in_the_exact_score_too():
    class Short(Program):
        def __init__(self) -> None:
            self.answer = ChainOfThought("size: float -> label: Literal['same']", max_tokens=5)

        def forward(self, size: float) -> Prediction:
            return self.answer(size=size)

    assert expected_score(Short(), SAME, exact_match("label"), SimulatedLM(), {}) == 0.0


@pytest.mark.parametrize("name", WORLDS)
def test_the_optimum_is_that_of_brute_force_and_no_candidate_beats_it(name: str):
    world = load_world(name)
    space = slot_space(world)
    examples = world.test[:10]
    candidate, score = optimum(world, *space, examples)
    every = brute_force(world, *space, examples)
    assert len(every) == 4 ** len(space[0])
    assert score == pytest.approx(max(s for s, _ in every))
    assert score == pytest.approx(exact_scores(world, candidate, examples).mean())
    assert candidate in [c for _, c in every]
    assert score > exact_scores(world, {}, examples).mean()


def test_the_score_is_the_competences_and_not_the_lucks():
    world = load_world("conditional")
    a = exact_scores(world, {}, world.test[:20])
    assert (a == exact_scores(world.with_seed(5), {}, world.test[:20])).all()
    assert len(exact_scores(world, {})) == len(world.test)
