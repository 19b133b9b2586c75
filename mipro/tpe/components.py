"""Functional ANOVA over a space: the components of a score, and what each is worth.

What `importance` estimates is defined here.

    f(x) = μ + Σ_d f_d(x_d) + Σ_{d<e} f_de(x_d, x_e) + rest        Hutter et al. 2014, eq. 1-3

under the space's own law p: every active choice is uniform, as in `Space.sample_codes`. Each f_j
has mean 0 over any one of its variables, so components are uncorrelated under p and Var f is the
sum of the Var f_j; a share is Var f_j / Var f. In a tree a component is 0 where it is not active,
so a conditional variable counts by how often it is active. A pair of a variable and one that hangs
from it lives on the values that leave the latter active: with one such value there is no pair.

A component is a linear space of functions, and has a basis: contrasts between the values of its
one variable, or products of contrasts of its two. So f_j = Φ_j w_j and Var f_j = |w_j|².

| symbol | meaning                                                              | shape    |
| ------ | -------------------------------------------------------------------- | -------- |
| A_d    | values of d that leave the component's variables active              |          |
| P_j    | probability under p that component j is active                       |          |
| m_j    | its degrees of freedom, Π (|A_d| - 1)                                |          |
| Φ_j    | features, orthonormal under p: E_p[Φ_jᵀ Φ_j] = I, E_p[Φ_j] = 0       | (N, m_j) |

Hutter, Hoos, Leyton-Brown: An efficient approach for assessing hyperparameter importance (2014).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import final

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.space import INACTIVE, Codes, Space


@final
@dataclass(frozen=True)
class Effect:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float


@final
@dataclass(frozen=True)
class Importance:
    """What mattered, over the whole space and not only where the trials were.

    `main`, `pairs` and `rest` are shares of the variance of true scores and sum to 1: a variable's
    alone, what two do together beyond that, and what three or more do. `choices` is, in the
    scores' unit, how much a choice adds to the mean score where its variable is active; it is
    empty where nothing can be told, and then every share is 0, its interval [0, 1]. `spread` is
    the standard deviation of true scores over the space, in their unit: where it is next to
    nothing, shares are of next to nothing, and their intervals wide.
    """

    main: Mapping[str, Effect]
    pairs: Mapping[tuple[str, str], Effect]  # names in the order of the space
    choices: Mapping[str, Mapping[Hashable, Effect]]
    rest: Effect
    spread: Effect | None  # None where nothing can be told


@final
@dataclass(frozen=True)
class Component:
    """One variable or two, and functions of them that span what they do."""

    columns: tuple[int, ...]
    contrasts: tuple[Floats, ...]  # (C_d + 1, |A_d| - 1) each; 0 outside of A_d and where inactive
    scale: float  # 1/√P_j, 0 if it is never active

    @classmethod
    def of(cls, space: Space, columns: tuple[int, ...]) -> Component:
        """The component of these columns, by what their ancestors' conditions leave."""
        allowed = {d: set(range(space.sizes[d])) for d in columns}
        for column in columns:
            v = space.variables[column]
            while v.parent is not None:
                every = set(range(space.sizes[v.parent]))
                allowed[v.parent] = allowed.get(v.parent, every) & set(v.on)
                v = space.variables[v.parent]
        probability = prod(len(values) / space.sizes[d] for d, values in allowed.items())
        if not probability:  # never active together: no functions
            return cls(columns, tuple(np.zeros((space.sizes[d] + 1, 0)) for d in columns), 0.0)
        contrasts = (_contrasts(space.sizes[d], sorted(allowed[d])) for d in columns)
        return cls(columns, tuple(contrasts), probability**-0.5)

    @property
    def freedom(self) -> int:
        """m_j; 0 if there is no such component."""
        return prod(table.shape[1] for table in self.contrasts)

    def features(self, *codes: Codes) -> Floats:
        """Φ_j at the codes (N,) of each of its columns, -1 where inactive. (N, m_j)."""
        product = np.full((len(codes[0]), 1), self.scale)
        for table, column in zip(self.contrasts, codes, strict=True):
            product = product[:, :, None] * table[column][:, None]
            product = product.reshape(len(column), -1)
        return product


def _contrasts(size: int, allowed: list[int]) -> Floats:
    """Orthonormal functions with mean 0 on the ``allowed`` values. (C_d + 1, |A_d| - 1)."""
    from scipy.linalg import helmert  # here, so that importing mipro stays cheap

    table = np.zeros((size + 1, len(allowed) - 1))  # row -1: inactive
    if len(allowed) > 1:
        table[allowed] = helmert(len(allowed)).T * np.sqrt(len(allowed))
    return table


def components(space: Space) -> list[Component]:
    """Every variable's in the order of the space, then every pair's; some have no freedom."""
    columns = range(len(space.names))
    return [Component.of(space, each) for k in (1, 2) for each in combinations(columns, k)]


def density(space: Space, codes: Codes) -> Floats:
    """p(x) = Π 1 / C_d over the active variables. (N, D) -> (N,)."""
    return np.asarray(np.prod(np.where(codes == INACTIVE, 1.0, 1 / space.widths), axis=1))
