"""What the three worlds hold: optima of slot spaces, and what the proposer's settings are worth.

    python experiments/worlds.py

All numbers are exact expected scores of a simulated language model, so there is no noise of
evaluation in them; what varies over seeds are the demonstration sets and the instructions.
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np
from scipy import stats

import mipro
from mipro.bootstrapping import bootstrap
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.settings import Settings
from mipro.worlds import WORLDS, exact_scores, load_world, optimum

SEEDS = range(5)
CHOICES = 3  # a slot, the original among them
EXAMPLES = 20  # of the test split

ARMS = {
    "nothing": Settings(dataset_summary=False, program_summary=False),
    "data summary": Settings(dataset_summary=True, program_summary=False),
    "program summary": Settings(dataset_summary=False, program_summary=True),
    "demonstrations": Settings(dataset_summary=False, program_summary=False, demo_set=1),
    "all three": Settings(demo_set=1),
    "all, tip: simple": Settings(demo_set=1, tip="simple"),
    "all, tip: description": Settings(demo_set=1, tip="description"),
    "all, tip: creative": Settings(demo_set=1, tip="creative"),
    "all, temperature 0": Settings(demo_set=1, temperature=0.0),
    "all, temperature 1.5": Settings(demo_set=1, temperature=1.5),
}


def interval(values) -> str:
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{np.mean(values):.3f} ± {half:.3f}"


def slots(name: str, seed: int):
    """A world with `CHOICES` instructions and demo sets a module, as a run would make them."""
    world = load_world(name, seed)
    sets = bootstrap(
        world.program, world.train, world.metric, lm=world.lm, sets=CHOICES, seed=seed
    ).demo_sets
    proposer = GroundedProposer(world.program, world.train, world.lm, demo_sets=sets)
    instructions = {}
    for module, prompt in world.program.prompts().items():
        texts = [prompt.instruction]
        for rollout in range(CHOICES - 1):
            proposal = proposer.propose(
                module, ARMS["all three"], current=prompt.instruction, rollout=rollout
            )
            texts.append(proposal.instruction)
        instructions[module] = texts
    return world, instructions, sets


def optima(name: str) -> list[str]:
    """True optimum of instructions alone, of demos alone, and of both together."""
    found = {"original": [], "instructions": [], "demonstrations": [], "both": []}
    for seed in SEEDS:
        world, instructions, sets = slots(name, seed)
        examples = world.test[:EXAMPLES]
        only = {module: texts[:1] for module, texts in instructions.items()}
        none = {module: chosen[:1] for module, chosen in sets.items()}
        found["original"].append(float(exact_scores(world, {}, examples).mean()))
        found["instructions"].append(optimum(world, instructions, none, examples)[1])
        found["demonstrations"].append(optimum(world, only, sets, examples)[1])
        found["both"].append(optimum(world, instructions, sets, examples)[1])
    alone = np.maximum(found["instructions"], found["demonstrations"])
    margin = interval(np.array(found["both"]) - alone)
    return [interval(values) for values in found.values()] + [margin]


def proposals(name: str) -> dict[str, str]:
    """Mean true score of the program with one proposal a module, no demos shown to it."""
    scores = {arm: [] for arm in ARMS}
    for seed, arm in itertools.product(SEEDS, ARMS):
        world = load_world(name, seed)
        sets = bootstrap(
            world.program, world.train, world.metric, lm=world.lm, sets=3, seed=seed
        ).demo_sets
        proposer = GroundedProposer(world.program, world.train, world.lm, demo_sets=sets)
        for rollout in range(4):
            candidate = {
                module: mipro.Prompt(
                    proposer.propose(
                        module, ARMS[arm], current=prompt.instruction, rollout=rollout
                    ).instruction
                )
                for module, prompt in world.program.prompts().items()
            }
            scores[arm].append(float(exact_scores(world, candidate, world.test[:EXAMPLES]).mean()))
    return {arm: interval(values) for arm, values in scores.items()}


def main() -> None:
    write = sys.stdout.write
    write("### Calls a second, one thread, program and metric included\n\n")
    for name in WORLDS:
        world = load_world(name)
        started = time.perf_counter()
        done = mipro.evaluate(world.program, world.test, world.metric, lm=world.lm)
        calls = sum(len(outcome.trace) for outcome in done.outcomes)
        write(f"- {name}: {calls / (time.perf_counter() - started):,.0f}\n")
    write(f"\n### True optima, {CHOICES} choices a slot, {len(SEEDS)} seeds\n\n")
    write("| world | original | instructions alone | demos alone | both | both − better one |\n")
    write("|---|---|---|---|---|---|\n")
    for name in WORLDS:
        write(f"| {name} | {' | '.join(optima(name))} |\n")
    write("\n### What a proposal is worth, by what the proposer was shown\n\n")
    tables = {name: proposals(name) for name in WORLDS}
    write(f"| shown | {' | '.join(tables)} |\n|---|{'---|' * len(tables)}\n")
    for arm in ARMS:
        write(f"| {arm} | {' | '.join(table[arm] for table in tables.values())} |\n")


if __name__ == "__main__":
    main()
