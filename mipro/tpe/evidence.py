"""One kernel for the good and the bad: densities that can be counted.

`parzen` gives l(x) and g(x) each its own mixture. Where both share their kernel, the ratio l/g is
an estimate of P(good | x), and it is known on how many observations it rests. Symbols as in
`parzen`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import log
from typing import final

import numpy as np

from mipro.tpe.parzen import Floats, one_hot
from mipro.tpe.space import INACTIVE, Codes, Space


@final
@dataclass(frozen=True)
class Centres:
    """Observed configurations as centres of kernels: ``codes`` (M, D).

    ``asked`` (M, D): of each, another configuration for which it speaks as well (`TPE.tell`);
    None: each speaks for itself alone.
    """

    space: Space
    codes: Codes
    asked: Codes | None = None

    @cached_property
    def choices(self) -> Floats:
        """One where a centre speaks for a choice. (M, C)."""
        own = one_hot(self.space, self.codes)
        return own if self.asked is None else np.maximum(own, one_hot(self.space, self.asked))

    def similarity(self, codes: Codes, ratio: float) -> Floats:
        """Product kernel over its height at the centre, Π_d k_d(x_d|x_id) / k_d(x_d|x_d). (M, N).

        A centre that speaks for two is, variable by variable, as near as the nearer of them;
        where only one of them is active, that one counts.
        """
        rows = _log_similar(self.space, self.codes, ratio)
        if self.asked is not None:
            other = _log_similar(self.space, self.asked, ratio)
            slot = self.space.column_of_choice
            own_off, other_off = (
                (codes == INACTIVE)[:, slot] for codes in (self.codes, self.asked)
            )
            rows = np.where(~other_off & (own_off | (other > rows)), other, rows)
        return np.asarray(np.exp(rows @ one_hot(self.space, codes).T))


def _log_similar(space: Space, centres: Codes, ratio: float) -> Floats:
    """log of each variable's share in `Centres.similarity`, for each of its choices. (M, C).

    0 at the centre and log λ off it. An inactive centre is uniform, so its height at any choice
    is the mean of those; where x is inactive there is no factor.
    """
    slot = space.column_of_choice
    rows = (1 - one_hot(space, centres)) * log(ratio)
    if space.is_flat:
        return np.asarray(rows)
    uniform = np.log((1 + (space.widths - 1) * ratio) / space.widths)
    return np.where((centres == INACTIVE)[:, slot], uniform[slot], rows)
