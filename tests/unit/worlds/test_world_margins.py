"""What there is to be found in a world: joint beats either alone, evidence beats none, tips matter.

All scores are exact, for the fixed seeds: nothing here can fail by chance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from slot_spaces import GOOD, slot_space

from mipro.programs.prompt import Prompt
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.settings import Settings
from mipro.worlds import World, exact_scores, load_world, optimum

# measured on seeds 0 and 1: twohop 0.29 (40 examples), conditional 0.23-0.28, iris 0.01-0.02, whose
# demonstrations do nearly all of the work
MARGINS = {"twohop": 0.1, "conditional": 0.1, "iris": 0.0}


def optima(world: World, examples) -> tuple[float, float, float]:
    """The exact optimum of instructions alone, of demonstrations alone, and of both."""
    instructions, sets = slot_space(world)
    empty = {module: [()] for module in sets}
    original = {module: texts[:1] for module, texts in instructions.items()}
    spaces = ((instructions, empty), (original, sets), (instructions, sets))
    alone, demos, joint = (optimum(world, *space, examples)[1] for space in spaces)
    return alone, demos, joint


@pytest.mark.parametrize("name", MARGINS)
def test_the_joint_optimum_beats_either_alone(name: str):
    world = load_world(name)
    few = world.test[:20] if name == "twohop" else world.test  # its 16 candidates take longer
    instructions, demos, joint = optima(world, few)
    assert joint > max(instructions, demos) + MARGINS[name]


def test_on_the_conditional_world_instructions_matter_more_than_demonstrations():
    world = load_world("conditional")
    instructions, demos, _ = optima(world, world.test[:20])
    assert instructions > demos + 0.1


def test_the_two_hop_modules_interact():
    # a query that bridges is worth more where the answer has the right form, and the other way
    world = load_world("twohop")
    prompts = {m: Prompt(text) for m, text in GOOD["twohop"].items()}
    examples = world.test[:40]

    def score(*modules: str) -> float:
        return float(exact_scores(world, {m: prompts[m] for m in modules}, examples).mean())

    query, answer, both = score("write_query"), score("answer"), score("write_query", "answer")
    assert both - score() > (query - score()) + (answer - score()) + 0.05


# --- the proposer's settings ---------------------------------------------------------------------

SHOWN = Settings(dataset_summary=True, program_summary=True, temperature=0.3)
NOTHING = Settings(dataset_summary=False, program_summary=False, temperature=0.3)
DRAWS = 8


def drawn(world: World, settings: Settings, demos: bool = False) -> list[dict[str, Prompt]]:
    """Candidates proposed for all modules under the same settings, each another draw."""
    sets = slot_space(world)[1]
    proposer = GroundedProposer(world.program, world.train, world.lm, demo_sets=sets)
    candidates = []
    for rollout in range(DRAWS):
        candidate = {}
        for module, prompt in world.program.prompts().items():
            made = proposer.propose(module, settings, current=prompt.instruction, rollout=rollout)
            assert made.instruction
            candidate[module] = Prompt(made.instruction, sets[module][-1] if demos else ())
        candidates.append(candidate)
    return candidates


def mean_score(world: World, settings: Settings, demos: bool = False) -> float:
    scores = [exact_scores(world, c, world.test[:25]) for c in drawn(world, settings, demos)]
    return float(np.mean(scores))


@pytest.mark.parametrize("name", ["twohop", "conditional"])
def test_a_proposer_shown_evidence_writes_better_instructions(name: str):
    world = load_world(name)
    assert mean_score(world, SHOWN) > mean_score(world, NOTHING) + 0.05


def test_on_iris_a_proposer_shown_the_data_writes_better_instructions():
    # even without demonstrations: the classes are described in it
    world = load_world("iris")
    assert mean_score(world, SHOWN) > mean_score(world, NOTHING) + 0.05


@pytest.mark.parametrize("name", ["twohop", "conditional"])
def test_demonstrations_are_evidence_too(name: str):
    world = load_world(name)
    shown = mean_score(world, replace(NOTHING, demo_set=1))
    assert shown > mean_score(world, NOTHING) + 0.02


def test_tips_and_temperature_change_the_score_of_what_is_written():
    world = load_world("conditional")
    scores = {
        tip: mean_score(world, replace(SHOWN, tip=tip, temperature=0.7))
        for tip in ("none", "creative", "simple", "description")
    }
    assert len(set(scores.values())) == len(scores)
    assert scores["description"] > max(scores["creative"], scores["simple"]) + 0.05
    warm = mean_score(world, replace(SHOWN, temperature=1.0))
    assert mean_score(world, SHOWN) > warm
