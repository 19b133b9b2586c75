"""Samplers against each other on synthetic objectives whose optimum is known.

    python experiments/surrogates.py --samplers default "optuna multivariate" --out raw.jsonl
    python experiments/surrogates.py --samplers default --reuse raw.jsonl --out new.jsonl
    python experiments/surrogates.py --table raw.jsonl

72 cells: 6 families × 3 shapes (2-3, 4-6, 7-10 slots, of 6-18 choices, drawn anew for each seed)
× 4 noises (exact scores; binomial ones of 25, 35 and 50 examples). All samplers of a (cell, seed)
meet one instance, one seed, and in each trial the same examples' luck. Two rules choose what is
scored by its true value: the highest mean observed, repeats of a configuration pooled and the
earlier of equals; and the sampler's own recommendation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from surrogates_families import BLOCKS, FAMILIES, Objective, make
from surrogates_report import report
from surrogates_samplers import OTHERS, SEARCHES, Key, Search

SHAPES = {"2-3 slots": (2, 3), "4-6 slots": (4, 6), "7-10 slots": (7, 10)}
NOISES = (0, 25, 35, 50)  # examples behind a score, 0: it is exact
CELLS = tuple(product(FAMILIES, SHAPES, NOISES))
AT = (10, 15, 20, 27, 30, 50, 100, 200)  # trials after which regret is taken

Row = dict[str, Any]
Job = tuple[str, int, int, int, str]  # block, cell, seed, trials, sampler


def instance(block: str, cell: int, seed: int) -> Objective:
    family, shape, noise = CELLS[cell]
    rng = np.random.default_rng([BLOCKS[block], cell, seed, 0])
    low, high = SHAPES[shape]
    slots, choices = int(rng.integers(low, high + 1)), int(rng.integers(6, 18 + 1))
    # a seed of its own for each noise, lest two cells have one instance
    return make(family, slots, choices, len(NOISES) * seed + NOISES.index(noise), block)


def run(job: Job) -> Row:
    """One search: its regret at each of `AT` by both rules, as a row of the raw results."""
    block, cell, seed, trials, name = job
    family, shape, noise = CELLS[cell]
    objective = instance(block, cell, seed)
    draws = np.random.default_rng([BLOCKS[block], cell, seed, 1])
    luck = draws.random((max(AT), max(noise, 1)))  # U(0, 1), a row a trial, a column an example
    own_seed = int(draws.integers(2**31))
    search = SEARCHES[name](objective.space, own_seed, trials)
    start = time.perf_counter()
    regrets = follow(search, objective, luck, noise, trials)
    return {
        **{"block": block, "family": family, "shape": shape, "noise": noise, "seed": seed},
        **{"sampler": name, "sizes": objective.sizes, "optimum": objective.optimum},
        **{"mean": objective.mean, "regret": regrets, "seconds": time.perf_counter() - start},
    }


def follow(
    search: Search, objective: Objective, luck: np.ndarray, noise: int, trials: int
) -> dict[str, dict[str, float]]:
    """{trials: {"mean": regret by the highest mean, "own": by the sampler's recommendation}}."""
    totals: dict[Key, tuple[float, int]] = {}  # sum of scores and times told, in order
    regrets = {}
    for t in range(trials):
        codes = search.ask()
        p = value(objective, codes)
        score = p if noise == 0 else float((luck[t] < p).sum()) / noise  # Binomial(noise, p)/noise
        search.tell(codes, score, max(noise, 1))
        told, times = totals.get(codes, (0.0, 0))
        totals[codes] = (told + score, times + 1)
        if t + 1 in AT:
            highest = max(totals, key=lambda key: totals[key][0] / totals[key][1])
            regrets[str(t + 1)] = {
                "mean": objective.regret(value(objective, highest)),
                "own": objective.regret(value(objective, search.own())),
            }
    return regrets


def value(objective: Objective, codes: Key) -> float:
    return float(objective.values(np.array([codes]))[0])


def same(row: Row) -> tuple[Any, ...]:
    """What two rows share that are the same search."""
    return tuple(row[k] for k in ("block", "family", "shape", "noise", "seed", "sampler"))


def read(paths: Iterable[Path]) -> list[Row]:
    """Rows of raw results; of two of the same search the later."""
    rows = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[same(row)] = row
    return list(rows.values())


def kept(rows: Iterable[Row], jobs: list[Job]) -> dict[Job, Row]:
    """Of earlier results those that answer a job: not ours, of the same instance, long enough."""
    found = {same(row): row for row in rows}
    answers = {}
    for job in jobs:
        block, cell, seed, trials, name = job
        row = found.get((block, *CELLS[cell], seed, name))
        if (
            name not in OTHERS
            or row is None
            or any(str(t) not in row["regret"] for t in AT if t <= trials)
        ):
            continue
        objective = instance(block, cell, seed)
        if (row["optimum"], row["mean"]) != (objective.optimum, objective.mean):
            raise SystemExit(f"the instance of {same(row)} is not the one of the results reused")
        answers[job] = row
    return answers


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--block", default="report", choices=list(BLOCKS))
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="raw results, one JSON object a line")
    parser.add_argument("--reuse", type=Path, nargs="*", default=[], help="others' earlier results")
    parser.add_argument("--table", type=Path, nargs="+", help="run nothing: a report of these")
    args = parser.parse_args(argv)
    if args.table:
        print(report(read(args.table)))
        return 0
    if not AT[0] <= args.trials <= AT[-1]:
        parser.error(f"--trials is from {AT[0]} to {AT[-1]}")
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    jobs = [
        (args.block, cell, seed, args.trials, name)
        for seed in seeds
        for cell, (family, _, _) in enumerate(CELLS)
        if family in args.families
        for name in args.samplers
    ]
    print(report(answered(jobs, kept(read(args.reuse), jobs), args.jobs, args.out)))
    return 0


def answered(jobs: list[Job], known: dict[Job, Row], processes: int, out: Path | None) -> list[Row]:
    """A row for each job, known or run; written to ``out`` as they come."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by numpy in the processes to come
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    left = [job for job in jobs if job not in known]
    rows = list(known.values())
    path = out or Path(os.devnull)
    with path.open("w", encoding="utf-8") as file, get_context("spawn").Pool(processes) as pool:
        for row in rows:
            print(json.dumps(row), file=file)
        for done, row in enumerate(pool.imap_unordered(run, left, chunksize=4), start=1):
            rows.append(row)
            print(json.dumps(row), file=file, flush=True)
            if done % 500 == 0:
                print(f"{done} of {len(left)} searches", file=sys.stderr)
    return rows


if __name__ == "__main__":
    sys.exit(main())
