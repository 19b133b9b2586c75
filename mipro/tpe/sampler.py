"""Samplers: ask for a configuration, tell its score, recommend the best.

`TPE` puts the files before this one together. By default each ask

1. pools and shrinks what was told, and gives every configuration its probability of being
   among the good ones (`split`);
2. re-asks the leader while it leads on few examples (`acquisition.leader_to_recheck`);
3. weighs what each choice says alone, and which variables matter (`marginals`);
4. asks for the unseen configuration with the highest upper bound of P(good | x) (`bound`).

`TPE.classic` is TPE as published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, final

import numpy as np

from mipro.tpe import acquisition
from mipro.tpe.acquisition import as_key
from mipro.tpe.bound import UpperBound
from mipro.tpe.design import latin
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
from mipro.tpe.marginals import marginals
from mipro.tpe.parzen import Floats, one_hot, published_density
from mipro.tpe.space import Codes, Config, Key, Space
from mipro.tpe.split import (
    Pool,
    Posterior,
    expected_improvement,
    foretold,
    hard_membership,
    linear_gamma,
    shrink,
    soft_memberships,
)

MOST = 200  # configurations that speak each for itself, the best ones
LEAST = 0.1  # of λ's exponent: that a variable does not matter is never sure


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
    published, every score taken at its word. ``gamma``: the share of good ones near which a
    configuration is looked for, and ``marginal_gamma`` that by which single choices are judged:
    larger, for a choice is seen less often than a region. ``improvement``: how far above the
    quantile, not only whether (`split.expected_improvement`). ``curiosity``, ``optimism`` and
    ``prior``: of the bound; ``ratio``: λ of its kernel (`bound`). ``recheck``: configurations tried
    for each further look at the leader, 0 for none. ``restarts``: of coordinate ascent.
    ``exact_limit``: configurations up to which the space is enumerated.
    """

    multivariate: bool = True
    classic: bool = False
    gamma: float = 0.05
    marginal_gamma: float = 0.15
    improvement: bool = False
    curiosity: float = 1.0
    optimism: float = 1.0
    prior: float = 1.0
    ratio: float = 0.2
    recheck: int = 30
    restarts: int = 6
    steps: int = 2
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
        self._small = space.size() <= settings.exact_limit
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
        return len(self._history) < self.startup

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All that was told, in order."""
        return self._history.observations

    @property
    def exhausted(self) -> bool:
        """Whether every configuration of the space has been told."""
        return self._history.exhausted

    def ask(
        self,
        exclude: Iterable[Mapping[str, Any]] = (),
        *,
        without: Iterable[tuple[str, Any]] = (),
    ) -> Config:
        """A configuration to evaluate; see `Sampler.ask`.

        ``without`` are choices, (name, value), that it is not to hold; if all that is left to be
        asked a first time holds one of them, something is asked again.
        """
        history = self._history
        history.barred = {self.space.choice(name, value) for name, value in without}
        busy = {self.space.key(config) for config in exclude} | set(history.pending)
        if self.in_startup:
            key = self._first(busy)
        elif not history.keys:  # the start-up is all out and nothing has come back
            key = as_key(acquisition.any_unseen(self.space, self._rng, history.besides(busy)))
        elif self.settings.classic:
            key = self._published(busy)
        else:
            key = self._modelled(busy)
        if key is None:
            key = again(history, busy)
        history.pending[key] = None
        return self.space.decode(key)

    def tell(
        self,
        config: Mapping[str, Any],
        score: float,
        n: int = 1,
        *,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        """The mean ``score`` of ``config`` over ``n`` examples; see `Sampler.tell`.

        ``asked`` is another configuration, of which ``config`` is what came: a choice *new* that
        made the next index. The score speaks for the choices of both, once where they share them;
        recommended is ``config``, and of several ``asked`` of one ``config`` the first counts.
        """
        self._history.tell(config, score, n, asked)

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
        seen = self._history.besides(busy)
        while self._design:
            key = self._design.pop(0)
            if key not in seen:
                return key
        return as_key(acquisition.any_unseen(self.space, self._rng, seen))

    def _modelled(self, busy: set[Key]) -> Key | None:
        s, history, pool = self.settings, self._history, self._history.pool()
        posterior = shrink(pool)
        if s.recheck:
            leader = acquisition.leader_to_recheck(
                pool,
                posterior,
                busy,
                times=max(1, round(len(pool.n) / s.recheck)),
                examples=history.examples / len(history.keys),
            )
            if leader is not None:
                return leader
        score, seen = self._score(pool, posterior), history.besides(busy)
        if self._small:
            return as_key(acquisition.exact(self.space, score, seen))
        found = acquisition.coordinate_ascent(
            self.space,
            lambda full: self._allowed(full, score.moves(full)),
            self._rng,
            seen,
            self._starts(pool, posterior, score),
            steps=s.steps,
        )
        return as_key(
            acquisition.any_unseen(self.space, self._rng, seen) if found is None else found
        )

    def _allowed(self, full: Codes, values: Floats) -> Floats:
        """Values of moves (R, C) from ``full`` (R, D), -∞ for those that hold a barred choice."""
        for column, code in self._history.barred:
            own = self.space.column_of_choice == column  # moves of that variable
            values[np.ix_(full[:, column] == code, ~own)] = -np.inf
            values[:, self.space.offsets[column] + code] = -np.inf
        return values

    def _starts(self, pool: Pool, posterior: Posterior, score: UpperBound) -> Codes:
        """The best so far; the best choice of each variable alone, by ratio and by its bound."""
        best = top(posterior.mean, self.settings.restarts - 2)
        ratio, spread = score.marginals.log_ratio, score.marginals.variance
        bound = ratio + np.sqrt(np.maximum(spread, 0.0))
        starts, slot = self.space.offsets, self.space.column_of_choice
        both = np.stack([ratio, bound])
        highest = both == np.maximum.reduceat(both, starts, axis=1)[:, slot]  # (2, C)
        alone = [np.flatnonzero(row) for row in highest]  # of equals, the first
        first = [at[np.searchsorted(at, starts)] - starts for at in alone]
        return np.vstack([pool.codes[best], *first])

    def _score(self, pool: Pool, posterior: Posterior) -> UpperBound:
        """Steps 3 and 4, from the `MOST` best: the others are bad, and count only as that."""
        s, space = self.settings, self.space
        best = top(posterior.mean, MOST)
        codes = pool.codes[best]
        speaking = replace(posterior, mean=posterior.mean[best], sd=posterior.sd[best])
        wanted = min(s.marginal_gamma * len(pool.n), MOST / 4), min(s.gamma * len(pool.n), MOST / 8)
        judged, near = soft_memberships(speaking, wanted)
        asked = self._history.asked_codes()
        asked = None if asked is None else asked[best]
        good = judged @ spoken(space, codes, asked)
        alone = marginals(
            space, good, self._history.counts - good, float(judged.sum()) / len(pool.n)
        )
        if not s.multivariate:  # variables apart: no combination is remembered
            nothing = np.zeros((0, len(space.sizes)), dtype=np.int64)
            ratios = np.full(len(space.sizes), s.ratio)
            return UpperBound(
                space, nothing, np.zeros(0), alone, ratios, s.gamma, s.prior, s.curiosity, 0.0
            )
        if s.improvement:
            near = expected_improvement(speaking, s.gamma * len(pool.n) / len(best), MOST / 8)
        ratios = s.ratio ** np.maximum(alone.relevance, LEAST)
        return UpperBound(
            space, codes, near, alone, ratios, s.gamma, s.prior, s.curiosity, s.optimism, asked
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


def top(values: Floats, count: int) -> Codes:
    """Rows of the ``count`` highest, in their own order; of equals at the border, any."""
    if len(values) <= count:
        return np.arange(len(values))
    return np.sort(np.argpartition(-values, count - 1)[:count])


def spoken(space: Space, codes: Codes, asked: Codes | None) -> Floats:
    """`one_hot` of (U, D) codes with the choices of what was asked for them. (U, C)."""
    hot = one_hot(space, codes)
    return hot if asked is None else np.maximum(hot, one_hot(space, asked))


def believed(space: Space, pool: Pool) -> Posterior:
    """The posterior of each true mean, shrunk towards what its neighbours foretell."""
    return shrink(pool, foretold(space, pool))


def _startup(space: Space, startup: int | None, trials: int | None) -> int:
    if startup is None:
        startup = 10 if trials is None else min(10, max(1, trials // 3))
    if startup < 1:
        raise ValueError(f"startup is at least 1: a model needs something to go by, not {startup}")
    return min(startup, space.size())
