"""The two-hop world: questions whose answer is one passage further than the entity they name.

Passages are found by real BM25 over a corpus of 280; whether a query finds the one that matters is
for the index to say, not for the LM. Joint optimization pays: no answer without the right passage,
no credit for a right passage with an answer in the wrong form.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random

from mipro.data import Example, split
from mipro.lm.simulated import SimulatedLM
from mipro.metrics import exact_match
from mipro.programs.hotpotqa import MultiHop
from mipro.programs.retrieval import BM25
from mipro.worlds.corpus import Country, invent
from mipro.worlds.world import World

QUESTIONS = 300
TOLD = {
    "write_query": "Look up the intermediate entity named in the context.",
    "answer": "Take the answer from the passages. Give only the name or number.",
}


@lru_cache(maxsize=4)
def _retriever(seed: int) -> BM25:
    return BM25(invent(seed).passages, k=2)


def questions(country: Country, seed: int = 0) -> list[Example]:
    """Five kinds of chained question, `QUESTIONS` in all, each once."""
    rng = Random(f"mipro questions {seed}")
    found: dict[str, str] = {}
    for person in country.people:
        town = person.born
        found[f"Which river lies by the town where {person.name} was born?"] = town.river
        found[f"Who is the mayor of the town where {person.name} studied?"] = person.studied.mayor
    for firm in country.companies:
        assert firm.seat is not None  # every company has a town
        year = str(firm.seat.founded)
        found[f"In which year was the town founded where {firm.name} is based?"] = year
        found[f"Where was the founder of {firm.name} born?"] = firm.maker.born.name
    for book in country.books:
        found[f"Where did the author of {book.name} have studied?"] = book.maker.studied.name
    chosen = rng.sample(sorted(found.items()), QUESTIONS)
    return [Example({"question": q, "answer": a}, inputs=("question",)) for q, a in chosen]


def twohop_world(seed: int = 0) -> World:
    """Two-hop question answering with the embedded LM: 100 train, 80 val, 120 test."""
    parts = split(questions(invent(0)), train=100, val=80, test=120, seed=seed)
    program = MultiHop(_retriever(0))
    lm = SimulatedLM(seed)
    return World("twohop", program, exact_match("answer"), *parts, lm=lm, told=TOLD)
