"""A kernel by its ratio λ, off the centre over on it, as `tpe.bound` has it."""

from __future__ import annotations

from mipro.tpe.parzen import Floats, uniform_mixture


def hamming(size: int, ratio: float) -> Floats:
    """The same λ whatever the number of choices, 0 < λ < 1. (C_d, C_d)."""
    return uniform_mixture(size, ratio / (1 - ratio))
