"""One module as a program of its own: how a proposer asks its LM, with prompts like any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mipro.errors import ParseError
from mipro.lm.base import LM, LMError
from mipro.lm.tokens import estimate_tokens
from mipro.programs.module import Predict
from mipro.programs.program import Program
from mipro.programs.signature import Signature
from mipro.programs.trace import Prediction, Run

CUT = " … (cut)"


class _Single(Program):
    def __init__(self, module: Predict) -> None:
        self.ask = module

    def forward(self, **inputs: Any) -> Prediction:
        return self.ask(**inputs)


def ask(
    signature: Signature, lm: LM, *, temperature: float = 0.0, rollout: int = 0, **inputs: Any
) -> Run:
    """Call the LM once with `signature`. The run holds the prediction, or why there is none.

    Raises `LMError` where every other call would fail as well; any other error is in the run.
    """
    program = _Single(Predict(signature, temperature=temperature))
    run = program.run(inputs, lm=lm, rollout=rollout)
    if isinstance(run.error, LMError) and run.error.systemic:
        raise run.error
    if run.error is not None and not isinstance(run.error, (LMError, ParseError)):
        raise run.error  # our own fault, not the reply's
    return run


def fitted(text: str, tokens: int) -> str:
    """`text`, or its beginning if it is longer than about `tokens`."""
    if estimate_tokens(text) <= tokens:
        return text
    room = max(0, 4 * tokens - len(CUT.encode()))  # bytes, four a token
    return text.encode("utf-8", "surrogatepass")[:room].decode("utf-8", "ignore").rstrip() + CUT


def fitted_list(texts: Sequence[str], tokens: int) -> list[str]:
    """The first of `texts`, as many as fit `tokens`, each cut to a fair share where longer."""
    share = max(64, tokens // max(1, len(texts)))
    kept: list[str] = []
    left = tokens
    for text in texts:
        cut = fitted(text, min(share, tokens))
        left -= estimate_tokens(cut)
        if kept and left < 0:
            break
        kept.append(cut)
    return kept
