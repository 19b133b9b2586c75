"""Where to begin: a design that fills the space, for the trials before there is a model."""

from __future__ import annotations

import numpy as np

from mipro.tpe.space import INACTIVE, Codes, Space


def latin(space: Space, rng: np.random.Generator, count: int) -> Codes:
    """A space-filling design of ``count`` rows (count, D), without regard to repeats.

    Each variable's choices are used equally often, give or take one, in a random order of its
    own (over the rows in which it is active: a child's choices are balanced among those).
    """
    codes = np.full((count, len(space.sizes)), INACTIVE, dtype=np.int64)
    for d in space.order:
        v = space.variables[d]
        rows = np.arange(count)
        if v.parent is not None:
            rows = rows[np.isin(codes[:, v.parent], v.on)]
        size = space.sizes[d]
        rounds = [rng.permutation(size) for _ in range(-(-len(rows) // size))]
        values = np.concatenate([np.zeros(0, dtype=np.int64), *rounds])[: len(rows)]
        codes[rows, d] = rng.permutation(values)
    return codes
