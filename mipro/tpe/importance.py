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
| Φ_j    | features of component j at the trials                                       | (U, m_j) |
| w_j    | their coefficients                                                          | (m_j,)   |
| G      | values g_j(x_u)                                                             | (U, J)   |
| σ_j    | scale of component j (its sign has no meaning)                              | (J,)     |
| λ_j    | width of the prior of σ_j                                                   | (J,)     |
| s_j    | typical scale: `TYPICAL` over the root of how many are of its order         | (J,)     |

σ_j ~ N(0, λ_j²), λ_j² ~ inverse χ² of one degree and scale s_j², which makes σ_j Cauchy: most
components do next to nothing, any may do much, and forty pairs that do nothing do not add up to
something. All of it is sampled by Gibbs in the non-centred form (Papaspiliopoulos, Roberts, Sköld
2007): w given σ, σ given w, λ given σ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from mipro.tpe.components import Component, Effect, Importance, components, density
from mipro.tpe.history import Observation
from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Space
from mipro.tpe.split import Pool, are_counts, example_variance

TYPICAL = 0.1
MEAN_WIDTH = 3.0  # prior sd of μ: trials may all lie well above the space's mean
SURE, GUESS = 1e9, 3.0  # for how many configurations σ² counts: a Bernoulli's, a guessed one
WARM_UP, DRAWS = 100, 300


def importance(space: Space, observations: Sequence[Observation]) -> Importance:
    """Shares of the variance of true scores, and effects of choices, with 95% intervals.

    The value is the posterior mean, the interval the central 95% of the posterior (each by
    itself). It holds the truth about as often as it says where trials are spread out; where a
    search has crowded them, somewhat less often: what was hardly tried is extrapolated. The draws
    have a fixed seed: the same trials, the same answer. Fewer than 3 configurations, or scores all
    equal and without noise: nothing is known (see `Importance`).
    """
    pool = Pool(len(space.names))
    for told in observations:
        pool.add(space.key(told.config), told.score, told.n)
    names, pairs, any_share = space.names, [*combinations(space.names, 2)], Effect(0.0, 0.0, 1.0)
    main, both = dict.fromkeys(names, any_share), dict.fromkeys(pairs, any_share)
    unknown = Importance(main, both, {}, any_share, None)
    if len(pool.rows) < 3 or space.size() == 1:
        return unknown
    noise = example_variance(pool) / pool.n
    unit = float(np.sqrt(max(pool.mean.var(), noise.mean())))
    if unit <= 1e-12 * np.abs(pool.mean).max():
        return unknown
    found = components(space)
    tables = [found[d].features(np.arange(size)) for d, size in enumerate(space.sizes)]
    y, sure = (pool.mean - pool.mean.mean()) / unit, SURE if are_counts(pool) else GUESS
    variances, effects = [], []
    for variance, w in posterior(parts(space, pool.codes, found), y, noise / unit**2, sure):
        variances.append(variance)
        effects.append(np.concatenate([f @ own for f, own in zip(tables, w, strict=False)]))
    total = np.sum(variances, axis=1, keepdims=True)
    shares, each = _effects(variances / total), _effects(unit * np.array(effects))
    return Importance(
        main=dict(zip(names, shares, strict=False)),
        pairs=dict(zip(pairs, shares[len(names) : -1], strict=True)),
        choices={
            v.name: dict(zip(v.choices, each[start:], strict=False))
            for v, start in zip(space.variables, space.offsets, strict=True)
        },
        rest=shares[-1],
        spread=_effects(unit * np.sqrt(total))[0],
    )


class Part(NamedTuple):
    """A component at U configurations: Φ_j over √m_j; of a pair, the rest as many as they tell."""

    features: Floats  # (U, ≤ m_j)
    freedom: float  # m_j
    typical: float  # s_j


