"""What was tried before: instructions of one module with their scores, the best last (OPRO)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 5


@dataclass(frozen=True)
class Tried:
    """An instruction, the mean score of the trials that used it, and the examples behind that."""

    instruction: str
    score: float
    n: int


def best_last(history: Sequence[Tried], most: int = SHOWN) -> list[str]:
    """The `most` best, worst first, each as a JSON line with its score and n."""
    best = sorted(history, key=lambda tried: tried.score)[-most:]
    return [
        json.dumps(
            {"instruction": t.instruction, "score": round(t.score, 3), "n": t.n},
            ensure_ascii=False,
        )
        for t in best
    ]
