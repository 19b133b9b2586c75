"""From what was told to an acquisition function: `split`, `regression` and `bound` put together.

Each ask pools and shrinks what was told and gives every configuration its probability of being
among the good ones; asks what each choice is worth alone; and makes of both the upper bound of
P(good | x). Here are also the settings of all that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from mipro.tpe.acquisition import EXACT_LIMIT
from mipro.tpe.bound import UpperBound
from mipro.tpe.evidence import Centres
from mipro.tpe.history import History
from mipro.tpe.parzen import Floats
from mipro.tpe.regression import Regression
from mipro.tpe.space import Codes
from mipro.tpe.split import Pool, Posterior, above, expected_improvement, quantile

MOST = 200  # configurations that speak each for itself, the best ones
FEW = (
    64  # configurations beyond which one step of ascent does as well (`experiments/surrogates.md`)
)


@final
@dataclass(frozen=True)
class Settings:
    """How a `TPE` decides. The defaults are the recommended ones; see `TPE.classic`.

    ``multivariate``: joint densities, which see that two choices go together. ``classic``: as
    published, every score taken at its word. ``gamma``: the share of good ones. ``improvement``:
    how far above their quantile, not only whether (`split.expected_improvement`). ``curiosity``,
    ``optimism``, ``prior`` and ``ratio``, λ of the kernel: of the bound. ``recheck``:
    configurations tried for each further look at the leader, 0 for none. ``restarts`` and
    ``steps``: of coordinate ascent, while there are few. ``exact_limit``: configurations up to
    which the space is enumerated.
    """

    multivariate: bool = True
    classic: bool = False
    gamma: float = 0.05
    improvement: bool = False
    curiosity: float = 1.0
    optimism: float = 1.0
    prior: float = 1.0
    ratio: float = 0.4
    recheck: int = 30
    restarts: int = 10
    steps: int = 2
    exact_limit: int = EXACT_LIMIT


def upper_bound(
    history: History,
    pool: Pool,
    posterior: Posterior,
    regression: Regression,
    settings: Settings,
) -> UpperBound:
    """Of the `MOST` best configurations: the others are bad, and speak in the regression only."""
    s, space = settings, history.space
    best = top(posterior.mean, MOST)
    mean, sd = posterior.mean[best], posterior.sd[best]
    speaking = Posterior(mean, sd, posterior.noise, posterior.spread)
    share = min(s.gamma * len(pool.n), MOST / 8) / len(best)
    level = quantile(speaking, share)
    alone = regression.odds(level, float(pool.mean.var()), s.gamma)
    if not s.multivariate:  # variables apart: no combination is remembered
        nobody = Centres(space, pool.codes[:0])
        return UpperBound(nobody, pool.mean[:0], alone, s.ratio, s.prior, s.curiosity, 0.0)
    asked = history.asked_codes()
    centres = Centres(space, pool.codes[best], None if asked is None else asked[best])
    good = (expected_improvement if s.improvement else above)(speaking, level)
    return UpperBound(centres, good, alone, s.ratio, s.prior, s.curiosity, s.optimism)


def starts(pool: Pool, posterior: Posterior, score: UpperBound, count: int) -> Codes:
    """The best so far; the best choice of each variable alone, by its gain and by its bound."""
    best = top(posterior.mean, count - 2)
    gain, variance = score.alone.gain, score.alone.variance
    each = np.array([gain, gain + np.sqrt(variance)])  # (2, C)
    alone = each.take(score.centres.space.choice_grid, axis=1).argmax(axis=2)  # (2, D)
    return np.concatenate([pool.codes[best], alone])


def top(values: Floats, count: int) -> Codes:
    """Rows of the ``count`` highest, in their own order; of equals at the border, any."""
    if len(values) <= count:
        return np.arange(len(values))
    rows = (-values).argpartition(count - 1)[:count]
    rows.sort()
    return rows
