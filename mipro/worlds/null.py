"""The null world: no program can be better than another, whatever its prompts.

Two numbers that mean nothing, and a side that a fair coin has chosen. Where original and candidate
answer differently on an example, one of them is right, and the coin says which: so the number of
such examples that the candidate wins is binomial with 1/2, whatever was searched and found, and
every program that names a side has the true score 1/2. Not in `WORLDS`: it has no optimum to find.
"""

from __future__ import annotations

from random import Random
from typing import Literal

from mipro.data import Example, split
from mipro.lm.simulated import SimulatedLM
from mipro.metrics import exact_match
from mipro.programs.module import Predict
from mipro.programs.program import Program
from mipro.programs.signature import Input, Output
from mipro.programs.trace import Prediction
from mipro.worlds.world import World


class Toss:
    """Say which side of the coin is up."""

    height: float = Input("of the throw, in metres")
    spin: float = Input("in turns a second")
    side: Literal["heads", "tails"] = Output("the side that is up")


class Coin(Program):
    """Call a coin."""

    def __init__(self) -> None:
        self.call = Predict(Toss)

    def forward(self, height: float, spin: float) -> Prediction:
        """One call of `call`."""
        return self.call(height=height, spin=spin)


def null_world(seed: int = 0, train: int = 30, val: int = 30, test: int = 60) -> World:
    """Coins with the embedded LM; data and the LM's luck by `seed`."""
    rng = Random(f"mipro coins {seed}")
    rows = [
        Example(
            {
                "height": round(rng.uniform(0.1, 3), 3),
                "spin": round(rng.uniform(1, 40), 2),
                "side": rng.choice(["heads", "tails"]),
            },
            inputs=("height", "spin"),
        )
        for _ in range(train + val + test)
    ]
    parts = split(rows, train=train, val=val, test=test, seed=seed)
    return World("null", Coin(), exact_match("side"), *parts, lm=SimulatedLM(seed))
