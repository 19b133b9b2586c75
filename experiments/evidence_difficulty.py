"""Examples differ in difficulty: taking that out of a candidate's score.

A minibatch of easy examples flatters whoever is scored on it. With y_ce the score of candidate c
on example e, and ȳ_c the mean of c's own scores,

    y_ce = θ_c + b_e + noise,    b_e ~ N(0, σ_b²),    noise ~ N(0, σ²)

b_e is estimated from all *other* candidates and shrunk (BLUP: Henderson 1975; Robinson 1991):

    b_e^(c) = Σ_{k≠c} (y_ke − ȳ_k) / (n_e + κ),    κ = σ²/σ_b²,    n_e: others that saw e

Centred over the validation set it is a control variate of known mean, zero (Owen, *Monte Carlo
theory, methods and examples*, ch. 8.9). For a minibatch drawn evenly, of examples the candidate was
never seen on, ȳ_c − mean_e b_e^(c) is unbiased for the mean on the validation set whatever b is:
that holds given κ and the others' scores. On all of the validation set nothing is corrected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mipro.tpe.space import Key

Floats = NDArray[np.float64]


class Cells:
    """Each candidate's score on each example it was seen on; the last, where seen twice."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.rows: dict[Key, int] = {}
        self._scores: list[Floats] = []

    def add(self, key: Key, examples: Sequence[int], scores: Sequence[float]) -> None:
        """Scores of one candidate on `examples`, indices into the validation set."""
        row = self.rows.setdefault(key, len(self.rows))
        if row == len(self._scores):
            self._scores.append(np.full(self.examples, np.nan))
        self._scores[row][list(examples)] = scores

    def unseen(self, key: Key) -> list[int]:
        """The examples a candidate was not seen on, in order."""
        if key not in self.rows:
            return list(range(self.examples))
        return [int(i) for i in np.flatnonzero(np.isnan(self._scores[self.rows[key]]))]

    def table(self) -> Floats:
        """All scores, a row a candidate in the order of `rows`; nan where unseen. (C, E)."""
        return np.array(self._scores).reshape(-1, self.examples)


@dataclass(frozen=True)
class Components:
    """σ² and σ_b²."""

    noise: float
    difficulty: float

    @property
    def strength(self) -> float:
        """κ; infinite where all examples are alike, and then nothing is corrected."""
        return self.noise / self.difficulty if self.difficulty > 0 else float("inf")


def components(table: Floats) -> Components:
    """By moments: two candidates' residuals on one example have σ_b² in common.

    Residuals are from each candidate's own mean. Where no two saw the same example, or none was
    seen on two examples, σ_b² is 0.
    """
    seen = ~np.isnan(table)
    n = seen.sum(axis=1)  # (C,)
    residual = _residuals(table)
    total = float((residual**2).sum()) / max(1, int((n - 1)[n > 1].sum()))
    count = seen.sum(axis=0)  # (E,)
    pairs = float((count * (count - 1)).sum())
    if pairs == 0 or total == 0:
        return Components(total, 0.0)
    common = float((residual.sum(axis=0) ** 2 - (residual**2).sum(axis=0)).sum()) / pairs
    shared = min(max(common, 0.0), 0.95 * total)
    return Components(total - shared, shared)


def adjusted(table: Floats, parts: Components | None = None) -> tuple[Floats, Floats]:
    """Corrected means, and how many plain examples each is worth; 2 × (C,).

    The variance left per example is σ² + σ²/(n_e + κ), the second part the uncertainty of b_e; a
    plain example's is σ² + σ_b².
    """
    parts = parts or components(table)
    seen = ~np.isnan(table)
    n = seen.sum(axis=1).astype(float)
    plain = np.where(seen, table, 0.0).sum(axis=1) / n
    strength = parts.strength
    if not np.isfinite(strength) or parts.noise == 0:
        return plain, n
    residual = _residuals(table)
    others = seen.sum(axis=0) - seen  # (C, E)
    effect = (residual.sum(axis=0) - residual) / (others + strength)  # (C, E)
    effect -= effect.mean(axis=1, keepdims=True)
    correction = np.where(seen, effect, 0.0).sum(axis=1) / n
    left = np.where(seen, parts.noise * (1 + 1 / (others + strength)), 0.0).sum(axis=1) / n
    return plain - correction, n * np.maximum(1.0, (parts.noise + parts.difficulty) / left)


def _residuals(table: Floats) -> Floats:
    """y_ce − ȳ_c, 0 where unseen. (C, E)."""
    seen = ~np.isnan(table)
    mean = np.where(seen, table, 0.0).sum(axis=1) / seen.sum(axis=1)
    return np.where(seen, table - mean[:, None], 0.0)
