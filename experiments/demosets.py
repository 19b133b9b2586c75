"""Why is TPE over demonstration sets not ahead of random search? How much sets differ, exactly.

    python experiments/demosets.py

For each world, `CONFIGURATIONS` random configurations of a space of 60 demonstration sets a
module: the spread of their true scores (exact, on 40 test rows, simulated), the best of all, the
mean best of a random 27 (about what random search evaluates on two-hop questions), and the share
of the spread that the *sizes* of the sets explain. All are means over `SEEDS` seeds.
"""

from __future__ import annotations

import sys

import numpy as np

from mipro.bootstrapping import bootstrap
from mipro.optimizers.slots import Slots
from mipro.worlds import WORLDS, exact_scores, load_world

CONFIGURATIONS, SEEDS, TRIED = 60, 3, 27


def one(name: str, seed: int) -> tuple[float, ...]:
    world = load_world(name, seed)
    sets = bootstrap(
        world.program, world.train, world.metric, lm=world.lm, sets=60, seed=seed
    ).demo_sets
    originals = {module: (p.instruction,) for module, p in world.program.prompts().items()}
    slots = Slots(originals, sets, tune_instructions=False)
    rng = np.random.default_rng(seed)
    configs = [slots.space.sample(rng) for _ in range(CONFIGURATIONS)]
    candidates = [slots.candidate(config) for config in configs]
    y = np.array([exact_scores(world, c, world.test[:40]).mean() for c in candidates])
    sizes = np.array([[len(prompt.demos) for prompt in c.values()] for c in candidates])
    x = np.column_stack([np.ones(len(y)), sizes, sizes**2])
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    best = np.mean([rng.choice(y, TRIED, replace=False).max() for _ in range(2_000)])
    return y.mean(), y.std(), rest.std(), 1 - rest.var() / y.var(), best, y.max()


def main() -> None:
    sys.stdout.write(
        f"| world | mean | sd | sd at equal sizes | explained by sizes | best of {TRIED} | "
        f"best of {CONFIGURATIONS} |\n|---|---|---|---|---|---|---|\n"
    )
    for name in WORLDS:
        row = np.mean([one(name, seed) for seed in range(SEEDS)], axis=0)
        sys.stdout.write(f"| {name} | " + " | ".join(f"{value:.3f}" for value in row) + " |\n")


if __name__ == "__main__":
    main()