def parts(space: Space, codes: Codes, found: Sequence[Component]) -> list[Part]:
    """All components, and the rest: 1[x = x']/p(x) - 1 - Σ_j Φ_j Φ_jᵀ, whatever is left."""
    features = [component.features(*codes[:, component.columns].T) for component in found]
    every = np.hstack(features)
    for j, component in enumerate(found):  # a variable's stay whole: its choices are asked for
        if len(component.columns) == 2 and component.freedom > len(codes):
            features[j] = np.linalg.qr(features[j].T)[1].T  # the same Φ_j Φ_jᵀ
    values, vectors = np.linalg.eigh(np.diag(1 / density(space, codes)) - 1 - every @ every.T)
    beyond = float(space.size() - 1 - every.shape[1])  # it may be more than an integer counts
    told = int(min(beyond, len(codes)))
    features.append((vectors * np.sqrt(np.maximum(values, 0.0)))[:, len(codes) - told :])
    freedom = [*(float(component.freedom) for component in found), beyond]
    order = np.array([*(len(component.columns) for component in found), 3])
    many = np.bincount(order, np.array(freedom) > 0)  # of each order that there are at all
    typical = TYPICAL / np.sqrt(np.maximum(many, 1)[order])
    return [
        Part(phi / np.sqrt(max(m, 1)), m, s)
        for phi, m, s in zip(features, freedom, typical.tolist(), strict=True)
    ]


def posterior(
    model: Sequence[Part], y: Floats, told: Floats, sure: float
) -> Iterator[tuple[Floats, list[Floats]]]:
    """Draws by Gibbs of V_j, (J,), and of each component's coefficients in Φ_j.

    ``y`` and ``told``, its noise variances, are (U,), these as sure as ``sure`` configurations.
    """
    rng, U = np.random.default_rng(0), len(y)
    features = [part.features for part in model]
    kernels = np.array([phi @ phi.T for phi in features])
    freedom, typical = np.array([part[1:] for part in model]).T  # (J,)
    noise = told = np.asarray(np.maximum(told, 1e-6))  # keeps the systems below solvable
    sigma = widths = 3 * typical
    for draw in range(-WARM_UP, DRAWS):
        # w given σ by Matheron's rule: a draw from the prior, corrected by how far its data are off
        w: list[Floats] = [rng.normal(size=(phi.shape[1],)) for phi in features]
        mean = rng.normal(0, MEAN_WIDTH)
        off = y - mean - _values(features, w) @ sigma - np.sqrt(noise) * rng.normal(size=U)
        covariance = np.tensordot(sigma**2, kernels, 1) + MEAN_WIDTH**2 + np.diag(noise)
        a = np.linalg.solve(covariance, off)  # (U,)
        w = [z + scale * (a @ phi) for z, scale, phi in zip(w, sigma, features, strict=True)]
        mean += MEAN_WIDTH**2 * float(a.sum())
        # σ given w: a linear regression of y on G
        G = _values(features, w)
        weighted = G / noise[:, None]
        half = np.linalg.cholesky(G.T @ weighted + np.diag(widths**-2.0))
        sigma = np.linalg.solve(half, weighted.T @ (y - mean)) + rng.normal(size=len(model))
        sigma = np.linalg.solve(half.T, sigma)  # N(H⁻¹b, H⁻¹), H = half halfᵀ
        # λ² given σ, and σ² given the rest, `told` its guess: scaled inverse χ²
        widths = np.sqrt((typical**2 + sigma**2) / rng.chisquare(2, size=len(model)))
        error = float(((y - mean - G @ sigma) ** 2 / told).sum())
        noise = told * max((sure + error) / rng.chisquare(sure + U), 1e-6 / told.min())
        if draw >= 0:
            unseen = 2 * rng.standard_gamma((freedom - [len(z) for z in w]) / 2)
            scale = sigma / np.sqrt(np.maximum(freedom, 1))
            squares = np.array([z @ z for z in w]) + unseen  # what no trial sees is drawn too
            yield scale**2 * squares, [s * z for s, z in zip(scale, w, strict=True)]


def _values(features: Sequence[Floats], w: Sequence[Floats]) -> Floats:
    """G: what each component is at each configuration. (U, J)."""
    return np.stack([phi @ own for phi, own in zip(features, w, strict=True)], axis=1)


def _effects(draws: Floats) -> list[Effect]:
    """Of each column its mean and the central 95%. (draws, K) -> K."""
    low, high = np.quantile(draws, (0.025, 0.975), axis=0)
    return [Effect(*each) for each in np.array([draws.mean(axis=0), low, high]).T.tolist()]
