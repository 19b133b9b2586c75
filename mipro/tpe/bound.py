"""How good a configuration may be: P(good | x) from densities that share a kernel, and its bound.

`evidence` counts good and bad observations near x; where there are none it knows nothing.
`regression` knows what each choice is worth alone, whatever goes with it. Here the second is the
prior of the first: far from all that was tried, variables speak for themselves; near it, what was
seen of their combination overrules them.

    logit p₀(x) = β + Σ_d s_d(x_d) + κ₁ √(Σ_d var_d(x_d))              prior, its upper bound
    a(x) = prior · p₀(x) + Σ_i m_i k(x, x_i)                           good observations near x
    n(x) = prior + Σ_i k(x, x_i)                                       all of them
    score = a/n + κ₂ √(a/n (1 - a/n) / (n + 1))                        Beta(a, n - a): mean + sd

k(x, x_i) = λ^(number of variables in which they differ). The square root over the *sum* of
variances lets one doubtful choice be tried at a time: the second adds less to it than the first.
Ours; with both κ = 0 and a prior that is silent the score rises with l(x)/g(x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import final

import numpy as np

from mipro.tpe.evidence import Centres
from mipro.tpe.parzen import Floats, one_hot
from mipro.tpe.regression import Odds
from mipro.tpe.space import Codes


@final
@dataclass(frozen=True)
class UpperBound:
    """An acquisition function: upper bound of P(good | x).

    ``centres``, M of them, with their memberships ``good`` (M,); ``alone`` has β, s and var;
    ``ratio`` λ; ``curiosity`` κ₁ and ``optimism`` κ₂ in standard deviations.
    """

    centres: Centres
    good: Floats
    alone: Odds
    ratio: float
    prior: float = 1.0
    curiosity: float = 1.0
    optimism: float = 1.0

    def __call__(self, codes: Codes) -> Floats:
        """(N, D) codes -> (N,)."""
        return self._bound(*self.evidence(codes))

    def evidence(self, codes: Codes) -> tuple[Floats, Floats]:
        """a(x) and n(x), the prior's share among them. (N, D) codes -> 2 × (N,)."""
        similar = self.centres.similarity(codes, self.ratio)  # (M, N)
        gain, variance = self._alone @ one_hot(self.centres.space, codes).T
        return self.good @ similar + self._prior(gain, variance), similar.sum(axis=0) + self.prior

    @cached_property
    def _alone(self) -> Floats:
        """s and κ₁² var of every choice. (2, C)."""
        return np.array([self.alone.gain, self.curiosity**2 * self.alone.variance])

    def moves(self, full: Codes) -> Floats:
        """The score of every configuration one variable away. (R, D) filled -> (R, C).

        Column c of row r is row r with the variable of choice c set to it (`Space.offsets`).
        """
        space, choices = self.centres.space, self.centres.choices
        if not space.is_flat or self.centres.asked is not None:  # other choices come into play
            return self(space.moved(full)).reshape(len(full), -1)
        # Each sum below is first what it is without variable d, (.., R, D), then what d set to v
        # adds to that, (.., R, C): a few operations on all moves, instead of R·C configurations.
        rows, at, sizes = np.arange(len(full))[:, None], full + space.offsets, space.widths
        differ = full.shape[1] - choices.T[at].sum(axis=1)  # (R, M)
        near = np.exp(log(self.ratio) * differ)  # k(x_r, x_i)
        near = np.array([near * self.good, near])
        # With d set to v a kernel is what it was without d, times 1 where x_id = v and λ
        # elsewhere; without d it is k/λ where x_id differs from the choice taken, else k.
        total, among = near.sum(axis=2, keepdims=True), near @ choices  # (2, R, 1 or C)
        without = total - (1 - self.ratio) * among[:, rows, at]  # λ times that
        moved = without.repeat(sizes, axis=2) + (1 / self.ratio - 1) * among
        moved[:, rows, at] = total
        taken = self._alone.take(at, axis=1)
        without = taken.sum(axis=2, keepdims=True) - taken
        prior = self._prior(*(without.repeat(sizes, axis=2) + self._alone[:, None]))
        return self._bound(moved[0] + prior, moved[1] + self.prior)

    def _prior(self, gain: Floats, variance: Floats) -> Floats:
        """prior · p₀(x)."""
        from scipy.special import expit  # here, so that importing mipro stays cheap

        wide = np.sqrt(np.abs(variance))  # rounding may carry it below 0
        return np.asarray(self.prior * expit(gain + wide + self.alone.base))

    def _bound(self, good: Floats, count: Floats) -> Floats:
        p = np.minimum(good / count, 1.0)  # rounding may carry it beyond
        return np.asarray(p + self.optimism * np.sqrt((p - p * p) / (count + 1)))
