"""Which method finds the better program at equal calls? Three worlds, exact scores, many seeds.

    python experiments/orderings.py --seeds 20

Each seed draws the data split, the LM's luck and the optimizer's randomness. `mipro` runs first;
the other methods then get as many trials as its calls would pay for (its proposals counted), so
that none of them has fewer calls, but where its space has run out. A call here is a request, also
one that the run had asked before and so was not paid again: methods that look at one candidate
several times are not given more trials for it. Reported is the *true* score of
the candidate returned: exactly computed over the LM's luck, on the test split. All scores are of a
simulated language model.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy import stats

import mipro
from mipro.worlds import WORLDS, exact_scores, load_world

TRIALS = 50
# name → method and settings. Where one side alone is tuned, its choices must not run out before
# the calls are spent (in "10 sets" they do, in worlds of one module). "one wave" proposes all
# instructions before the search, as the paper does.
ARMS = {
    "random_search": ("random_search", {}),
    "bayesian_bootstrap": ("bayesian_bootstrap", {"demo_sets": 60}),
    "bayesian_bootstrap, 10 sets": ("bayesian_bootstrap", {"demo_sets": 10}),
    "mipro_zero_shot": ("mipro_zero_shot", {"instructions": 50}),
    "mipro, one wave": ("mipro", {"demo_sets": 20, "proposal_waves": 1}),
    "mipro": ("mipro", {"demo_sets": 20}),
}


def one(world_name: str, seed: int) -> list[dict]:
    """All methods on one world and seed, `mipro` first."""
    world = load_world(world_name, seed)
    rows: list[dict] = []
    budget = None
    for arm in reversed(ARMS):
        result, trials = run(world, arm, seed, budget)
        budget = budget or requests(result)
        rows.append(
            {
                "world": world_name,
                "seed": seed,
                "method": arm,
                "true": float(exact_scores(world, result.candidate).mean()),
                "original": float(exact_scores(world, {}).mean()),
                "val": result.score,
                "calls": requests(result),
                "paid": result.calls,
                "trials": trials,
            }
        )
    return rows


def run(world, arm: str, seed: int, budget: int | None):
    """Run an arm; with a budget, with the fewest trials whose calls reach it."""
    method, settings = ARMS[arm]
    trials = TRIALS
    while True:
        result = mipro.optimize(
            world.program,
            world.train,
            world.metric,
            lm=world.lm,
            val=world.val,
            method=method,
            seed=seed,
            trials=trials,
            threads=1,
            **settings,
        )
        spent = requests(result)
        if budget is None or spent >= budget or exhausted(result, trials, method):
            return result, trials
        trials += max(1, round(trials * (budget - spent) / max(spent, 1)))


def requests(result) -> int:
    """All that was asked of the LM, equal requests counted each time."""
    return sum(entry["calls"] + entry["cached"] for entry in result.usage.values())


def exhausted(result, trials: int, method: str) -> bool:
    """A space used up: more trials would buy nothing."""
    return trials > 20 * TRIALS or (method != "random_search" and len(result.trials) - 1 < trials)


def interval(values) -> str:
    """Mean and its 95% t interval over seeds."""
    values = np.asarray(values)
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{values.mean():.3f} ± {half:.3f}"


def report(rows: list[dict]) -> str:
    lines = []
    for world in dict.fromkeys(row["world"] for row in rows):
        here = [row for row in rows if row["world"] == world]
        seeds = sorted({row["seed"] for row in here})
        by = {m: {r["seed"]: r for r in here if r["method"] == m} for m in ARMS}
        lines += [f"\n### {world} ({len(seeds)} seeds)\n"]
        lines += ["| method | true score | original | calls | of them paid | selected − true |"]
        lines += ["|---|---|---|---|---|---|"]
        for method in ARMS:
            runs = [by[method][s] for s in seeds]
            lines.append(
                f"| `{method}` | {interval([r['true'] for r in runs])} | "
                f"{np.mean([r['original'] for r in runs]):.3f} | "
                f"{np.mean([r['calls'] for r in runs]):,.0f} | "
                f"{np.mean([r['paid'] for r in runs]):,.0f} | "
                f"{np.mean([r['val'] - r['true'] for r in runs]):+.3f} |"
            )
        lines += ["\n| method | against | difference in true score | Wilcoxon p |"]
        lines += ["|---|---|---|---|"]
        for worse, better in itertools.combinations(ARMS, 2):
            gain = [by[better][s]["true"] - by[worse][s]["true"] for s in seeds]
            p = stats.wilcoxon(gain).pvalue if np.any(gain) else 1.0
            lines.append(f"| `{better}` | `{worse}` | {interval(gain)} | {p:.2g} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="keep the rows as JSON")
    options = parser.parse_args()
    jobs = [(w, s) for w in options.worlds.split(",") for s in range(options.seeds)]
    with ProcessPoolExecutor(options.workers) as pool:
        rows = list(itertools.chain.from_iterable(pool.map(one, *zip(*jobs, strict=True))))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")
    sys.stdout.write(report(rows) + "\n")


if __name__ == "__main__":
    main()
