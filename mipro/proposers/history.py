"""What was tried before, with its scores, the best last (OPRO).

One history a module, of its instructions, or one of whole programs, every module's instruction in
each entry. A score stands with its n, so that an LM can tell luck from merit as far as one can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mipro.lm.tokens import estimate_tokens
from mipro.proposers.ask import fitted

SHOWN = 5


@dataclass(frozen=True)
class Tried:
    """An instruction, the mean score of the trials that used it, and the examples behind that."""

    instruction: str
    score: float
    n: int


@dataclass(frozen=True)
class TriedProgram:
    """The instructions of a whole program, module → text, with score and n as in `Tried`."""

    instructions: Mapping[str, str]
    score: float
    n: int


Some = TypeVar("Some", Tried, TriedProgram)


def best_last(history: Sequence[Tried], most: int = SHOWN) -> list[str]:
    """The `most` best, worst first, each as a JSON line with its score and n."""
    best = _best_last(history, most)
    return [_line({"instruction": tried.instruction}, tried) for tried in best]


def best_programs_last(
    history: Sequence[TriedProgram], tokens: int, most: int = SHOWN
) -> list[str]:
    """The same of whole programs, in about `tokens` tokens: what is worse goes first.

    Where even the best is too long its instructions are cut, each to its share.
    """
    lines: list[str] = []
    for tried in reversed(_best_last(history, most)):
        share = tokens // max(1, len(tried.instructions))
        texts = {module: fitted(text, share) for module, text in tried.instructions.items()}
        line = _line({"instructions": texts}, tried)
        tokens -= estimate_tokens(line)
        if lines and tokens < 0:
            break
        lines.append(line)
    return lines[::-1]


def _best_last(history: Sequence[Some], most: int) -> list[Some]:
    return sorted(history, key=lambda tried: tried.score)[-most:]


def _line(body: Mapping[str, object], tried: Tried | TriedProgram) -> str:
    shown = {**body, "score": round(tried.score, 3), "n": tried.n}
    return json.dumps(shown, ensure_ascii=False)
