"""What a further instruction can be expected to bring, by what came of those before it.

The scores told are taken apart into what each choice of each slot adds, so that an instruction is
not praised for the demonstrations it was tried with:

    y_u = μ + Σ_s a_{s,x_us} + r_u + ε_u

| symbol | meaning                                                                      | shape  |
| ------ | ---------------------------------------------------------------------------- | ------ |
| U      | distinct configurations told                                                 |        |
| y_u    | pooled mean score, in units of the spread of all                             | (U,)   |
| x_us   | the choice of slot s                                                         | (U, S) |
| a_sc   | what choice c of slot s adds; ~ N(0, τ_s²), c ≥ 1                            | (C,)   |
| r_u    | what the choices do together; ~ N(0, ρ²)                                     | (U,)   |
| ε_u    | luck; ~ N(0, σ²/n_u), σ² that of one example (`split.example_variance`)      | (U,)   |
| W      | which of μ, a_sc is in which y_u: 0 or 1                                     | (U, C) |

μ, and a_s0 of what the program came with, are draws of nothing: N(0, `WIDE`²). It is the linear
mixed model of animal breeding (Robinson 1991, "That BLUP is a good thing"), where sires are
judged by daughters in many herds: a is had from (Wᵀ R⁻¹ W + D⁻¹) a = Wᵀ R⁻¹ y, with R and D the
variances of r + ε and of a. The spreads τ_s and ρ are each one of `SPREADS`, all equally likely
before anything is seen; of the others' the geometric mean over what is believed is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.split import Pool, example_variance

SPREADS = 2.0 ** np.arange(-4, 2)  # from next to nothing to twice all that is seen
WIDE = 3.0  # in the same units: what the program came with may lie far from what was proposed
SWEEPS = 2  # through the spreads, each given the others
OPTIMISM = 1.0  # as in the sampler's bound: what is not known yet may be good
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


class _Effects(NamedTuple):
    """a given the spreads, and how likely the scores are with these."""

    mean: Floats  # (C,)
    half: Floats  # (C, C), lower triangle; half halfᵀ is the inverse of a's covariance
    log_likelihood: float


class _Told(NamedTuple):
    """What of y does not change with D."""

    products: Floats  # (C, C), Wᵀ R⁻¹ W
    sums: Floats  # (C,), Wᵀ R⁻¹ y
    log_density: float  # of y ~ N(0, R), but for a constant


@final
class Paying:
    """The model above, of a run's scores; `batch` examples are behind those of one trial.

    `pool` has a column a slot, `sizes` how many choices each has: 0 is what the program came with.
    """

    def __init__(self, pool: Pool, sizes: Sequence[int], batch: int) -> None:
        luck = example_variance(pool)
        unit = max(float(pool.mean.std()), (luck / batch) ** 0.5) or 1.0
        luck = max(luck / unit**2, 1e-6)  # keeps the systems below solvable
        self.y = (pool.mean - pool.mean.mean()) / unit
        self.noise, self.trial_noise = luck / pool.n, luck / batch
        self.starts = 1 + np.concatenate([[0], np.cumsum(sizes)])
        self.W = np.zeros((len(self.y), int(self.starts[-1])))
        self.W[:, 0] = 1
        self.W[np.arange(len(self.y))[:, None], self.starts[:-1] + pool.codes] = 1
        self.kind = np.full(self.W.shape[1], -1)  # column → its slot; -1: a draw of nothing
        for s, start in enumerate(self.starts[:-1]):
            self.kind[start + 1 : self.starts[s + 1]] = s
        self.kept: dict[float, _Told] = {}
        self.spreads = np.ones(len(sizes) + 1)  # τ_s, and ρ last
        together = sum(size > 1 for size in sizes) > 1
        if not together:  # the choices of one slot do nothing together
            self.spreads[-1] = 0
        for s in [*range(len(sizes) + together)] * SWEEPS:
            self.spreads[s] = np.exp(self._believed(s)[0] @ np.log(SPREADS))

    def chance(self, slot: int, further: int) -> float:
        """How likely it is that `further` more choices of a slot hold one that pays and shows it.

        An upper bound, mean + `OPTIMISM` sd over what is believed of τ, at most 1, of

            P(max of `further` draws of N(0, τ²) > a_best) · τ²/(τ² + ρ² + σ²/batch)

        with a_best of the choice that is best in the mean. Of the K there are and `further` of one
        kind, the best is among the further with probability `further`/(`further` + K): so the
        first factor falls as the best gets hard to beat. The second is the share of what a new
        choice's first trial shows that is the choice's own: where it is next to nothing, one is as
        good as another, and what leads leads by luck.
        """
        belief, effects = self._believed(slot)
        better = [
            self._better(found, slot, float(tau), further)
            for tau, found in zip(SPREADS, effects, strict=True)
        ]
        own = SPREADS**2 / (SPREADS**2 + self.spreads[-1] ** 2 + self.trial_noise)
        both = np.array(better) * own
        mean = float(belief @ both)
        sd = float(np.sqrt(belief @ (both - mean) ** 2))
        return min(mean + OPTIMISM * sd, 1.0)

    def _better(self, effects: _Effects, slot: int, tau: float, further: int) -> float:
        """P(max of `further` draws of N(0, τ²) > a_best): a_best ~ N by Gauss and Hermite."""
        from scipy.linalg import solve_triangular
        from scipy.special import ndtr

        start, end = self.starts[slot : slot + 2]
        best = start + int(np.argmax(effects.mean[start:end]))
        unit = np.zeros(len(effects.mean))
        unit[best] = 1
        part = solve_triangular(effects.half, unit, lower=True)
        height = effects.mean[best] + (part @ part) ** 0.5 * NODES
        return float(1 - WEIGHTS @ ndtr(height / tau) ** further / WEIGHTS.sum())

    def _believed(self, s: int) -> tuple[Floats, list[_Effects]]:
        """How likely each of `SPREADS` is for one of the spreads, given the others; and a."""
        found = []
        for spread in SPREADS:
            spreads = self.spreads.copy()
            spreads[s] = spread
            found.append(self._effects(spreads))
        log_p = np.array([effects.log_likelihood for effects in found])
        p = np.exp(log_p - log_p.max())
        return p / p.sum(), found

    def _effects(self, spreads: Floats) -> _Effects:
        """a, and the likelihood of y with a and r integrated out."""
        from scipy.linalg import solve_triangular

        told = self._told_by(float(spreads[-1]))
        D = np.where(self.kind < 0, WIDE**2, spreads[self.kind] ** 2)
        half = np.asarray(np.linalg.cholesky(told.products + np.diag(1 / D)), dtype=float)
        part = solve_triangular(half, told.sums, lower=True)
        logs = np.log(D).sum() + 2 * np.log(np.diag(half)).sum()
        mean = solve_triangular(half, part, lower=True, trans=1)
        return _Effects(mean, half, told.log_density + 0.5 * float(part @ part - logs))

    def _told_by(self, rho: float) -> _Told:
        """What y tells, given ρ; kept, for most of what is tried leaves ρ as it is."""
        if rho not in self.kept:
            R = self.noise + rho**2
            weighted = self.W.T / R
            density = -0.5 * float(self.y @ (self.y / R) + np.log(R).sum())
            self.kept[rho] = _Told(weighted @ self.W, weighted @ self.y, density)
        return self.kept[rho]
