"""Functional ANOVA over a space: the components of a score, and what each is worth.

What `importance` estimates is defined here.

    f(x) = μ + Σ_d f_d(x_d) + Σ_{d<e} f_de(x_d, x_e) + rest        Hutter et al. 2014, eq. 1-3

under the space's own law p: every active choice is uniform, as in `Space.sample_codes`. Each f_j
has mean 0 over any one of its variables, so components are uncorrelated under p and Var f is the
sum of the Var f_j; a share is Var f_j / Var f. In a tree a component is 0 where it is not active,
so a conditional variable counts by how often it is active. A pair of a variable and one that hangs
from it lives on the values that leave the latter active: with one such value there is no pair.

| symbol | meaning                                                              | shape  |
| ------ | -------------------------------------------------------------------- | ------ |
| A_d    | values of d that leave the component's variables active              |        |
| P_j    | probability under p that component j is active                       |        |
| m_j    | its degrees of freedom, Π (|A_d| - 1)                                |        |
| k_j    | its kernel; E_p[k_j(x, x)] = 1, and every draw from it is such an f_j | (U, U) |

Hutter, Hoos, Leyton-Brown: An efficient approach for assessing hyperparameter importance (2014).
Durrande, Ginsbourger, Roustant, Carraro: ANOVA kernels and RKHS of zero mean functions (2013).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
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

    @classmethod
    def of(
        cls,
        space: Space,
        parts: Iterable[tuple[Component, Effect, Sequence[Effect]]],
        rest: Effect,
        spread: Effect,
    ) -> Importance:
        """From each component's share, and the effects of its choices where it is a variable's."""
        none = Effect(0.0, 0.0, 0.0)  # a variable of one choice, a pair never active together
        main = dict.fromkeys(space.names, none)
        pairs = dict.fromkeys(combinations(space.names, 2), none)
        choices = {v.name: dict.fromkeys(v.choices, none) for v in space.variables}
        for component, share, effects in parts:
            first, *second = (space.names[d] for d in component.columns)
            if second:
                pairs[first, second[0]] = share
            else:
                main[first] = share
                choices[first] = dict(zip(space.choices(first), effects, strict=True))
        return cls(main, pairs, choices, rest, spread)


@final
@dataclass(frozen=True)
class Component:
    """One variable or two, and where in the tree they are active."""

    columns: tuple[int, ...]
    allowed: tuple[Codes, ...]  # A_d of each column, ascending
    probability: float  # P_j

    @classmethod
    def of(cls, space: Space, columns: tuple[int, ...]) -> Component:
        """The component of these columns, by what their ancestors' conditions leave."""
        allowed = {d: set(range(space.sizes[d])) for d in columns}
        for column in columns:
            child = space.variables[column]
            while child.parent is not None:
                left = allowed.get(child.parent, set(range(space.sizes[child.parent])))
                allowed[child.parent] = left & set(child.on)
                child = space.variables[child.parent]
        probability = prod(len(values) / space.sizes[d] for d, values in allowed.items())
        codes = (np.array(sorted(allowed[d]), dtype=np.int64) for d in columns)
        return cls(columns, tuple(codes), probability)

    @property
    def freedom(self) -> int:
        """m_j; 0 if there is no such component, or it is never active."""
        return prod(max(len(values) - 1, 0) for values in self.allowed) if self.probability else 0

    def kernel(self, codes: Codes) -> Floats:
        """k_j = Π_d (|A_d| 1[x_d = x'_d] - 1) / (m_j P_j) where active, else 0. (U, U)."""
        kernel = np.full((len(codes),) * 2, 1 / (self.freedom * self.probability))
        for d, values in zip(self.columns, self.allowed, strict=True):
            inside = np.isin(codes[:, d], values)
            kernel *= len(values) * (codes[:, d, None] == codes[:, d]) - 1.0
            kernel *= np.outer(inside, inside)
        return kernel


def components(space: Space) -> list[Component]:
    """Every main effect that there is, in the order of the space, then every pair's."""
    found = [
        Component.of(space, columns)
        for order in (1, 2)
        for columns in combinations(range(len(space.names)), order)
    ]
    return [component for component in found if component.freedom]


def density(space: Space, codes: Codes) -> Floats:
    """p(x) = Π 1 / C_d over the active variables. (N, D) -> (N,)."""
    return np.asarray(np.prod(np.where(codes == INACTIVE, 1.0, 1 / space.widths), axis=1))


def nothing_known(space: Space) -> Importance:
    """Every share 0, and anything possible."""
    none = Effect(0.0, 0.0, 1.0)
    pairs = dict.fromkeys(combinations(space.names, 2), none)
    return Importance(dict.fromkeys(space.names, none), pairs, {}, none, None)
