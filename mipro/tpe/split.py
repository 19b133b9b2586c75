"""Which trials are good: pooling, shrinkage, the quantile γ.

`parzen` takes memberships and weights as given; they are made here. A score is the mean over n
examples, so it is first pooled with the other scores of the same configuration, then shrunk
towards what is known without it, by as much as its n is small: thirty-five lucky examples must
not outrank five hundred good ones.

| symbol | meaning                                                       | shape |
| ------ | ------------------------------------------------------------- | ----- |
| U      | distinct configurations observed                              |       |
| y_u    | pooled mean score                                             | (U,)  |
| n_u    | examples behind it                                            | (U,)  |
| σ²     | variance of the score of one example                          |       |
| τ²     | variance of true means around the centre                      |       |
| c_u    | the centre: the grand mean, or a foretelling from neighbours  | (U,)  |
| θ_u    | the true mean; its posterior is N(mean_u, sd_u²)              | (U,)  |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TypeAlias, final

import numpy as np

from mipro.tpe.evidence import learned_ratios, similarity
from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Key, Space

Gamma: TypeAlias = Callable[[int], int]


@final
@dataclass(frozen=True)
class Pool:
    """Observations of one configuration as one, in the order in which each was first told."""

    codes: Codes  # (U, D)
    mean: Floats  # (U,)
    n: Floats  # (U,)

    @classmethod
    def of(cls, keys: Sequence[Key], scores: Sequence[float], ns: Sequence[int]) -> Pool:
        """Pool equal keys: means weighted by n, and n summed."""
        row: dict[Key, int] = {}
        where = [row.setdefault(key, len(row)) for key in keys]
        n = np.bincount(where, weights=np.asarray(ns, dtype=float), minlength=len(row))
        total = np.bincount(
            where, weights=np.asarray(ns, dtype=float) * np.asarray(scores), minlength=len(row)
        )
        width = len(keys[0]) if keys else 0
        codes = np.array(list(row), dtype=np.int64).reshape(len(row), width)
        return cls(codes, np.asarray(total / n, dtype=float), np.asarray(n, dtype=float))


@final
@dataclass(frozen=True)
class Posterior:
    """What is believed of the true mean of each pooled configuration."""

    mean: Floats  # (U,)
    sd: Floats  # (U,)
    noise: float  # σ²
    spread: float  # τ²
    centre: Floats  # (U,)


def example_variance(pool: Pool) -> float:
    """σ², the variance of one example's score.

    Where every score is a share of successes (n·y a whole number, 0 ≤ y ≤ 1) it is that of a
    Bernoulli draw, μ(1-μ). Otherwise nothing is known of it but that it cannot make more than
    all the spread that is seen, and half of that is assumed to be noise.
    """
    successes = pool.mean * pool.n
    if np.all((pool.mean >= 0) & (pool.mean <= 1)) and np.all(
        np.abs(successes - np.round(successes)) < 1e-6
    ):
        mu = (successes.sum() + 0.5) / (pool.n.sum() + 1)
        return float(mu * (1 - mu))
    return float(0.5 * pool.mean.var() / (1 / pool.n).mean())


def shrink(pool: Pool, centre: Floats | float | None = None) -> Posterior:
    """Empirical Bayes: mean_u = (n_u y_u + s c_u) / (n_u + s), s = σ²/τ². Ours.

    τ² is estimated by moments, var(y - c) - mean(σ²/n), and drawn towards σ²/12 (a spread of
    0.14 for scores near one half) as if that had been seen on five configurations, so that it is
    neither 0 nor wild on a few. With σ² = 0 nothing is shrunk.
    """
    noise = example_variance(pool)
    if centre is None:
        centre = float(pool.n @ pool.mean / pool.n.sum())
    c = np.broadcast_to(np.asarray(centre, dtype=float), pool.mean.shape)
    count = len(pool.mean)
    seen = float(((pool.mean - c) ** 2).mean() - (noise / pool.n).mean())
    spread = (count * max(seen, 0.0) + 5 * noise / 12) / (count + 5)
    if spread <= 0:  # all scores are equal and noiseless
        return Posterior(pool.mean.copy(), np.zeros(count), 0.0, 0.0, c)
    strength = noise / spread
    mean = (pool.n * pool.mean + strength * c) / (pool.n + strength)
    return Posterior(mean, np.sqrt(noise / (pool.n + strength)), noise, spread, c)


def linear_gamma(share: float = 0.1, most: int = 25) -> Gamma:
    """n ↦ min(⌈share·n⌉, most): how many trials are good. Watanabe 2023, §3.1.1."""
    return lambda n: min(ceil(share * n - 1e-9), most)


def sqrt_gamma(share: float = 0.25, most: int = 25) -> Gamma:
    """n ↦ min(⌈share·√n⌉, most). Bergstra 2011's software; Watanabe 2023, §3.1.1."""
    return lambda n: min(ceil(share * sqrt(n) - 1e-9), most)


