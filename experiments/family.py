"""Every method × every world, at equal calls: the true score, and how far to the known optimum.

    python experiments/family.py --calibrate          # trials for equal calls, on pilot seeds
    python experiments/family.py --seeds 20 --out rows.jsonl
    python experiments/family.py --seeds 20 --arms 'mipro, one wave' --out waves.jsonl
    python experiments/family.py --report rows.jsonl waves.jsonl      # the tables of family.md

Each seed draws the data split, the LM's luck and the optimizer's randomness. A method has as many
trials as make its calls, in the mean over pilot seeds that are not reported on, those of `mipro`
with 50 (`TRIALS`, printed by --calibrate). A call is a request, also one that the run had made
before and so was not paid again; proposals count as any other. Reported is the *true* score of the
candidate returned: exactly computed over the LM's luck, on the test split. All scores are of a
simulated language model.

The *known optimum* of a seed is the best that exact coordinate ascent finds from every candidate's
prompts and an instruction written by hand that says all there is to say (`World.told`). It is no
more than a lower bound of the true one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from scipy import stats

import mipro
from mipro.programs.prompt import Prompt
from mipro.worlds import WORLDS, World, exact_scores, load_world

PILOTS = (100, 101)
# name → settings. Where one side alone is tuned, its choices must not run out before the calls are
# spent
ARMS: Mapping[str, Mapping[str, int]] = {
    "random_search": {},
    "bayesian_bootstrap": {"demo_sets": 60},
    "opro_module_ungrounded": {},
    "opro_module": {},
    "opro_program": {},
    "opro_coordinate": {},
    "mipro_zero_shot": {"instructions": 80},
    "mipro_plus_plus": {},
    "mipro": {"demo_sets": 20},
    "mipro_tree": {"demo_sets": 20},
}
# beside the family: all instructions proposed before the search, as the paper does
VARIANTS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "mipro, one wave": ("mipro", {"demo_sets": 20, "proposal_waves": 1})
}
TRIALS: Mapping[str, Mapping[str, int]] = {
    "iris": {
        "random_search": 50,
        "bayesian_bootstrap": 50,
        "opro_module_ungrounded": 47,
        "opro_module": 49,
        "opro_program": 49,
        "opro_coordinate": 49,
        "mipro_zero_shot": 49,
        "mipro_plus_plus": 49,
        "mipro": 50,
        "mipro_tree": 50,
    },
    "twohop": {
        "random_search": 50,
        "bayesian_bootstrap": 50,
        "opro_module_ungrounded": 50,
        "opro_module": 49,
        "opro_program": 50,
        "opro_coordinate": 50,
        "mipro_zero_shot": 50,
        "mipro_plus_plus": 49,
        "mipro": 50,
        "mipro_tree": 50,
    },
    "conditional": {
        "random_search": 52,
        "bayesian_bootstrap": 50,
        "opro_module_ungrounded": 50,
        "opro_module": 49,
        "opro_program": 49,
        "opro_coordinate": 49,
        "mipro_zero_shot": 50,
        "mipro_plus_plus": 49,
        "mipro": 50,
        "mipro_tree": 50,
    },
    "misled": {
        "random_search": 52,
        "bayesian_bootstrap": 50,
        "opro_module_ungrounded": 50,
        "opro_module": 49,
        "opro_program": 49,
        "opro_coordinate": 49,
        "mipro_zero_shot": 50,
        "mipro_plus_plus": 49,
        "mipro": 50,
        "mipro_tree": 50,
    },
}
POOL = 40  # test rows on which the known optimum is looked for


def run(world: World, arm: str, seed: int, trials: int) -> mipro.Result:
    method, settings = VARIANTS.get(arm) or (arm, ARMS[arm])
    return mipro.optimize(
        world.program,
        world.train,
        world.metric,
        lm=world.lm,
        val=world.val,
        method=method,
        seed=seed,
        trials=trials,
        threads=1,
        forecasts=False,
        **settings,
    )


def requests(result: mipro.Result) -> int:
    """All that was asked of the LM, equal requests counted each time."""
    return sum(entry["calls"] + entry["cached"] for entry in result.usage.values())


def calibrated(job: tuple[str, str]) -> tuple[str, str, int, float]:
    """Trials with which an arm's calls come nearest to those of `mipro`, and their ratio."""
    name, arm = job
    worlds = [load_world(name, seed) for seed in PILOTS]
    wanted = np.mean(
        [requests(run(w, "mipro", s, 50)) for w, s in zip(worlds, PILOTS, strict=True)]
    )
    trials, tried = 50, {}
    while trials not in tried and len(tried) < 6:
        spent = [requests(run(w, arm, s, trials)) for w, s in zip(worlds, PILOTS, strict=True)]
        tried[trials] = float(np.mean(spent) / wanted)
        trials = max(2, round(trials / tried[trials]))
    best = min(tried, key=lambda t: abs(tried[t] - 1))
    return name, arm, best, tried[best]


def one(job: tuple[str, int, tuple[str, ...]]) -> list[dict]:
    """All methods on one world and seed, and the known optimum; of other arms, without that."""
    name, seed, arms = job
    world = load_world(name, seed)
    rows, found = [], []
    for arm in arms:
        result = run(world, arm, seed, TRIALS[name][VARIANTS[arm][0] if arm in VARIANTS else arm])
        found.append(result.candidate)
        rows.append(
            {
                "world": name,
                "seed": seed,
                "method": arm,
                "true": float(exact_scores(world, result.candidate).mean()),
                "val": result.score,
                "calls": requests(result),
                "paid": result.calls,
            }
        )
    if arms != tuple(ARMS):
        return rows
    best = known_optimum(world, found)
    original = float(exact_scores(world, {}).mean())
    top = max(float(exact_scores(world, best).mean()), *(row["true"] for row in rows))
    return [{**row, "original": original, "optimum": top} for row in rows]


