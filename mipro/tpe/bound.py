"""How good a configuration may be: P(good | x) where good and bad share one kernel, and its bound.

`parzen` gives l(x) and g(x) each its own mixture. Where both share their kernel, the ratio l/g is
an estimate of P(good | x), and it is known on how many observations it rests. Where there are none
near x it knows nothing; `effects` knows what each choice is worth, whatever goes with it. So the
second is the prior of the first: far from all that was tried, choices speak for themselves; near
it, what was seen of their combination overrules them.

    logit p₀(x) = β + s Σ_d b_d(x_d) + κ₁ s √(Σ_d var_d(x_d))          prior, its upper bound
    a(x) = prior · p₀(x) + Σ_i m_i k(x, x_i)                           good observations near x
    n(x) = prior + Σ_i k(x, x_i)                                       all of them
    score = a/n + κ₂ √(a/n (1 - a/n) / (n + 1))                        Beta(a, n - a): mean + sd

| symbol | meaning                                                              | shape |
| ------ | -------------------------------------------------------------------- | ----- |
| M      | observations that speak, each for itself                             |       |
| b, var | effects of the choices and their variances (`effects`)               | (C,)  |
| s      | slope with which m rises with θ, as a logit                          |       |
| β      | s (c - y*): the logit for a configuration that is worth the mean c   |       |
| m_i    | P(θ_i > y*)                                                          | (M,)  |
| κ₁, κ₂ | `curiosity` for what choices are worth, `optimism` for combinations  |       |
| prior  | how many observations p₀ counts for                                  |       |

k(x, x_i) is the product kernel over its height at x_i: λ^(number of variables in which they
differ); where d is active in x and not in x_i, x_i says nothing of it, and it counts as the mean
over all choices. The square root over the *sum* of variances lets one doubtful choice be tried at
a time: the second adds less to it than the first. Ours; with both κ = 0 and a prior that is silent
the score rises with l(x)/g(x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import final

import numpy as np

from mipro.tpe.parzen import Floats, one_hot
from mipro.tpe.space import Codes, Space


@final
@dataclass(frozen=True)
class UpperBound:
    """An acquisition function: upper bound of P(good | x).

    ``hot`` (M, C): for which choices each of M observations speaks; ``good`` (M,) their
    memberships. ``base`` is β, ``gain`` s·b and ``variance`` κ₁² s² var, (C,). ``ratio`` is λ,
    ``optimism`` κ₂.
    """

    space: Space
    hot: Floats
    good: Floats
    base: float
    gain: Floats
    variance: Floats
    ratio: float = 0.4
    prior: float = 1.0
    optimism: float = 1.0

    def __call__(self, codes: Codes) -> Floats:
        """(N, D) codes -> (N,)."""
        return self._bound(*self.evidence(codes))

    def evidence(self, codes: Codes) -> tuple[Floats, Floats]:
        """a(x) and n(x), the prior's share among them. (N, D) codes -> 2 × (N,)."""
        x = one_hot(self.space, codes)
        near = np.exp(self._log_near @ x.T)  # (M, N)
        prior = self._prior(x @ self.gain, x @ self.variance)
        return self.good @ near + prior, near.sum(axis=0) + self.prior

    @cached_property
    def _log_near(self) -> Floats:
        """log of each choice's share in k(x, x_i). (M, C)."""
        rows = (1 - self.hot) * log(self.ratio)
        if self.space.is_flat:
            return rows
        slot, widths = self.space.column_of_choice, self.space.widths
        silent = np.add.reduceat(self.hot, self.space.offsets, axis=1) == 0  # (M, D)
        uniform = np.log((1 + (widths - 1) * self.ratio) / widths)
        return np.where(silent[:, slot], uniform[slot], rows)

    def moves(self, full: Codes) -> Floats:
        """The score of every configuration one variable away. (R, D) filled -> (R, C).

        Column c of row r is row r with the variable of choice c set to it (`Space.offsets`).
        """
        space, ratio = self.space, self.ratio
        if not space.is_flat or self.hot.sum() > self.hot.shape[0] * full.shape[1]:
            # other choices come into play, or an observation speaks for two of one variable
            return self(space.moved(full)).reshape(len(full), -1)
        rows, at, widths = np.arange(len(full))[:, None], full + space.offsets, space.widths
        differ = full.shape[1] - self.hot.T[at].sum(axis=1)  # (R, M)
        near = np.exp(log(ratio) * differ)  # k(x_r, x_i)
        near = np.array([near * self.good, near])
        # d set to v takes an observation that has the choice of row r one step away, and brings
        # one that has v a step nearer; of all others as many variables differ as before
        total, among = near.sum(axis=2, keepdims=True), near @ self.hot  # (2, R, 1 or C)
        moved = (total - (1 - ratio) * among[:, rows, at]).repeat(widths, axis=2)
        moved += (1 / ratio - 1) * among
        moved[:, rows, at] = total
        each = np.array([self.gain, self.variance])  # (2, C)
        taken = each.take(at, axis=1)  # (2, R, D)
        alone = (taken.sum(axis=2, keepdims=True) - taken).repeat(widths, axis=2) + each[:, None]
        return self._bound(moved[0] + self._prior(*alone), moved[1] + self.prior)

    def _prior(self, gain: Floats, variance: Floats) -> Floats:
        """prior · p₀(x)."""
        from scipy.special import expit  # here, so that importing mipro stays cheap

        wide = np.sqrt(np.abs(variance))  # rounding may carry it below 0
        return np.asarray(self.prior * expit(gain + wide + self.base))

    def _bound(self, good: Floats, count: Floats) -> Floats:
        p = np.minimum(good / count, 1.0)  # rounding may carry it beyond
        return np.asarray(p + self.optimism * np.sqrt((p - p * p) / (count + 1)))
