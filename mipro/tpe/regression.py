"""What each choice is worth alone: a regression of the scores on all choices at once.

To count how often a choice was among the good ones credits it with the company it kept, and of
ten variables most of such a count is the others' doing. A regression takes their part out. There
are more choices than trials, so the effects have a prior, its width learned for each variable:
where one does not matter, its effects are near 0.

    y_u = c + a + Σ_d b_d(x_ud) + e_u + noise
    a ~ N(0, A), b_d(v) ~ N(0, w_d), e_u ~ N(0, v), noise ~ N(0, σ²/n_u)

| symbol | meaning                                                              | shape      |
| ------ | -------------------------------------------------------------------- | ---------- |
| y, n   | pooled mean scores of U configurations, and the examples behind them | (U,)       |
| c, a   | their mean; and how far the mean over the space is from it           |            |
| b, w   | effects of the choices, and their prior variances                    | (C,), (D,) |
| e, v   | what choices do together beyond their sum, and its variance          | (U,)       |
| h      | one-hot codes and a 1 for a; H all of them                           | (U, C+1)   |
| r      | variance of y given the effects, v + σ²/n                            | (U,)       |
| m, P   | posterior mean and covariance of (b, a)                              | (C+1, C+1) |

Best linear unbiased prediction (Henderson 1975; Robinson 1991). w and v are learned by one step of
EM (Dempster, Laird, Rubin 1977) from what the spread of the scores suggests.
That is done whenever there are a quarter more configurations, until there are `MOST`. In between
each score changes P by a matrix of rank one (Sherman, Morrison 1950), kept as a vector until there
are `KEPT` of them: what a score costs does not grow with the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log, sqrt
from typing import final

import numpy as np

from mipro.tpe.history import History
from mipro.tpe.parzen import Floats
from mipro.tpe.space import INACTIVE, Codes, Key, Space
from mipro.tpe.split import Tally, example_variance

MOST = 300  # configurations with which w and v are known well enough
KEPT = 32  # changes of P that are kept apart
SLOPE = 1.7  # Φ(x) is about 1/(1 + exp(-1.7 x))
GUESSED = 2.0  # effects, and configurations, as whose weight the first guess of w_d and v counts
_NONE = np.zeros(0)


@final
@dataclass(frozen=True)
class Odds:
    """Log-odds of being good, ``base`` + Σ_d ``gain``[x_d]; ``variance`` of each gain. (C,)."""

    gain: Floats
    variance: Floats
    base: float

    @classmethod
    def silent(cls, space: Space, share: float) -> Odds:
        """Whatever the choices, a ``share`` is good, for sure."""
        nothing = np.zeros(len(space.column_of_choice))
        return cls(nothing, nothing, log(share / (1 - share)))


@final
class Regression:
    """The effects behind the scores of a `History`: a function of it, kept up to date."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._starts = space.offsets.tolist()
        self._tally = Tally(len(space.sizes))
        self._columns: list[Codes] = []  # of each configuration, where h is 1
        self._told = 0
        self._next = inf  # configurations with which to learn w and v again
        self._centre = self._rest = self._noise = self._least = 0.0  # c, v, σ²; least of σ²/n
        self._mean = self._variance = np.zeros(0)  # m and the diagonal of P, (C+1,)
        # P is base - Σ_k less_k step_k step_kᵀ: (C+1, C+1), (KEPT,), (KEPT, C+1)
        self._base, self._less, self._steps, self._kept = _NONE, _NONE, _NONE, 0

    @property
    def is_silent(self) -> bool:
        """Whether there are no two scores yet that differ."""
        return not len(self._mean)

    def follow(self, history: History) -> None:
        """Take in what was told since the last time."""
        for i in range(self._told, len(history.keys)):
            self._tell(history.keys[i], history.others[i], history.scores[i], history.ns[i])
        self._told = len(history.keys)

    def odds(self, level: float, spread: float, share: float) -> Odds:
        """Of a true score above ``level`` y*, where the scores' variance is ``spread``.

        P(θ > y*) rises with the mean no steeper than that allows. A ``share`` while silent.
        """
        if self.is_silent:
            return Odds.silent(self.space, share)
        slope = SLOPE / sqrt(self._rest + spread)
        variance = np.maximum(self._variance[:-1], 0.0)  # rounding
        base = slope * (self._centre + float(self._mean[-1]) - level)
        return Odds(slope * self._mean[:-1], slope**2 * variance, base)

    def _tell(self, key: Key, other: Key, score: float, n: int) -> None:
        row = self._tally.rows.get(key, len(self._columns))
        is_new = row == len(self._columns)
        before = (0.0, 0.0) if is_new else self._tally.mean(row)
        self._tally.add(key, score, n)
        columns = self._where(key, other)
        spoken = columns if is_new else self._columns[row]
        if is_new:
            self._columns.append(columns)
        else:
            self._columns[row] = columns
        if self.is_silent or (is_new and len(self._columns) >= self._next):
            self._learn()
            return
        if len(columns) > len(spoken):  # from now on it speaks for more choices
            self._change(spoken, before, (0.0, 0.0))
            before = (0.0, 0.0)
        self._change(columns, before, self._tally.mean(row))

    def _where(self, key: Key, other: Key) -> Codes:
        """Columns of the choices for which an observation speaks, and of a."""
        spoken = {
            start + code
            for codes in {key, other}
            for start, code in zip(self._starts, codes, strict=True)
            if code != INACTIVE
        }
        return np.array([*sorted(spoken), len(self.space.column_of_choice)])

    def _change(self, columns: Codes, old: tuple[float, float], new: tuple[float, float]) -> None:
        """A configuration's (mean, n) in place of its old one; n = 0: none."""
        before, after = (
            1 / (self._rest + max(self._noise / n, self._least)) if n else 0.0
            for _, n in (old, new)
        )
        more = after - before
        gain = after * (new[0] - self._centre) - before * (old[0] - self._centre)
        along = self._along(columns)  # P h
        known = float(along[columns].sum())  # hᵀ P h
        less = more / (1 + more * known)
        self._mean += (gain - less * (float(self._mean[columns].sum()) + known * gain)) * along
        self._variance -= less * along * along
        self._less[self._kept], self._steps[self._kept] = less, along
        self._kept += 1
        if self._kept == KEPT:
            self._base -= (self._less[:, None] * self._steps).T @ self._steps
            self._kept = 0

    def _along(self, columns: Codes) -> Floats:
        """P h. (C+1,)."""
        steps = self._steps[: self._kept]
        part = self._less[: self._kept] * steps[:, columns].sum(axis=1)
        return np.asarray(self._base[columns].sum(axis=0) - part @ steps)

    def _learn(self) -> None:
        """c, σ², w and v from the last `MOST` configurations, then m and P from all."""
        pool, count = self._tally.pool(), len(self._columns)
        first = max(0, count - MOST)
        score = pool.mean[first:]
        spread = float(score.var())
        if spread <= (1e-12 * float(np.abs(score).max())) ** 2:  # equal, but for rounding
            return
        self._next = count + max(1, count // 4) if count < MOST else inf
        self._noise, self._least = example_variance(pool), 1e-8 * spread
        noise = np.maximum(self._noise / pool.n[first:], self._least)
        self._centre = float((score / (noise + spread)).sum() / (1 / (noise + spread)).sum())
        hot = np.zeros((len(score), len(self.space.column_of_choice) + 1))
        for row, columns in zip(hot, self._columns[first:], strict=True):
            row[columns] = 1.0
        true = max(spread - float(noise.mean()), spread / 4)
        self._fit(hot, score - self._centre, noise, true)
        for earlier in range(first):
            self._change(self._columns[earlier], (0.0, 0.0), self._tally.mean(earlier))

    def _fit(self, hot: Floats, apart: Floats, noise: Floats, true: float) -> None:
        """v, m and P from H, y - c (U,), σ²/n (U,) and a guess of the variance of true scores."""
        space, count = self.space, len(apart)
        sizes, slot = space.widths, space.column_of_choice
        matter = sizes > 1  # half of it is theirs
        w = np.where(matter, true / 2 / max(int(matter.sum()), 1), 0.0)
        v, wide = true / 2, 4 * true
        prior = np.append(w[slot], wide)
        pull, inverse = _pull(hot, apart, prior, v + noise)
        mean = prior * (pull @ hot)
        variance = prior - prior**2 * ((inverse @ hot) * hot).sum(axis=0)
        # EM: the expected squares of the effects and of e
        square = np.add.reduceat((mean**2 + variance)[:-1], space.offsets)
        rest = (v * pull) ** 2 + v - v**2 * inverse.diagonal()
        w = (square + GUESSED * w) / (sizes + GUESSED)
        self._rest = v = float(rest.sum() + GUESSED * v) / (count + GUESSED)
        prior = np.append(w[slot], wide)
        pull, inverse = _pull(hot, apart, prior, v + noise)
        carried = prior[:, None] * hot.T  # (C+1, U)
        self._mean = carried @ pull
        self._base = np.diag(prior) - carried @ inverse @ carried.T
        self._variance = self._base.diagonal().copy()
        self._less, self._steps, self._kept = np.zeros(KEPT), np.zeros((KEPT, len(prior))), 0


def _pull(hot: Floats, apart: Floats, prior: Floats, r: Floats) -> tuple[Floats, Floats]:
    """K⁻¹ (y - c) and K⁻¹, with K = H diag(prior) Hᵀ + diag(r). (U,) and (U, U)."""
    inverse = np.asarray(np.linalg.inv((hot * prior) @ hot.T + np.diag(r)), dtype=float)
    return inverse @ apart, inverse
