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
from math import ceil, pi, sqrt
from typing import TypeAlias, final

import numpy as np

from mipro.tpe.evidence import learned_ratios, similarity
from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Key, Space

Gamma: TypeAlias = Callable[[int], int]
ROOT_TAU = sqrt(2 * pi)


@final
@dataclass(frozen=True)
class Pool:
    """Observations of one configuration as one, in the order in which each was first told."""

    codes: Codes  # (U, D)
    mean: Floats  # (U,)
    n: Floats  # (U,)
    # of scores of one configuration: Σ (y - mean before)² n m / (n + m), and how many; for a
    # configuration told twice tells what chance does without any assumption
    repeats: tuple[float, int] = (0.0, 0)

    @classmethod
    def of(cls, keys: Sequence[Key], scores: Sequence[float], ns: Sequence[int]) -> Pool:
        """Pool equal keys: means weighted by n, and n summed."""
        tally = Tally(len(keys[0]) if keys else 0)
        for key, score, n in zip(keys, scores, ns, strict=True):
            tally.add(key, score, n)
        return tally.pool()


@final
class Tally:
    """A `Pool` in the making: `add` costs the same whatever came before."""

    def __init__(self, width: int) -> None:
        self.rows: dict[Key, int] = {}
        self._codes = np.empty((16, width), dtype=np.int64)
        self._sums = np.zeros((2, 16))  # n·y and n
        self._repeats = (0.0, 0)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, key: Key, score: float, n: int) -> None:
        """One more score of a configuration."""
        row = self.rows.setdefault(key, len(self.rows))
        if row == len(self._codes):  # twice the room, so that growing costs nothing on average
            self._codes = np.concatenate([self._codes, np.empty_like(self._codes)])
            self._sums = np.concatenate([self._sums, np.zeros_like(self._sums)], axis=1)
        total, before = self._sums[:, row]
        if before:
            squares, count = self._repeats
            apart = float((score - total / before) ** 2 * n * before / (n + before))
            self._repeats = squares + apart, count + 1
        self._codes[row] = key
        self._sums[:, row] += score * n, n

    def pool(self) -> Pool:
        """What was added, each configuration once."""
        count = len(self.rows)
        total, n = self._sums[:, :count]
        return Pool(self._codes[:count], total / n, n.copy(), self._repeats)


@final
@dataclass(frozen=True)
class Posterior:
    """What is believed of the true mean of each pooled configuration."""

    mean: Floats  # (U,)
    sd: Floats  # (U,)
    noise: float  # σ²
    spread: float  # τ²
    centre: Floats  # (U,)


def are_counts(pool: Pool) -> bool:
    """Whether every score is a share of successes: n·y a whole number, 0 ≤ y ≤ 1."""
    successes = pool.mean * pool.n
    if np.abs(successes - np.rint(successes)).max() >= 1e-6:
        return False
    return bool(pool.mean.min() >= 0 and pool.mean.max() <= 1)


def example_variance(pool: Pool) -> float:
    """σ², the variance of one example's score.

    Where every score is a share of successes (`are_counts`) it is that of a Bernoulli draw, μ(1-μ).
    Otherwise repeats of a configuration tell it; before there are any, nothing is known but that it
    cannot make more than all the spread that is seen, and half of that is assumed to be noise. That
    guess counts as a tenth of a repeat.
    """
    if are_counts(pool):
        mu = (float(pool.mean @ pool.n) + 0.5) / (float(pool.n.sum()) + 1)
        return mu * (1 - mu)
    guess = float(0.5 * pool.mean.var() / (1 / pool.n).mean())
    squares, count = pool.repeats
    if count and squares <= 1e-18 * guess:  # told again, it was the same: there is no noise
        return 0.0
    return (squares + 0.1 * guess) / (count + 0.1)


def shrink(pool: Pool, centre: Floats | float | None = None) -> Posterior:
    """Empirical Bayes: mean_u = (n_u y_u + s c_u) / (n_u + s), s = σ²/τ². Ours.

    τ² is estimated by moments, var(y - c) - mean(σ²/n), and drawn towards σ²/12 (a spread of
    0.14 for scores near one half) as if that had been seen on five configurations, so that it is
    neither 0 nor wild on a few. With σ² = 0 nothing is shrunk.
    """
    noise = example_variance(pool)
    if centre is None:
        centre = float(pool.n @ pool.mean / pool.n.sum())
    c = np.full(len(pool.mean), centre, dtype=float)
    count, apart = len(pool.mean), pool.mean - c
    seen = float(apart @ apart - noise * (1 / pool.n).sum()) / count
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


