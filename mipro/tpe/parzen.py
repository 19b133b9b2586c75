"""Densities over a space: a kernel on each observation, and mixtures of them.

What `space` knows as codes gets a probability here. An observation spreads its weight over the
choices near it (a *kernel*), and a density is a weighted sum of kernels and of a uniform prior.
TPE builds two: l(x) from the good observations and g(x) from the others.

| symbol    | meaning                                                            | shape      |
| --------- | ------------------------------------------------------------------ | ---------- |
| D         | variables                                                          |            |
| C_d       | choices of variable d; C = Σ_d C_d                                 | (D,)       |
| x         | codes of the configurations asked about; -1 is inactive            | (N, D)     |
| x_i       | codes of the observations, the centres of the kernels              | (n, D)     |
| w_i       | weights of the observations, ≥ 0                                   | (n,)       |
| w_0       | weight of the prior, whose kernel is uniform                       |            |
| k_d(v|c)  | kernel of variable d: probability of choice v, centre c            | (C_d, C_d) |
| α         | smoothing: what is added to each choice                            |            |
| p(x)      | joint: Σ_i w_i Π_d k_d(x_d|x_id)          Watanabe 2023, eq. 7     | (N,)       |
|           | independent: Π_d Σ_i w_i k_d(x_d|x_id)    Bergstra 2011, §4        | (N,)       |

The tree: a product runs over the variables active in x only. Where d is active in x and not in
x_i, the observation says nothing about it and k_d is uniform. Each variable's kernel sums to 1
given its parent's value, so every density sums to 1 over the configurations of the tree, exactly.

Bergstra, Bardenet, Bengio, Kégl: Algorithms for Hyper-Parameter Optimization (2011).
Watanabe: Tree-Structured Parzen Estimator (2023). Aitchison, Aitken: Multivariate binary
discrimination by the kernel method (1976).
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from mipro.tpe.space import INACTIVE, Codes, Space

Floats = NDArray[np.float64]

SMOOTHINGS = (0.01, 0.03, 0.1, 0.3, 1.0)  # α, where it is learned


def aitchison_aitken(size: int, bandwidth: float) -> Floats:
    """k(v|c) = 1 - b where v = c, else b / (C_d - 1). (C_d, C_d); Watanabe 2023, eq. 11.

    ``bandwidth`` b lies in [0, 1 - 1/C_d]: from all on the centre to uniform. One choice: 1.
    """
    if size == 1:
        return np.ones((1, 1))
    if not 0 <= bandwidth <= (size - 1) / size + 1e-12:
        raise ValueError(f"bandwidth {bandwidth} is not in [0, {(size - 1) / size}]")
    kernel = np.full((size, size), bandwidth / (size - 1))
    np.fill_diagonal(kernel, 1 - bandwidth)
    return kernel


def uniform_mixture(size: int, smoothing: float) -> Floats:
    """k(v|c) = (1[v = c] + α) / (1 + α C_d). (C_d, C_d); the kernel of the Optuna library.

    Off the centre it is λ = α / (1 + α) of what it is on it, whatever C_d. So with one α for all
    variables the product kernel is λ^(number of variables in which x and x_i differ), but for a
    factor: it depends on the Hamming distance alone.
    """
    return (np.eye(size) + smoothing) / (1 + smoothing * size)


def one_hot(space: Space, codes: Codes) -> Floats:
    """(N, D) codes -> (N, C) zeros and ones; an inactive variable has no one."""
    codes = np.asarray(codes, dtype=np.int64)
    width = len(space.column_of_choice)
    hot = np.zeros(len(codes) * width)
    at = codes + space.offsets + width * np.arange(len(codes))[:, None]
    hot[at.ravel() if space.is_flat else at[codes != INACTIVE]] = 1.0
    return hot.reshape(len(codes), width)


def log_rows(centres: Codes, kernels: list[Floats]) -> Floats:
    """log k_d(v|x_id) for every observation and every choice of every variable. (n, C).

    Its product with a one-hot matrix is the log of the product kernel, so that a whole space is
    one matrix product away.
    """
    blocks = [np.zeros((len(centres), 0))]
    for d, kernel in enumerate(kernels):
        size = len(kernel)
        table = np.vstack([kernel, np.full(size, 1 / size)])  # row -1: an inactive centre
        with np.errstate(divide="ignore"):  # a bandwidth of 0 has log 0
            blocks.append(np.maximum(np.log(table), -1e6)[centres[:, d]])
    return np.hstack(blocks)


@final
class Mixture:
    """A density over a space: kernels on observations, plus a uniform prior.

    ``centres`` (n, D) codes, ``weights`` (n,) and ``prior`` are relative; ``kernels`` one
    (C_d, C_d) table a variable, rows summing to 1. ``joint``: a mixture of product kernels, which
    sees that two choices go together; otherwise a product of one mixture a variable.
    """

    def __init__(
        self,
        space: Space,
        centres: Codes,
        weights: Floats,
        kernels: list[Floats],
        *,
        prior: float = 1.0,
        joint: bool = True,
    ) -> None:
        if prior < 0 or np.any(weights < 0) or prior + weights.sum() <= 0:
            raise ValueError("weights are not negative, and not all zero")
        self.space = space
        # The prior is one more kernel, centred on nothing: all inactive, so uniform everywhere.
        nothing = np.full((1, len(space.sizes)), INACTIVE)
        self.centres: Codes = np.vstack([centres, nothing])  # (n+1, D)
        weights = np.append(weights, prior)
        self.weights: Floats = weights / weights.sum()  # (n+1,)
        self.rows = log_rows(self.centres, kernels)  # (n+1, C)
        if not joint:  # one kernel, which is for each variable a mixture of its own
            self.rows, self.weights = self._apart()[None], np.ones(1)

    def _apart(self) -> Floats:
        """log of the probability of each variable's choices given it is active. (C,).

        Only observations in which the variable was active speak, and the prior.
        """
        weights = self.weights[:, None] * (self.centres != INACTIVE)  # (n+1, D)
        known = weights.sum(axis=0) + self.weights[-1] > 0
        weights[-1] = np.where(known, self.weights[-1], 1.0)  # no prior and never active: uniform
        weights /= weights.sum(axis=0)
        p = (weights[:, self.space.column_of_choice] * np.exp(self.rows)).sum(axis=0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.maximum(np.log(p), -1e6))

    def log_pmf(self, codes: Codes) -> Floats:
        """log p(x). (N, D) -> (N,)."""
        from scipy.special import logsumexp  # here, so that importing mipro stays cheap

        terms = self.rows @ one_hot(self.space, codes).T  # (n+1, N), or (1, N)
        return np.asarray(logsumexp(terms, axis=0, b=self.weights[:, None]))

    def pmf(self, codes: Codes) -> Floats:
        """p(x). (N, D) -> (N,); sums to 1 over the configurations of the space."""
        return np.exp(self.log_pmf(codes))

    def sample(self, rng: np.random.Generator, count: int) -> Codes:
        """Codes (count, D) drawn from p."""
        chosen = rng.choice(len(self.weights), size=count, p=self.weights)  # i ~ w
        full = np.empty((count, len(self.space.sizes)), dtype=np.int64)
        for d, start in enumerate(self.space.offsets):
            p = np.exp(self.rows[chosen, start : start + self.space.sizes[d]])  # k_d(.|x_id)
            full[:, d] = _categorical(rng, p)
        return self.space.prune(full)


def _categorical(rng: np.random.Generator, p: Floats) -> Codes:
    """One draw a row from the probabilities of that row, by inversion. (N, C_d) -> (N,)."""
    cumulative = np.cumsum(p, axis=1)
    u = rng.random((len(p), 1)) * cumulative[:, -1:]  # U[0, 1), scaled against rounding
    return np.asarray((u >= cumulative).sum(axis=1))


def left_out(space: Space, codes: Codes, weights: Floats, smoothing: float, prior: float) -> float:
    """Σ_d Σ_i log p_d(x_id), each under the mixture of all the others and the prior (> 0).

    By this leave-one-out likelihood a bandwidth is learned: without leaving x_i out the narrowest
    kernel would win, for every centre is likely under itself. The kernel is `uniform_mixture`; a
    variable's p_d is the same in a joint density, and in a product of one mixture a variable.
    """
    total = 0.0
    for x, size in zip(codes.T, space.sizes, strict=True):
        chosen, w = x[x != INACTIVE], weights[x != INACTIVE]
        others = w.sum() - w
        same = np.bincount(chosen, w)[chosen] - w  # of the others those that made the same choice
        kernels = (same + smoothing * others) / (1 + smoothing * size)
        total += float(np.log((kernels + prior / size) / (others + prior)).sum())
    return total


def published_density(
    space: Space, codes: Codes, prior: float, *, joint: bool, learned: bool = False
) -> Mixture:
    """l(x) or g(x) from ``codes`` (n, D), oldest first, as the Optuna library makes it.

    There α is prior / (n + 1). Where it is ``learned`` it is the likeliest of `SMOOTHINGS`.
    """
    weights, alpha = forgetting(len(codes)), prior / (len(codes) + 1)
    if learned:
        alpha = max(SMOOTHINGS, key=lambda each: left_out(space, codes, weights, each, prior))
    kernels = [uniform_mixture(size, alpha) for size in space.sizes]
    return Mixture(space, codes, weights, kernels, prior=prior, joint=joint)


def forgetting(count: int, keep: int = 25) -> Floats:
    """Weights of ``count`` trials, oldest first: 1 for the last ``keep``, a ramp before. (n,)."""
    if count < keep:
        return np.ones(count)
    return np.concatenate([np.linspace(1 / count, 1.0, count - keep), np.ones(keep)])
