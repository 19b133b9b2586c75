"""Samplers: ask for a configuration, tell its score, recommend the best.

`TPE` puts the files before this one together. By default each ask

1. pools and shrinks what was told (`split`), also towards what neighbours foretell;
2. re-asks the leader while it leads on few examples (`acquisition.leader_to_recheck`);
3. gives every configuration its probability of being among the good ones;
4. puts one kernel on each, its width learned (`evidence`);
5. asks for the unseen configuration with the highest upper bound of P(good | x).

`TPE.classic` is TPE as published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, final

import numpy as np

from mipro.tpe import acquisition
from mipro.tpe.acquisition import as_key
from mipro.tpe.design import latin
from mipro.tpe.evidence import Evidence, learned_ratios, membership_likelihood
from mipro.tpe.history import (
    Best,
    History,
    Observation,
    Seed,
    again,
    check_state,
    generator,
    generator_state,
    ranked,
    restored_generator,
)
from mipro.tpe.parzen import Mixture, hamming, published_density
from mipro.tpe.space import Config, Key, Space
from mipro.tpe.split import (
    Pool,
    Posterior,
    foretold,
    hard_membership,
    linear_gamma,
    shrink,
    soft_membership,
)


class Sampler(Protocol):
    """What a search needs of a sampler. Scores: higher is better."""

    @property
    def space(self) -> Space:
        """The space asked from."""
        ...

    @property
    def startup(self) -> int:
        """How many distinct configurations are asked before any model is used."""
        ...

    @property
    def in_startup(self) -> bool:
        """Whether the next ask is one of those."""
        ...

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All that was told, in order."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether every configuration of the space has been told."""
        ...

    def ask(self, exclude: Iterable[Mapping[str, Any]] = ()) -> Config:
        """A configuration to evaluate; it is pending until told, and not asked meanwhile.

        Never one of ``exclude``, while there is any other. Where every configuration has been
        asked, one that is worth evaluating again.
        """
        ...

    def tell(self, config: Mapping[str, Any], score: float, n: int = 1) -> None:
        """The mean ``score`` of ``config`` over ``n`` examples; it need not have been asked.

        ValueError for an unknown variable or value, a score that is not finite, n < 1.
        """
        ...

    def best(self) -> Best:
        """The configuration to recommend. ValueError before anything is told."""
        ...

    def ranking(self) -> list[Best]:
        """All that was told, the best first. ValueError before anything is told."""
        ...

    def state(self) -> dict[str, Any]:
        """All of the sampler as JSON types, the generator included."""
        ...


@final
@dataclass(frozen=True)
class Settings:
    """How a `TPE` decides. The defaults are the recommended ones; see `TPE.classic`.

    ``multivariate``: joint densities, which see that two choices go together. ``classic``: as
    published, every score taken at its word. ``gamma``: the share of good ones. ``optimism``: sds
    of P(good | x) in the upper bound. ``prior``: weight of the prior, in observations.
    ``recheck``: further trials a leader is given. ``restarts``: of coordinate ascent. ``gain``:
    nats by which a width of its own must be likelier, for a variable to have one. ``exact_limit``:
    configurations up to which the space is enumerated.
    """

    multivariate: bool = True
    classic: bool = False
    gamma: float = 0.05
    optimism: float = 2.0
    prior: float = 0.3
    recheck: int = 2
    restarts: int = 8
    gain: float = 1.0
    exact_limit: int = acquisition.EXACT_LIMIT


