"""Does `mipro_tree` find as good programs as `mipro`? When does it propose?

    python experiments/tree.py --seeds 20 --out rows.jsonl
    python experiments/tree.py --junk 6 --out junk.jsonl    # and where proposals are empty talk
    python experiments/tree.py --alone 2 --out alone.jsonl  # the same, TPE alone deciding
    python experiments/tree.py --report rows.jsonl

Each seed draws the data split, the LM's luck and the optimizer's randomness. Both methods have as
many trials; calls are counted as in `family.py` (requests, also those that were not paid again,
proposals among them) and are in the table. Reported is the *true* score of the candidate returned,
exactly computed over the LM's luck, on the test split. Every score is a simulated LM's. With --out
rows are kept, and a run that was broken off goes on where they end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

import mipro
from mipro.lm.base import Completion, Request
from mipro.optimizers.tree import MiproTree
from mipro.worlds import World, exact_scores, load_world

TRIALS = 50
WORLDS = ("iris", "conditional", "misled", "twohop")
ARMS: Mapping[str, Mapping[str, int]] = {
    "mipro": {"demo_sets": 20},
    "mipro_tree": {"demo_sets": 20},
}
PARTS = 4  # of a run, for the share of trials that propose


class Junk:
    """The embedded LM, but that every instruction it writes is empty talk, each another."""

    model = "junk"
    identity = "junk"

    def __init__(self, world: World) -> None:
        self.lm, self.written = world.lm, 0

    def __call__(self, request: Request, /) -> Completion:
        reply = self.lm(request)
        mark = "[[ ## proposed_instruction ## ]]"
        if mark not in reply.text:
            return reply
        self.written += 1
        text = f"{mark}\nThink about it, number {self.written}.\n\n[[ ## completed ## ]]"
        return Completion((text,), reply.usage, self.model)


def run(world: World, arm: str, seed: int, *, junk: bool = False, rationed: bool = True) -> dict:
    """One run: its true score, its calls, and in which of its trials it proposed."""
    method = arm if rationed else partial(MiproTree, rationed=False)
    events: list[Mapping] = []
    result = mipro.optimize(
        world.program,
        world.train,
        world.metric,
        lm=world.lm,
        prompt_lm=Junk(world) if junk else None,
        val=world.val,
        method=method,
        seed=seed,
        trials=TRIALS,
        threads=1,
        forecasts=False,
        on_event=events.append,
        **ARMS[arm],
    )
    numbers = [t.number for t in result.trials[1:] if t.kind == "minibatch"]
    asked = {e["trial"] for e in events if e["event"] == "settings"}
    return {
        "world": world.name,
        "seed": seed,
        "method": arm,
        "junk": junk,
        "rationed": rationed,
        "true": float(exact_scores(world, result.candidate).mean()),
        "val": result.score,
        "calls": sum(entry["calls"] + entry["cached"] for entry in result.usage.values()),
        "paid": result.calls,
        "proposals": sum(e["event"] == "proposal" for e in events),
        "new": [
            float(np.mean([number in asked for number in part]))
            for part in np.array_split(numbers, PARTS)
        ],
    }


def interval(values: Sequence[float]) -> str:
    """Mean and its 95% t interval over seeds."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{np.mean(values):.3f} ± {half:.3f}"


def report(rows: Sequence[Mapping]) -> str:
    lines = []
    for world in dict.fromkeys(row["world"] for row in rows):
        by = {
            arm: {r["seed"]: r for r in rows if (r["world"], r["method"]) == (world, arm)}
            for arm in ARMS
        }
        seeds = sorted(set.intersection(*(set(runs) for runs in by.values())))
        lines += [f"\n### {world} ({len(seeds)} seeds)\n"]
        lines += ["| method | true score | calls | proposals | trials that propose, by quarter |"]
        lines += ["|---|---|---|---|---|"]
        for arm, runs in by.items():
            mean = {k: np.mean([runs[s][k] for s in seeds]) for k in ("calls", "proposals")}
            share = np.mean([runs[s]["new"] for s in seeds], axis=0)
            shown = " ".join(f"{x:.2f}" for x in share) if share.any() else "–"
            lines.append(
                f"| `{arm}` | {interval([runs[s]['true'] for s in seeds])} | "
                f"{mean['calls']:,.0f} | {mean['proposals']:.1f} | {shown} |"
            )
        lines += ["\n| | against | difference in true score | Wilcoxon p |", "|---|---|---|---|"]
        for other, arm in itertools.combinations(ARMS, 2):
            gain = [by[arm][s]["true"] - by[other][s]["true"] for s in seeds]
            p = stats.wilcoxon(gain).pvalue if np.any(gain) else 1.0
            lines.append(f"| `{arm}` | `{other}` | {interval(gain)} | {p:.2g} |")
    return "\n".join(lines)


def junk_report(rows: Sequence[Mapping]) -> str:
    """Trials that propose, with the proposer there is and with one of no use."""
    lines = ["| world | *new* | seeds | proposer | trials that propose | by quarter | proposals |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, rationed in dict.fromkeys((row["world"], row["rationed"]) for row in rows):
        here = [row for row in rows if (row["world"], row["rationed"]) == (name, rationed)]
        if {row["junk"] for row in here} != {False, True}:  # broken off before both were run
            continue
        shares: dict[bool, dict[int, float]] = {}
        for junk in (False, True):
            made = [row for row in here if row["junk"] == junk]
            shares[junk] = {row["seed"]: float(np.mean(row["new"])) for row in made}
            quarters = " ".join(f"{x:.2f}" for x in np.mean([row["new"] for row in made], axis=0))
            lines.append(
                f"| {name} | {'rationed' if rationed else 'TPE alone'} | {len(made)} | "
                f"{'empty talk' if junk else 'as it is'} | {interval([*shares[junk].values()])} | "
                f"{quarters} | {np.mean([row['proposals'] for row in made]):.1f} |"
            )
        both = shares[False].keys() & shares[True].keys()
        apart = [shares[False][seed] - shares[True][seed] for seed in sorted(both)]
        lines.append(f"| {name} | | | difference | {interval(apart)} | | |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--out", type=Path, help="rows as JSON lines; go on where they end")
    parser.add_argument("--report", type=Path, help="tables of rows that are there")
    parser.add_argument("--junk", type=int, metavar="SEEDS", help="with a proposer of no use too")
    parser.add_argument("--alone", type=int, metavar="SEEDS", help="the same, not rationed")
    options = parser.parse_args()
    rows = []
    kept = options.report or options.out
    if kept and kept.exists():
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
    count = options.junk or options.alone or options.seeds
    compared = bool(options.junk or options.alone)
    if not options.report:
        kinds = (
            [("mipro_tree", junk) for junk in (False, True)]
            if compared
            else [(arm, False) for arm in ARMS]
        )
        seeds = range(options.first, options.first + count)
        done = {(row["world"], row["seed"], row["method"], row["junk"]) for row in rows}
        for seed, name, kind in itertools.product(seeds, options.worlds.split(","), kinds):
            if (name, seed, *kind) in done:
                continue
            arm, junk = kind
            rows.append(
                run(load_world(name, seed), arm, seed, junk=junk, rationed=not options.alone)
            )
            if options.out:
                with options.out.open("a") as out:
                    out.write(json.dumps(rows[-1]) + "\n")
    compared = any(row["junk"] for row in rows)
    sys.stdout.write((junk_report(rows) if compared else report(rows)) + "\n")


if __name__ == "__main__":
    main()
