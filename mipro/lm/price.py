"""What a model's tokens cost, as the user states it: no price, no made-up cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mipro.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, as the user states them."""

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        if not (0 <= self.prompt < math.inf and 0 <= self.completion < math.inf):
            raise ConfigError(f"{self}: dollars per million tokens, from 0 up, are wanted")

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars for so many tokens."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6
