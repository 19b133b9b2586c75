"""TPE: the sampler that weighs evidence, of all that came before but `classic`.

By default each ask

1. pools and shrinks what was told (`split`);
2. re-asks the leader while it leads on few examples (`acquisition.leader_to_recheck`);
3. else asks for the unseen configuration with the highest upper bound of P(good | x) (`bound`),
   its prior what each choice is worth (`effects`).

`best` recommends by `kriging`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any, final

import numpy as np

from mipro.tpe import split
from mipro.tpe.acquisition import coordinate_ascent, exact, keys_of, leader_to_recheck
from mipro.tpe.bound import UpperBound
from mipro.tpe.classic import Classic
from mipro.tpe.effects import Effects
from mipro.tpe.kriging import kriged
from mipro.tpe.parzen import Floats
from mipro.tpe.sampler import Sampler, Seed
from mipro.tpe.space import Codes, Key, Space
from mipro.tpe.split import Pool, Posterior, shrink, top

STARTUP = 16  # effects need more to go by than the 10 of TPE as published
MOST = 200  # configurations that speak each for itself, the best ones
FEW = 64  # configurations beyond which one step of ascent does as well
SLOPE = 1.7  # Φ(x) is about 1/(1 + exp(-1.7 x))


@final
@dataclass(frozen=True)
class Settings:
    """How a `TPE` decides. The defaults are the recommended ones.

    ``multivariate``: by what was seen near x, too, which sees that two choices go together.
    ``gamma``: the share of good ones, at most 25 of them. ``improvement``: how far above y*, not
    only whether (`split.expected_improvement`). ``curiosity``, ``optimism``, ``prior`` and
    ``ratio``, λ of the kernel: of the bound. ``recheck``: configurations tried for each further
    look at the leader, 0 for none. ``restarts``: of coordinate ascent, at least 2 whatever it says.
    ``exact_limit``: configurations up to which the space is enumerated.
    """

    multivariate: bool = True
    gamma: float = 0.05
    improvement: bool = False
    curiosity: float = 1.0
    optimism: float = 1.0
    prior: float = 1.0
    ratio: float = 0.4
    recheck: int = 30
    restarts: int = 10
    exact_limit: int = 256

    def __post_init__(self) -> None:
        rest = (self.curiosity, self.optimism, self.recheck, self.restarts, self.exact_limit)
        shares = 0 < self.gamma <= 1 and 0 < self.ratio < 1 and self.prior > 0
        if not (shares and all(number >= 0 for number in rest)):
            ranges = "gamma in (0, 1], ratio in (0, 1), prior above 0, no other number below 0"
            raise ValueError(f"{self} is out of range: {ranges}")


@final
class TPE(Sampler):
    """Tree-structured Parzen estimator over a `Space`.

    ``startup`` distinct configurations of a space-filling design come first; None derives it:
    16, or a third of ``trials`` where the number planned is known, if that is less. ``seed``: an
    int (0 is one like any other), SeedSequence or Generator. ``settings``, whole or by name, has
    the rest.
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
        settings: Settings | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(space, seed)
        settings = settings if isinstance(settings, Settings) else Settings(**(settings or {}))
        if multivariate is not None:
            settings = replace(settings, multivariate=multivariate)
        self.settings = settings
        self.planned = _startup(startup, trials)
        self._effects = Effects(space)
        self._small = space.size() <= max(settings.exact_limit, 1)
        self._design = keys_of(space.latin(self._rng, self.startup))

    @staticmethod
    def classic(space: Space, seed: Seed = 0, *, multivariate: bool = True) -> Classic:
        """TPE as published: 10 random trials, the best tenth good, 24 draws from l(x)."""
        return Classic(space, seed, multivariate=multivariate)

    def _told(self, key: Key, score: float, n: int) -> None:
        hot = self._history.hot(np.array([key]))[0]
        self._effects.tell(self._history.pool, hot, score, n)

    def _next(self) -> Key | None:
        pool, told = self._history.pool, self._history.told
        if self.in_startup or not told:  # or the start-up is out and nothing has come back
            return self._unseen()
        # with variables apart only σ² and τ² are asked of it, and those of some scores ago will do,
        # so that such an ask takes as long however many were told
        posterior = shrink(pool) if self.settings.multivariate else self._effects.believed
        leader = leader_to_recheck(
            pool,
            posterior.noise,
            self._history.busy,
            every=self.settings.recheck,
            examples=pool.examples / len(told),
        )
        return self._modelled(pool, posterior) if leader is None else leader

    def _modelled(self, pool: Pool, posterior: Posterior) -> Key | None:
        score = self._upper_bound(pool, posterior)
        if self._small:
            return exact(self.space, score, self._history)
        found = coordinate_ascent(
            self.space,
            lambda full: self._allowed(full, score.moves(full)),
            self._rng,
            self._history,
            self._starts(pool, posterior, score),
            steps=2 if len(pool.rows) <= FEW else 1,
        )
        return self._unseen() if found is None else found

    def _upper_bound(self, pool: Pool, posterior: Posterior) -> UpperBound:
        """P(good | x) and its bound, by all effects and by what was seen near x.

        Scores lie around the sum of their effects with a variance of v + τ² + σ²/n, n the mean of
        examples. So P(θ > y*) rises with that sum as a normal distribution of this width does. Of
        configurations the `MOST` best speak for themselves; the others are bad, and speak by the
        effects only.
        """
        how, worth = self.settings, self._effects.worth(pool, posterior)
        level, best = worth.mean, np.arange(0)  # apart: a level is the same to all, and none speaks
        if how.multivariate:
            level = split.threshold(posterior.mean, split.linear_gamma(len(pool.rows), how.gamma))
            best = top(posterior.mean, MOST)
        speaking = replace(posterior, mean=posterior.mean[best], sd=posterior.sd[best])
        examples = pool.examples / len(pool.rows)
        width = sqrt(worth.together + posterior.spread + posterior.noise / examples)
        slope = SLOPE / width if width else 0.0
        return UpperBound(
            self.space,
            hot=self._history.hot(pool.codes[best]),
            good=(split.expected_improvement if how.improvement else split.above)(speaking, level),
            base=slope * (worth.mean - level),
            gain=slope * worth.effect,
            variance=(how.curiosity * slope) ** 2 * worth.variance,
            ratio=how.ratio,
            prior=how.prior,
            optimism=how.optimism if how.multivariate else 0.0,
        )

    def _starts(self, pool: Pool, posterior: Posterior, score: UpperBound) -> Codes:
        """The best so far; the best choice of each variable alone, by its gain and by its bound.

        With variables apart, the last told for the best: they are next to what was best then.
        """
        count = max(self.settings.restarts - 2, 0)
        best = np.arange(max(0, len(pool.rows) - count), len(pool.rows))
        if self.settings.multivariate:
            best = top(posterior.mean, count)
        each = np.array([score.gain, score.gain + np.sqrt(score.variance)])  # (2, C)
        choices = np.split(each, self.space.offsets[1:], axis=1)
        alone = np.array([own.argmax(axis=1) for own in choices]).T  # (2, D)
        return np.concatenate([pool.codes[best], alone])

    def _allowed(self, full: Codes, values: Floats) -> Floats:
        """Values of moves (R, C) from ``full`` (R, D), -∞ for those that hold a barred choice."""
        for column, code in self._history.busy.barred:
            own = self.space.column_of_choice == column  # moves of that variable
            values[np.ix_(full[:, column] == code, ~own)] = -np.inf
            values[:, self.space.offsets[column] + code] = -np.inf
        return values

    def _means(self, pool: Pool) -> Floats:
        """Drawn also towards what neighbours score."""
        return kriged(pool)

    def _made_with(self) -> dict[str, Any]:
        return {"settings": asdict(self.settings), "startup": self.planned}


def _startup(startup: int | None, trials: int | None) -> int:
    if startup is None:
        startup = STARTUP if trials is None else min(STARTUP, max(1, trials // 3))
    if startup < 1:
        raise ValueError(f"startup is at least 1: a model needs something to go by, not {startup}")
    return startup
