"""What each choice is worth alone: all choices' effects on the scores, fitted at once.

To count how often a choice was among the good ones credits it with the company it kept, and of
ten variables most of such a count is the others' doing. A regression takes their part out:

    y_t = c + Σ_d b_d(x_td) + e_t,    b_d(k) ~ N(0, w),    e_t ~ N(0, s/n_t),    s = σ² + v n̄

| symbol | meaning                                                              | shape  |
| ------ | -------------------------------------------------------------------- | ------ |
| y, n   | T scores as they were told, and the examples behind each             | (T,)   |
| c      | the mean of all examples' scores                                     |        |
| b, w   | effects of the choices, and the variance of each                     | (C,)   |
| v      | variance of what choices do together beyond their sum                |        |
| n̄      | mean of the examples behind a configuration                          |        |
| h      | the choices for which a score speaks, one-hot; H all of them         | (T, C) |
| A      | Hᵀ diag(n) H + (s/w) I, in examples                                  | (C, C) |

Ridge regression (Hoerl, Kennard 1970), which is best linear unbiased prediction (Robinson 1991)
where s and w are known: b = A⁻¹ Hᵀ n (y - c). Here they are assumed: of the variance τ² of true
means, of which `split.shrink` has an estimate, a fifth is v, and the D variables that have more
than one choice share the rest. To learn a w for each variable gained nothing, and nothing was lost
by a v that examples average out as they do σ² (`experiments/surrogates.md`): so all that is kept of
the scores is two sums, and 2n examples are two times n.

Another score changes A⁻¹ by a matrix of rank one (Sherman, Morrison 1950), at a cost of C² however
many came before. s/w is made again after every quarter more scores, and A⁻¹ with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.space import Space
from mipro.tpe.split import Pool, Posterior, shrink

TOGETHER = 1 / 5  # of τ²: v


@final
@dataclass(frozen=True)
class Worth:
    """Effects of all choices on the score, (C,); the variance of each; the mean c; and v."""

    effect: Floats
    variance: Floats
    mean: float
    together: float


@final
class Effects:
    """The sums behind the effects: a function of what was told, in its order."""

    def __init__(self, space: Space) -> None:
        self._open = space.widths[space.column_of_choice] > 1  # (C,): there is something to choose
        self._free = max(int((space.widths > 1).sum()), 1)  # D
        self._gram = np.zeros((len(self._open), len(self._open)))  # Hᵀ diag(n) H
        self._sums = np.zeros(len(self._open))  # Hᵀ n y
        self._told, self._due = 0, 1  # scores so far, and with how many s/w is made again

    def tell(self, pool: Pool, hot: Floats, score: float, n: float) -> None:
        """Another score, which is in ``pool``; ``hot`` (C,): for which choices it speaks."""
        where = np.flatnonzero(hot)
        self._gram[where[:, None], where] += n
        self._sums[where] += n * score
        self._told += 1
        if self._told == self._due:
            self._due += max(1, self._due // 4)
            self.believed = shrink(pool)
            w = (1 - TOGETHER) * self.believed.spread / self._free
            self._pull = self._noise(pool, self.believed) / w if w else 1.0
            self._inverse = np.linalg.inv(self._gram + self._pull * np.eye(len(hot)))
        else:
            along = self._inverse[where].sum(axis=0)  # A⁻¹ h
            less = n / (1 + n * along[where].sum())
            self._inverse -= np.outer(less * along, along)

    def worth(self, pool: Pool, posterior: Posterior) -> Worth:
        """What is known now; variances as if each choice's other effects were known."""
        count = self._gram.diagonal()
        effect = self._inverse @ (self._sums - pool.grand_mean * count)
        variance = self._noise(pool, posterior) / (count + self._pull)
        v = TOGETHER * posterior.spread
        return Worth(effect * self._open, variance * self._open, pool.grand_mean, v)

    def _noise(self, pool: Pool, posterior: Posterior) -> float:
        """s, the variance of one example about the sum of the effects."""
        return posterior.noise + TOGETHER * posterior.spread * pool.examples / len(pool.rows)
