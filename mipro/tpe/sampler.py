"""Samplers: ask for a configuration, tell its score, recommend the best.

`history` holds what was asked and told; what every sampler does with it is `Sampler`, but for the
one thing in which they differ: what to ask next. `RandomSampler` has no model to answer that, and
is what any other must beat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeAlias, final

import numpy as np

from mipro.tpe.acquisition import any_unseen, worth_a_second_look
from mipro.tpe.history import Best, History, Observation
from mipro.tpe.parzen import Floats
from mipro.tpe.space import Config, Key, Space
from mipro.tpe.split import Pool, shrink

Seed: TypeAlias = int | Sequence[int] | np.random.SeedSequence | np.random.Generator


class Sampler(ABC):
    """What a search needs of a sampler. Scores: higher is better.

    ``startup``: how many distinct configurations are asked before any model is used. ``seed``: 0
    is one like any other; a Generator is used as it is.
    """

    kind: ClassVar[str]
    startup: int = 0

    def __init__(self, space: Space, seed: Seed) -> None:
        if seed is None:
            raise ValueError("a seed is needed: an int, a SeedSequence or a Generator")
        self._rng = np.random.default_rng(seed)
        self._history = History(space)

    @property
    def space(self) -> Space:
        """The space asked from."""
        return self._history.space

    @property
    def in_startup(self) -> bool:
        """Whether the next ask is of the start-up: told and pending are fewer than ``startup``."""
        return len(self._history) < self.startup

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All that was told, in order."""
        return self._history.observations

    @property
    def exhausted(self) -> bool:
        """Whether every configuration of the space has been told."""
        return len(self._history.tally) >= self.space.size()

    def ask(
        self,
        exclude: Iterable[Mapping[str, Any]] = (),
        *,
        without: Iterable[tuple[str, Any]] = (),
    ) -> Config:
        """A configuration to evaluate; it is pending until told, and not asked meanwhile.

        Never one of ``exclude``, while there is any other. Where every configuration has been
        asked, one that is worth evaluating again. ``without`` are choices, (name, value), that it
        is not to hold; if all that is left to be asked a first time holds one of them, something
        is asked again.
        """
        history = self._history
        history.barred = {self.space.choice(name, value) for name, value in without}
        busy = {self.space.key(config) for config in exclude} | set(history.pending)
        key = self._next(busy)
        if key is None:
            key = _again(history, busy)
        history.pending[key] = None
        return self.space.decode(key)

    @abstractmethod
    def _next(self, busy: set[Key]) -> Key | None:
        """What to ask, not one of ``busy``; None where nothing is left to be asked first."""

    def _unseen(self, seen: Container[Key]) -> Key | None:
        """Any configuration but those ``seen``; None where there is none."""
        return any_unseen(self.space, self._rng, seen)

    def tell(
        self,
        config: Mapping[str, Any],
        score: float,
        n: int = 1,
        *,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        """Add an observation, of any configuration of the space, asked or not, new or not.

        ``score``: finite, higher is better, the mean over ``n`` examples. ``asked``: what was
        asked, where ``config`` came of it: the score speaks for both, and only ``config`` is ever
        recommended. ValueError, and nothing is added, for what is not of the space, not finite or
        no number of examples.
        """
        self._told(self._history.tell(config, score, n, asked))

    def _told(self, key: Key) -> None:  # noqa: B027  (a sampler without a model takes no note)
        """Take note of another score of ``key``."""

    def best(self) -> Best:
        """The configuration to recommend: of the highest posterior mean. ValueError before any."""
        return self.ranking()[0]

    def ranking(self) -> list[Best]:
        """All that was told, by posterior mean, the best first. ValueError before any is told.

        Of equals the one with more examples comes first, then the earlier.
        """
        pool = self._history.pool()
        means = self._means(pool)
        rows = np.lexsort((np.arange(len(pool.n)), -pool.n, -means))
        return [
            Best(self.space.decode(pool.codes[row]), float(means[row]), int(pool.n[row]))
            for row in rows
        ]

    def _means(self, pool: Pool) -> Floats:
        """What is believed of the true means: here, shrunk to the grand mean. (U,)."""
        return shrink(pool).mean

    def state(self) -> dict[str, Any]:
        """All of the sampler as JSON types, the generator included."""
        return {
            "sampler": self.kind,
            "space": self.space.fingerprint(),
            **self._own_state(),
            "generator": _plain(self._rng.bit_generator.state),
            **self._history.state(),
        }

    def _own_state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, space: Space, state: Mapping[str, Any]) -> Self:
        """The sampler that `state` was taken of: it goes on identically. ValueError of another."""
        if state["sampler"] != cls.kind:
            raise ValueError(
                f"this is the state of a {state['sampler']!r} sampler, not {cls.kind!r}"
            )
        if state["space"] != space.fingerprint():
            raise ValueError(
                f"this state is of another space: {state['space']}, "
                f"not {space.fingerprint()} ({space})"
            )
        sampler = cls._of_own_state(space, state)
        for codes, score, n, *asked in state["observations"]:
            sampler.tell(
                space.decode(codes), score, n, asked=space.decode(asked[0]) if asked else None
            )
        sampler._history.pending = {tuple(codes): None for codes in state["pending"]}
        sampler._rng = _generator(state["generator"])
        return sampler

    @classmethod
    @abstractmethod
    def _of_own_state(cls, space: Space, state: Mapping[str, Any]) -> Self:
        """A sampler to which nothing has been told yet."""

    def regrow(self, space: Space) -> Self:
        """A sampler on ``space`` that keeps all observations, pending ones and the generator.

        ``space`` is this one with choices appended (`Space.grown`), else ValueError.
        """
        if not space.is_growth_of(self.space):
            raise ValueError(f"{space} is not {self.space} with choices appended")
        return self.from_state(space, {**self.state(), "space": space.fingerprint()})


@final
class RandomSampler(Sampler):
    """Random search without repeats: ancestral sampling of what has not been asked."""

    kind = "random"

    def __init__(self, space: Space, seed: Seed = 0) -> None:
        super().__init__(space, seed)

    def _next(self, busy: set[Key]) -> Key | None:
        return self._unseen(self._history.besides(busy))

    @classmethod
    def _of_own_state(cls, space: Space, state: Mapping[str, Any]) -> RandomSampler:
        return cls(space)


def _again(history: History, busy: set[Key]) -> Key:
    """A configuration to ask a second time, where none is left to be asked a first time."""
    if history.told:
        pool = history.pool()
        for besides in (busy, set[Key]()):  # if all are out or excluded, an answer is owed too
            if (key := worth_a_second_look(pool, shrink(pool), besides)) is not None:
                return key
    if history.pending:
        return next(iter(history.pending))
    return tuple(next(history.space.enumerate_codes()).tolist())  # all excluded, none ever asked


def _generator(state: Mapping[str, Any]) -> np.random.Generator:
    """A generator from its state as JSON types; ValueError of one that numpy does not have."""
    name = state["bit_generator"]
    if name not in ("PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937"):
        raise ValueError(f"unknown generator {name!r}")
    bits: np.random.BitGenerator = getattr(np.random, name)()
    bits.state = dict(state)
    return np.random.Generator(bits)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
