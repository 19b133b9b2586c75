"""HoVer: find the articles a claim rests on, in three hops (the paper's program).

Four modules, each called once: the claim itself is the first query; what was found is summarized,
a query is written from the summary, and both again.
"""

from __future__ import annotations

from collections.abc import Callable

from mipro.programs.module import ChainOfThought
from mipro.programs.passages import title_of
from mipro.programs.program import Program
from mipro.programs.trace import Prediction


class HoVer(Program):
    """Retrieve the articles that are needed to verify a claim, in three hops.

    `retrieve` returns passages `"title | text"`, 7 a query in the paper. The prediction's `titles`
    are those of all that was retrieved, in that order, each once.
    """

    def __init__(self, retrieve: Callable[[str], list[str]]) -> None:
        self.retrieve = retrieve
        self.first_summary = ChainOfThought("claim, passages: list[str] -> summary")
        self.second_query = ChainOfThought("claim, first_summary -> search_query")
        self.second_summary = ChainOfThought("claim, first_summary, passages: list[str] -> summary")
        self.third_query = ChainOfThought("claim, first_summary, second_summary -> search_query")

    def forward(self, claim: str) -> Prediction:
        """Retrieve, summarize, query, retrieve, summarize, query, retrieve."""
        first = self.retrieve(claim)
        seen = self.first_summary(claim=claim, passages=first).summary
        query = self.second_query(claim=claim, first_summary=seen).search_query
        second = self.retrieve(query)
        more = self.second_summary(claim=claim, first_summary=seen, passages=second).summary
        query = self.third_query(claim=claim, first_summary=seen, second_summary=more).search_query
        found = first + second + self.retrieve(query)
        return Prediction(titles=list(dict.fromkeys(map(title_of, found))))
