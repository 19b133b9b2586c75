"""Which trials are good: pooling, shrinkage, the quantile γ.

`parzen` makes a density of the trials that it is given. Which of them are good is decided here: by
a hard count for TPE as published, or by a probability for what follows it. A score is the mean over
n examples, so it is first pooled with the other scores of the same configuration, then shrunk
towards what is known without it, by as much as its n is small: thirty-five lucky examples must
not outrank five hundred good ones.

| symbol | meaning                                                       | shape |
| ------ | ------------------------------------------------------------- | ----- |
| U      | distinct configurations observed                              |       |
| y_u    | pooled mean score                                             | (U,)  |
| n_u    | examples behind it                                            | (U,)  |
| σ²     | variance of the score of one example                          |       |
| τ²     | variance of true means around c                               |       |
| c      | the grand mean                                                |       |
| θ_u    | the true mean; its posterior is N(mean_u, sd_u²)              | (U,)  |
| y*     | what is above it is good                                      |       |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, pi, sqrt
from typing import final

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Key


@final
class Pool:
    """Scores by configuration, in the order in which each was first told.

    `add` costs the same whatever came before; arrays are of what was added so far.
    """

    def __init__(self, width: int) -> None:
        self.rows: dict[Key, int] = {}
        self.examples = 0.0  # behind all scores
        # of further scores of one configuration: Σ (y - mean before)² n m / (n + m), m the examples
        # before, and how many; being told twice tells what chance does without any assumption
        self.repeats = (0.0, 0)
        self._codes = np.empty((16, width), dtype=np.int64)
        self._sums = np.zeros((2, 16))  # n·y and n

    @classmethod
    def of(cls, keys: Sequence[Key], scores: Iterable[float], ns: Iterable[float]) -> Pool:
        """Equal keys as one: means weighted by n, and n summed."""
        pool = cls(len(keys[0]) if len(keys) else 0)
        for key, score, n in zip(keys, scores, ns, strict=True):
            pool.add(tuple(key), score, n)
        return pool

    def add(self, key: Key, score: float, n: float) -> None:
        """One more score of a configuration."""
        row = self.rows.setdefault(key, len(self.rows))
        if row == len(self._codes):  # twice the room, so that growing costs nothing on average
            self._codes = np.concatenate([self._codes, np.empty_like(self._codes)])
            self._sums = np.concatenate([self._sums, np.zeros_like(self._sums)], axis=1)
        total, before = self._sums[:, row]
        if before:
            squares, count = self.repeats
            apart = float((score - total / before) ** 2 * n * before / (n + before))
            self.repeats = squares + apart, count + 1
        self._codes[row] = key
        self._sums[:, row] += score * n, n
        self.examples += n

    @property
    def codes(self) -> Codes:
        """Of each configuration. (U, D)."""
        return self._codes[: len(self.rows)]

    @property
    def n(self) -> Floats:
        """Examples behind each. (U,)."""
        return self._sums[1, : len(self.rows)]

    @property
    def mean(self) -> Floats:
        """Mean score of each. (U,)."""
        return self._sums[0, : len(self.rows)] / self.n

    @property
    def grand_mean(self) -> float:
        """The mean of all examples' scores."""
        return float(self.n @ self.mean) / self.examples


@final
@dataclass(frozen=True)
class Posterior:
    """What is believed of the true mean of each pooled configuration."""

    mean: Floats  # (U,)
    sd: Floats  # (U,)
    noise: float  # σ²
    spread: float  # τ²


def are_counts(pool: Pool) -> bool:
    """Whether every score is a share of successes: n·y a whole number, 0 ≤ y ≤ 1."""
    mean = pool.mean
    successes = mean * pool.n
    whole = bool(np.abs(successes - np.rint(successes)).max() <= 1e-6)
    return whole and bool(mean.min() >= 0) and bool(mean.max() <= 1)


