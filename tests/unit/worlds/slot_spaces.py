"""Small slot spaces of the worlds: good instructions by hand, demonstrations bootstrapped."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mipro.bootstrapping import bootstrap
from mipro.programs.prompt import Demo, Prompt
from mipro.worlds import WORLDS, World, exact_scores, load_world

GOOD = {name: load_world(name).told for name in WORLDS}

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