def soft_membership(posterior: Posterior, share: float, most: float = np.inf) -> Floats:
    """P(θ_u > y*), with y* such that the memberships sum to ``share`` of all, or ``most``. (U,).

    Ours. With sd → 0 it is the hard membership (equal scores share what there is).
    """
    above, scale = _above(posterior, (min(share * len(posterior.mean), most),))
    return normal_cdf(above[0] / scale)


def soft_memberships(posterior: Posterior, targets: Sequence[float]) -> Floats:
    """`soft_membership` of several sums at once, at the price of one. (T,) -> (T, U)."""
    above, scale = _above(posterior, targets)
    return normal_cdf(above / scale)


def expected_improvement(posterior: Posterior, share: float, most: float = np.inf) -> Floats:
    """E[max(θ_u - y*, 0)] over its largest value: by how much, not only whether. (U,) in [0, 1].

    With y* of `soft_membership`. In its place it makes the acquisition that of noisy expected
    improvement: the expectation is over what the scores may hide (Letham et al. 2019, §4), and it
    weighs observations as Watanabe 2023, §3.3.3 does those of exact scores.
    """
    from scipy.special import ndtr

    above, scale = _above(posterior, (min(share * len(posterior.mean), most),))
    z = above[0] / scale
    gain = scale * (z * ndtr(z) + np.exp(-0.5 * z * z) / ROOT_TAU)
    return np.asarray(gain / gain.max())


def _above(posterior: Posterior, targets: Sequence[float]) -> tuple[Floats, Floats]:
    """mean_u - y* and sd_u, with Σ Φ of their ratio = each of ``targets``. (T, U) and (U,)."""
    from scipy.special import ndtr

    mean, sd = posterior.mean, posterior.sd
    widest = float(sd.max())
    if widest == 0:
        widest = max(float(mean.std()), 1.0)
        sd = np.full(len(mean), widest * 1e-9)
    sd = np.maximum(sd, widest * 1e-9)
    precision = 1 / sd
    bottom, top = float((mean - 9 * sd).min()), float((mean + 9 * sd).max())
    ranked = np.sort(mean)
    # were all sure, it would be the one with so many above it
    levels = [float(ranked[-1 - min(int(target), len(mean) - 1)]) for target in targets]
    brackets = [(bottom, top)] * len(levels)
    for _ in range(100):  # Newton's steps, halving where one would leave the bracket
        z = (mean - np.array(levels)[:, None]) * precision  # (T, U)
        sums = ndtr(z).sum(axis=1).tolist()
        slopes = (np.exp(-0.5 * z * z) @ precision / ROOT_TAU).tolist()
        found = True
        for t, target in enumerate(targets):
            excess, level = sums[t] - target, levels[t]
            low, high = brackets[t]
            if abs(excess) <= 1e-7 * target or high - low <= 1e-15 * max(abs(low), abs(high)):
                continue
            found = False
            brackets[t] = low, high = (level, high) if excess > 0 else (low, level)
            step = level + excess / slopes[t] if slopes[t] > 0 else np.inf
            levels[t] = step if low < step < high else 0.5 * (low + high)
        if found:
            break
    return mean - np.array(levels)[:, None], sd


def normal_cdf(z: Floats) -> Floats:
    """Φ(z), elementwise."""
    from scipy.special import ndtr  # here, so that importing mipro stays cheap

    return np.asarray(ndtr(z), dtype=float)


def foretold(space: Space, pool: Pool, prior: float = 1.0, most: int = 300) -> Floats:
    """What the others say of each configuration's score, by kernel regression. (U,). Ours.

    c_u = (Σ_{v≠u} r_v k(u, v) y_v + prior μ) / (Σ_{v≠u} r_v k(u, v) + prior), with k the product
    kernel of `parzen`, its λ_d those that foretell best, r_v = n_v / mean n, μ the grand mean.
    """
    mu = float(pool.n @ pool.mean / pool.n.sum())
    if len(pool.n) > most:  # the best foretell one another; of the others no one asks
        best = np.sort(np.argsort(-shrink(pool).mean, kind="stable")[:most])
        centre_of = np.full(len(pool.n), mu)
        part = Pool(pool.codes[best], pool.mean[best], pool.n[best])
        centre_of[best] = foretold(space, part, prior, most)
        return centre_of
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
