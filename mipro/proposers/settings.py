"""The proposer's settings, the paper's meta-hyperparameters, as a `Space` that TPE can search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mipro.errors import ConfigError
from mipro.proposers.tips import TIPS
from mipro.tpe import Space

TEMPERATURES = (0.3, 0.7, 1.0)


@dataclass(frozen=True)
class Settings:
    """What one proposal is grounded in, and how it is written.

    `demo_set` is the index of the demonstration set shown (0, the empty one, shows none); `history`
    shows earlier instructions of the module with their scores.
    """

    dataset_summary: bool = True
    program_summary: bool = True
    tip: str = "none"
    demo_set: int = 0
    temperature: float = 0.7
    history: bool = False

    def __post_init__(self) -> None:
        if self.tip not in TIPS:
            raise ConfigError(f"no tip is called '{self.tip}': there are {', '.join(TIPS)}")

    def to_config(self, space: Space) -> dict[str, Any]:
        """The settings as a configuration of `space`."""
        return {name: value for name, value in asdict(self).items() if name in space.names}


def settings_space(demo_sets: int = 1, *, history: bool = False) -> Space:
    """The space of settings, where `demo_sets` sets can be shown (1: only the empty one).

    A variable with one choice is left out; `from_config` gives it its default.
    """
    variables: dict[str, Any] = {
        "dataset_summary": (True, False),
        "program_summary": (True, False),
        "tip": tuple(TIPS),
        "temperature": TEMPERATURES,
    }
    if demo_sets > 1:
        variables["demo_set"] = demo_sets
    if history:
        variables["history"] = (True, False)
    return Space(variables)


def from_config(config: Mapping[str, Any]) -> Settings:
    """The settings a configuration of `settings_space` stands for."""
    return Settings(**config)
