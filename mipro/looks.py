"""A paired test of "better", at one look or several: the error control of `mipro.improvement`.

Original and candidate are run on the same examples, none used in the search; the gain of pair i is
g_i = after − before. The null hypothesis is that the candidate is not better; the test is
one-sided, for only "better" is ever claimed: of a candidate that is no better it is said at most at
the rate α. Given the sizes |g_i|, the signs of the gains are fair coins at the edge of the null, so
the law of their sum is known exactly. With scores of 0 and 1 one look is McNemar's exact test,
which holds for every candidate that is worse as well; with others the gains of one that is no
better are taken to be symmetric about 0, or below such.

The test set may be looked at in K portions, and the test ended early. A notation table:

    symbol  meaning                                                               shape
    g       gains of the pairs so far                                             (n,)
    S       their sum; a path is the sequence of sums at the looks, under fair signs
    a_k     α (n_k / N)²: what may be spent by look k, n_k of N pairs having been seen
    spent   P(a path was called better at an earlier look)
    p_k     spent + P(not called better before, S at least what was observed)

"Better" is said at the first look with p_k ≤ a_k; a_K = α. p_k is the p-value of the stagewise
ordering, adjusted for all looks taken; with one look it is the plain one. All of it is exact given
|g|, hence also without: K. K. G. Lan and D. L. DeMets, "Discrete sequential boundaries for clinical
trials", Biometrika 70 (1983); the power family of spending: K. Kim and D. L. DeMets, Biometrika 74
(1987); the ordering: C. Jennison and B. W. Turnbull, "Group Sequential Methods" (2000), 8.4. To
condition on |g| where they take a normal law is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from mipro.errors import ConfigError

Floats = NDArray[np.float64]

LARGEST = 5_000  # sums that the exact law of S may have; with more, signs are drawn
DRAWS = 9_999
EXPONENT = 2.0  # of the spending function: few false alarms are spent on early looks
SAME = 1e-9  # sums nearer than this, in units of the largest gain, are equal


def allowed(level: float, share: float) -> float:
    """a_k: the false-alarm rate that may be spent when a `share` of the pairs has been seen."""
    return level * math.pow(share, EXPONENT)


@dataclass(frozen=True, slots=True)
class Look:
    """One look: `n` pairs so far; `better` is p_value ≤ allowed, the level spent by then."""

    number: int
    n: int
    p_value: float
    allowed: float
    better: bool


class PairedLooks:
    """The test, a portion of the pairs at a time. `sizes`, shape (K,), are fixed beforehand.

    Raises `ConfigError` for sizes below 1 and a level outside (0, 1).
    """

    def __init__(self, sizes: Sequence[int], level: float = 0.05) -> None:
        if not sizes or min(sizes) < 1:
            raise ConfigError(f"sizes={list(sizes)}: at least one pair a look is wanted")
        if not 0 < level < 1:
            raise ConfigError(f"level={level}: a share between 0 and 1 is wanted")
        self.sizes, self.level = tuple(sizes), level
        self._gains: list[Floats] = []  # one array a look
        self._cuts: list[float] = []  # S from here on is called better, one a look
        self._spent = 0.0
        self._law: tuple[Floats, Floats] | None = (np.zeros(1), np.ones(1))  # None: too large
        self.over = False

    def look(self, gains: Sequence[float] | Floats) -> Look:
        """Take the next portion, shape (sizes[k],), and say whether the candidate is shown better.

        Raises `ConfigError` for another number of gains, and after the test is over.
        """
        new, number = np.asarray(gains, dtype=float), len(self._gains)
        if self.over or new.shape != self.sizes[number : number + 1]:
            due = "none" if self.over else f"{self.sizes[number]}"
            raise ConfigError(f"{new.size} gains at look {number + 1}: {due} are wanted")
        if not np.isfinite(new).all():
            raise ConfigError("gains are finite numbers")
        self._gains.append(new)
        seen = sum(self.sizes[: number + 1])
        most = allowed(self.level, seen / sum(self.sizes))
        sums, masses = self._paths(new)
        # P(not called better before, S at least this), shape of `sums`
        whole = 1 if self._law is not None else DRAWS + 1
        tails: Floats = np.cumsum(masses[::-1])[::-1] / whole
        # the observed path is one of them, so there is such a sum
        near = np.searchsorted(sums, _total(self._gains) - self._close)
        observed = min(int(near), sums.size - 1)
        p_value = min(1.0, self._spent + float(tails[observed]))
        better = self._spent + tails <= most  # from some sum on
        first = sums.size - int(better.sum())
        self._cuts.append(float(sums[first]) if first < sums.size else math.inf)
        self._spent += float(tails[first]) if first < sums.size else 0.0
        if self._law is not None:
            self._law = sums[:first], masses[:first]
        found = Look(number + 1, seen, p_value, most, observed >= first)
        self.over = found.better or number + 1 == len(self.sizes)
        return found

    def hopeless(self, most: float) -> bool:
        """Is it certain that "better" cannot be said any more, no gain being above `most`?

        A pair won by `most` lowers the plain p-value of one look more than any other outcome, and
        p_k is never below that one. So it is enough to see that the plain one stays above the level
        though all pairs to come were won. Never said where the law of S is too large to follow, or
        `most` is infinite.
        """
        if math.isinf(most):
            return False
        left = sum(self.sizes) - sum(gains.size for gains in self._gains)
        every = np.concatenate([*self._gains, np.full(left, float(most))])
        law = _convolved((np.zeros(1), np.ones(1)), every, SAME * _largest([every]))
        if law is None:
            return False
        sums, masses = law
        return float(masses[sums >= every.sum() - SAME * _largest([every])].sum()) > self.level

    @property
    def _close(self) -> float:
        return SAME * _largest(self._gains)

    def _paths(self, new: Floats) -> tuple[Floats, Floats]:
        """Sums, ascending, of the paths not called better before, and their masses.

        Masses are probabilities, or, where paths are drawn, so many of `DRAWS` + 1.
        """
        if self._law is not None:
            self._law = _convolved(self._law, new, self._close)
        return self._drawn() if self._law is None else self._law

    def _drawn(self) -> tuple[Floats, Floats]:
        """As `_paths`, of `DRAWS` paths and the observed one, which under the null is one of them.

        The test stays exact: by symmetry the observed path is as likely to be any of them (Hemerik
        and Goeman, "Exact testing with random permutations", TEST 27 (2018)). The seed is fixed,
        and the draws of earlier looks are the same at each.
        """
        rng = np.random.default_rng(0)
        sums, alive = np.zeros(DRAWS + 1), np.ones(DRAWS + 1, dtype=bool)
        for gains, cut in zip_longest(self._gains, self._cuts):
            sums[0] += gains.sum()
            for start in range(0, gains.size, 100):
                part = gains[start : start + 100]
                signs = 2 * rng.integers(0, 2, size=(DRAWS, part.size), dtype=np.int8) - 1
                sums[1:] += signs @ part
            if cut is not None:
                alive &= sums < cut - self._close
        return _merged(sums[alive], np.ones(int(alive.sum())), self._close)


def _total(gains: Sequence[Floats]) -> float:
    return float(sum(part.sum() for part in gains))


def _largest(gains: Sequence[Floats]) -> float:
    return max((float(np.abs(part).max(initial=0.0)) for part in gains), default=0.0)


def _convolved(
    law: tuple[Floats, Floats], gains: Floats, close: float
) -> tuple[Floats, Floats] | None:
    """The law of a sum once `gains` have been added with fair signs; None if it is too large."""
    for size, times in zip(*np.unique(np.abs(gains), return_counts=True), strict=True):
        if size <= close:
            continue
        sums, masses = law
        steps = size * np.arange(-times, times + 1, 2)  # (times + 1,)
        law = _merged(
            np.add.outer(sums, steps).ravel(),
            np.multiply.outer(masses, _coins(int(times))).ravel(),
            close,
        )
        if law[0].size > LARGEST:
            return None
    return law


@lru_cache(maxsize=256)
def _coins(n: int) -> Floats:
    """P(j heads of n fair coins), shape (n + 1,)."""
    return np.array([math.comb(n, j) / 2**n for j in range(n + 1)])


def _merged(sums: Floats, masses: Floats, close: float) -> tuple[Floats, Floats]:
    """Ascending sums, those nearer than `close` made one."""
    if not sums.size:
        return sums, masses
    order = np.argsort(sums, kind="stable")
    ranked = sums[order]
    starts = np.flatnonzero(np.diff(ranked, prepend=-np.inf) > close)
    return ranked[starts], np.add.reduceat(masses[order], starts)
