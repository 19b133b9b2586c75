"""Random search, the sampler that has no model: what any other must beat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

from mipro.tpe.acquisition import any_unseen, as_key
from mipro.tpe.history import (
    Best,
    History,
    Observation,
    Seed,
    again,
    check_state,
    generator,
    generator_state,
    ranked,
    restored_generator,
)
from mipro.tpe.space import Config, Space
from mipro.tpe.split import shrink


@final
class RandomSampler:
    """Random search without repeats: ancestral sampling of what has not been asked."""

    startup = 0
    in_startup = False

    def __init__(self, space: Space, seed: Seed = 0) -> None:
        self._rng = generator(seed)
        self._history = History(space)

    @property
    def space(self) -> Space:
        """The space asked from."""
        return self._history.space

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All that was told, in order."""
        return self._history.observations

    @property
    def exhausted(self) -> bool:
        """Whether every configuration of the space has been told."""
        return self._history.exhausted

    def ask(self, exclude: Iterable[Mapping[str, Any]] = ()) -> Config:
        """A configuration to evaluate; see `Sampler.ask`."""
        busy = {self.space.key(config) for config in exclude} | set(self._history.pending)
        key = as_key(any_unseen(self.space, self._rng, self._history.besides(busy)))
        if key is None:
            key = again(self._history, busy)
        self._history.pending[key] = None
        return self.space.decode(key)

    def tell(self, config: Mapping[str, Any], score: float, n: int = 1) -> None:
        """The mean ``score`` of ``config`` over ``n`` examples; see `Sampler.tell`."""
        self._history.tell(config, score, n)

    def best(self) -> Best:
        """The configuration with the highest mean, shrunk to the grand mean. See `Sampler`."""
        return self.ranking()[0]

    def ranking(self) -> list[Best]:
        """All that was told, by that mean, the best first. ValueError before any is told."""
        pool = self._history.pool()
        return ranked(self.space, pool, shrink(pool))

    def state(self) -> dict[str, Any]:
        """All of the sampler as JSON types, the generator included."""
        return {
            "sampler": "random",
            "space": self.space.fingerprint(),
            "generator": generator_state(self._rng),
            **self._history.state(),
        }

    @classmethod
    def from_state(cls, space: Space, state: Mapping[str, Any]) -> RandomSampler:
        """The sampler that `state` was taken of: it goes on identically."""
        check_state(space, state, "random")
        sampler = cls(space)
        sampler._rng = restored_generator(state["generator"])
        sampler._history = History.from_state(space, state)
        return sampler

    def regrow(self, space: Space) -> RandomSampler:
        """A sampler on ``space``, this one with choices appended, that keeps what was told."""
        sampler = RandomSampler(space)
        sampler._rng = restored_generator(generator_state(self._rng))
        sampler._history = self._history.on(space)
        return sampler
