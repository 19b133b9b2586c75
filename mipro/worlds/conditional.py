"""The conditional world: what form an answer takes depends on what was asked for.

Six kinds of answer, each written its own way; a handful of demonstrations shows some of the rules,
an instruction can state them all. After the paper's HotPotQA Conditional, with rules of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from mipro.data import Example, split
from mipro.lm.simulated import SimulatedLM
from mipro.metrics import same_text
from mipro.programs.conditional import ConditionalQA
from mipro.worlds.corpus import Country, invent
from mipro.worlds.world import World

MONTHS = "January February March April May June July August September October November December"
ROWS = 300

TOLD = {
    "answer": "Give only the answer. A person is written in lower case. A place is written in "
    'capital letters. A date is written ending with "Peace!". A number is written in square '
    "brackets. An organisation is written in double quotes. A work is written with hyphens."
}
# kind of answer → how it is to be written; stated nowhere but in the data
FORMS: Mapping[str, str] = {
    "person": "lower case",
    "place": "capital letters",
    "date": 'followed by "Peace!"',
    "number": "in square brackets",
    "organisation": "in double quotes",
    "work": "with hyphens for spaces",
}


def written(kind: str, plain: str) -> str:
    """The answer as the data wants it."""
    return {
        "person": plain.lower(),
        "place": plain.upper(),
        "date": f"{plain} Peace!",
        "number": f"[{plain}]",
        "organisation": f'"{plain}"',
        "work": plain.replace(" ", "-"),
    }[kind]


def rows(
    country: Country, seed: int = 0, form: Callable[[str, str], str] = written
) -> list[Example]:
    """`ROWS` questions about invented festivals, the six kinds in turn.

    `form(kind, plain)` is how an answer is written.
    """
    rng = Random(f"mipro festivals {seed}")
    months = MONTHS.split()
    examples = []
    for i in range(ROWS):
        person, town = rng.choice(country.people).name, rng.choice(country.towns).name
        firm, song = rng.choice(country.companies).name, rng.choice(country.books).name
        day = f"{rng.randint(1, 28)} {rng.choice(months)} {rng.randint(1850, 1990)}"
        visitors, fair = str(rng.randint(120, 9800)), f"{rng.choice(country.towns).river} Festival"
        passage = (
            f"The {fair} was founded by {person}. It takes place in {town}. It started on {day}. "
            f"It draws {visitors} visitors. Its sponsor is {firm}. Its anthem is called {song}."
        )
        asked = {
            "person": (f"Who founded the {fair}?", person),
            "place": (f"Where does the {fair} take place?", town),
            "date": (f"When did the {fair} start?", day),
            "number": (f"How many visitors does the {fair} draw?", visitors),
            "organisation": (f"Which company is the sponsor of the {fair}?", firm),
            "work": (f"What is the anthem of the {fair} called?", song),
        }
        kind = list(asked)[i % len(asked)]
        question, plain = asked[kind]
        fields = {"passage": passage, "question": question, "answer": form(kind, plain)}
        examples.append(Example(fields, inputs=("passage", "question")))
    return examples


def conditional_world(seed: int = 0) -> World:
    """Conditional question answering with the embedded LM: 100 train, 80 val, 120 test."""
    parts = split(rows(invent(0)), train=100, val=80, test=120, seed=seed)
    lm = SimulatedLM(seed)
    return World("conditional", ConditionalQA(), same_text("answer"), *parts, lm=lm, told=TOLD)
