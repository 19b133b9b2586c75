"""ScoNe: does a sentence follow from another, where negation turns the answer about.

One module, from context and question to Yes or No (the paper's task).
"""

from __future__ import annotations

from mipro.programs.module import ChainOfThought
from mipro.programs.program import Program
from mipro.programs.signature import Input, Output
from mipro.programs.trace import Prediction


class Entailment:
    """Given the context, answer the question."""

    context: str = Input()
    question: str = Input()
    answer: str = Output("Yes or No")


class ScoNe(Program):
    """Answer whether something can be concluded for sure from the context."""

    def __init__(self) -> None:
        self.answer = ChainOfThought(Entailment)

    def forward(self, context: str, question: str) -> Prediction:
        """One call of `answer`."""
        return self.answer(context=context, question=question)
