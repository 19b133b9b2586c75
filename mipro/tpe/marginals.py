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
    from scipy.special import gammaln  # here, so that importing mipro stays cheap

    starts, slot = space.offsets, space.column_of_choice
    all_good, all_bad = np.add.reduceat(good, starts), np.add.reduceat(bad, starts)  # (D,)
    gamma = (all_good + share) / (all_good + all_bad + 1)  # γ_d
    alpha = np.array(STRENGTHS)[:, None]
    prior = alpha * gamma, alpha * (1 - gamma)  # (S, D)
    a, b = good + prior[0][:, slot], bad + prior[1][:, slot]  # (S, C)
    log_beta = gammaln(a) + gammaln(b) - gammaln(a + b)
    log_beta_prior = gammaln(prior[0]) + gammaln(prior[1]) - gammaln(alpha)
    evidence = log_beta - log_beta_prior[:, slot]
    log_gamma, log_rest = np.log(gamma)[slot], np.log1p(-gamma)[slot]
    none = good * log_gamma + bad * log_rest  # α = ∞: every choice is the average
    evidence = np.add.reduceat(np.vstack([evidence, none]), starts, axis=1)  # (S + 1, D)
    weight = np.exp(evidence - evidence.max(axis=0))
    weight /= weight.sum(axis=0)
    w = weight[:-1, slot]  # (S, C); with α = ∞ the ratio is 0, and sure
    sizes = np.array(space.sizes)
    whole = (all_good + sizes * prior[0]) / (all_bad + sizes * prior[1])  # normalisers, (S, D)
    ratio = np.log(a / b) - np.log(whole)[:, slot]
    mean = (w * ratio).sum(axis=0)
    # half an observation more of each, for the variance of a log of few is endless
    spread = (w * (ratio**2 + 1 / (a + 0.5) + 1 / (b + 0.5))).sum(axis=0) - mean**2
    doubt = np.where((sizes > 1)[slot], spread, 0.0)  # where there is no choice there is no doubt
    return Marginals(mean, doubt, 1 - weight[-1])
