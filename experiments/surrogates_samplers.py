"""The samplers that `surrogates.py` compares, ours and others', behind one ask and tell.

Each speaks in codes, a tuple of one choice index a slot. ``own`` is what the sampler itself would
recommend: `best()` of ours, the best single trial of Optuna and hyperopt.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from mipro.tpe import TPE, Classic, RandomSampler, Sampler, Space

Key = tuple[int, ...]


class Search(Protocol):
    def ask(self) -> Key: ...

    def tell(self, codes: Key, score: float, n: int) -> None: ...

    def own(self) -> Key:
        """Codes of the configuration the sampler recommends."""
        ...


class Ours:
    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def ask(self) -> Key:
        return self.sampler.space.key(self.sampler.ask())

    def tell(self, codes: Key, score: float, n: int) -> None:
        self.sampler.tell(self.sampler.space.decode(codes), score, n)

    def own(self) -> Key:
        return self.sampler.space.key(self.sampler.best().config)


class Optuna:
    def __init__(self, space: Space, seed: int, *, multivariate: bool) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():  # multivariate is marked experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(multivariate=multivariate, seed=seed)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.of = {
            name: optuna.distributions.CategoricalDistribution(range(size))
            for name, size in zip(space.names, space.sizes, strict=True)
        }

    def ask(self) -> Key:
        self.trial = self.study.ask(self.of)
        return self._codes(self.trial.params)

    def tell(self, codes: Key, score: float, n: int) -> None:
        self.study.tell(self.trial, score)

    def own(self) -> Key:
        return self._codes(self.study.best_trial.params)

    def _codes(self, params: dict[str, Any]) -> Key:
        return tuple(params[name] for name in self.of)


class Hyperopt:
    """`hyperopt.tpe.suggest` as `hyperopt.fmin` calls it, one trial at a time."""

    def __init__(self, space: Space, seed: int) -> None:
        import hyperopt

        self.hyperopt, self.names = hyperopt, space.names
        slots = {
            name: hyperopt.hp.choice(name, list(range(size)))
            for name, size in zip(space.names, space.sizes, strict=True)
        }
        self.domain = hyperopt.Domain(lambda config: 0.0, slots)
        self.trials = hyperopt.Trials()
        self.rng = np.random.default_rng(seed)

    def ask(self) -> Key:
        ids = self.trials.new_trial_ids(1)
        self.trials.refresh()
        seed = int(self.rng.integers(2**31 - 1))
        (self.trial,) = self.hyperopt.tpe.suggest(
            ids, self.domain, self.trials, seed, verbose=False
        )
        return self._codes(self.trial)

    def tell(self, codes: Key, score: float, n: int) -> None:
        self.trial["state"] = self.hyperopt.JOB_STATE_DONE
        self.trial["result"] = {"status": self.hyperopt.STATUS_OK, "loss": -score}
        self.trials.insert_trial_docs([self.trial])
        self.trials.refresh()

    def own(self) -> Key:
        return self._codes(self.trials.best_trial)

    def _codes(self, trial: dict[str, Any]) -> Key:
        return tuple(int(trial["misc"]["vals"][name][0]) for name in self.names)


# (space, seed, trials planned) -> search
OURS: dict[str, Callable[[Space, int, int], Search]] = {
    "default": lambda space, seed, trials: Ours(TPE(space, seed)),
    "planned": lambda space, seed, trials: Ours(TPE(space, seed, trials=trials)),
    "independent": lambda space, seed, trials: Ours(TPE(space, seed, multivariate=False)),
    "classic": lambda space, seed, trials: Ours(TPE.classic(space, seed)),
    "classic, learned": lambda space, seed, trials: Ours(Classic(space, seed, learned=True)),
}
OTHERS: dict[str, Callable[[Space, int, int], Search]] = {
    "random": lambda space, seed, trials: Ours(RandomSampler(space, seed)),
    "optuna multivariate": lambda space, seed, trials: Optuna(space, seed, multivariate=True),
    "optuna univariate": lambda space, seed, trials: Optuna(space, seed, multivariate=False),
    "hyperopt": lambda space, seed, trials: Hyperopt(space, seed),
}
SEARCHES = OURS | OTHERS
