"""Does 0-Shot MIPRO++ learn which of the proposer's settings pay? Four worlds, many seeds.

    python experiments/learned_settings.py --seeds 20

On `misled` the data summary teaches a form of the answer that is wrong. Reported is how often the
method comes to leave it out, what use it makes of it early and late, the importances it learns with
their intervals, and what is true: exact expected scores of what the proposer writes with the
summary and without, over settings drawn evenly. All scores are of a simulated language model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

import mipro
from mipro.bootstrapping import bootstrap
from mipro.optimizers.plus_plus import MiproPlusPlus
from mipro.programs.prompt import Prompt
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.settings import from_config, settings_space
from mipro.worlds import WORLDS, exact_scores, load_world

TRIALS = 50
EXAMPLES = 20  # of the test split, where exact scores are wanted
DRAWS = 4  # settings drawn evenly for each seed, for what is true
SETTINGS = (
    *("dataset_summary", "program_summary", "tip", "demos", "demo_set"),
    *("temperature", "history", "reuse"),
)


def learned(name: str, seed: int, **how: bool) -> dict:
    """One run, and what it learned."""
    world, events = load_world(name, seed), []
    result = mipro.optimize(
        world.program,
        world.train,
        world.metric,
        lm=world.lm,
        val=world.val,
        method=partial(MiproPlusPlus, **how),
        seed=seed,
        trials=TRIALS,
        threads=1,
        forecasts=False,
        on_event=events.append,
    )
    drawn = [e["settings"]["dataset_summary"] for e in events if e["event"] == "settings"]
    end = next(e for e in events if e["event"] == "learned")
    found = result.settings_importances
    effect = found.choices["dataset_summary"][False] if found.choices else None
    return {
        "world": name,
        "seed": seed,
        "recommended": end["settings"],
        "first": float(np.mean(drawn[: TRIALS // 3])),
        "last": float(np.mean(drawn[-(TRIALS // 3) :])),
        "effect": [effect.value, effect.low, effect.high] if effect else None,
        "main": {k: [e.value, e.low, e.high] for k, e in found.main.items()},
        "rest": found.rest.value,
        "true": float(exact_scores(world, result.candidate, world.test[:EXAMPLES]).mean()),
        "original": float(exact_scores(world, {}, world.test[:EXAMPLES]).mean()),
        "calls": result.calls,
    }


def truth(name: str, seed: int) -> tuple[float, float]:
    """Mean exact score of what is written with the data summary and without, all else alike."""
    world = load_world(name, seed)
    sets = bootstrap(world.program, world.train, world.metric, lm=world.lm, sets=10, seed=seed)
    proposer = GroundedProposer(world.program, world.train, world.lm, demo_sets=sets.demo_sets)
    space = settings_space(max(map(len, sets.demo_sets.values())))
    rng = np.random.default_rng([seed, 11])
    scores: dict[bool, list[float]] = {True: [], False: []}
    for rollout in range(DRAWS):
        config = space.sample(rng)
        for shown, found in scores.items():
            settings = from_config({**config, "dataset_summary": shown})
            candidate = {
                module: Prompt(
                    proposer.propose(
                        module, settings, current=prompt.instruction, rollout=rollout
                    ).instruction
                    or prompt.instruction
                )
                for module, prompt in world.program.prompts().items()
            }
            found.append(float(exact_scores(world, candidate, world.test[:EXAMPLES]).mean()))
    return float(np.mean(scores[True])), float(np.mean(scores[False]))


def interval(values, digits: int = 3) -> str:
    """Mean and its 95% t interval over seeds."""
    values = np.asarray(values)
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def share(hits: int, n: int) -> str:
    """A share with its exact 95% interval (Clopper-Pearson)."""
    bounds = stats.binomtest(hits, n).proportion_ci()
    return f"{hits} of {n} ({bounds.low:.2f} to {bounds.high:.2f})"


def report(rows: list[dict], true: dict[str, list[tuple[float, float]]]) -> str:
    """The tables of the page."""
    worlds = {
        w: [r for r in rows if r["world"] == w] for w in dict.fromkeys(r["world"] for r in rows)
    }
    lines = ["\n### The data summary: what is true, and what is learned\n"]
    lines += ["| world | true score with it | without | difference | recommended without it |"]
    lines[-1] += " shown in trials, first third | last third |"
    lines += ["|---|---|---|---|---|---|---|"]
    for world, runs in worlds.items():
        with_it, without = np.array(true[world]).T
        out = sum(not r["recommended"]["dataset_summary"] for r in runs)
        first, last = (interval([r[part] for r in runs], 2) for part in ("first", "last"))
        lines.append(
            f"| {world} | {interval(with_it)} | {interval(without)} "
            f"| {interval(without - with_it)} | {share(out, len(runs))} | {first} | {last} |"
        )
    lines += ["\n### Effect of leaving it out, as the importances have it after a run\n"]
    lines += ["| world | mean over runs | above 0 | interval above 0 | interval below 0 |"]
    lines += ["|---|---|---|---|---|"]
    for world, runs in worlds.items():
        e = np.array([r["effect"] for r in runs if r["effect"]])
        counts = [int((e[:, 0] > 0).sum()), int((e[:, 1] > 0).sum()), int((e[:, 2] < 0).sum())]
        told = " | ".join(share(c, len(e)) for c in counts)
        lines.append(f"| {world} | {interval(e[:, 0])} | {told} |")
    lines += ["\n### Importances of the settings: mean over runs (mean 95% interval of one run)\n"]
    lines += [f"| setting | {' | '.join(worlds)} |", f"|---|{'---|' * len(worlds)}"]
    for name in SETTINGS:
        cells = []
        for runs in worlds.values():
            effects = np.array([r["main"][name] for r in runs if name in r["main"]])
            mean = effects.mean(axis=0) if len(effects) else None
            cells.append("–" if mean is None else f"{mean[0]:.0%} ({mean[1]:.0%} to {mean[2]:.0%})")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    rest = (f"{np.mean([r['rest'] for r in runs]):.0%}" for runs in worlds.values())
    lines.append(f"| three or more together | {' | '.join(rest)} |")
    lines += ["\n### What comes of it\n"]
    lines += ["| world | original | true score of what is returned | calls |", "|---|---|---|---|"]
    for world, runs in worlds.items():
        original, found = ([r[k] for r in runs] for k in ("original", "true"))
        calls = np.mean([r["calls"] for r in runs])
        lines.append(f"| {world} | {interval(original)} | {interval(found)} | {calls:,.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--without", default="", help="settings to leave out: history, reuse")
    parser.add_argument("--out", type=Path, help="keep the rows as JSON")
    parser.add_argument("--read", type=Path, nargs="*", help="report on rows kept, and run nothing")
    options = parser.parse_args()
    started = time.process_time()
    how = {name: False for name in options.without.split(",") if name}
    rows, true = [], {}
    for kept in options.read or ():
        body = json.loads(kept.read_text())
        rows += body["rows"]
        true.update(body["true"])
    for world in () if options.read else options.worlds.split(","):
        rows += [learned(world, seed, **how) for seed in range(options.seeds)]
        true[world] = [truth(world, seed) for seed in range(options.seeds)]
    if options.out:
        options.out.write_text(json.dumps({"rows": rows, "true": true}, indent=1) + "\n")
    sys.stdout.write(report(rows, true) + "\n")
    sys.stdout.write(f"\n{time.process_time() - started:,.0f} CPU seconds\n")


if __name__ == "__main__":
    main()
