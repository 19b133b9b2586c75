"""The importances where every true score is known: the oracle of `mipro.tpe.importance`."""

from __future__ import annotations

from collections.abc import Callable

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
    left = 1.0 if np.isfinite(total) else 0.0
    shares, effects = {}, {d: [_sure(0.0)] * size for d, size in enumerate(space.sizes)}
    for columns in (c.columns for c in components(space)):
        at = np.all(codes[:, columns] >= 0, axis=1)  # where all its variables are active
        cells, cell = np.unique(codes[at][:, columns], axis=0, return_inverse=True)
        table = np.bincount(cell, p[at] * f[at]) / np.bincount(cell, p[at])
        table = table.reshape([len(set(column)) for column in cells.T.tolist()])
        for axis in range(table.ndim):
            table = table - table.mean(axis=axis, keepdims=True)
        share = float(p[at].sum() * (table**2).mean()) / total
        left = max(left - share, 0.0)
        shares[columns] = _sure(share)
        if table.ndim == 1:
            effects[columns[0]] = [_sure(value) for value in table.tolist()]
    return Importance.of(space, {**shares, (): _sure(left)}, effects, _sure(spread))


def _sure(value: float) -> Effect:
    return Effect(value, value, value)
