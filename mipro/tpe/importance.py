"""How much each variable, each pair and each choice mattered: functional ANOVA from few trials.

`components` says what is to be found; trials are few, noisy and crowded around good values, so it
is inferred with a model (here) and not read off (fANOVA reads it off a forest). The model is a
linear one whose coefficients have, component by component, a scale of their own:

    y_u = μ + Σ_j σ_j g_j(x_u) + ε_u,  g_j = Φ_j w_j / √m_j,  w_j ~ N(0, I),  ε_u ~ N(0, σ²/n_u)

so that a component's variance over the whole space, V_j = σ_j² |w_j|²/m_j, has a posterior, and
the noise of minibatches is in no share. Unseen choices, and pairs hardly seen, widen intervals.

| symbol | meaning                                                                     | shape    |
| ------ | --------------------------------------------------------------------------- | -------- |
| U      | distinct configurations; y, n: mean scores (in units of their sd), examples | (U,)     |
| J      | components: main effects, pairs, and one `rest` of all higher orders        |          |
| m_j    | degrees of freedom of component j                                           | (J,)     |
| Φ      | features of all components side by side, M of them, over √m_j               | (U, M)   |
| w      | their coefficients                                                          | (M,)     |
| G      | values g_j(x_u)                                                             | (U, J)   |
| σ_j    | scale of component j (its sign has no meaning)                              | (J,)     |
| λ_j    | width of the prior of σ_j, one of `WIDTHS`                                  | (J,)     |
| π      | how common each width is among main effects, pairs, rest                    | (3, 5)   |

σ_j ~ N(0, λ_j²), λ_j ~ π of its order, π ~ Dirichlet(1, ..., 1): a mixture from "nothing" to "as
much as all that is seen" (BayesR: Erbe et al. 2012), learned, so that forty pairs that do nothing
do not add up to something. All of it is sampled by Gibbs in the non-centred form
(Papaspiliopoulos, Roberts, Sköld 2007): w given σ, σ given w, λ given σ, π given λ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from mipro.tpe.components import Component, Effect, Importance, components, density
from mipro.tpe.history import Observation
from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Space
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
    pool = Pool.of(
        [space.key(o.config) for o in observations],
        [o.score for o in observations],
        [o.n for o in observations],
    )
    found, unit = components(space), 0.0
    if len(pool.n) > 2 and found:
        noise = example_variance(pool) / pool.n
        unit = float(np.sqrt(max(pool.mean.var(), noise.mean())))
    if unit <= 1e-12 * float(np.abs(pool.mean).max(initial=0.0)):
        return Importance.of(space, {}, {}, None, otherwise=Effect(0.0, 0.0, 1.0))
    model = Model.of(space, pool.codes, found)
    y, counted = (pool.mean - pool.mean.mean()) / unit, are_counts(pool)  # then σ² is Bernoulli's
    variances, coefficients = posterior(model, y, noise / unit**2, known=counted)
    shares = zip(
        [*(c.columns for c in found), ()], (variances.T / variances.sum(axis=1)), strict=False
    )
    effects = {}
    for j, component in enumerate(found):
        if len(component.columns) == 1:
            (d,) = component.columns
            own = (
                component.features(np.arange(space.sizes[d]))
                @ coefficients[:, model.component == j].T
            )
            effects[d] = [_effect(unit * each) for each in own]
    spread = _effect(unit * np.sqrt(variances.sum(axis=1)))
    return Importance.of(space, {c: _effect(share) for c, share in shares}, effects, spread)


@final
@dataclass(frozen=True)
class Model:
    """The features at U observed configurations; of the rest no more than those can tell apart."""

    features: Floats  # (U, M)
    component: Codes  # (M,) the component of each feature, ascending
    freedom: Floats  # (J,)
    order: Codes  # (J,) 0 main effect, 1 pair, 2 rest

    @classmethod
    def of(cls, space: Space, codes: Codes, found: Sequence[Component]) -> Model:
        """All components, and the rest: 1[x = x']/p(x) - 1 - Σ_j Φ_j Φ_jᵀ, whatever is left."""
        blocks = [component.features(*codes[:, component.columns].T) for component in found]
        freedom = [float(component.freedom) for component in found]
        order = [len(component.columns) - 1 for component in found]
        beyond = float(space.size() - 1 - sum(freedom))
        if beyond > 0:
            every = np.hstack(blocks)
            values, vectors = np.linalg.eigh(
                np.diag(1 / density(space, codes)) - 1 - every @ every.T
            )
            rest = vectors * np.sqrt(np.maximum(values, 0.0))
            blocks.append(rest[:, -min(len(codes), int(beyond)) :])
            freedom, order = [*freedom, beyond], [*order, 2]
        features = np.hstack([b / np.sqrt(m) for b, m in zip(blocks, freedom, strict=True)])
        component = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])
        return cls(features, component, np.array(freedom), np.array(order))


