"""What each choice says alone: independent log-ratios, believed as far as their variable matters.

`parzen` multiplies one density a variable; TPE as first published asks where their ratio is
highest. With thirty trials and ten variables most of such a ratio is chance. So each variable's
ratio is shrunk by a prior whose strength α is not chosen but weighed: the evidence of the counts
says how likely each α is, α = ∞ being "this variable does not matter".

| symbol   | meaning                                                             | shape |
| -------- | ------------------------------------------------------------------- | ----- |
| A_v, B_v | good and bad observations with choice v (memberships summed)        | (C,)  |
| γ_d      | share of good ones among those in which variable d was active       | (D,)  |
| α        | strength of the prior, in observations a choice                     |       |
| r_v      | log l_d(v)/g_d(v); l_d(v) ∝ A_v + αγ_d, g_d(v) ∝ B_v + α(1 - γ_d)   | (C,)  |
| w_α      | ∝ Π_v Beta(A_v + αγ_d, B_v + α(1 - γ_d)) / Beta(αγ_d, α(1 - γ_d))   | (D,)  |

l_d and g_d are histograms over the choices of d, smoothed (Bergstra 2011, §4), each sums to 1 where
d is active: what is good about its branch is credited to the parent. w_α is the beta-binomial
evidence of the variable's counts. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from mipro.tpe.parzen import Floats
from mipro.tpe.space import Space

STRENGTHS = (1.0, 6.0)  # and ∞


@final
@dataclass(frozen=True)
class Marginals:
    """``log_ratio`` and its ``variance`` a choice (C,); ``relevance`` a variable (D,) in [0, 1].

    Both are means over α; ``relevance`` is the probability that α is finite.
    """

    log_ratio: Floats
    variance: Floats
    relevance: Floats

    @classmethod
    def silent(cls, space: Space) -> Marginals:
        """Of no observations: every choice is as good as another, for sure, and matters."""
        nothing = np.zeros(len(space.column_of_choice))
        return cls(nothing, nothing, np.ones(len(space.sizes)))


def marginals(space: Space, good: Floats, bad: Floats, share: float) -> Marginals:
    """The shrunken ratios of all variables from counts ``good`` and ``bad``, (C,) each.

    ``share`` in (0, 1) is that of the good among all, for variables seldom active.
    """
    from scipy.special import betaln  # here, so that importing mipro stays cheap

    starts, sizes = space.offsets, space.widths
    seen = np.array([good, bad])  # A and B, (2, C)
    whole = np.add.reduceat(seen, starts, axis=1)  # (2, D)
    gamma = (whole[0] + share) / (whole.sum(axis=0) + 1)  # γ_d
    shares = np.array([gamma, 1 - gamma])
    alpha = np.array(STRENGTHS)[:, None]  # (S, 1)
    prior = alpha[:, None] * shares  # (S, 2, D)
    smooth = seen + prior.repeat(sizes, axis=2)  # (S, 2, C)
    evidence = np.add.reduceat(betaln(smooth[:, 0], smooth[:, 1]), starts, axis=1)
    evidence -= sizes * betaln(prior[:, 0], prior[:, 1])  # (S, D)
    none = (whole * np.log(shares)).sum(axis=0)  # α = ∞: every choice is the average
    evidence = np.concatenate([evidence, none[None]])  # (S + 1, D)
    weight = np.exp(evidence - evidence.max(axis=0))
    weight /= weight.sum(axis=0)
    # with α = ∞ the ratio is 0, and sure; so is that of a choice that is the only one
    w = (weight[:-1] * (sizes > 1)).repeat(sizes, axis=1)  # (S, C)
    density = smooth / (whole + sizes * prior).repeat(sizes, axis=2)  # l and g, (S, 2, C)
    ratio = np.log(density[:, 0] / density[:, 1])
    mean = (w * ratio).sum(axis=0)
    # half an observation more of each, for the variance of a log of few is endless
    doubt = (1 / (smooth + 0.5)).sum(axis=1)
    variance = (w * (ratio * ratio + doubt)).sum(axis=0) - mean * mean
    return Marginals(mean, variance, 1 - weight[-1])