def known_optimum(world: World, found: Sequence[Mapping[str, Prompt]]) -> dict[str, Prompt]:
    """Exact coordinate ascent over what was found and what was written by hand."""
    few = world.test[:POOL]

    def score(candidate: Mapping[str, Prompt]) -> float:
        return float(exact_scores(world, candidate, few).mean())

    best = dict(max(found, key=score))
    height = score(best)
    for _ in range(2):
        for module in best:
            texts = {c[module].instruction for c in found[-3:]} | {world.told[module]}
            sets = {c[module].demos for c in (found[0], found[1], *found[-2:])}
            options = [Prompt(t, best[module].demos) for t in sorted(texts)]
            options += [Prompt(best[module].instruction, d) for d in sorted(sets, key=repr)]
            for prompt in options:
                tried = {**best, module: prompt}
                if (now := score(tried)) > height:
                    best, height = tried, now
    return best


# --- tables --------------------------------------------------------------------------------------


def interval(values: Sequence[float]) -> str:
    """Mean and its 95% t interval over seeds."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{np.mean(values):.3f} ± {half:.3f}"


def report(rows: list[dict]) -> str:
    lines = []
    for world in dict.fromkeys(row["world"] for row in rows):
        here = [row for row in rows if row["world"] == world]
        seeds = sorted({row["seed"] for row in here})
        arms = [*ARMS, *VARIANTS]
        by = {m: {r["seed"]: r for r in here if r["method"] == m} for m in arms}
        arms = [arm for arm in arms if set(by[arm]) >= set(seeds)]
        any_arm = [by["mipro"][s] for s in seeds]
        known = all("optimum" in r for r in any_arm)  # of a run of some arms alone it is not
        title = f"\n### {world}"
        if known:
            original, top = (interval([r[k] for r in any_arm]) for k in ("original", "optimum"))
            title += f": original {original}, known optimum {top}"
        lines += [f"{title} ({len(seeds)} seeds)\n"]
        lines += ["| method | true score | share of the way | calls | paid | selected − true |"]
        lines += ["|---|---|---|---|---|---|"]
        for arm in arms:
            runs, share = [by[arm][s] for s in seeds], ""
            if known:
                share = interval(
                    [
                        (r["true"] - m["original"]) / (m["optimum"] - m["original"])
                        for r, m in zip(runs, any_arm, strict=True)
                    ]
                )
            lines.append(
                f"| `{arm}` | {interval([r['true'] for r in runs])} | {share} | "
                f"{np.mean([r['calls'] for r in runs]):,.0f} | "
                f"{np.mean([r['paid'] for r in runs]):,.0f} | "
                f"{np.mean([r['val'] - r['true'] for r in runs]):+.3f} |"
            )
        lines += ["", compared(by, seeds)]
    return "\n".join(lines)


PAIRS = (
    ("bayesian_bootstrap", "random_search"),
    ("opro_module", "opro_module_ungrounded"),
    ("opro_program", "opro_module"),
    ("opro_coordinate", "opro_module"),
    ("mipro_zero_shot", "opro_module"),
    ("mipro_plus_plus", "mipro_zero_shot"),
    ("bayesian_bootstrap", "mipro_zero_shot"),
    ("mipro", "bayesian_bootstrap"),
    ("mipro", "mipro_zero_shot"),
    ("mipro_tree", "mipro"),
    ("mipro_tree", "mipro_plus_plus"),
    ("mipro", "mipro, one wave"),
)


def compared(by: Mapping[str, Mapping[int, dict]], seeds: Sequence[int]) -> str:
    lines = ["| method | against | difference in true score | Wilcoxon p |", "|---|---|---|---|"]
    for better, worse in (pair for pair in PAIRS if all(by[arm] for arm in pair)):
        gain = [by[better][s]["true"] - by[worse][s]["true"] for s in seeds]
        p = stats.wilcoxon(gain).pvalue if np.any(gain) else 1.0
        lines.append(f"| `{better}` | `{worse}` | {interval(gain)} | {p:.2g} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument(
        "--out", type=Path, help="keep the rows as JSON lines; go on where they end"
    )
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--arms", help="these arms alone, with semicolons between them")
    parser.add_argument("--report", type=Path, nargs="+", help="only the tables, of rows kept")
    options = parser.parse_args()
    worlds = options.worlds.split(",")
    if options.report:
        rows = [json.loads(x) for file in options.report for x in file.read_text().splitlines()]
        sys.stdout.write(report(rows) + "\n")
        return
    with ProcessPoolExecutor(options.workers) as pool:
        if options.calibrate:
            found: dict[str, dict[str, int]] = {world: {} for world in worlds}
            for world, arm, trials, ratio in pool.map(
                calibrated, itertools.product(worlds, ARMS), chunksize=1
            ):
                found[world][arm] = trials
                sys.stderr.write(f"{world} {arm}: {trials} trials, {ratio:.3f} of the calls\n")
            sys.stdout.write(json.dumps(found, indent=4) + "\n")
            return
        rows = []
        if options.out and options.out.exists():
            rows = [json.loads(line) for line in options.out.read_text().splitlines()]
        done = {(row["world"], row["seed"]) for row in rows}
        arms = tuple(options.arms.split(";")) if options.arms else tuple(ARMS)
        every = ((world, seed, arms) for seed in range(options.seeds) for world in worlds)
        jobs = [job for job in every if job[:2] not in done]
        for new in pool.map(one, jobs, chunksize=1):
            rows += new
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in new)
    if not options.arms:
        sys.stdout.write(report(rows) + "\n")


if __name__ == "__main__":
    main()
