"""What has been asked and told: the part that every sampler shares.

Observations in order, the configurations still out for evaluation, and their JSON form. `sampler`
adds the decision of what to ask next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, final

import numpy as np

from mipro.tpe.parzen import Floats, one_hot
from mipro.tpe.space import Codes, Config, Key, Space
from mipro.tpe.split import Pool, Tally


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
    """An observation as it is kept; ``asked`` is ``key`` where nothing else was asked."""

    key: Key
    score: float
    n: int
    asked: Key


@final
class History:
    """Observations, and pending configurations (asked, not told), of one space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.told: list[Told] = []
        self.pending: dict[Key, None] = {}  # ordered, unlike a set
        self.asked: dict[Key, Key] = {}  # what was asked where this came of it
        self.barred: set[tuple[int, int]] = set()  # (column, code) not to be asked now
        self.tally = Tally(len(space.sizes))
        self.examples = 0  # behind all scores

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
        self.pending.pop(other, None)
        self.pending.pop(key, None)
        if other != key:
            self.asked.setdefault(key, other)
        self.told.append(Told(key, value, int(n), self.asked.get(key, key)))
        self.tally.add(key, value, int(n))
        self.examples += int(n)
        return key

    def hot(self, codes: Codes) -> Floats:
        """One where a configuration told speaks for a choice. (N, D) -> (N, C)."""
        own = one_hot(self.space, codes)
        if not self.asked:
            return own
        asked = [self.asked.get(key, key) for key in map(tuple, codes.tolist())]
        return np.maximum(own, one_hot(self.space, np.array(asked).reshape(codes.shape)))

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All that was told, in order."""
        return tuple(
            Observation(MappingProxyType(self.space.decode(told.key)), told.score, told.n)
            for told in self.told
        )

    def pool(self) -> Pool:
        """One row a distinct configuration. ValueError before anything is told."""
        if not self.told:
            raise ValueError("nothing has been told yet, so there is no best configuration")
        return self.tally.pool()

    def __contains__(self, key: object) -> bool:
        """Whether a configuration is told or pending."""
        return key in self.tally.rows or key in self.pending

    def __len__(self) -> int:
        """How many distinct configurations are told or pending."""
        return len(self.tally) + sum(key not in self.tally.rows for key in self.pending)

    def besides(self, excluded: Iterable[Key]) -> Seen:
        """What is not to be asked: this history and ``excluded``."""
        return Seen(self, frozenset(excluded))

    def state(self) -> dict[str, Any]:
        """As JSON types; configurations as codes, and behind them what else they speak for."""
        return {
            "observations": [
                [list(told.key), told.score, told.n]
                + ([list(told.asked)] if told.asked != told.key else [])
                for told in self.told
            ],
            "pending": [list(key) for key in self.pending],
        }


@final
@dataclass(frozen=True)
class Seen:
    """The configurations of a history and some others, without making a set of them."""

    history: History
    excluded: frozenset[Key]

    def __contains__(self, key: object) -> bool:
        if key in self.history or key in self.excluded:
            return True
        barred = self.history.barred
        return isinstance(key, tuple) and any(key[column] == code for column, code in barred)
