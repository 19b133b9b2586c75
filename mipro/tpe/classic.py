"""TPE as published, on what comes before this file and nothing else.

Each ask

1. splits what was told into the best tenth, at most 25, and the rest (`split.linear_gamma`);
2. makes a density of each, l(x) and g(x) (`parzen.published_density`);
3. draws 24 configurations from l(x) and asks for the one with the highest l(x)/g(x), which rises
   with the expected improvement over the worst of the best tenth (Bergstra 2011, §4.1).

Every score is taken as exact, however few examples are behind it, and what was tried may be asked
again. What the files after this one add is an answer to that.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from mipro.tpe.acquisition import best_of
from mipro.tpe.parzen import published_density
from mipro.tpe.sampler import Sampler, Seed
from mipro.tpe.space import Key, Space
from mipro.tpe.split import hard_membership, linear_gamma


@final
class Classic(Sampler):
    """Bergstra 2011 with the joint kernels and the settings of the Optuna library.

    Ten random configurations come first; of the bad ones those before the last 25 count less the
    older they are. ``multivariate``: joint densities; otherwise one variable at a time.
    ``learned``, which is not as published: the bandwidth of each density by the leave-one-out
    likelihood of its variables.
    """

    kind = "classic"

    def __init__(
        self, space: Space, seed: Seed = 0, *, multivariate: bool = True, learned: bool = False
    ) -> None:
        super().__init__(space, seed)
        self.multivariate, self.learned = multivariate, learned
        self.planned = 10

    def _next(self) -> Key | None:
        told, busy = self._history.told, self._history.busy
        if self.in_startup or not told:
            return self._unseen()
        codes = np.array([one.key for one in told], dtype=np.int64)
        scores = np.array([one.score for one in told])
        good = hard_membership(scores, linear_gamma(len(told))).astype(bool)
        l_x, g_x = (
            published_density(
                self.space, codes[part], 1.0, joint=self.multivariate, learned=self.learned
            )
            for part in (good, ~good)
        )
        draws = l_x.sample(self._rng, 24)
        found = best_of(l_x.log_pmf(draws) - g_x.log_pmf(draws), draws.__getitem__, busy)
        return self._unseen() if found is None else found

    def _made_with(self) -> dict[str, Any]:
        return {"multivariate": self.multivariate, "learned": self.learned}
