"""Small slot spaces of the three worlds: good instructions by hand, demonstrations bootstrapped."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mipro.bootstrapping import bootstrap
from mipro.programs.prompt import Demo, Prompt
from mipro.worlds import World, exact_scores

GOOD = {
    "iris": {
        "classify": "Look at petal_length and petal_width. setosa: petal_length about 1.5, "
        "petal_width about 0.2. versicolor: petal_length about 4.3, petal_width about 1.3. "
        "virginica: petal_length about 5.6, petal_width about 2.0."
    },
    "twohop": {
        "write_query": "Look up the intermediate entity named in the context.",
        "answer": "Take the answer from the passages. Give only the name or number.",
    },
    "conditional": {
        "answer": "Give only the answer. A person is written in lower case. A place is written in "
        'capital letters. A date is written ending with "Peace!". A number is written in square '
        "brackets. An organisation is written in double quotes. A work is written with hyphens."
    },
}

Instructions = dict[str, list[str]]
DemoSets = dict[str, list[tuple[Demo, ...]]]


def slot_space(world: World, sets: int = 2) -> tuple[Instructions, DemoSets]:
    """The original and a good instruction, the empty set and bootstrapped ones, per module."""
    made = bootstrap(
        world.program,
        world.train,
        world.metric,
        lm=world.lm,
        sets=sets,
        max_labelled=0 if world.name == "twohop" else 4,
    )
    prompts = world.program.prompts()
    instructions = {m: [p.instruction, GOOD[world.name][m]] for m, p in prompts.items()}
    return instructions, {m: list(chosen) for m, chosen in made.demo_sets.items()}


def brute_force(
    world: World, instructions: Instructions, demo_sets: DemoSets, examples: Sequence
) -> list[tuple[float, dict[str, Prompt]]]:
    """Every candidate with its exact score, written out without `optimum`."""
    names = list(instructions)
    picks = [list(itertools.product(instructions[m], demo_sets[m])) for m in names]
    scored = []
    for choice in itertools.product(*picks):
        candidate = {m: Prompt(*c) for m, c in zip(names, choice, strict=True)}
        scored.append((float(exact_scores(world, candidate, examples).mean()), candidate))
    return scored
