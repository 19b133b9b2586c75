"""GSM8K: grade-school mathematics, one module from question to number."""

from __future__ import annotations

from mipro.programs.module import ChainOfThought
from mipro.programs.program import Program
from mipro.programs.signature import Input, Output
from mipro.programs.trace import Prediction


class WordProblem:
    """Solve the word problem."""

    question: str = Input()
    answer: str = Output("the number that is asked for, and nothing else")


class GSM8K(Program):
    """Solve a word problem of grade-school mathematics, step by step."""

    def __init__(self) -> None:
        self.solve = ChainOfThought(WordProblem)

    def forward(self, question: str) -> Prediction:
        """One call of `solve`."""
        return self.solve(question=question)
