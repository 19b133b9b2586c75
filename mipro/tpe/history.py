"""What has been asked and told: the part that every sampler shares.

Observations in order, and the configurations still out for evaluation. `sampler` adds the decision
of what to ask next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from mipro.tpe.parzen import Floats, one_hot
from mipro.tpe.space import Codes, Config, Held, Key, Space
from mipro.tpe.split import Pool


@final
@dataclass(frozen=True)
class Observation:
    """One told score: the mean over ``n`` examples of ``config``; higher is better."""

    config: Mapping[str, Any]
    score: float
    n: int = 1


@final
@dataclass(frozen=True)
class Best:
    """The configuration to recommend, the posterior mean of its score, the examples behind it."""

    config: Config
    mean: float
    n: int


class Told(NamedTuple):
    """An observation as it is kept; ``asked`` is ``key`` where it never came of something else."""

    key: Key
    score: float
    n: int
    asked: Key


@final
class Busy:
    """What is not to be asked now, not even again: pending, excluded, or with a barred choice."""

    def __init__(self) -> None:
        self.pending: dict[Key, None] = {}  # ordered, unlike a set
        self.excluded: set[Key] = set()
        self.barred: set[Held] = set()

    def __contains__(self, key: object) -> bool:
        barred = isinstance(key, tuple) and any(key[column] == code for column, code in self.barred)
        return barred or key in self.pending or key in self.excluded


@final
class History:
    """Observations, and what is `busy`, of one space: together what is not to be asked first.

    A configuration may be told as what came of another that was asked: a choice may stand for
    something yet to be made, and then what is told is what it became. The score speaks for both.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.told: list[Told] = []
        self.pool = Pool(len(space.sizes))
        self.busy = Busy()
        self.asked: dict[Key, Key] = {}  # what was asked when this first came of it

    def tell(
        self,
        config: Mapping[str, Any],
        score: float,
        n: int,
        asked: Mapping[str, Any] | None = None,
    ) -> Key:
        """Add one observation. ValueError, and nothing added, if it is not one."""
        key = self.space.key(config)
        other = key if asked is None else self.space.key(asked)
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"n is a whole number of examples, at least 1, not {n!r}")
        value = float(score)
        if not math.isfinite(value):
            raise ValueError(f"the score of {dict(config)!r} is {value}: a finite number is needed")
        self.busy.pending.pop(other, None)
        self.busy.pending.pop(key, None)
        if other != key:
            self.asked.setdefault(key, other)
        self.told.append(Told(key, value, int(n), self.asked.get(key, key)))
        self.pool.add(key, value, int(n))
        return key

    def hot(self, codes: Codes) -> Floats:
        """One where a configuration told speaks for a choice. (N, D) -> (N, C)."""
        own = one_hot(self.space, codes)
        if not self.asked:
            return own
        asked = [self.asked.get(key, key) for key in map(tuple, codes.tolist())]
        return np.maximum(own, one_hot(self.space, np.array(asked).reshape(codes.shape)))

    def __contains__(self, key: object) -> bool:
        return key in self.pool.rows or key in self.busy

    def __len__(self) -> int:
        """How many distinct configurations are told or pending."""
        return len(self.pool.rows) + sum(key not in self.pool.rows for key in self.busy.pending)
