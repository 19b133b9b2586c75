"""What has been asked and told: the part that every sampler shares.

No model in here: observations in order, the configurations still out for evaluation, and their
JSON form. `sampler` adds the decision of what to ask next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias, final

import numpy as np

from mipro.tpe.acquisition import worth_a_second_look
from mipro.tpe.parzen import Floats
from mipro.tpe.space import INACTIVE, Codes, Config, Key, Space
from mipro.tpe.split import Pool, Posterior, Tally, shrink


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
@dataclass
class History:
    """Observations, and pending configurations (asked, not told), of one space."""

    space: Space
    keys: list[Key] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    ns: list[int] = field(default_factory=list)
    pending: dict[Key, None] = field(default_factory=dict)  # ordered, unlike a set
    asked: dict[Key, Key] = field(default_factory=dict)  # what was asked where this came of it
    barred: set[tuple[int, int]] = field(default_factory=set)  # (column, code) not to be asked now
    tally: Tally = field(init=False)
    counts: Floats = field(init=False)  # distinct configurations with each choice, (C,)
    examples: int = 0  # behind all scores

    def __post_init__(self) -> None:
        self.tally = Tally(len(self.space.sizes))
        self.counts = np.zeros(len(self.space.column_of_choice))
        told = list(zip(self.keys, self.scores, self.ns, strict=True))
        self.keys, self.scores, self.ns, self.examples = [], [], [], 0
        for key, score, n in told:
            self._add(key, score, n)
        for key, asked in self.asked.items():
            self._count(asked, besides=key)

    def _count(self, key: Key, besides: Key | None = None) -> None:
        """Count the choices of ``key``, but for those it shares with ``besides``."""
        codes = np.asarray(key, dtype=np.int64)
        counted = codes != INACTIVE
        if besides is not None:
            counted &= codes != besides
        self.counts[(codes + self.space.offsets)[counted]] += 1

    def _add(self, key: Key, score: float, n: int) -> None:
        if key not in self.tally.rows:
            self._count(key)
        self.tally.add(key, score, n)
        self.keys.append(key)
        self.scores.append(score)
        self.ns.append(n)
        self.examples += n

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
        self._add(key, value, int(n))
        if other != key and key not in self.asked:
            self.asked[key] = other
            self._count(other, besides=key)

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
        """As JSON types; configurations as codes."""
        return {
            "observations": [
                [list(key), score, n]
                for key, score, n in zip(self.keys, self.scores, self.ns, strict=True)
            ],
            "pending": [list(key) for key in self.pending],
            "asked": [[list(key), list(other)] for key, other in self.asked.items()],
        }

    @classmethod
    def from_state(cls, space: Space, state: Mapping[str, Any]) -> History:
        """The inverse of `state`."""
        history = cls(space)
        asked = {tuple(codes): other for codes, other in state["asked"]}
        for codes, score, n in state["observations"]:
            other = asked.get(tuple(codes), codes)
            history.tell(space.decode(codes), score, n, space.decode(other))
        for codes in state["pending"]:
            history.pending[space.key(space.decode(codes))] = None
        return history

    def on(self, space: Space) -> History:
        """The same history on a grown space, where codes keep their meaning."""
        if not space.is_growth_of(self.space):
            raise ValueError(f"{space} is not {self.space} with choices appended")
        told = [*self.keys], [*self.scores], [*self.ns]
        return History(space, *told, dict(self.pending), dict(self.asked))


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


def ranked(space: Space, pool: Pool, posterior: Posterior) -> list[Best]:
    """All that was told, the highest posterior mean first.

    Of equals the one with more examples comes first, then the earlier.
    """
    rows = np.lexsort((np.arange(len(pool.n)), -pool.n, -posterior.mean))
    return [
        Best(space.decode(pool.codes[row]), float(posterior.mean[row]), int(pool.n[row]))
        for row in rows
    ]


def again(history: History, busy: set[Key]) -> Key:
    """A configuration to ask a second time, where none is left to be asked a first time."""
    key = None
    if history.keys:
        pool = history.pool()
        posterior = shrink(pool)
        key = worth_a_second_look(pool, posterior, busy)
        if key is None:  # every one is out or excluded: all the same an answer is owed
            key = worth_a_second_look(pool, posterior, ())
    if key is None:
        key = next(iter(history.pending), None)
    if key is None:  # all excluded, none ever asked
        key = tuple(next(history.space.enumerate_codes()).tolist())
    return key


def check_state(space: Space, state: Mapping[str, Any], sampler: str) -> None:
    """Refuse a state taken of another kind of sampler or of another space. ValueError."""
    if state["sampler"] != sampler:
        raise ValueError(f"this is the state of a {state['sampler']!r} sampler, not {sampler!r}")
    if state["space"] != space.fingerprint():
        raise ValueError(
            f"this state is of another space: {state['space']}, not {space.fingerprint()} ({space})"
        )
