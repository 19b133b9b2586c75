"""How good a configuration may be: P(good | x) from densities that share a kernel, and its bound.

`evidence` counts good and bad observations near x; where there are none it knows the share γ
only. `marginals` knows what each choice is worth alone, whatever goes with it. Here the second is
the prior of the first: far from all that was tried, variables speak for themselves; near it, what
was seen of their combination overrules them.

    logit p₀(x) = logit γ + Σ_d r_d(x_d) + κ₁ √(Σ_d var_d(x_d))        prior, its upper bound
    a(x) = prior · p₀(x) + Σ_i m_i k(x, x_i)                           good observations near x
    n(x) = prior + Σ_i k(x, x_i)                                       all of them
    score = a/n + κ₂ √(a/n (1 - a/n) / (n + 1))                        Beta(a, n - a): mean + sd

k(x, x_i) = Π_d λ_d^[x_d ≠ x_id] is 1 at the centre. λ_d = λ^relevance_d: a variable that does not
matter keeps two configurations no further apart. The square root over the *sum* of variances lets
one doubtful choice be tried at a time: the second adds less to it than the first. Ours; with both
κ = 0 and no marginals the score rises with l(x)/g(x).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import final

import numpy as np

from mipro.tpe.evidence import Centres
from mipro.tpe.marginals import Marginals
from mipro.tpe.parzen import Floats, one_hot
from mipro.tpe.space import Codes


@final
@dataclass(frozen=True)
class UpperBound:
    """An acquisition function: upper bound of P(good | x).

    ``centres``, M of them, with their memberships ``good`` (M,); ``ratios`` λ_d (D,); ``base`` γ;
    ``curiosity`` κ₁ and ``optimism`` κ₂ in standard deviations.
    """

    centres: Centres
    good: Floats
    marginals: Marginals
    ratios: Floats
    base: float
    prior: float = 1.0
    curiosity: float = 1.0
    optimism: float = 1.0

    def __call__(self, codes: Codes) -> Floats:
        """(N, D) codes -> (N,)."""
        return self._bound(*self.evidence(codes))

    def evidence(self, codes: Codes) -> tuple[Floats, Floats]:
        """a(x) and n(x), the prior's share among them. (N, D) codes -> 2 × (N,)."""
        similar = self.centres.similarity(codes, self.ratios)  # (M, N)
        log_odds, variance = self._alone @ one_hot(self.centres.space, codes).T
        return (
            self.good @ similar + self._prior(log_odds, variance),
            similar.sum(axis=0) + self.prior,
        )

    @cached_property
    def _alone(self) -> Floats:
        """r and κ₁² var of every choice. (2, C)."""
        return np.array([self.marginals.log_ratio, self.curiosity**2 * self.marginals.variance])

    @cached_property
    def _gain(self) -> Floats:
        """By how many times a kernel is higher with d set to the centre's choice, less 1. (C,)."""
        return (1 / self.ratios - 1)[self.centres.space.column_of_choice]

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
        log_far = np.log(self.ratios)
        near = np.exp(log_far.sum() - log_far @ choices.T[at])  # k(x_r, x_i), (R, M)
        near = np.array([near * self.good, near])
        # With d set to v a kernel is what it was without d, times 1 where x_id = v and λ_d
        # elsewhere; without d it is k/λ_d where x_id differs from the choice taken, else k.
        total, among = near.sum(axis=2, keepdims=True), near @ choices  # (2, R, 1 or C)
        without = total - (1 - self.ratios) * among[:, rows, at]  # λ_d times that
        moved = without.repeat(sizes, axis=2) + among * self._gain
        moved[:, rows, at] = total
        taken = self._alone.take(at, axis=1)
        without = taken.sum(axis=2, keepdims=True) - taken
        prior = self._prior(*(without.repeat(sizes, axis=2) + self._alone[:, None]))
        return self._bound(moved[0] + prior, moved[1] + self.prior)

    def _prior(self, log_odds: Floats, variance: Floats) -> Floats:
        """prior · p₀(x)."""
        base = log(self.base / (1 - self.base))
        logit = log_odds + np.sqrt(np.abs(variance)) + base  # rounding may carry it below 0
        return np.asarray(self.prior / (1 + np.exp(-logit)))

    def _bound(self, good: Floats, count: Floats) -> Floats:
        p = np.minimum(good / count, 1.0)  # rounding may carry it beyond
        return np.asarray(p + self.optimism * np.sqrt(p * (1 - p) / (count + 1)))
