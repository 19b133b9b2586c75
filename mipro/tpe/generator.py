"""Generators of random numbers whose state is JSON, so that a search goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

Seed: TypeAlias = int | Sequence[int] | np.random.SeedSequence | np.random.Generator


def generator(seed: Seed) -> np.random.Generator:
    """A generator from a seed; 0 is a seed like any other. A Generator is used as it is."""
    if seed is None:
        raise ValueError("a seed is needed: an int, a SeedSequence or a Generator")
    return np.random.default_rng(seed)


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """The generator's state as JSON types."""
    return {key: _plain(value) for key, value in rng.bit_generator.state.items()}


def restored_generator(state: Mapping[str, Any]) -> np.random.Generator:
    """The inverse of `generator_state`."""
    kinds: dict[str, type[np.random.BitGenerator]] = {
        kind.__name__: kind
        for kind in (
            np.random.PCG64,
            np.random.PCG64DXSM,
            np.random.Philox,
            np.random.SFC64,
            np.random.MT19937,
        )
    }
    if state["bit_generator"] not in kinds:
        raise ValueError(f"unknown generator {state['bit_generator']!r}: one of {list(kinds)}")
    bits = kinds[state["bit_generator"]]()
    bits.state = dict(state)
    return np.random.Generator(bits)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
