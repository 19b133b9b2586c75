"""How often is a candidate called better that is not, and how often one that is?

    python experiments/improvement.py

Test sets are drawn from the exact chances of success that worlds give each example, so that the
true difference is known and thousands of tests cost nothing; then whole runs of `optimize` on the
null world, where no program is better than another. All scores are of a simulated language model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy.special import ndtr
from scipy.stats import binomtest

import mipro
from mipro import looks as looking
from mipro.improvement import Optimism, improvement
from mipro.looks import PairedLooks
from mipro.seeds import stream
from mipro.worlds import exact_scores, load_world, null_world

LEVEL = 0.05
SHARED = 0.5  # correlation of the luck that two prompts have on an example, as in the embedded LM
SMALL = {"trials": 12, "minibatch": 10, "full_every": 4, "instructions": 4, "demo_sets": 4}
DIFFERENCES, SIZES, LOOKS = (0.05, 0.1, 0.2), (50, 100, 200), (1, 2, 5)


def chances(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Exact chances of success on each test example, shape (n,): original's and a candidate's."""
    world = load_world(name)
    found = mipro.optimize(
        world.program,
        world.train,
        world.metric,
        lm=world.lm,
        val=world.val,
        trials=20,
        threads=1,
        forecasts=False,
    )
    return exact_scores(world, {}), exact_scores(world, found.candidate)


def apart(p: np.ndarray, q: np.ndarray, difference: float) -> tuple[np.ndarray, np.ndarray]:
    """Two programs between the two, `difference` apart on average, halfway between them."""
    step = (q - p) * difference / (q - p).mean() / 2
    return (p + q) / 2 - step, (p + q) / 2 + step


