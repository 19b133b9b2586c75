"""How much each variable, each pair and each choice mattered: functional ANOVA from few trials.

`components` says what is to be found; trials are few, noisy and crowded around good values, so it
is inferred with a model (here) and not read off (fANOVA reads it off a forest). The model is a
Gaussian process whose kernel is a sum, one term a component, each with a scale of its own:

    y_u = μ + Σ_j σ_j g_j(x_u) + ε_u,    g_j ~ GP(0, k_j),    ε_u ~ N(0, σ²/n_u)

so that a component's variance over the whole space, V_j = σ_j² |w_j|²/m_j, has a posterior, and
the noise of minibatches is in no share. Unseen choices, and pairs hardly seen, widen intervals.

| symbol | meaning                                                                     | shape  |
| ------ | --------------------------------------------------------------------------- | ------ |
| U      | distinct configurations; y, n: mean scores (in units of their sd), examples | (U,)   |
| J      | components: main effects, pairs, and one `rest` of all higher orders        |        |
| k_j    | kernel of component j, E_p[k_j(x, x)] = 1                                   | (J, U, U) |
| m_j    | its degrees of freedom                                                      | (J,)   |
| G      | values g_j(x_u); a priori N(0, k_j)                                         | (U, J) |
| w_j    | coefficients of g_j in m_j orthonormal functions: E_p[g_j²] = |w_j|²/m_j    | (m_j,) |
| σ_j    | scale of component j (its sign has no meaning)                              | (J,)   |
| λ_j    | width of the prior of σ_j, one of `WIDTHS`                                  | (J,)   |
| π      | how common each width is among main effects, pairs, rest                    | (3, 5) |

σ_j ~ N(0, λ_j²), λ_j ~ π of its order, π ~ Dirichlet(1, ..., 1): a mixture from "nothing" to "as
much as all that is seen" (BayesR: Erbe et al. 2012), learned, so that forty pairs that do nothing
do not add up to something. All of it is sampled by Gibbs in the non-centred form
(Papaspiliopoulos, Roberts, Sköld 2007): G given σ, σ given G, λ given σ, π given λ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from mipro.tpe.components import Component, Effect, Importance, components, density, nothing_known
from mipro.tpe.history import Observation
from mipro.tpe.parzen import Floats
from mipro.tpe.space import INACTIVE, Codes, Space
from mipro.tpe.split import Pool, are_counts, example_variance

WIDTHS = np.array([0.01, 0.03, 0.1, 0.3, 1.0])
MEAN_WIDTH = 3.0  # prior sd of μ: trials may all lie well above the space's mean
GUESS = 3.0  # a guessed σ² counts as so many configurations
WARM_UP, DRAWS = 100, 300
LEVELS = (0.025, 0.975)


def importance(space: Space, observations: Sequence[Observation]) -> Importance:
    """Shares of the variance of true scores, and effects of choices, with 95% intervals.

    The value is the posterior mean, the interval the central 95% of the posterior (each by
    itself). It holds the truth about as often as it says where trials are spread out; where a
    search has crowded them, somewhat less often: what was hardly tried is extrapolated. The draws
    have a fixed seed: the same trials, the same answer. Fewer than 3 configurations, or scores all
    equal and without noise: nothing is known (see `Importance`).
    """
    if not observations:
        return nothing_known(space)
    pool = Pool.of(
        [space.key(o.config) for o in observations],
        [o.score for o in observations],
        [o.n for o in observations],
    )
    noise = example_variance(pool) / pool.n
    unit = float(np.sqrt(max(pool.mean.var(), noise.mean())))
    found = components(space)
    if len(pool.n) < 3 or unit <= 1e-12 * float(np.abs(pool.mean).max()) or not found:
        return nothing_known(space)
    model = _Model.of(space, pool, found)
    y = (pool.mean - pool.mean.mean()) / unit
    counted = are_counts(pool)  # σ² is Bernoulli's
    draws = _posterior(model, y, noise / unit**2, counted, np.random.default_rng(0))
    return _summary(space, pool.codes, found, draws, unit)


@final
@dataclass(frozen=True)
class _Model:
    """The kernels at the observed configurations."""

    kernels: Floats  # (J, U, U)
    freedom: Floats  # (J,)
    order: Codes  # (J,) 0 main effect, 1 pair, 2 rest

    @classmethod
    def of(cls, space: Space, pool: Pool, found: Sequence[Component]) -> _Model:
        """All components' kernels, and that of the rest: 1[x = x']/p(x) - 1 - Σ_j m_j k_j.

        That is the projection onto all functions but the constant and the components.
        """
        kernels = np.stack([component.kernel(pool.codes) for component in found])
        freedom = np.array([float(component.freedom) for component in found])
        order = np.array([len(component.columns) - 1 for component in found])
        beyond = float(space.size() - 1 - sum(component.freedom for component in found))
        if beyond > 0:
            rest = np.diag(1 / density(space, pool.codes)) - 1
            rest = (rest - np.tensordot(freedom, kernels, 1)) / beyond
            kernels = np.concatenate([kernels, rest[None]])
            freedom, order = np.append(freedom, beyond), np.append(order, 2)
        return cls(kernels, freedom, order)

    def prior(self, rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
        """Draws of G, (count, U, J), and of |w_j|², (count, J)."""
        J, U, _ = self.kernels.shape
        values, squares = np.empty((count, U, J)), np.empty((count, J))
        for j, kernel in enumerate(self.kernels):
            scale, vectors = np.linalg.eigh(kernel)
            kept = scale > 1e-10 * max(float(scale[-1]), 1e-10)
            z = rng.normal(size=(count, int(kept.sum())))  # w_j within what the trials see of it
            values[:, :, j] = z @ (vectors[:, kept] * np.sqrt(scale[kept])).T
            unseen = max(self.freedom[j] - z.shape[1], 0.0)
            squares[:, j] = (z**2).sum(axis=1) + 2 * rng.standard_gamma(unseen / 2, size=count)
        return values, squares


@final
@dataclass(frozen=True)
class _Draws:
    """What is kept of each draw from the posterior, in units of the scores' sd."""

    variances: Floats  # (DRAWS, J), V_j
    mains: Floats  # (DRAWS, U, main effects), σ_j g_j(x_u)
    scales: Floats  # (DRAWS, J), σ_j


