"""How much each variable mattered: its share of the variance of the true scores.

A functional-ANOVA main effect (Hutter, Hoos, Leyton-Brown 2014), but from the trials themselves
rather than from a forest: trials are few, noisy and not balanced, so chance is taken out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mipro.tpe.history import Observation
from mipro.tpe.parzen import Floats
from mipro.tpe.space import INACTIVE, Codes, Space
from mipro.tpe.split import Pool, example_variance


def importance(space: Space, observations: Sequence[Observation]) -> dict[str, float]:
    """The share in [0, 1] of the variance of true scores that each variable explains alone.

    ω² of a one-way analysis of variance, configurations weighted by how well they are known:
    (SS_between - (k - 1) MS_within) / (SS_total - noise), cut to [0, 1]. The (k - 1) MS_within is
    what k groups explain by chance, and the noise what the sampling of examples adds. Interactions
    are in no share, so shares need not sum to 1; in a search, where trials cluster around
    good values, they may overlap. A conditional variable counts where it is active. All 0 with
    fewer than 3 configurations.
    """
    shares = dict.fromkeys(space.names, 0.0)
    if not observations:
        return shares
    pool = Pool.of(
        [space.key(o.config) for o in observations],
        [o.score for o in observations],
        [o.n for o in observations],
    )
    noise = example_variance(pool)
    spread = max(float(pool.mean.var()) - float((noise / pool.n).mean()), 0.0)
    # 1 / variance around the grand mean: many examples count more, though not without limit
    variance = spread + noise / pool.n
    weights = np.ones_like(variance) if np.any(variance <= 0) else 1 / variance
    weights = weights / weights.mean()
    total = _squares(pool.mean, weights)
    signal = total - float(weights @ (noise / pool.n))
    signal = max(signal, 0.1 * total)  # however noisy, a tenth is left to be explained
    for d, name in enumerate(space.names):
        active = pool.codes[:, d] != INACTIVE
        explained = _explained(pool.mean[active], weights[active], pool.codes[active, d])
        if signal > 0:
            shares[name] = float(np.clip(explained / signal, 0.0, 1.0))
    return shares


def _explained(y: Floats, weights: Floats, groups: Codes) -> float:
    """SS_between - (k - 1) MS_within of a weighted one-way layout; 0 where it has no say."""
    labels = sorted(set(groups.tolist()))
    if len(labels) < 2 or len(y) <= len(labels):
        return 0.0
    within = sum(_squares(y[groups == g], weights[groups == g]) for g in labels)
    between = _squares(y, weights) - within
    return max(0.0, between - (len(labels) - 1) * within / (len(y) - len(labels)))


def _squares(y: Floats, weights: Floats) -> float:
    """Weighted sum of squares around the weighted mean."""
    if not len(y):
        return 0.0
    return float(weights @ (y - weights @ y / weights.sum()) ** 2)
