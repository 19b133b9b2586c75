"""What each choice is worth alone: all choices' effects on the scores, fitted at once.

To count how often a choice was among the good ones credits it with the company it kept, and of
ten variables most of such a count is the others' doing. A regression takes their part out:

    y_u = c + Σ_d b_d(x_ud) + e_u,    b_d(v) ~ N(0, w),    e_u ~ N(0, v + σ²/n_u)

| symbol | meaning                                                              | shape  |
| ------ | -------------------------------------------------------------------- | ------ |
| y, n   | pooled mean scores of U configurations, and the examples behind them | (U,)   |
| c      | their mean                                                           |        |
| b, w   | effects of the choices, and the variance of each                     | (C,)   |
| v      | variance of what choices do together beyond their sum                |        |
| h      | the choices for which a configuration speaks, one-hot; H all of them | (U, C) |
| ω_u    | weight of a configuration, n_u / (n_u + σ²/v), in (0, 1]             | (U,)   |
| A      | Hᵀ diag(ω) H + (v/w) I                                               | (C, C) |

Ridge regression (Hoerl, Kennard 1970), which is best linear unbiased prediction (Robinson 1991)
where v and w are known: b = A⁻¹ Hᵀ ω (y - c). Here they are assumed: of the variance τ² of true
means, of which `split.shrink` has an estimate, a fifth is v, and the D variables share the rest.
So v/w is D/4, and an effect is drawn to 0 as by D/4 configurations that score the mean. To learn
a w for each variable gained nothing (`experiments/surrogates.md`).

A is a sum over configurations: a score changes only the entries of its own choices, and what an
ask costs does not grow with the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Space
from mipro.tpe.split import Posterior, Tally, shrink

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
        self.space = space
        self.pull = max(int((space.widths > 1).sum()), 1) * TOGETHER / (1 - TOGETHER)  # v/w
        self._columns: list[Codes] = []  # of each configuration, where h is 1
        self._seen: list[tuple[float, float]] = []  # its mean and n when last added
        self._doubt = 0.0  # σ²/v
        self._told, self._next = 0, 1  # scores so far, and with how many σ²/v is made again
        self._forget()

    def _forget(self) -> None:
        width = len(self.space.column_of_choice)
        self._products = np.zeros((width, width))  # Hᵀ diag(ω) H
        self._sums = np.zeros(width)  # Hᵀ ω y
        self._total = np.zeros(2)  # Σ ω and Σ ω y

    def tell(self, tally: Tally, row: int, hot: Floats) -> None:
        """A configuration has another score: what is in ``tally`` takes the place of the old.

        ``hot`` (C,): for which choices it speaks; in time it may come to speak for more.
        """
        where = np.flatnonzero(hot)
        if row == len(self._columns):
            self._columns.append(where)
            self._seen.append((0.0, 0.0))
        else:
            self._add(row, -1)
            self._columns[row] = where
        self._seen[row] = tally.mean(row)
        self._told += 1
        if self._told == self._next:
            self._begin_again(tally)
        else:
            self._add(row, 1)

    def _begin_again(self, tally: Tally) -> None:
        """With what a quarter more scores say of σ²/v."""
        self._next += max(1, self._next // 4)
        posterior = shrink(tally.pool())
        v = TOGETHER * posterior.spread
        self._doubt = posterior.noise / v if v else 0.0
        self._forget()
        for row in range(len(self._columns)):
            self._add(row, 1)

    def _add(self, row: int, sign: int) -> None:
        (mean, n), where = self._seen[row], self._columns[row]
        weight = sign * n / (n + self._doubt)
        self._products[where[:, None], where] += weight
        self._sums[where] += weight * mean
        self._total += weight, weight * mean

    def worth(self, posterior: Posterior) -> Worth:
        """What is known now; variances as if each choice's other effects were known."""
        from scipy.linalg.lapack import dposv  # here, so that importing mipro stays cheap

        mean = float(self._total[1] / self._total[0])
        count, v = self._products.diagonal(), TOGETHER * posterior.spread
        A = self._products.copy()
        A[np.diag_indices(len(A))] += self.pull
        # A.T is A, laid out as LAPACK wants it
        effect = dposv(A.T, self._sums - mean * count, lower=True, overwrite_a=True)[1]
        alone = self.space.widths[self.space.column_of_choice] == 1  # nothing to choose
        effect[alone] = 0.0
        return Worth(effect, np.where(alone, 0.0, v / (count + self.pull)), mean, v)
