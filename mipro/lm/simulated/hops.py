"""Writing a search query: name what to look up next.

With no passages at hand the LM either names the question's entity, or repeats the question, or
strings its common words together. With passages it should *bridge*: name the entity that the
passages give and the question does not, with the word for what is wanted of it. How often it does
is a logistic function of what the prompt holds:

    logit p = BASE + CUE·[instruction says so] + SHOWN·s + BOTH·[…]·s − WRONG·w − dilution

s being the saturating share of demonstrations that show it, w of those that show the contrary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mipro.lm.simulated.language import cues_in, dilution, names, stems, words
from mipro.lm.simulated.reader import Task, items

BASE, CUE, SHOWN, BOTH, WRONG = -1.1, 1.3, 1.8, 1.4, 1.5
FIRST_HOP = 1.8  # added for the first query: naming the question's entity is the easier half

CLAUSE = re.compile(r"[.;,]| and ")


@dataclass(frozen=True, eq=False)
class HopLesson:
    """What a prompt teaches of querying: logits of naming the entity, and of bridging."""

    name: float
    bridge: float


def saturating(count: int, scale: float = 1.5) -> float:
    """1 − exp(−count/scale): the first demonstrations teach the most."""
    return 1.0 - math.exp(-count / scale)


def sigmoid(x: float) -> float:
    """The logistic function."""
    return 1.0 / (1.0 + math.exp(-x))


def learn(task: Task, field: str) -> HopLesson:
    """Read instruction and demonstrations for the query field."""
    bridging = naming = wrong = 0
    for shot in task.shots:
        query = shot.outputs.get(field, "")
        question = question_of(shot.inputs)
        passages = passages_of(shot.inputs, question)
        fresh = [name for name in names(query) if name not in question]
        if passages and fresh and any(name in passage for name in fresh for passage in passages):
            bridging += 1
        elif not passages and names(query) and len(words(query)) < len(words(question)):
            naming += 1
        elif query:
            wrong += 1
    cue = float("bridge" in cues_in(task.instruction))
    shown, contrary = saturating(bridging), saturating(wrong)
    bridge = BASE + CUE * cue + SHOWN * shown + BOTH * cue * shown - WRONG * contrary
    name = BASE + FIRST_HOP + CUE * cue / 2 + SHOWN * saturating(naming) - WRONG * contrary / 2
    cost = dilution(task.instruction)
    return HopLesson(name - cost, bridge - cost)


def query_distribution(lesson: HopLesson, inputs: Mapping[str, str]) -> dict[str, float]:
    """Query → probability."""
    question = question_of(inputs)
    passages = passages_of(inputs, question)
    asked = names(question)
    plain = " ".join(word for word in words(question) if word not in " ".join(asked).lower())
    entity = asked[-1] if asked else question
    targets = bridges(question, tuple(passages)) if passages else ()
    if not targets:
        p = sigmoid(lesson.name)
        return merged([(entity, p), (question, (1 - p) * 0.4), (plain, (1 - p) * 0.6)])
    p, best = sigmoid(lesson.bridge), targets[0]
    other = targets[1] if len(targets) > 1 else entity
    return merged(
        [
            (f"{best} {wanted_word(question)}".strip(), p * 0.94),
            (other, p * 0.06),
            (entity, (1 - p) * 0.6),
            (question, (1 - p) * 0.4),
        ]
    )


def merged(options: list[tuple[str, float]]) -> dict[str, float]:
    """Equal texts put together."""
    total: dict[str, float] = {}
    for text, p in options:
        total[text or "unknown"] = total.get(text or "unknown", 0.0) + p
    return total


def wanted_word(question: str) -> str:
    """The word for what is wanted: the first content word that is no name."""
    taken = " ".join(names(question)).lower()
    return next((word for word in words(question) if word not in taken), "")


def wanted_stems(question: str) -> frozenset[str]:
    """The stems of the question's content words, those of its names apart."""
    return stems(question) - stems(" ".join(names(question)))


@lru_cache(maxsize=65536)
def bridges(question: str, passages: tuple[str, ...]) -> tuple[str, ...]:
    """Names the passages about the question's entity give, the best fitting the question first.

    A name fits by the content words that its clause shares with the question.
    """
    asked, wanted = names(question), wanted_stems(question)
    scored: list[tuple[float, int, str]] = []
    for passage in passages:
        title, _, text = passage.partition(" | ")
        if title not in asked:
            continue
        for clause in CLAUSE.split(text):
            fit = len(stems(clause) & wanted)
            for name in names(clause):
                if name != title and name not in asked:
                    scored.append((-float(fit), len(scored), name))
    return tuple(dict.fromkeys(name for _, _, name in sorted(scored)))


def question_of(inputs: Mapping[str, str]) -> str:
    """The input that asks: the field so called, else the one that ends in a question mark."""
    for name, text in inputs.items():
        if "question" in name or "claim" in name:
            return text
    return next((text for text in inputs.values() if text.rstrip().endswith("?")), "")


def passages_of(inputs: Mapping[str, str], question: str) -> list[str]:
    """All other inputs: numbered items apart, one text as one passage, "(empty)" as none."""
    found: list[str] = []
    for text in inputs.values():
        if text != question and text not in ("(empty)", "(not given)", ""):
            found += items(text) or [text]
    return found
