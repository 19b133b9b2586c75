"""Intervals for a mean score, and paired tests between two candidates (on `scipy.stats`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipro.errors import ConfigError

RESAMPLES = 9_999
BATCH = 500  # resamples held in memory at a time


def interval(scores: Sequence[float] | NDArray[Any], level: float = 0.95) -> tuple[float, float]:
    """A confidence interval for the mean of `scores`, shape (n,).

    Wilson's where every score is 0 or 1, else the percentile bootstrap with a fixed seed. With no
    scores it is (nan, nan); one score that is no success or failure gives itself.
    """
    values = np.asarray(scores, dtype=float)
    if not 0 < level < 1:
        raise ConfigError(f"level={level}: a share between 0 and 1 is wanted")
    if values.size == 0:
        return float("nan"), float("nan")
    if _binary(values):
        from scipy.stats import binomtest

        wilson = binomtest(int(values.sum()), values.size).proportion_ci(level, method="wilson")
        return float(wilson.low), float(wilson.high)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, values.size, size=(2_000, values.size))  # (2000, n), uniform
    tail = (1 - level) / 2
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def difference_interval(
    one: Sequence[float] | NDArray[Any], other: Sequence[float] | NDArray[Any], level: float = 0.95
) -> tuple[float, float]:
    """A confidence interval for mean(one) − mean(other), two independent samples.

    Each mean's distance to the end of its own `interval`, squared and added: for shares Newcombe's
    method 10 (Statistics in Medicine 17, 1998), in general Zou and Donner's (27, 2008).
    """
    (low, high), (other_low, other_high) = interval(one, level), interval(other, level)
    mean, other_mean = float(np.mean(one)), float(np.mean(other))
    middle = mean - other_mean
    return (
        middle - float(np.hypot(mean - low, other_high - other_mean)),
        middle + float(np.hypot(high - mean, other_mean - other_low)),
    )


@dataclass(frozen=True, slots=True)
class PairedTest:
    """`difference` is mean(after) − mean(before); `p_value` is two-sided; `n` pairs were used."""

    difference: float
    p_value: float
    n: int
    method: str


def paired_test(before: Sequence[float], after: Sequence[float]) -> PairedTest:
    """Do two candidates differ, on the same examples in the same order?

    McNemar's exact test where every score is 0 or 1, else a sign-flip permutation test of the mean
    difference (exact when small, 9,999 flips with a fixed seed beyond). Raises `ConfigError` when
    the lengths differ or are 0.
    """
    a, b = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if a.shape != b.shape or a.size == 0:
        raise ConfigError(f"pairs are wanted: {a.size} scores before, {b.size} after")
    gain = b - a
    if not gain.any():
        return PairedTest(0.0, 1.0, a.size, "no pair differs")
    if _binary(a) and _binary(b):
        from scipy.stats import binomtest

        won, lost = int((gain > 0).sum()), int((gain < 0).sum())
        p_value = float(binomtest(won, won + lost).pvalue)
        return PairedTest(float(gain.mean()), p_value, a.size, "McNemar, exact")
    from scipy.stats import permutation_test

    result = permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(y - x, axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=BATCH,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return PairedTest(float(gain.mean()), float(result.pvalue), a.size, "sign-flip permutation")


def _binary(values: NDArray[Any]) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())
