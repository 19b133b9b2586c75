"""Ways of spending evidence, at equal calls: true scores over worlds and seeds.

    python experiments/evidence.py --seeds 20 --out evidence.jsonl

Each seed draws the data split, the LM's luck and the optimizer's randomness; all arms of a seed
share them. What an arm is: `evidence_arms.py`. Rows are appended to `--out` as they come; those
that are there are not run again. Printed is what there is of `--arms`;
`--report` runs nothing. "paper", which the others are held against, has to be there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from evidence_arms import ARMS, CHOICES, Look, Spending
from scipy import stats

import mipro
from mipro.bootstrapping import Teacher
from mipro.lm.base import Completion, Request
from mipro.lm.meter import Ledger, Metered
from mipro.metrics import Metric
from mipro.optimizers.mipro import Mipro
from mipro.optimizers.task import Options, Step, Task, Trial
from mipro.optimizers.trials import batch_of
from mipro.programs.prompt import Candidate, candidate_digest
from mipro.worlds import World, exact_scores, load_world

# minibatch: of Iris' 35 validation rows the usual 35 are all, and there is nothing to spend
WORLDS = {"iris": 15, "twohop": 35, "conditional": 35}


class Memo:
    """The embedded LM, its replies kept for the arms to come; it counts nothing."""

    def __init__(self, lm) -> None:
        self.lm, self.model, self.identity, self.known = lm, lm.model, lm.identity, {}

    def __call__(self, request: Request, /) -> Completion:
        key = (request.messages, request.temperature, request.max_tokens, request.rollout)
        if key not in self.known:
            self.known[key] = self.lm(request)
        return self.known[key]


class Table:
    """What each candidate scores on each validation example: the embedded LM's reply to a request
    is one and the same, so a run looked at twice is made once, for all arms."""

    def __init__(self, world: World) -> None:
        self.world, self.memo = world, Memo(world.lm)
        self.cells: dict[tuple[str, int], float] = {}
        self.true: dict[str, float] = {}
        first = mipro.evaluate(world.program, world.val[:1], world.metric, lm=world.lm)
        self.calls = len(
            first.outcomes[0].trace
        )  # of an example: the same for all, in these worlds

    def scores(self, candidate: Candidate, examples: Sequence[int]) -> tuple[float, ...]:
        digest, world = candidate_digest(candidate), self.world
        new = [i for i in examples if (digest, i) not in self.cells]
        if new:
            rows = [world.val[i] for i in new]
            evaluation = mipro.evaluate(
                world.program,
                rows,
                world.metric,
                lm=world.lm,
                candidate=candidate,
                allow_all_failed=True,
            )
            for i, score in zip(new, evaluation.scores, strict=True):
                self.cells[digest, i] = score
        return tuple(self.cells[digest, i] for i in examples)

    def truth(self, candidate: Candidate) -> float:
        digest = candidate_digest(candidate)
        if digest not in self.true:
            self.true[digest] = float(exact_scores(self.world, candidate).mean())
        return self.true[digest]


def begun(table: Table, seed: int, settings: dict[str, int]) -> Task:
    """What a strategy is given; its ledger counts what preparing takes."""
    world, ledger = table.world, Ledger()
    lm = Metered(table.memo, ledger, "task")
    options = Options(seed=seed, demo_sets=20, threads=1, **settings)
    data = (world.program, world.train, world.val, Metric.of(world.metric))
    return Task(*data, lm, lm, Teacher(lm=lm), options, lambda event: None, ledger=ledger)


def evaluated(step: Step, task: Task, table: Table, number: int) -> Trial:
    """A trial read from the table."""
    batch = step.examples if isinstance(step, Look) else batch_of(step, task, number)
    scores = table.scores(step.candidate, batch)
    mean = float(np.mean(scores))
    return Trial(number, step.config, mean, len(batch), step.kind, 0, batch, scores)


def run(table: Table, seed: int, arm: str, settings: dict[str, int], choices: bool) -> list[dict]:
    """One arm on one world and seed: the strategy in the loop.

    With `choices` all the last choices are made, too, that the search of "paper" leaves.
    """
    started = time.process_time()
    task, spending = begun(table, seed, settings), ARMS[arm]
    strategy = Mipro() if spending is None else Spending(**spending)
    strategy.initialize(task)
    told: list[Trial] = []
    step: Step | None = Step({}, task.program.prompts(), "full")
    while step is not None:
        told.append(evaluated(step, task, table, len(told)))
        strategy.update(told[-1])
        step = strategy.propose()
    found = strategy.extract()
    row = {
        "world": table.world.name,
        "seed": seed,
        "arm": arm,
        "true": table.truth(found.candidate),
        "val": found.trial.score,
        "calls": task.ledger.total.calls + table.calls * sum(trial.n for trial in told),
        "new": len({(str(sorted(t.config.items())), i) for t in told for i in t.examples}),
        "configs": len({tuple(sorted(t.config.items())) for t in told}),
        "seconds": round(time.process_time() - started, 2),
    }
    if arm != "paper" or not choices:
        return [row]
    others = [chosen(table, strategy, row, choice) for choice in CHOICES]
    return [row, *others, known_best(table, strategy, row)]


def known_best(table: Table, made: Mipro, row: dict) -> dict:
    """The truly best of the ten leaders of a finished search: no choice among them does better."""
    slots = made.slots
    leaders = [slots.candidate(best.config) for best in made.sampler.ranking()[:10]]
    true = max(table.truth(candidate) for candidate in leaders)
    return {**row, "arm": "choice: the truly best of ten leaders", "true": max(true, row["true"])}


def chosen(table: Table, made: Mipro, row: dict, choice: str) -> dict:
    """What another last choice makes of a finished search."""
    strategy = Spending(**CHOICES[choice])
    strategy.take_over(made)
    spent = sum(trial.n for trial in made.trials)
    while (step := strategy.propose()) is not None:
        strategy.update(evaluated(step, made.task, table, len(strategy.trials)))
    told, found = strategy.trials, strategy.extract()
    return {
        **row,
        "arm": f"choice: {choice}",
        "true": table.truth(found.candidate),
        "val": found.trial.score,
        "calls": row["calls"] + table.calls * (sum(trial.n for trial in told) - spent),
        "new": len({(str(sorted(t.config.items())), i) for t in told for i in t.examples}),
    }


def every(options: argparse.Namespace) -> None:
    """All that is not in `out` yet."""
    done = {(row["world"], row["seed"], row["arm"]) for row in rows_of(options.out)}
    seeds = range(options.first, options.first + options.seeds)
    with options.out.open("a") as file:
        for seed, name in itertools.product(seeds, options.worlds.split(",")):
            left = [arm for arm in options.arms.split(";") if (name, seed, arm) not in done]
            table = Table(load_world(name, seed)) if left else None
            settings = {
                "trials": options.trials,
                "full_every": options.every,
                "minibatch": options.minibatch or WORLDS[name],
            }
            for arm in left:
                for row in run(table, seed, arm, settings, options.choices):
                    file.write(json.dumps(row) + "\n")
                file.flush()


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def interval(values) -> str:
    """Mean and its 95% t interval over seeds."""
    values = np.asarray(values)
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{values.mean():.3f} ± {half:.3f}"


def report(rows: Sequence[dict], base: str = "paper") -> str:
    """A table a world, and the mean over worlds, each arm paired with `base` by seed."""
    lines: list[str] = []
    names = list(dict.fromkeys(row["world"] for row in rows))
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    value = {(r["world"], r["arm"], r["seed"]): r for r in rows}
    gains: dict[str, list[list[float]]] = {arm: [] for arm in arms}
    for name in names:
        seeds = sorted({s for w, _, s in value if w == name})
        seeds = [s for s in seeds if all((name, arm, s) in value for arm in arms)]
        lines += [f"\n### {name} ({len(seeds)} seeds)\n"]
        lines += [
            f"| arm | true score | minus {base} | Wilcoxon p | selected − true | calls | new | "
            "configurations |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for arm in arms:
            here = [value[name, arm, s] for s in seeds]
            gain = [r["true"] - value[name, base, r["seed"]]["true"] for r in here]
            gains[arm].append(gain)
            p = f"{stats.wilcoxon(gain).pvalue:.2g}" if np.any(gain) else "–"
            mean = {
                f: np.mean([r[f] for r in here]) for f in ("val", "true", "calls", "new", "configs")
            }
            lines.append(
                f"| {arm} | {interval([r['true'] for r in here])} | {interval(gain)} | {p} | "
                f"{mean['val'] - mean['true']:+.3f} | {mean['calls']:,.0f} | {mean['new']:,.0f} | "
                f"{mean['configs']:.0f} |"
            )
    lines += [
        "\n### mean over the worlds\n",
        f"| arm | minus {base} | Wilcoxon p |",
        "|---|---|---|",
    ]
    for arm in arms:
        if len({len(gain) for gain in gains[arm]}) == 1:
            gain = np.mean(gains[arm], axis=0)
            p = f"{stats.wilcoxon(gain).pvalue:.2g}" if np.any(gain) else "–"
            lines.append(f"| {arm} | {interval(gain)} | {p} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--every", type=int, default=10, help="S")
    parser.add_argument("--minibatch", type=int, default=0, help="B; 0: the world's usual")
    parser.add_argument("--choices", action="store_true", help="other last choices, after paper")
    parser.add_argument("--worlds", default=",".join(WORLDS))
    parser.add_argument("--arms", default=";".join(ARMS), help="separated by ;")
    parser.add_argument("--out", type=Path, default=Path("evidence.jsonl"))
    parser.add_argument("--report", action="store_true", help="run nothing")
    options = parser.parse_args()
    if not options.report:
        every(options)
    wanted = [*options.arms.split(";"), *(f"choice: {c}" for c in CHOICES if options.choices)]
    rows = [row for row in rows_of(options.out) if row["arm"] in wanted]
    sys.stdout.write(report(rows) + "\n")


if __name__ == "__main__":
    main()