def _posterior(
    model: _Model, y: Floats, told: Floats, known: bool, rng: np.random.Generator
) -> _Draws:
    """Gibbs: see the head of this file. ``y`` and ``told``, its noise variances, are (U,)."""
    J, U, _ = model.kernels.shape
    told = np.asarray(np.maximum(told, 1e-6))  # keeps the systems below solvable
    noise: Floats = told
    flat, main = model.kernels.reshape(J, -1), model.order == 0
    values, squares = model.prior(rng, WARM_UP + DRAWS)
    sigma: Floats = 0.3 / np.sqrt(np.bincount(model.order)[model.order])
    widths, common = np.full(J, 0.3), np.full((3, len(WIDTHS)), 1 / len(WIDTHS))
    kept = []
    for draw in range(-WARM_UP, DRAWS):
        # G given σ by Matheron's rule: a prior draw, corrected by how far its data are off
        G = values[draw]
        mean = MEAN_WIDTH * rng.normal()
        off = y - mean - G @ sigma - np.sqrt(noise) * rng.normal(size=U)
        covariance = (sigma**2 @ flat).reshape(U, U) + MEAN_WIDTH**2 + np.diag(noise)
        a = np.linalg.solve(covariance, off)  # (U,)
        step = sigma * (flat.reshape(-1, U) @ a).reshape(J, U).T  # (U, J)
        mean += MEAN_WIDTH**2 * a.sum()
        square = squares[draw] + sigma * (a @ (2 * G + step))
        G = G + step
        # σ given G: a linear regression of y on G
        weighted = G / noise[:, None]
        half = np.linalg.cholesky(G.T @ weighted + np.diag(widths**-2.0))
        sigma = np.linalg.solve(half, weighted.T @ (y - mean)) + rng.normal(size=J)
        sigma = np.asarray(np.linalg.solve(half.T, sigma))  # N(H⁻¹b, H⁻¹), H = half halfᵀ
        widths, common = _mixture(model.order, sigma, common, rng)
        if not known:  # σ² given the rest: scaled inverse χ², `example_variance` its guess
            error = float(((y - mean - G @ sigma) ** 2 / told).sum())
            noise = told * max((GUESS + error) / rng.chisquare(GUESS + U), 1e-6 / told.min())
        if draw >= 0:
            kept.append((sigma**2 * square / model.freedom, (G * sigma)[:, main], sigma))
    return _Draws(*(np.array(part) for part in zip(*kept, strict=True)))


def _mixture(
    order: Codes, sigma: Floats, common: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """λ given σ and π, (J,); then π given λ, (3, 5)."""
    log_p = np.log(common)[order] - np.log(WIDTHS) - 0.5 * (sigma[:, None] / WIDTHS) ** 2
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True)).cumsum(axis=1)
    which = (rng.random((len(sigma), 1)) * p[:, -1:] > p[:, :-1]).sum(axis=1)
    counts = np.zeros_like(common)
    np.add.at(counts, (order, which), 1)
    gamma = rng.standard_gamma(1 + counts) + 1e-300
    return WIDTHS[which], gamma / gamma.sum(axis=1, keepdims=True)  # Dirichlet(1 + counts)


def _summary(
    space: Space, codes: Codes, found: Sequence[Component], draws: _Draws, unit: float
) -> Importance:
    """Means and quantiles of the draws; effects of choices in the scores' own unit."""
    shares = draws.variances / draws.variances.sum(axis=1, keepdims=True)
    rng, parts = np.random.default_rng(1), []
    for j, component in enumerate(found):
        effects = []
        if len(component.columns) == 1:
            column = codes[:, component.columns[0]]
            table = _table(component, column, draws.mains[:, :, j], draws.scales[:, j], rng)
            effects = [_effect(unit * drawn) for drawn in table.T]
        parts.append((component, _effect(shares[:, j]), effects))
    rest = _effect(shares[:, len(found) :].sum(axis=1))
    spread = _effect(unit * np.sqrt(draws.variances.sum(axis=1)))
    return Importance.of(space, parts, rest, spread)


def _table(
    component: Component, column: Codes, at_trials: Floats, scale: Floats, rng: np.random.Generator
) -> Floats:
    """Draws of a main effect for every choice, (DRAWS, C_d): those never tried follow the prior.

    Effects sum to 0, so the untried share what is missing, and differ as k_j lets them.
    """
    count = len(component.allowed[0])
    table = np.empty((len(at_trials), count))
    tried, first = np.unique(column, return_index=True)
    first, tried = first[tried != INACTIVE], tried[tried != INACTIVE]
    table[:, tried] = at_trials[:, first]
    untried = np.setdiff1d(np.arange(count), tried)
    if len(untried):
        z = rng.normal(size=(len(table), len(untried)))
        z *= scale[:, None] * np.sqrt(count / (component.freedom * component.probability))
        missing = -table[:, tried].sum(axis=1, keepdims=True) / len(untried)
        table[:, untried] = z - z.mean(axis=1, keepdims=True) + missing
    return table


def _effect(draws: Floats) -> Effect:
    low, high = np.quantile(draws, LEVELS)
    return Effect(float(draws.mean()), float(low), float(high))
