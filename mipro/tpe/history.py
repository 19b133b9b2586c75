"""What has been asked and told: the part that every sampler shares.

Observations in order, the configurations still out for evaluation, and their JSON form. `sampler`
adds the decision of what to ask next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, final

import numpy as np

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


@final
class History:
    """Observations, and pending configurations (asked, not told), of one space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.keys: list[Key] = []
        self.scores: list[float] = []
        self.ns: list[int] = []
        self.others: list[Key] = []  # of each, for what else it speaks; mostly itself
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
    ) -> None:
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
        self.tally.add(key, value, int(n))
        self.keys.append(key)
        self.scores.append(value)
        self.ns.append(int(n))
        self.examples += int(n)
        if other != key:
            self.asked.setdefault(key, other)
        self.others.append(self.asked.get(key, key))

    def asked_codes(self) -> Codes | None:
        """What was asked for each row of `pool`, (U, D); None where always the row itself."""
        if not self.asked:
            return None
        return np.array([self.asked.get(key, key) for key in self.tally.rows], dtype=np.int64)

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All that was told, in order."""
        return tuple(
            Observation(MappingProxyType(self.space.decode(key)), score, n)
            for key, score, n in zip(self.keys, self.scores, self.ns, strict=True)
        )

    def pool(self) -> Pool:
        """One row a distinct configuration. ValueError before anything is told."""
        if not self.keys:
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

    @property
    def exhausted(self) -> bool:
        """Whether every configuration of the space has been told."""
        return len(self.tally) >= self.space.size()

    def state(self) -> dict[str, Any]:
        """As JSON types; configurations as codes, and behind them what else they speak for."""
        return {
            "observations": [
                [list(key), score, n, *([list(other)] if other != key else [])]
                for key, score, n, other in zip(
                    self.keys, self.scores, self.ns, self.others, strict=True
                )
            ],
            "pending": [list(key) for key in self.pending],
        }

    @classmethod
    def from_state(cls, space: Space, state: Mapping[str, Any]) -> History:
        """The inverse of `state`."""
        history = cls(space)
        for codes, score, n, *other in state["observations"]:
            asked = space.decode(other[0]) if other else None
            history.tell(space.decode(codes), score, n, asked)
        for codes in state["pending"]:
            history.pending[space.key(space.decode(codes))] = None
        return history


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
