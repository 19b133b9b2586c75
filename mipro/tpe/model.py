"""From what was told to an acquisition function: `split`, `marginals` and `bound` put together.

Each ask pools and shrinks what was told and gives every configuration its probability of being
among the good ones; weighs what each choice says alone, and which variables matter; and makes of
both the upper bound of P(good | x). Here are also the settings of all that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from mipro.tpe.acquisition import EXACT_LIMIT
from mipro.tpe.bound import UpperBound
from mipro.tpe.evidence import Centres
from mipro.tpe.history import History
from mipro.tpe.marginals import marginals
from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes
from mipro.tpe.split import Pool, Posterior, expected_improvement, soft_memberships

MOST = 200  # configurations that speak each for itself, the best ones
LEAST = 0.1  # of λ's exponent: that a variable does not matter is never sure


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
    exact_limit: int = EXACT_LIMIT


def upper_bound(
    history: History, pool: Pool, posterior: Posterior, settings: Settings
) -> UpperBound:
    """Of the `MOST` best configurations: the others are bad, and count only as that."""
    s, space = settings, history.space
    best = top(posterior.mean, MOST)
    asked = history.asked_codes()
    centres = Centres(space, pool.codes[best], None if asked is None else asked[best])
    speaking = replace(posterior, mean=posterior.mean[best], sd=posterior.sd[best])
    wanted = min(s.marginal_gamma * len(pool.n), MOST / 4), min(s.gamma * len(pool.n), MOST / 8)
    judged, near = soft_memberships(speaking, wanted)
    good = judged @ centres.choices
    alone = marginals(space, good, history.counts - good, float(judged.sum()) / len(pool.n))
    if not s.multivariate:  # variables apart: no combination is remembered
        nobody = Centres(space, centres.codes[:0])
        ratios = np.full(len(space.sizes), s.ratio)
        return UpperBound(nobody, near[:0], alone, ratios, s.gamma, s.prior, s.curiosity, 0.0)
    if s.improvement:
        near = expected_improvement(speaking, wanted[1])
    ratios = s.ratio ** np.maximum(alone.relevance, LEAST)
    return UpperBound(centres, near, alone, ratios, s.gamma, s.prior, s.curiosity, s.optimism)


def starts(pool: Pool, posterior: Posterior, score: UpperBound, count: int) -> Codes:
    """The best so far; the best choice of each variable alone, by ratio and by its bound."""
    best = top(posterior.mean, count - 2)
    ratio, variance = score.marginals.log_ratio, score.marginals.variance
    each = np.array([ratio, ratio + np.sqrt(np.maximum(variance, 0.0))])  # (2, C)
    alone = each.take(score.centres.space.choice_grid, axis=1).argmax(axis=2)  # (2, D)
    return np.concatenate([pool.codes[best], alone])


def top(values: Floats, count: int) -> Codes:
    """Rows of the ``count`` highest, in their own order; of equals at the border, any."""
    if len(values) <= count:
        return np.arange(len(values))
    rows = (-values).argpartition(count - 1)[:count]
    rows.sort()
    return rows
