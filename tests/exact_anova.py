"""The importances where every true score is known: the oracle of `mipro.tpe.importance`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from mipro.tpe import Effect, Importance, Space
from mipro.tpe.components import components, density
from mipro.tpe.space import Config


def exact_importance(space: Space, truth: Callable[[Config], float]) -> Importance:
    """The importances where the true score of every configuration is known, by enumeration.

    Time and memory grow as `space.size()`. The intervals have no width. Without any variance every
    share is 0. Independent of the features of `components`: it takes means over cells.
    """
    codes = space.all_codes()
    p = density(space, codes)
    f = np.array([truth(space.decode(row)) for row in codes], dtype=float)
    total = float(p @ (f - p @ f) ** 2)
    spread = float(np.sqrt(total))
    if total <= 1e-24 * float(p @ f**2):  # all alike but for rounding
        total = np.inf
    shares, choices = [], {}
    for columns in (c.columns for c in components(space)):
        at = np.all(codes[:, columns] >= 0, axis=1)  # where all its variables are active
        if not at.any():
            shares.append(0.0)
            continue
        cells, cell = np.unique(codes[at][:, columns], axis=0, return_inverse=True)
        table = np.bincount(cell, p[at] * f[at]) / np.bincount(cell, p[at])
        table = table.reshape([len(set(column)) for column in cells.T.tolist()])
        for axis in range(table.ndim):
            table = table - table.mean(axis=axis, keepdims=True)
        shares.append(float(p[at].sum() * (table**2).mean()) / total)
        if table.ndim == 1:
            name = space.names[columns[0]]
            choices[name] = dict(zip(space.choices(name), map(_sure, table.tolist()), strict=True))
    left = max(float(np.isfinite(total)) - sum(shares), 0.0)
    count, pairs = len(space.names), combinations(space.names, 2)
    return Importance(
        dict(zip(space.names, map(_sure, shares[:count]), strict=True)),
        dict(zip(pairs, map(_sure, shares[count:]), strict=True)),
        choices,
        _sure(left),
        _sure(spread),
    )


def _sure(value: float) -> Effect:
    return Effect(value, value, value)
