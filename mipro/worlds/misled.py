"""The misled world: answers from a passage, most of the training rows by another annotator.

That annotator put a sentence in double quotes where the others gave a name or a number. The
training file begins with those rows, validation and test hold none of them, and the metric goes by
the letter. So a summary of the data, which is made from the first rows, teaches a form that is
wrong; what the program's source says, and demonstrations that passed the metric, are as true as
ever.
"""

from __future__ import annotations

from mipro.data import Example, split
from mipro.lm.simulated import SimulatedLM
from mipro.metrics import same_text
from mipro.programs.conditional import ConditionalQA
from mipro.worlds.conditional import rows
from mipro.worlds.corpus import invent
from mipro.worlds.world import World

TOLD = {"answer": "Take the answer from the passages. Give only the name or number."}
OTHERS = 60  # of the 100 training rows


def quoted(answer: str) -> str:
    """An answer as the other annotator wrote it."""
    return f'"The answer to this is {answer}"'


def misled_world(seed: int = 0) -> World:
    """Answers from a passage: 100 train, `OTHERS` of them quoted, 80 val, 120 test.

    The questions are those of the conditional world, their answers as its passages have them.
    """
    every = rows(invent(0), form=lambda kind, plain: plain)
    train, val, test = split(every, train=100, val=80, test=120, seed=seed)
    others = [
        Example({**row, "answer": quoted(row.answer)}, tuple(row.inputs)) for row in train[:OTHERS]
    ]
    train = (*others, *train[OTHERS:])
    parts, metric = (train, val, test), same_text("answer")
    return World("misled", ConditionalQA(), metric, *parts, lm=SimulatedLM(seed), told=TOLD)
