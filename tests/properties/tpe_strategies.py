"""Hypothesis strategies for the estimator's room, shared by its tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from mipro.tpe import Choice, Space
from mipro.tpe.space import Codes


@st.composite
def spaces(draw: st.DrawFn, max_variables: int = 4, max_choices: int = 4) -> Space:
    """Small spaces, some of them trees several levels deep."""
    count = draw(st.integers(1, max_variables))
    pairs: list[tuple[str, Any]] = []
    for d in range(count):
        size = draw(st.integers(1, max_choices))
        when = None
        if d and draw(st.booleans()):
            parent, spec = pairs[draw(st.integers(0, d - 1))]
            values = range(spec.choices)
            when = (parent, draw(st.sets(st.sampled_from(values), min_size=1)))
        pairs.append((f"v{d}", Choice(size, when=when)))
    return Space(pairs)


def configs_of(space: Space) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(list(space.enumerate()))


@st.composite
def histories(
    draw: st.DrawFn, space: Space, min_size: int = 0, max_size: int = 12
) -> list[tuple[dict[str, Any], float, int]]:
    """(config, share of successes, n): what a minibatch evaluation tells."""
    rows = draw(
        st.lists(
            st.tuples(configs_of(space), st.integers(1, 50), st.floats(0, 1)),
            min_size=min_size,
            max_size=max_size,
        )
    )
    return [(config, round(share * n) / n, n) for config, n, share in rows]


def all_codes(space: Space) -> Codes:
    """Every configuration of a small space, as codes."""
    return np.array(list(space.enumerate_codes()), dtype=np.int64)
