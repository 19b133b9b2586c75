"""Two-hop question answering: two modules, three calls (the paper's HotPotQA program)."""

from __future__ import annotations

from collections.abc import Callable

from mipro.programs.module import ChainOfThought
from mipro.programs.program import Program
from mipro.programs.trace import Prediction


class MultiHop(Program):
    """Answer a question in two look-ups: query, read, query again, read, answer."""

    def __init__(self, retrieve: Callable[[str], list[str]], hops: int = 2) -> None:
        self.retrieve = retrieve
        self.hops = hops
        self.write_query = ChainOfThought("context: list[str], question -> search_query")
        self.answer = ChainOfThought("context: list[str], question -> answer")

    def forward(self, question: str) -> Prediction:
        """Write a query and retrieve, `hops` times; then answer from all that was read."""
        context: list[str] = []
        for _ in range(self.hops):
            query = self.write_query(context=context, question=question).search_query
            context = context + [p for p in self.retrieve(query) if p not in context]
        return self.answer(context=context, question=question)
