"""Samplers: ask for a configuration, tell its score, recommend the best.

`history` holds what was asked and told; what every sampler does with it is `Sampler`, but for the
one thing in which they differ: what to ask next. `RandomSampler` has no model to answer that, and
is what any other must beat.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
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

    ``seed``: 0 is one like any other; a Generator is used as it is.
    """

    kind: ClassVar[str]
    planned: int = 0  # how long a start-up is, if the space is large enough

    def __init__(self, space: Space, seed: Seed = 0) -> None:
        if seed is None:
            raise ValueError("a seed is needed: an int, a SeedSequence or a Generator")
        self._rng = np.random.default_rng(seed)
        self._history = History(space)
        self._design: list[Key] = []  # to be asked before any other

    @property
    def space(self) -> Space:
        """The space asked from."""
        return self._history.space

    @property
    def startup(self) -> int:
        """How many distinct configurations are asked before any model is used."""
        return min(self.planned, self.space.size())

    @property
    def in_startup(self) -> bool:
        """Whether the next ask is of the start-up: told and pending are fewer than `startup`."""
        asked = len(self._history)
        return asked < self.planned and asked < self.startup

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All that was told, in order."""
        return tuple(
            Observation(MappingProxyType(self.space.decode(told.key)), told.score, told.n)
            for told in self._history.told
        )

    @property
    def exhausted(self) -> bool:
        """Whether every configuration of the space has been told."""
        return len(self._history.pool.rows) >= self.space.size()

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
        busy = self._history.busy
        busy.barred = {self.space.choice(name, value) for name, value in without}
        busy.excluded = {self.space.key(config) for config in exclude}
        key = self._next()
        if key is None:
            key = self._again()
        busy.pending[key] = None
        return self.space.decode(key)

    @abstractmethod
    def _next(self) -> Key | None:
        """What to ask; None where nothing is left to be asked a first time."""

    def _unseen(self) -> Key | None:
        """What of the design is left, then any configuration not seen; None where there is none."""
        while self._design:  # barred for now is gone for good: barred at random, asked less often
            if (key := self._design.pop(0)) not in self._history:
                return key
        return any_unseen(self.space, self._rng, self._history, self._history.busy.barred)

    def _again(self) -> Key:
        """A configuration to ask a second time, where none is left to be asked a first time."""
        pool, busy = self._history.pool, self._history.busy
        if pool.rows:
            return worth_a_second_look(pool, shrink(pool), busy)
        first = next(self.space.enumerate_codes())  # nothing was told: all are out, or barred
        return next(iter(busy.pending), tuple(first.tolist()))

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
        asked, where ``config`` came of it: the score speaks for both (the first that was said of
        ``config`` holds), and only ``config`` is ever recommended. ValueError, and nothing is
        added, for what is not of the space, not finite or no number of examples.
        """
        self._told(self._history.tell(config, score, n, asked), float(score), int(n))

    def _told(self, key: Key, score: float, n: int) -> None:  # noqa: B027  (no model: no note)
        """Take note of another score of ``key``."""

    def best(self) -> Best:
        """The configuration to recommend: of the highest posterior mean. ValueError before any."""
        return self.ranking()[0]

    def ranking(self) -> list[Best]:
        """All that was told, by posterior mean, the best first. ValueError before any is told.

        Of equals the one with more examples comes first, then the earlier.
        """
        pool = self._history.pool
        if not pool.rows:
            raise ValueError("nothing has been told yet, so there is no best configuration")
        means = self._means(pool)
        rows = np.lexsort((-pool.n, -means))  # stable: of equals the earlier
        return [
            Best(self.space.decode(pool.codes[row]), float(means[row]), int(pool.n[row]))
            for row in rows
        ]

    def _means(self, pool: Pool) -> Floats:
        """What is believed of the true means: here, shrunk to the grand mean. (U,)."""
        return shrink(pool).mean

    def state(self) -> dict[str, Any]:
        """All of the sampler as JSON types, the generator included; configurations as codes."""
        return {
            "sampler": self.kind,
            "space": self.space.fingerprint(),
            "made": self._made_with(),
            "design": [list(key) for key in self._design],
            "generator": json.loads(
                json.dumps(self._rng.bit_generator.state, default=np.ndarray.tolist)
            ),
            "pending": [list(key) for key in self._history.busy.pending],
            "observations": [
                [list(t.key), t.score, t.n, list(t.asked)] for t in self._history.told
            ],
        }

    def _made_with(self) -> dict[str, Any]:
        """What `__init__` takes to make it again but for space and seed, as JSON types."""
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
        sampler = cls(space, **state["made"])
        for codes, score, n, asked in state["observations"]:
            sampler.tell(space.decode(codes), score, n, asked=space.decode(asked))
        sampler._design = [tuple(codes) for codes in state["design"]]
        sampler._history.busy.pending = {tuple(codes): None for codes in state["pending"]}
        sampler._rng = _generator(state["generator"])
        return sampler

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

    def _next(self) -> Key | None:
        return self._unseen()


def _generator(state: Mapping[str, Any]) -> np.random.Generator:
    """A generator from its state as JSON types; ValueError of one that numpy does not have."""
    kinds = {kind.__name__: kind for kind in np.random.BitGenerator.__subclasses__()}
    if (name := state["bit_generator"]) not in kinds:
        raise ValueError(f"unknown generator {name!r}")
    bits = kinds[name]()
    bits.state = dict(state)
    return np.random.Generator(bits)
