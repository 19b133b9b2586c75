"""The importances where every true score is known: the oracle of `mipro.tpe.importance`."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from mipro.tpe import Effect, Importance, Space
from mipro.tpe.components import Component, components, density
from mipro.tpe.parzen import Floats
from mipro.tpe.space import Codes, Config


def exact_importance(space: Space, truth: Callable[[Config], float]) -> Importance:
    """The importances where the true score of every configuration is known, by enumeration.

    Time and memory grow as `space.size()`. The intervals have no width. Without any variance every
    share is 0.
    """
    codes = space.all_codes()
    p = density(space, codes)
    f = np.array([truth(space.decode(row)) for row in codes], dtype=float)
    total = float(p @ (f - p @ f) ** 2)
    spread = float(np.sqrt(total))
    if total <= 1e-24 * float(p @ f**2):  # all alike but for rounding
        total = np.inf
    left, parts = 1.0 if np.isfinite(total) else 0.0, []
    for component in components(space):
        table = _cell_means(component, codes, p, f)
        for axis in range(table.ndim):
            table = table - table.mean(axis=axis, keepdims=True)
        share = component.probability * float((table**2).mean()) / total
        left = max(left - share, 0.0)
        parts.append((component, _sure(share), [_sure(value) for value in table.ravel().tolist()]))
    return Importance.of(space, parts, _sure(left), _sure(spread))


def _cell_means(component: Component, codes: Codes, p: Floats, f: Floats) -> Floats:
    """E[f | the component's values], (|A_d|,) or (|A_d|, |A_e|)."""
    shape = tuple(len(values) for values in component.allowed)
    at = np.ones(len(codes), dtype=bool)
    for d, values in zip(component.columns, component.allowed, strict=True):
        at &= np.isin(codes[:, d], values)
    places = tuple(
        np.searchsorted(values, codes[at, d])
        for d, values in zip(component.columns, component.allowed, strict=True)
    )
    cell = np.ravel_multi_index(places, shape)
    weight = np.bincount(cell, p[at], prod(shape))
    return np.asarray(np.bincount(cell, p[at] * f[at], prod(shape)) / weight).reshape(shape)


def _sure(value: float) -> Effect:
    return Effect(value, value, value)
