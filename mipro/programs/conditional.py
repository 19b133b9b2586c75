"""Reading comprehension whose answers have a form that depends on what is asked for.

One passage, one call: the program of the conditional world. The paper's HotPotQA Conditional has to
find its passages first, and runs the program of HotPotQA, `hotpotqa.MultiHop`.
"""

from __future__ import annotations

from mipro.programs.module import ChainOfThought
from mipro.programs.program import Program
from mipro.programs.trace import Prediction


class ConditionalQA(Program):
    """Answer a question about a passage, in the form the data wants."""

    def __init__(self) -> None:
        self.answer = ChainOfThought("passage, question -> answer")

    def forward(self, passage: str, question: str) -> Prediction:
        """One call of `answer`."""
        return self.answer(passage=passage, question=question)
