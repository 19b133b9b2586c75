"""What to recommend: the score of a configuration, and of those that share its choices.

`split.shrink` draws every score towards one grand mean. But what is true of a configuration is
likely of its neighbours, so here scores lend to one another by how many choices they share: a
Gaussian process, in the form in which its mean is not known (universal kriging).

    θ ~ N(μ, τ² k),    k(u, v) = 0.99 exp(-h(u, v)) + 0.01 [u = v],    y_u ~ N(θ_u, σ²/n_u)

| symbol | meaning                                                            | shape |
| ------ | ------------------------------------------------------------------ | ----- |
| h      | share of the variables in which two differ (one may be inactive)   | (U,U) |
| τ²     | that of `shrink` over the mean of 1 - k of all pairs               |       |
| C      | covariance of the scores, τ² k + diag(σ²/n_u)                      | (U,U) |
| μ      | any mean is as likely: estimated by 1ᵀC⁻¹y / 1ᵀC⁻¹1                |       |
| θ      | posterior mean, y - diag(σ²/n_u) C⁻¹ (y - μ)                       | (U,)  |

Rasmussen and Williams 2006, eq. 2.23 and §2.7. exp(-h) is a product over variables of
(1-λ)·[same] + λ, so it is positive definite. A hundredth is each configuration's own, so that a
score of very many examples is believed whatever its neighbours say. The width of exp(-h) is
assumed: no other recommends better, nor does a learned one (`experiments/surrogates.md`).
"""

from __future__ import annotations

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.split import Pool, shrink, top

MOST = 300  # configurations that lend to one another, the best ones
OWN = 0.01  # of τ²


def kriged(pool: Pool, most: int = MOST) -> Floats:
    """Posterior means of what was told (U,): `shrink`'s, but with the neighbours. Ours.

    Of more than ``most`` configurations the best lend to one another, the others keep `shrink`'s.
    Where nothing is noise, or all scores are equal, so do all.
    """
    alone = shrink(pool)
    if alone.noise == 0.0 or np.ptp(pool.mean) == 0.0:
        return alone.mean
    best = top(alone.mean, most)
    y, codes = pool.mean[best] - pool.grand_mean, pool.codes[best]
    differ = (codes[:, None] != codes).sum(axis=2)  # (U, U)
    k = (1 - OWN) * np.exp(-differ / max(int((codes != codes[0]).any(axis=0).sum()), 1))
    np.fill_diagonal(k, 1.0)
    # true means that go together spread by τ² times the mean of 1 - k only, and the spread is known
    k *= alone.spread * (k.size - len(k)) / (k.size - k.sum())
    noise, both = alone.noise / pool.n[best], np.stack([y, np.ones(len(y))], axis=1)
    pull, one = np.linalg.solve(k + np.diag(noise), both).T  # C⁻¹y, C⁻¹1
    mu = pull.sum() / one.sum()
    means = alone.mean.copy()
    means[best] = pool.grand_mean + y - noise * (pull - mu * one)
    return means