def hard_membership(values: Floats, count: int) -> Floats:
    """1 for the ``count`` highest, 0 for the rest; of equals the earlier wins. (n,) -> (n,)."""
    good = np.zeros(len(values))
    good[np.argsort(-values, kind="stable")[:count]] = 1.0
    return good


def soft_membership(posterior: Posterior, share: float) -> Floats:
    """P(θ_u > y*), with y* such that the memberships sum to ``share`` of all. (U,).

    Ours. With sd → 0 it is the hard membership (equal scores share what there is).
    """
    mean, sd = posterior.mean, posterior.sd
    target = share * len(mean)
    if not np.any(sd > 0):
        sd = np.full(len(mean), max(float(mean.std()), 1.0) * 1e-9)
    sd = np.maximum(sd, sd.max() * 1e-9)
    low, high = float((mean - 9 * sd).min()), float((mean + 9 * sd).max())
    for _ in range(60):  # bisection: the sum falls in y*
        middle = 0.5 * (low + high)
        if normal_cdf((mean - middle) / sd).sum() > target:
            low = middle
        else:
            high = middle
    return normal_cdf((mean - high) / sd)


def normal_cdf(z: Floats) -> Floats:
    """Φ(z), elementwise."""
    from scipy.special import ndtr  # here, so that importing mipro stays cheap

    return np.asarray(ndtr(z), dtype=float)


def foretold(space: Space, pool: Pool, prior: float = 1.0) -> Floats:
    """What the others say of each configuration's score, by kernel regression. (U,). Ours.

    c_u = (Σ_{v≠u} r_v k(u, v) y_v + prior μ) / (Σ_{v≠u} r_v k(u, v) + prior), with k the product
    kernel of `parzen`, its λ_d those that foretell best, r_v = n_v / mean n, μ the grand mean.
    """
    mu = float(pool.n @ pool.mean / pool.n.sum())
    r = pool.n / pool.n.mean()
    # relative to the scores' own spread, for their unit and origin must not count
    floor = 1e-9 * float(pool.mean.var())
    if floor == 0.0:  # all alike: there is nothing to foretell
        return np.full(len(pool.mean), mu)

    def centre(similar: Floats) -> Floats:
        return np.asarray((r * pool.mean @ similar + prior * mu) / (r @ similar + prior))

    def foretells(similar: Floats) -> float:
        """Log-likelihood of a normal error, its variance profiled out."""
        error = float(r @ (pool.mean - centre(similar)) ** 2) / len(r)
        return -0.5 * len(r) * float(np.log(error + floor))

    ratios = learned_ratios(space, pool.codes, foretells)
    similar = similarity(space, pool.codes, pool.codes, ratios)
    np.fill_diagonal(similar, 0.0)
    nothing = np.zeros_like(similar)  # no neighbour speaks: the grand mean
    return centre(similar if foretells(similar) > foretells(nothing) else nothing)
