"""What a world is made of, and the list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module

from mipro.data import Example
from mipro.errors import ConfigError
from mipro.lm.simulated import SimulatedLM
from mipro.metrics import Metric
from mipro.programs.program import Program


@dataclass(frozen=True)
class World:
    """A task with all that a run needs. `train`, `val` and `test` are disjoint.

    `lm` is the embedded LM; its seed decides its luck, never its competence. `told` has an
    instruction a module, written by hand, that says all there is to say.
    """

    name: str
    program: Program
    metric: Metric
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    lm: SimulatedLM = field(default_factory=SimulatedLM)
    told: Mapping[str, str] = field(default_factory=dict, repr=False)

    def with_seed(self, seed: int) -> World:
        """The same world with another LM luck."""
        return replace(self, lm=SimulatedLM(seed))


# name → where it is made; a module is imported when its world is asked for (Iris needs
# scikit-learn, two-hop retrieval bm25s)
WORLDS: Mapping[str, str] = {
    "iris": "mipro.worlds.iris:iris_world",
    "twohop": "mipro.worlds.twohop:twohop_world",
    "conditional": "mipro.worlds.conditional:conditional_world",
    "misled": "mipro.worlds.misled:misled_world",
}


def load_world(name: str, seed: int = 0) -> World:
    """The world called `name`, its data split and its LM's luck by `seed`.

    Raises `ConfigError` for a name that is not in `WORLDS`.
    """
    if name not in WORLDS:
        raise ConfigError(f"no world is called '{name}': there are {', '.join(WORLDS)}")
    module, _, function = WORLDS[name].partition(":")
    make: Callable[[int], World] = getattr(import_module(module), function)
    return make(seed)
