"""Trials in flight and more than one machine: what they cost, what they gain, where they end.

    python experiments/parallel.py loss [--seeds 20] [--trials 60]   # score at equal trials
    python experiments/parallel.py wall [--latency 0.05]             # wall time of a run
    python experiments/parallel.py dask [--tasks 400]                # what one task costs

`loss` tells a TPE its scores k - 1 asks late, on the families of `surrogates_families.py`, block
"report". `dask` needs `pip install 'mipro[distributed]'`.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections import deque
from dataclasses import replace

import numpy as np
from scipy import stats
from surrogates_families import FAMILIES, Objective, make

import mipro
from mipro.evaluation import Evaluating
from mipro.lm.base import Completion, Request, Usage
from mipro.lm.meter import Ledger, Metered
from mipro.lm.replies import Once, Replies
from mipro.tpe import TPE
from mipro.worlds import load_world

IN_FLIGHT = (1, 2, 4, 8)
MINIBATCH = 35


# --- loss at equal trials ------------------------------------------------------------------------


def searched(objective: Objective, seed: int, k: int, trials: int) -> float:
    """Regret of what is recommended after `trials`, each told once k - 1 later ones are asked."""
    sampler = TPE(objective.space, seed, trials=trials)
    luck = np.random.default_rng([seed, 7])  # by trial, so that every k meets the same
    out: deque = deque()
    for t in range(trials + k - 1):
        if t < trials:
            config = sampler.ask([pending for pending, _ in out])
            out.append((config, luck.binomial(MINIBATCH, objective.true(config)) / MINIBATCH))
        if len(out) == k or t >= trials:
            sampler.tell(*out.popleft(), n=MINIBATCH)
    return objective.regret(objective.true(sampler.best().config))


def loss(seeds: int, trials: int) -> None:
    """Regret for each k, and the paired difference from k = 1, over families and seeds."""
    regret = np.array(
        [
            [
                [searched(make(family, 6, 10, seed, "report"), seed, k, trials) for k in IN_FLIGHT]
                for family in FAMILIES
            ]
            for seed in range(seeds)
        ]
    )  # (seeds, families, k)
    print(
        f"normalised regret after {trials} trials of {MINIBATCH} examples, {seeds} seeds a family"
    )
    for i, k in enumerate(IN_FLIGHT):
        worse = (regret[:, :, i] - regret[:, :, 0]).mean(axis=1)  # a seed's mean over families
        half = stats.t.ppf(0.975, seeds - 1) * worse.std(ddof=1) / seeds**0.5
        by = "  ".join(
            f"{f} {v:.3f}" for f, v in zip(FAMILIES, regret[:, :, i].mean(0), strict=True)
        )
        print(
            f"k={k}  mean {regret[:, :, i].mean():.3f}  "
            f"against k=1 {worse.mean():+.3f} ± {half:.3f}  | {by}"
        )


# --- wall time -----------------------------------------------------------------------------------


class Late:
    """The embedded LM at a distance: every call takes `seconds`."""

    def __init__(self, lm: mipro.LM, seconds: float) -> None:
        self.lm, self.seconds = lm, seconds
        self.model, self.identity = lm.model, lm.identity

    def __call__(self, request: Request, /) -> Completion:
        time.sleep(self.seconds)
        return self.lm(request)


def wall(latency: float) -> None:
    """Seconds of one small run, its search apart, by k and the examples at once."""
    world = load_world("twohop")
    world = replace(world, train=world.train[:40], val=world.val[:60])
    print("threads  k  run (s)  search (s)  gain of the search  trials")
    for threads in (8, 32, 128):
        first = None
        for k in IN_FLIGHT:
            events: list[tuple[float, str]] = []
            began = time.perf_counter()
            result = mipro.optimize(
                world.program,
                world.train,
                world.metric,
                lm=Late(world.lm, latency),
                val=world.val,
                trials=24,
                minibatch=20,
                full_every=8,
                proposal_waves=1,
                threads=threads,
                trials_in_flight=k,
                on_event=lambda e, to=events: to.append((time.perf_counter(), e["event"])),
            )
            took = time.perf_counter() - began
            ready = max(at for at, event in events if event == "space")
            told = max(at for at, event in events if event == "trial")
            first = first or told - ready
            print(
                f"{threads:7} {k:2}  {took:7.2f}  {told - ready:10.2f}  "
                f"{first / (told - ready):18.2f}  {len(result.trials):6}",
                flush=True,
            )


# --- what one task costs -------------------------------------------------------------------------


class Ready:
    """An LM that answers at once, so that what is left is the cost of the way."""

    model = identity = "ready"

    def __call__(self, request: Request, /) -> Completion:
        text = "[[ ## answer ## ]]\nfour\n\n[[ ## completed ## ]]"
        return Completion((text,), Usage(500, 20), self.model)


class QA(mipro.Program):
    def __init__(self) -> None:
        self.answer = mipro.Predict("question -> answer", "Answer in a few words.")

    def forward(self, question: str) -> mipro.Prediction:
        return self.answer(question=question)


def rows(n: int) -> list[mipro.Example]:
    text = "What is the capital of country number {}, and how many people live there? " * 4
    made = ({"question": text.format(i, i, i, i), "answer": "four"} for i in range(n))
    return [mipro.Example(row, inputs=("question",)) for row in made]


def candidate(demos: int) -> dict[str, mipro.Prompt]:
    shown = [mipro.Demo(dict(row)) for row in rows(demos)]
    return {"answer": mipro.Prompt("Answer in a few words.", tuple(shown))}


def metered() -> Metered:
    return Metered(Once(Ready(), Replies()), Ledger())


def dask(tasks: int) -> None:
    """Bytes of a task there and back, and what an outcome takes of the driver."""
    import distributed

    metric = mipro.metrics.exact_match("answer")
    for demos in (0, 4, 16):
        work = Evaluating(
            QA(), rows(2), metric, lm=metered(), candidate=candidate(demos), abroad=True
        )
        there = len(pickle.dumps((work.job, 0, work.items[0])))
        home = len(pickle.dumps(pickle.loads(pickle.dumps(work.job))(0, work.items[0])))
        print(f"{demos:2} demonstrations: {there:,} bytes out, {home:,} bytes home")

    def timed(what: str, executor: object) -> None:
        cpu, began = time.process_time(), time.perf_counter()
        mipro.evaluate(
            QA(), rows(tasks), metric, lm=metered(), candidate=candidate(4), executor=executor
        )
        cpu, wall = time.process_time() - cpu, time.perf_counter() - began
        print(
            f"{what}: {tasks / wall:,.0f} outcomes a second, {1e3 * wall / tasks:.2f} ms each, "
            f"{1e3 * cpu / tasks:.2f} ms of CPU in this process",
            flush=True,
        )

    timed("here", None)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=4, dashboard_address=":0")
    with cluster, distributed.Client(cluster) as client:
        executor = client.get_executor()
        mipro.evaluate(QA(), rows(20), metric, lm=metered(), executor=executor)  # warm
        for _ in range(3):
            timed("2 workers, scheduler in this process", executor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("loss", "wall", "dask"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--tasks", type=int, default=400)
    given = parser.parse_args()
    if given.what == "loss":
        loss(given.seeds, given.trials)
    elif given.what == "wall":
        wall(given.latency)
    else:
        dask(given.tasks)


if __name__ == "__main__":
    main()
