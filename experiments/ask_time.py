"""How long one ask takes as the history grows, side by side with Optuna's.

    OPENBLAS_NUM_THREADS=1 python experiments/ask_time.py

10 slots of 18 choices. Each sampler is told n trials of a binomial score of 35 examples, at
configurations drawn at random; then rounds of one ask (timed) and one tell (not timed), all
samplers in turn within a round, so that whatever else the machine does meets them alike. Ours
are timed without re-evaluations of the leader, which cost next to nothing and would flatter them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from mipro.tpe import TPE, Settings, Space

SLOTS, CHOICES, EXAMPLES = 10, 18, 35
SPACE = Space({f"slot{d}": CHOICES for d in range(SLOTS)})


class Asked(Protocol):
    def ask(self) -> None: ...

    def tell(self, score: float) -> None: ...


class Ours:
    def __init__(self, history: list[tuple[dict[str, int], float]], *, multivariate: bool) -> None:
        settings = Settings(multivariate=multivariate, recheck=0)
        self.sampler = TPE(SPACE, seed=0, settings=settings)
        for config, score in history:
            self.sampler.tell(config, score, EXAMPLES)

    def ask(self) -> None:
        self.config = self.sampler.ask()

    def tell(self, score: float) -> None:
        self.sampler.tell(self.config, score, EXAMPLES)


class Optuna:
    def __init__(self, history: list[tuple[dict[str, int], float]], *, multivariate: bool) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(multivariate=multivariate, seed=0)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        choices = optuna.distributions.CategoricalDistribution(list(range(CHOICES)))
        self.slots = dict.fromkeys(SPACE.names, choices)
        self.study.add_trials(
            [
                optuna.trial.create_trial(params=config, distributions=self.slots, value=score)
                for config, score in history
            ]
        )

    def ask(self) -> None:
        self.trial = self.study.ask(self.slots)

    def tell(self, score: float) -> None:
        self.study.tell(self.trial, score)


SAMPLERS: dict[str, Callable[[list[tuple[dict[str, int], float]]], Asked]] = {
    "default": lambda history: Ours(history, multivariate=True),
    "independent": lambda history: Ours(history, multivariate=False),
    "optuna multivariate": lambda history: Optuna(history, multivariate=True),
    "optuna univariate": lambda history: Optuna(history, multivariate=False),
}


def measured(trials: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each ask after ``trials`` trials, by sampler."""
    rng = np.random.default_rng(trials)
    history = [(SPACE.sample(rng), rng.binomial(EXAMPLES, 0.5) / EXAMPLES) for _ in range(trials)]
    samplers = {name: make(history) for name, make in SAMPLERS.items()}
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(rounds):
        for name, sampler in samplers.items():
            start = time.perf_counter()
            sampler.ask()
            times[name].append(1e3 * (time.perf_counter() - start))
            sampler.tell(rng.binomial(EXAMPLES, 0.5) / EXAMPLES)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=40)
    asked = parser.parse_args()
    print(f"| trials | {' | '.join(SAMPLERS)} | optuna multivariate / default |")
    print("| --- |" + " --- |" * (len(SAMPLERS) + 1))
    for trials in asked.trials:
        times = measured(trials, asked.rounds)
        median = {name: statistics.median(values[3:]) for name, values in times.items()}  # warm
        ratios = sorted(
            theirs / ours
            for ours, theirs in zip(
                times["default"][3:], times["optuna multivariate"][3:], strict=True
            )
        )
        quarter = len(ratios) // 4
        shown = " | ".join(f"{median[name]:.2f} ms" for name in SAMPLERS)
        spread = f"{ratios[quarter]:.1f} to {ratios[-quarter - 1]:.1f}"
        print(f"| {trials:,} | {shown} | {statistics.median(ratios):.1f} ({spread}) |", flush=True)


if __name__ == "__main__":
    main()
