"""What each choice is worth alone: all choices' effects on the scores, fitted at once.

To count how often a choice was among the good ones credits it with the company it kept, and of
ten variables most of such a count is the others' doing. A regression takes their part out:

    y_u = c + Σ_d b_d(x_ud) + e_u,    b_d(k) ~ N(0, w),    e_u ~ N(0, v + σ²/n_u)

| symbol | meaning                                                              | shape  |
| ------ | -------------------------------------------------------------------- | ------ |
| y, n   | pooled mean scores of U configurations, and the examples behind them | (U,)   |
| c      | their mean, weighted by ω                                            |        |
| b, w   | effects of the choices, and the variance of each                     | (C,)   |
| v      | variance of what choices do together beyond their sum                |        |
| h      | the choices for which a configuration speaks, one-hot; H all of them | (U, C) |
| ω_u    | weight of a configuration, n_u / (n_u + σ²/v), in (0, 1]             | (U,)   |
| A      | Hᵀ diag(ω) H + (v/w) I                                               | (C, C) |

Ridge regression (Hoerl, Kennard 1970), which is best linear unbiased prediction (Robinson 1991)
where v and w are known: b = A⁻¹ Hᵀ ω (y - c). Here they are assumed: of the variance τ² of true
means, of which `split.shrink` has an estimate, a fifth is v, and the D variables that have more
than one choice share the rest.
So v/w is D/4, and an effect is drawn to 0 as by D/4 configurations that score the mean. To learn
a w for each variable gained nothing (`experiments/surrogates.md`).

A is a sum over configurations, so another score changes A⁻¹ by a matrix of rank one (Sherman,
Morrison 1950), at a cost of C² however many came before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Key, Space
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


class _Row(NamedTuple):
    """A configuration: where h is 1, its mean score, and the examples behind it."""

    where: Codes
    mean: float
    n: float


@final
class Effects:
    """The sums behind the effects: a function of what was told, in its order."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.pull = max(int((space.widths > 1).sum()), 1) * TOGETHER / (1 - TOGETHER)  # v/w
        self._alone = np.flatnonzero(space.widths[space.column_of_choice] == 1)  # nothing to choose
        self._rows: list[_Row] = []  # of each configuration, as last added
        self.believed = Posterior(np.zeros(0), np.zeros(0), 0.0, 0.0)  # when last made
        self._doubt = 0.0  # σ²/v
        self._told, self._next = 0, 1  # scores so far, and with how many σ²/v is made again

    def tell(self, pool: Pool, key: Key, hot: Floats) -> None:
        """A configuration has another score: what is in ``pool`` takes the place of the old.

        ``hot`` (C,): for which choices it speaks; in time it may come to speak for more.
        """
        self._told += 1
        row, again = pool.rows[key], self._told == self._next
        if row < len(self._rows) and not again:
            self._add(self._rows[row], -1)
        self._rows[row : row + 1] = [
            _Row(np.flatnonzero(hot), float(pool.mean[row]), float(pool.n[row]))
        ]
        if again:
            self._begin_again(pool)
        else:
            self._add(self._rows[row], 1)

    def _begin_again(self, pool: Pool) -> None:
        """σ²/v and all sums anew; the next time after a quarter more scores."""
        self._next += max(1, self._next // 4)
        self.believed = found = shrink(pool)
        v = TOGETHER * found.spread
        self._doubt = found.noise / v if v else 0.0
        width = len(self.space.column_of_choice)
        A = self.pull * np.eye(width)
        self._count, self._sums, self._total = np.zeros(width), np.zeros(width), np.zeros(2)
        for row in self._rows:
            A[row.where[:, None], row.where] += self._weighed(row, 1)
        self._inverse = np.linalg.inv(A)

    def _weighed(self, row: _Row, sign: int) -> float:
        """ω of a configuration, added to the sums or taken off."""
        weight = sign * row.n / (row.n + self._doubt)
        self._count[row.where] += weight
        self._sums[row.where] += weight * row.mean
        self._total += weight, weight * row.mean
        return weight

    def _add(self, row: _Row, sign: int) -> None:
        weight = self._weighed(row, sign)
        along = self._inverse[row.where].sum(axis=0)  # A⁻¹ h
        less = weight / (1 + weight * float(along[row.where].sum()))
        self._inverse -= np.outer(less * along, along)

    def worth(self, posterior: Posterior) -> Worth:
        """What is known now; variances as if each choice's other effects were known."""
        mean = float(self._total[1] / self._total[0])
        v = TOGETHER * posterior.spread
        effect = self._inverse @ (self._sums - mean * self._count)
        variance = v / (self._count + self.pull)
        effect[self._alone] = variance[self._alone] = 0.0
        return Worth(effect, variance, mean, v)