def example_variance(pool: Pool) -> float:
    """σ², the variance of one example's score.

    Where every score is a share of successes (`are_counts`) it is that of a Bernoulli draw, μ(1-μ).
    Otherwise repeats of a configuration tell it; before there are any, nothing is known but that it
    cannot make more than all the spread that is seen, and half of that is assumed to be noise. That
    guess counts as a tenth of a repeat.
    """
    if are_counts(pool):
        mu = (pool.grand_mean * pool.examples + 0.5) / (pool.examples + 1)
        return mu * (1 - mu)
    guess = float(0.5 * pool.mean.var() / (1 / pool.n).mean())
    squares, count = pool.repeats
    if count and squares <= 1e-18 * guess:  # told again, it was the same: there is no noise
        return 0.0
    return (squares + 0.1 * guess) / (count + 0.1)


def shrink(pool: Pool) -> Posterior:
    """Empirical Bayes: mean_u = (n_u y_u + s c) / (n_u + s), s = σ²/τ², c the grand mean. Ours.

    τ² is estimated by moments, mean (y - c)² - mean σ²/n, and drawn towards σ²/12 (a spread of
    0.14 for scores near one half) as if that had been seen on five configurations, so that it is
    neither 0 nor wild on a few. With σ² = 0 nothing is shrunk.
    """
    y, n, centre, noise = pool.mean, pool.n, pool.grand_mean, example_variance(pool)
    apart, count = y - centre, len(y)
    seen = float(apart @ apart - noise * (1 / n).sum()) / count
    spread = (count * max(seen, 0.0) + 5 * noise / 12) / (count + 5)
    if spread <= 0:  # all scores are equal and noiseless
        return Posterior(y, np.zeros(count), 0.0, 0.0)
    strength = noise / spread
    mean = (n * y + strength * centre) / (n + strength)
    return Posterior(mean, np.sqrt(noise / (n + strength)), noise, spread)


def linear_gamma(n: int, share: float = 0.1, most: int = 25) -> int:
    """min(⌈share·n⌉, most): how many of n trials are good. Watanabe 2023, §3.1.1."""
    return min(ceil(share * n - 1e-9), most)


def sqrt_gamma(n: int, share: float = 0.25, most: int = 25) -> int:
    """min(⌈share·√n⌉, most). Bergstra 2011's software; Watanabe 2023, §3.1.1."""
    return min(ceil(share * sqrt(n) - 1e-9), most)


def hard_membership(values: Floats, count: int) -> Floats:
    """1 for the ``count`` highest, 0 for the rest; of equals the earlier wins. (n,) -> (n,)."""
    good = np.zeros(len(values))
    good[np.argsort(-values, kind="stable")[:count]] = 1.0
    return good


def top(values: Floats, count: int) -> Codes:
    """Places of the ``count`` highest, in their own order; of equals at the border, any."""
    return np.sort(np.argpartition(-values, min(count, len(values)) - 1)[:count])


def threshold(values: Floats, count: int) -> float:
    """y*: the lowest of the ``count`` highest values."""
    return float(np.partition(values, -count)[-count])


def above(posterior: Posterior, level: float) -> Floats:
    """P(θ_u > y*), y* being ``level``: soft membership. (U,). Ours.

    With sd → 0 it is the hard one, but that what lies on y* is good by half.
    """
    from scipy.special import ndtr  # here, so that importing mipro stays cheap

    return np.asarray(ndtr((posterior.mean - level) / _sure_sd(posterior)))


def expected_improvement(posterior: Posterior, level: float) -> Floats:
    """E[max(θ_u - y*, 0)] over its largest value: by how much, not only whether. (U,) in [0, 1].

    In the place of `above` it makes the acquisition that of noisy expected improvement: the
    expectation is over what the scores may hide (Letham et al. 2019, §4), and it weighs
    observations as Watanabe 2023, §3.3.3 does those of exact scores.
    """
    sd = _sure_sd(posterior)
    z = (posterior.mean - level) / sd
    gain = sd * (z * above(posterior, level) + np.exp(-0.5 * z * z) / sqrt(2 * pi))
    return np.asarray(gain / gain.max(initial=1e-300))


def _sure_sd(posterior: Posterior) -> Floats:
    """sd, but never 0. (U,)."""
    if not len(posterior.sd):
        return posterior.sd
    widest = float(posterior.sd.max())
    return np.maximum(posterior.sd, 1e-9 * (widest or float(posterior.mean.std()) or 1.0))
