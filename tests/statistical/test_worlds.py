"""The worlds at length: exact scores against many lucks, and the margins over several seeds.

Null hypothesis of the first: the mean over 1,000 seeds of the LM is the exact expected score. It is
rejected at 4 standard errors, taken from the seeds themselves: a false alarm in 16,000, for each of
16 cases. The others are exact computations that no chance enters.
"""

from __future__ import annotations

import numpy as np
import pytest

from mipro.bootstrapping import bootstrap
from mipro.lm.simulated import SimulatedLM
from mipro.programs.prompt import Prompt
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.settings import Settings
from mipro.worlds import WORLDS, World, exact_scores, load_world, optimum

pytestmark = pytest.mark.statistical
SEEDS = 1_000


def candidates(world: World) -> list[dict[str, Prompt]]:
    """The original, and three with proposed instructions and bootstrapped demonstrations."""
    sets = bootstrap(world.program, world.train, world.metric, lm=world.lm, sets=4).demo_sets
    proposer = GroundedProposer(world.program, world.train, world.lm, demo_sets=sets)
    found: list[dict[str, Prompt]] = [dict(world.program.prompts())]
    for i in range(1, 4):
        candidate = {}
        for module, prompt in world.program.prompts().items():
            settings = Settings(demo_set=i, temperature=0.7)
            made = proposer.propose(module, settings, current=prompt.instruction, rollout=i)
            demos = sets[module][min(i, len(sets[module]) - 1)]
            candidate[module] = Prompt(made.instruction or prompt.instruction, demos)
        found.append(candidate)
    return found


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("which", range(4))
def test_the_exact_score_is_the_mean_over_a_thousand_lucks(name: str, which: int):
    world = load_world(name)
    candidate = candidates(world)[which]
    examples = world.test[:20]
    exact = float(exact_scores(world, candidate, examples).mean())
    means = []
    for seed in range(SEEDS):
        lm = SimulatedLM(10_000 + seed)
        runs = [world.program.run(e.inputs, lm=lm, candidate=candidate) for e in examples]
        scores = [
            0.0 if run.prediction is None else world.metric(e, run.prediction)
            for e, run in zip(examples, runs, strict=True)
        ]
        means.append(np.mean(scores))
    error = np.std(means, ddof=1) / np.sqrt(SEEDS)
    assert abs(np.mean(means) - exact) <= 4 * error + 1e-9


@pytest.mark.parametrize("name", ["twohop", "conditional"])
@pytest.mark.parametrize("seed", range(4))
def test_what_the_proposer_writes_and_the_teacher_shows_go_together(name: str, seed: int):
    """In a space made by the method itself, joint beats either alone on every seed."""
    world = load_world(name, seed)
    found = candidates(world)
    instructions = {m: [c[m].instruction for c in found] for m in found[0]}
    sets = {m: [found[0][m].demos, found[1][m].demos] for m in found[0]}
    original = {m: texts[:1] for m, texts in instructions.items()}
    empty = {m: [()] for m in sets}
    examples = world.test[:20]
    joint = optimum(world, instructions, sets, examples)[1]
    alone = optimum(world, instructions, empty, examples)[1]
    demos = optimum(world, original, sets, examples)[1]
    assert joint > max(alone, demos) + 0.05
