"""TPE: the sampler that everything before this file is for.

By default each ask

1. pools and shrinks what was told (`split`);
2. re-asks the leader while it leads on few examples (`acquisition.leader_to_recheck`);
3. else asks for the unseen configuration with the highest upper bound of P(good | x) (`model`).

`TPE.classic` is TPE as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, final

import numpy as np

from mipro.tpe import acquisition
from mipro.tpe.design import latin
from mipro.tpe.generator import Seed
from mipro.tpe.kriging import kriged
from mipro.tpe.model import FEW, Settings, starts, upper_bound
from mipro.tpe.parzen import Floats, published_density
from mipro.tpe.regression import Regression
from mipro.tpe.sampler import Sampler
from mipro.tpe.space import Codes, Key, Space
from mipro.tpe.split import Pool, hard_membership, linear_gamma, shrink

STARTUP = 16  # a regression needs more to go by than the 10 of TPE as published


@final
class TPE(Sampler):
    """Tree-structured Parzen estimator over a `Space`.

    ``startup`` distinct configurations of a space-filling design come first; None derives it:
    16, or a third of ``trials`` where the number planned is known, if that is less. ``seed``: an
    int (0 is one like any other), SeedSequence or Generator. ``settings`` has the rest.
    """

    kind = "tpe"

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
        super().__init__(space, seed)
        settings = settings or Settings()
        if multivariate is not None:
            settings = replace(settings, multivariate=multivariate)
        self.settings = settings
        self.startup = _startup(space, startup, trials)
        self._regression = Regression(space)
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

    def _next(self, busy: set[Key]) -> Key | None:
        if self.in_startup:
            return self._first(busy)
        if not self._history.keys:  # the start-up is all out and nothing has come back
            return self._unseen(self._history.besides(busy))
        return self._published(busy) if self.settings.classic else self._modelled(busy)

    def _first(self, busy: set[Key]) -> Key | None:
        seen = self._history.besides(busy)
        while self._design:
            key = self._design.pop(0)
            if key not in seen:
                return key
        return self._unseen(seen)

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
        self._regression.follow(history)
        score = upper_bound(history, pool, posterior, self._regression, s)
        seen = history.besides(busy)
        if self._small:
            return acquisition.exact(self.space, score, seen)
        found = acquisition.coordinate_ascent(
            self.space,
            lambda full: self._allowed(full, score.moves(full)),
            self._rng,
            seen,
            starts(pool, posterior, score, s.restarts),
            steps=s.steps if len(pool.n) <= FEW else 1,
        )
        return self._unseen(seen) if found is None else found

    def _allowed(self, full: Codes, values: Floats) -> Floats:
        """Values of moves (R, C) from ``full`` (R, D), -∞ for those that hold a barred choice."""
        for column, code in self._history.barred:
            own = self.space.column_of_choice == column  # moves of that variable
            values[np.ix_(full[:, column] == code, ~own)] = -np.inf
            values[:, self.space.offsets[column] + code] = -np.inf
        return values

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
        return self._unseen(busy) if found is None else found

    def _means(self, pool: Pool) -> Floats:
        """By default, drawn also towards what neighbours score (`kriging`)."""
        return shrink(pool).mean if self.settings.classic else kriged(pool)

    def _own_state(self) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "startup": self.startup,
            "design": [list(key) for key in self._design],
        }

    @classmethod
    def _of_own_state(cls, space: Space, state: Mapping[str, Any]) -> TPE:
        sampler = cls(space, startup=state["startup"], settings=Settings(**state["settings"]))
        sampler._design = [tuple(key) for key in state["design"]]
        return sampler


def _startup(space: Space, startup: int | None, trials: int | None) -> int:
    if startup is None:
        startup = STARTUP if trials is None else min(STARTUP, max(1, trials // 3))
    if startup < 1:
        raise ValueError(f"startup is at least 1: a model needs something to go by, not {startup}")
    return min(startup, space.size())