@final
class TPE:
    """Tree-structured Parzen estimator over a `Space`.

    ``startup`` distinct configurations of a space-filling design come first; None derives it:
    10, or a third of ``trials`` where the number planned is known, if that is less. ``seed``: an
    int (0 is one like any other), SeedSequence or Generator. ``settings`` has the rest.
    """

    def __init__(
        self,
        space: Space,
        seed: Seed = 0,
        *,
        multivariate: bool | None = None,
        startup: int | None = None,
        trials: int | None = None,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings()
        if multivariate is not None:
            settings = replace(settings, multivariate=multivariate)
        self.settings = settings
        self.startup = _startup(space, startup, trials)
        self._rng = generator(seed)
        self._history = History(space)
        if settings.classic:  # published: start-up is plain random search
            self._design: list[Key] = []
        else:
            self._design = acquisition.keys_of(latin(space, self._rng, self.startup))

    @classmethod
    def classic(cls, space: Space, seed: Seed = 0, *, multivariate: bool = True) -> TPE:
        """TPE as published: 10 random trials, the best tenth good, 24 draws from l(x).

        Bergstra 2011 with the joint kernels and the settings of the Optuna library: every score
        is taken as exact, repeats are allowed, older trials beyond 25 count less and less.
        """
        return cls(
            space,
            seed,
            startup=10,
            settings=Settings(
                multivariate=multivariate, classic=True, gamma=0.1, prior=1.0, recheck=0
            ),
        )

    # --- ask and tell ----------------------------------------------------------------------

    @property
    def space(self) -> Space:
        """The space asked from."""
        return self._history.space

    @property
    def in_startup(self) -> bool:
        """Whether the next ask is of the start-up: told and pending are fewer than ``startup``."""
        return len(self._history.seen()) < self.startup

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All that was told, in order."""
        return self._history.observations

    @property
    def exhausted(self) -> bool:
        """Whether every configuration of the space has been told."""
        return self._history.exhausted

    def ask(self, exclude: Iterable[Mapping[str, Any]] = ()) -> Config:
        """A configuration to evaluate; see `Sampler.ask`."""
        history = self._history
        busy = {self.space.key(config) for config in exclude} | set(history.pending)
        if self.in_startup:
            key = self._first(busy)
        elif not history.keys:  # the start-up is all out and nothing has come back
            key = as_key(acquisition.any_unseen(self.space, self._rng, busy))
        elif self.settings.classic:
            key = self._published(busy)
        else:
            key = self._modelled(busy)
        if key is None:
            key = again(history, busy)
        history.pending[key] = None
        return self.space.decode(key)

    def tell(self, config: Mapping[str, Any], score: float, n: int = 1) -> None:
        """The mean ``score`` of ``config`` over ``n`` examples; see `Sampler.tell`."""
        self._history.tell(config, score, n)

    def best(self) -> Best:
        """The configuration with the highest posterior mean. ValueError before any is told.

        Its mean is shrunk towards what other configurations, the near ones most, foretell of it.
        """
        return self.ranking()[0]

    def ranking(self) -> list[Best]:
        """All that was told, by posterior mean, the best first. ValueError before any is told."""
        pool = self._history.pool()
        posterior = shrink(pool) if self.settings.classic else believed(self.space, pool)
        return ranked(self.space, pool, posterior)

    def _first(self, busy: set[Key]) -> Key | None:
        seen = busy | self._history.seen()
        while self._design:
            key = self._design.pop(0)
            if key not in seen:
                return key
        return as_key(acquisition.any_unseen(self.space, self._rng, seen))

    def _modelled(self, busy: set[Key]) -> Key | None:
        s, history, pool = self.settings, self._history, self._history.pool()
        posterior = believed(self.space, pool)
        leader = acquisition.leader_to_recheck(
            pool, posterior, busy, times=s.recheck, examples=float(np.median(history.ns))
        )
        if leader is not None:
            return leader
        score = self._score(pool, posterior)
        starts = np.vstack(
            [
                pool.codes[np.argsort(-posterior.mean, kind="stable")[: s.restarts // 2]],
                self.space.sample_codes(self._rng, s.restarts - s.restarts // 2),
            ]
        )
        return as_key(
            acquisition.maximise(
                self.space,
                score,
                self._rng,
                busy | history.seen(),
                starts,
                exact_limit=s.exact_limit,
            )
        )

    def _score(self, pool: Pool, posterior: Posterior) -> acquisition.Acquisition:
        s, space = self.settings, self.space
        good = soft_membership(posterior, s.gamma)
        weights = np.ones(len(good))
        ratios = learned_ratios(
            space,
            pool.codes,
            membership_likelihood(good, weights, gamma=s.gamma, prior=s.prior),
            gain=s.gain,
        )
        if s.multivariate:
            evidence = Evidence(space, pool.codes, good, weights, ratios, s.gamma, s.prior)
            return acquisition.upper_bound(evidence, s.optimism)
        kernels = [hamming(c, float(r)) for c, r in zip(space.sizes, ratios, strict=True)]
        return acquisition.log_ratio(
            Mixture(space, pool.codes, good, kernels, prior=s.prior, joint=False),
            Mixture(space, pool.codes, 1 - good, kernels, prior=s.prior, joint=False),
        )

    def _published(self, busy: set[Key]) -> Key | None:
        history, s = self._history, self.settings
        good = hard_membership(
            np.asarray(history.scores), linear_gamma(s.gamma)(len(history.keys))
        ).astype(bool)
        codes = np.array(history.keys, dtype=np.int64).reshape(len(history.keys), -1)
        l_x, g_x = (
            published_density(self.space, codes[part], s.prior, joint=s.multivariate)
            for part in (good, ~good)
        )
        found = acquisition.draw_and_compare(l_x, acquisition.log_ratio(l_x, g_x), self._rng, busy)
        return as_key(
            acquisition.any_unseen(self.space, self._rng, busy) if found is None else found
        )

    # --- state and growth ------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All of the sampler as JSON types, the generator included."""
        return {
            "sampler": "tpe",
            "space": self.space.fingerprint(),
            "settings": asdict(self.settings),
            "startup": self.startup,
            "design": [list(key) for key in self._design],
            "generator": generator_state(self._rng),
            **self._history.state(),
        }

    @classmethod
    def from_state(cls, space: Space, state: Mapping[str, Any]) -> TPE:
        """The sampler that `state` was taken of: it goes on identically."""
        check_state(space, state, "tpe")
        sampler = cls(space, startup=state["startup"], settings=Settings(**state["settings"]))
        sampler._rng = restored_generator(state["generator"])
        sampler._design = [tuple(key) for key in state["design"]]
        sampler._history = History.from_state(space, state)
        return sampler

    def regrow(self, space: Space) -> TPE:
        """A sampler on ``space`` that keeps all observations, pending ones and the generator.

        ``space`` is this one with choices appended (`Space.grown`), else ValueError.
        """
        sampler = TPE(space, startup=self.startup, settings=self.settings)
        sampler._rng = restored_generator(generator_state(self._rng))
        sampler._design = [*self._design]
        sampler._history = self._history.on(space)
        return sampler


def believed(space: Space, pool: Pool) -> Posterior:
    """The posterior of each true mean, shrunk towards what its neighbours foretell."""
    return shrink(pool, foretold(space, pool))


def _startup(space: Space, startup: int | None, trials: int | None) -> int:
    if startup is None:
        startup = 10 if trials is None else min(10, max(1, trials // 3))
    if startup < 1:
        raise ValueError(f"startup is at least 1: a model needs something to go by, not {startup}")
    return min(startup, space.size())