def unlike(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two programs equally good on average, each better on some of the examples."""
    step = np.where(np.arange(p.size) % 2, 1, -1) * (q - p) / 2
    won, lost = step[step > 0].sum(), -step[step < 0].sum()
    step = np.where(step > 0, step * min(1, lost / won), step * min(1, won / lost))
    return (p + q - step) / 2, (p + q + step) / 2


def drawn(rng, programs: list[np.ndarray], n: int, reps: int) -> np.ndarray:
    """Scores of programs on test sets of n examples, shape (programs, reps, n), 0 or 1."""
    which = rng.integers(0, programs[0].size, (reps, n))
    luck = rng.normal(size=(reps, n))
    own = rng.normal(size=(len(programs), reps, n))
    uniform = ndtr(np.sqrt(SHARED) * luck + np.sqrt(1 - SHARED) * own)
    return np.stack([u < p[which] for u, p in zip(uniform, programs, strict=True)]).astype(float)


def tested(gains: np.ndarray, looks: int) -> tuple[bool, int, float]:
    """Shown better? After how many examples, with what difference?"""
    portions = np.array_split(gains, looks)
    counts = [(part.size, int((part > 0).sum()), int((part < 0).sum())) for part in portions]
    better, seen = decided(tuple(counts))
    return better, seen, float(gains[:seen].mean())


@cache
def decided(counts: tuple[tuple[int, int, int], ...]) -> tuple[bool, int]:
    """Shown better, and after how many examples: by size, wins and losses of each portion."""
    test, seen = PairedLooks([size for size, _, _ in counts], LEVEL), 0
    for size, won, lost in counts:
        look = test.look([1] * won + [-1] * lost + [0] * (size - won - lost))
        seen += size
        if test.over or test.hopeless(1.0):
            break
    return look.better, seen


def naive(gains: np.ndarray, looks: int) -> bool:
    """The plain test at each look, not corrected."""
    ends = np.cumsum([part.size for part in np.array_split(gains, looks)])
    return any(tested(gains[:e], 1)[0] for e in ends)


def rate(found: list[bool]) -> str:
    """A share with its exact (Clopper and Pearson) 95% interval."""
    made = binomtest(int(sum(found)), len(found)).proportion_ci(method="exact")
    return f"{np.mean(found):.3f} [{made.low:.3f}, {made.high:.3f}]"


def table(head: list[str], rows: list[list[str]]) -> None:
    """Markdown."""
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |", flush=True)
    print(flush=True)


def false_alarms(pools: dict, reps: int) -> None:
    """No difference: how often is the candidate called better?"""
    rows, alike = [], {name: apart(p, q, 0.0) for name, (p, q) in pools.items()}
    pairs = {**alike, **{f"{name}, unlike": unlike(p, q) for name, (p, q) in pools.items()}}
    for name, both in pairs.items():
        for n in SIZES:
            before, after = drawn(stream(n, "split/alarms"), list(both), n, reps)
            gains = after - before
            row = [rate([tested(g, k)[0] for g in gains]) for k in LOOKS]
            row += [rate([naive(g, k) for g in gains]) for k in LOOKS[1:]]
            rows.append([name, str(n), *row])
    head = ["world", "n", *(f"looks {k}" for k in LOOKS), *(f"{k}, uncorrected" for k in LOOKS[1:])]
    table(head, rows)


def power(pools: dict, reps: int) -> None:
    """A known difference: how often is it shown, and after how many examples?"""
    rows = []
    for name, (p, q) in pools.items():
        for difference in DIFFERENCES:
            for n in SIZES:
                both = apart(p, q, difference)
                before, after = drawn(stream(n, "split/power"), list(both), n, reps)
                row = []
                for k in LOOKS:
                    found = [tested(g, k) for g in after - before]
                    row.append(rate([better for better, _, _ in found]))
                    if k > 1:
                        row.append(f"{1 - np.mean([seen for _, seen, _ in found]) / n:.0%}")
                    if k == LOOKS[-1]:
                        row.append(f"{np.mean([d for _, _, d in found]) - difference:+.3f}")
                rows.append([name, f"{difference:.2f}", str(n), *row])
    head = ["world", "difference", "n", "looks 1", "looks 2", "saved", "looks 5", "saved", "bias"]
    table(head, rows)


def spending(pools: dict, reps: int) -> None:
    """How the level is spread over five looks."""
    rows, usual = [], looking.EXPONENT
    p, q = pools["iris"]
    for exponent in (1.0, 2.0, 3.0):
        looking.EXPONENT = exponent
        decided.cache_clear()
        row = []
        for difference in (0.0, 0.1, 0.2):
            before, after = drawn(
                stream(1, "split/spending"), list(apart(p, q, difference)), 100, reps
            )
            found = [tested(g, 5) for g in after - before]
            saved = 1 - np.mean([seen for _, seen, _ in found]) / 100
            row += [rate([better for better, _, _ in found]), f"{saved:.0%}"]
        rows.append([f"{exponent:g}", *row])
    looking.EXPONENT = usual
    decided.cache_clear()
    table(["exponent", *(x for d in ("0", "0.1", "0.2") for x in (f"shown at {d}", "saved"))], rows)


def selection(pools: dict, reps: int) -> None:
    """The best on 50 validation examples of M programs that are all alike."""
    rows = []
    p, q = pools["iris"]
    chance = (p + q) / 2
    for many in (1, 10, 30):
        rng = stream(many, "split/selection")
        val = drawn(rng, [chance] * (many + 1), 50, reps)
        test = drawn(rng, [chance] * 2, 100, reps)
        best = 1 + val[1:].mean(axis=2).argmax(axis=0)
        found, on_val, on_test = [], [], []
        for r in range(reps):
            chosen = val[best[r], r]
            on_val.append(tested(chosen - val[0, r], 1)[0])
            on_test.append(tested(test[1, r] - test[0, r], 1)[0])
            found.append(Optimism.of((val[0, r], chosen), (test[0, r], test[1, r])))
        true = np.array([made.selected for made in found]) - chance.mean()
        rows.append([str(many), rate(on_val), rate(on_test), *optimism(found, true)])
    head = ["M", "tested on val", "tested on test", "true optimism", "optimism", "covers the mean"]
    table([*head, "covers the run's own", "net of the original's"], rows)


def optimism(found: list[Optimism], true: np.ndarray) -> list[str]:
    """The true optimism on average, what was measured, and how often the interval holds it."""
    measured = np.array([made.value for made in found])
    net = np.array([made.net for made in found])
    half, half_net = (1.96 * x.std(ddof=1) / np.sqrt(x.size) for x in (measured, net))
    ends = np.array([made.interval for made in found])
    mean = true.mean()
    return [
        f"{mean:+.4f}",
        f"{measured.mean():+.4f} ± {half:.4f}",
        rate(list((ends[:, 0] <= mean) & (mean <= ends[:, 1]))),
        rate(list((ends[:, 0] <= true) & (true <= ends[:, 1]))),
        f"{net.mean():+.4f} ± {half_net:.4f}",
    ]


def whole_runs(seeds: int, note: Callable[[str], None]) -> None:
    """`optimize` itself where nothing can be better: a run a seed and number of looks."""
    rows = []
    for k in (1, 5):
        shown, on_val, found = [], [], []
        for seed in range(seeds):
            world = null_world(seed, test=100)
            result = mipro.optimize(
                world.program,
                world.train,
                world.metric,
                lm=world.lm,
                val=world.val,
                test=world.test,
                seed=seed,
                looks=k,
                threads=1,
                forecasts=False,
                **SMALL,
            )
            shown.append(result.improvement.shown)
            scores = result.trials[0].scores, result.chosen.scores
            on_val.append(improvement(*scores, LEVEL).shown)
            found.append(result.optimism)
            made = result.improvement
            note(json.dumps({"looks": k, "seed": seed, **made.to_json()}))
        true = np.array([made.selected for made in found]) - 0.5
        rows.append([str(k), str(seeds), rate(shown), rate(on_val), *optimism(found, true)])
    head = ["looks", "runs", "called better", "tested on val", "true optimism", "optimism"]
    table([*head, "covers the mean", "covers the run's own", "net of the original's"], rows)


def main() -> None:
    """All tables, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reps", type=int, default=3_000, help="of false alarms; others fewer")
    parser.add_argument("--seeds", type=int, default=120, help="whole runs")
    parser.add_argument("--out", type=Path, help="a line for each whole run")
    asked = parser.parse_args()
    if asked.seeds:
        lines: list[str] = []
        whole_runs(asked.seeds, lines.append)
        if asked.out is not None:
            asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pools = {name: chances(name) for name in ("iris", "conditional")}
    for name, (p, q) in pools.items():
        print(f"{name}: {p.size} examples, original {p.mean():.3f}, candidate {q.mean():.3f}\n")
    false_alarms(pools, asked.reps)
    power(pools, asked.reps // 3)
    spending(pools, asked.reps // 3)
    selection(pools, asked.reps // 3)


if __name__ == "__main__":
    main()
