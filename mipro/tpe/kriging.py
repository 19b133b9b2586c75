"""What to recommend: the score of a configuration, and of those that share its choices.

`split.shrink` draws every score towards one grand mean. But what is true of a configuration is
likely of its neighbours, so here scores lend to one another by how many choices they share: a
Gaussian process, in the form in which its mean is not known (universal kriging).

    θ ~ N(μ, τ² k),  k(u, v) = λ^(number of variables in which they differ),  y_u ~ N(θ_u, σ²/n_u)

| symbol | meaning                                                            | shape |
| ------ | ------------------------------------------------------------------ | ----- |
| k      | likeness; a variable that is inactive in one of the two differs    | (U,U) |
| τ²     | that of `shrink` over the mean of 1 - k of all pairs               |       |
| C      | covariance of the scores, τ² k + diag(σ²/n_u)                      | (U,U) |
| L      | its Cholesky factor                                                | (U,U) |
| μ      | any mean is as likely: estimated by 1ᵀC⁻¹y / 1ᵀC⁻¹1                |       |
| θ      | posterior mean, y - diag(σ²/n_u) C⁻¹ (y - μ)                       | (U,)  |

Rasmussen and Williams 2006, eq. 2.23 and §2.7, with the restricted likelihood of Harville 1974.
The kernel is a product over variables of (1-λ)·[same] + λ, so it is positive definite.
"""

from __future__ import annotations

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.split import Pool, shrink

RATIOS = (0.3, 0.5, 0.65, 0.8, 0.9, 0.95)  # λ
MOST = 300  # configurations that lend to one another, the best ones


def kriged(pool: Pool, most: int = MOST) -> Floats:
    """Posterior means of what was told (U,): `shrink`'s, but with the neighbours. Ours.

    Averaged over `RATIOS` by how likely each makes the scores: no single one is sure, and of a
    likelihood that is nearly flat the maximum is an accident. Of more than ``most`` configurations
    the best lend to one another, the others keep `shrink`'s. Where nothing is noise, or all scores
    are equal, so do all.
    """
    alone = shrink(pool)
    if alone.noise == 0.0 or np.ptp(pool.mean) == 0.0:
        return alone.mean
    best = np.sort(np.argsort(-alone.mean, kind="stable")[:most])
    noise, scores, codes = alone.noise / pool.n[best], pool.mean[best] - pool.grand_mean, pool.codes
    differ = (codes[best, None] != codes[best]).sum(axis=2)  # (U, U)
    found = []
    for ratio in RATIOS:
        alike = (ratio ** np.arange(codes.shape[1] + 1))[differ]
        # true means that go together spread by τ² times the mean of 1 - k only, and the spread is
        # known: else λ near 1 would stand for scores that are all nearly the same
        unlike = (differ.size - float(alike.sum())) / (len(best) * (len(best) - 1))
        found.append(_posterior_mean(alike * (alone.spread / unlike), scores, noise))
    likely = np.array([likelihood for likelihood, _ in found])
    weights = np.exp(likely - likely.max())
    means = alone.mean.copy()
    means[best] = pool.grand_mean + weights @ [mean for _, mean in found] / weights.sum()
    return means


def _posterior_mean(prior: Floats, scores: Floats, noise: Floats) -> tuple[float, Floats]:
    """Restricted log-likelihood but for a constant, and θ (U,), under ``prior`` = τ² k (U, U)."""
    from scipy.linalg import solve_triangular  # here, so that importing mipro stays cheap

    # with scores all but exact, rounding must not make the covariance indefinite
    noise = np.maximum(noise, 1e-9 * prior[0, 0])
    root = np.linalg.cholesky(prior + np.diag(noise))
    both = np.stack([scores, np.ones(len(scores))], axis=1)
    y, one = solve_triangular(root, both, lower=True, check_finite=False).T  # L⁻¹ y, L⁻¹ 1
    known = float(one @ one)  # 1/variance of μ
    rest = y - one * (float(one @ y) / known)
    likelihood = -0.5 * (float(rest @ rest) + float(np.log(known)))
    likelihood -= float(np.log(root.diagonal()).sum())
    pull = solve_triangular(root, rest, lower=True, trans=1, check_finite=False)  # C⁻¹ (y - μ)
    return likelihood, scores - noise * pull
