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
from typing import final

import numpy as np

from mipro.tpe.evidence import similarity
from mipro.tpe.marginals import Marginals
from mipro.tpe.parzen import Floats, one_hot
from mipro.tpe.space import Codes, Space


@final
@dataclass(frozen=True)
class UpperBound:
    """An acquisition function: upper bound of P(good | x).

    ``centres`` (M, D) codes and their memberships ``good`` (M,); ``ratios`` λ_d (D,); ``base`` γ;
    ``curiosity`` κ₁ and ``optimism`` κ₂ in standard deviations. ``asked`` (M, D) is another
    configuration that a centre stands for as well (`TPE.tell`); None: it stands for itself alone.
    """

    space: Space
    centres: Codes
    good: Floats
    marginals: Marginals
    ratios: Floats
    base: float
    prior: float = 1.0
    curiosity: float = 1.0
    optimism: float = 1.0
    asked: Codes | None = None

    def __call__(self, codes: Codes) -> Floats:
        """(N, D) codes -> (N,)."""
        return self._bound(*self.evidence(codes))

    def evidence(self, codes: Codes) -> tuple[Floats, Floats]:
        """a(x) and n(x), the prior's share among them. (N, D) codes -> 2 × (N,)."""
        similar = similarity(self.space, self.centres, codes, self.ratios, self.asked)  # (M, N)
        hot = one_hot(self.space, codes)
        prior = self._prior(hot @ self.marginals.log_ratio, hot @ self.marginals.variance)
        return self.good @ similar + self.prior * prior, similar.sum(axis=0) + self.prior

    def moves(self, full: Codes) -> Floats:
        """The score of every configuration one variable away. (R, D) filled -> (R, C).

        Column c of row r is row r with the variable of choice c set to it (`Space.offsets`).
        """
        if not self.space.is_flat or self.asked is not None:
            return self._each(full)
        space, slot = self.space, self.space.column_of_choice
        at = full + space.offsets  # (R, D) the choice taken
        hot, tried = one_hot(space, full), self._tried  # (R, C), (M, C)
        far = -np.log(self.ratios)  # (D,)
        near = np.exp((hot * far[slot]) @ tried.T - far.sum())  # k(x_r, x_i), (R, M)
        # good ones and all, one under the other
        moved = self._moved(np.concatenate([near * self.good, near]), at, tried)
        good, count = moved[: len(full)], moved[len(full) :]
        ratio, variance = self.marginals.log_ratio, self.marginals.variance
        taken = np.stack([ratio[at], variance[at]])  # (2, R, D)
        apart = taken.sum(axis=2, keepdims=True) - taken  # without d
        log_odds, spread = apart.take(slot, axis=2)
        prior = self.prior * self._prior(log_odds + ratio, spread + variance)
        return self._bound(good + prior, count + self.prior)

    @cached_property
    def _tried(self) -> Floats:
        return one_hot(self.space, self.centres)

    def _moved(self, near: Floats, at: Codes, tried: Floats) -> Floats:
        """Σ_i w_i k(x', x_i) for each x' one choice away, ``near`` being w_i k(x_r, x_i). (2R, C).

        With d set to v a kernel is what it was without d, times 1 where x_id = v and λ_d elsewhere.
        Without d it is k/λ_d where x_id differs from the choice taken, and k where it does not.
        """
        slot, ratios = self.space.column_of_choice, self.ratios
        among, total = near @ tried, near.sum(axis=1, keepdims=True)  # (2R, C), (2R, 1)
        rows, at = np.arange(len(near))[:, None], np.concatenate([at, at])
        same = among[rows, at]  # (2R, D)
        without = total - (1 - ratios) * same  # λ_d times that
        moved = without.take(slot, axis=1) + among * (1 / ratios - 1)[slot]
        moved[rows, at] = total
        return np.asarray(moved)

    def _each(self, full: Codes) -> Floats:
        """`moves` one by one: in a tree a choice may bring others into play."""
        count = len(self.space.column_of_choice)
        options = np.repeat(full, count, axis=0)  # (R·C, D)
        slot = np.tile(self.space.column_of_choice, len(full))
        options[np.arange(len(options)), slot] = (
            np.tile(np.arange(count), len(full)) - self.space.offsets[slot]
        )
        return self(self.space.prune(options)).reshape(len(full), count)

    def _prior(self, log_odds: Floats, variance: Floats) -> Floats:
        from scipy.special import expit  # here, so that importing mipro stays cheap

        logit = np.log(self.base / (1 - self.base)) + log_odds
        if self.curiosity:
            logit = logit + self.curiosity * np.sqrt(np.maximum(variance, 0.0))
        return np.asarray(expit(logit))

    def _bound(self, good: Floats, count: Floats) -> Floats:
        p = np.minimum(good / count, 1.0)  # rounding may carry it beyond
        return np.asarray(p + self.optimism * np.sqrt(p * (1 - p) / (count + 1)))