def posterior(model: Model, y: Floats, told: Floats, *, known: bool) -> tuple[Floats, Floats]:
    """Draws by Gibbs of V_j, (DRAWS, J), and of the features' coefficients, (DRAWS, M).

    ``y`` and ``told``, its noise variances, are (U,); not ``known``, they are a guess.
    """
    rng, features, of = np.random.default_rng(0), model.features, model.component
    U, M, J = len(y), len(of), len(model.freedom)
    first = np.searchsorted(of, np.arange(J))  # feature of each component
    unseen = model.freedom - np.bincount(of)  # what the trials do not see is drawn too
    kernels = np.array([part @ part.T for part in np.split(features, first[1:], axis=1)])
    noise = told = np.asarray(np.maximum(told, 1e-6))  # keeps the systems below solvable
    sigma: Floats = 0.3 / np.sqrt(np.bincount(model.order)[model.order])
    widths, common = np.full(J, 0.3), np.full((3, len(WIDTHS)), 1 / len(WIDTHS))
    variances, coefficients = np.empty((DRAWS, J)), np.empty((DRAWS, M))
    for draw in range(-WARM_UP, DRAWS):
        # w given σ by Matheron's rule: a draw from the prior, corrected by how far its data are off
        scale, mean = sigma[of], rng.normal(0, MEAN_WIDTH)
        w = rng.normal(size=M)
        off = y - mean - features @ (scale * w) - np.sqrt(noise) * rng.normal(size=U)
        covariance = np.tensordot(sigma**2, kernels, 1) + MEAN_WIDTH**2 + np.diag(noise)
        a = np.linalg.solve(covariance, off)  # (U,)
        w = w + scale * (a @ features)
        mean += MEAN_WIDTH**2 * float(a.sum())
        # σ given w: a linear regression of y on G
        G = np.add.reduceat(features * w, first, axis=1)
        weighted = G / noise[:, None]
        half = np.linalg.cholesky(G.T @ weighted + np.diag(widths**-2.0))
        sigma = np.linalg.solve(half, weighted.T @ (y - mean)) + rng.normal(size=J)
        sigma = np.asarray(np.linalg.solve(half.T, sigma))  # N(H⁻¹b, H⁻¹), H = half halfᵀ
        widths, common = _mixture(model.order, sigma, common, rng)
        if not known:  # σ² given the rest: scaled inverse χ², `example_variance` its guess
            error = float(((y - mean - G @ sigma) ** 2 / told).sum())
            noise = told * max((GUESS + error) / rng.chisquare(GUESS + U), 1e-6 / told.min())
        if draw >= 0:
            square = np.bincount(of, w**2) + 2 * rng.standard_gamma(unseen / 2)
            variances[draw] = sigma**2 * square / model.freedom
            coefficients[draw] = w * (sigma / np.sqrt(model.freedom))[of]
    return variances, coefficients


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


def _effect(draws: Floats) -> Effect:
    low, high = np.quantile(draws, LEVELS)
    return Effect(float(draws.mean()), float(low), float(high))
