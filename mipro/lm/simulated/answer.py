"""Answering a question from passages: find it, keep it short, write it in the style asked for.

Three things must go right, each a logistic function of what the prompt holds (see `hops`):
*finding* the answer in the passages, *brevity* (a name or a number, where the LM by itself replies
in a sentence), and *style*, if answers of this kind are written in one. A style is known from a
rule in the instruction, from demonstrations of the same kind, or best of all from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mipro.lm.simulated.hops import (
    CLAUSE,
    bridges,
    merged,
    passages_of,
    question_of,
    saturating,
    sigmoid,
    wanted_stems,
)
from mipro.lm.simulated.language import (
    DATE,
    NUMBER,
    cues_in,
    dilution,
    kind_of,
    names,
    rules_in,
    stems,
    style_of,
    styled,
)
from mipro.lm.simulated.reader import Task

# finding: demos of answering help, so does being told to keep to the passages
FIND, FIND_CUE, FIND_SHOWN, FIND_BOTH = 1.2, 0.7, 1.0, 0.9
# brevity: by itself the LM replies in sentences
SHORT, SHORT_CUE, SHORT_SHOWN, SHORT_BOTH, SHORT_WRONG = 0.0, 1.6, 2.0, 1.4, 2.0
# style: a rule alone is often followed, a demo alone may be chance, both together are clear
STYLE, STYLE_RULE, STYLE_SHOWN, STYLE_BOTH = -2.9, 3.0, 3.0, 1.4


@dataclass(frozen=True, eq=False)
class AnswerLesson:
    """What a prompt teaches of answering: logits of finding and brevity; (style, logit) by kind."""

    find: float
    short: float
    styles: Mapping[str, tuple[str, float]]


def learn(task: Task, field: str) -> AnswerLesson:
    """Read instruction and demonstrations for the answer field."""
    cues, cost = cues_in(task.instruction), dilution(task.instruction)
    shown = [(question_of(s.inputs), s.outputs[field]) for s in task.shots if field in s.outputs]
    brief = saturating(sum(len(answer.split()) <= 4 for _, answer in shown))
    wordy = saturating(sum(len(answer.split()) > 6 for _, answer in shown))
    grounded, short = float("grounded" in cues), float("short" in cues)
    some = saturating(len(shown), 2.0)
    find = FIND + FIND_CUE * grounded + FIND_SHOWN * some + FIND_BOTH * grounded * some
    brevity = (
        SHORT
        + SHORT_CUE * short
        + SHORT_SHOWN * brief
        + SHORT_BOTH * short * brief
        - SHORT_WRONG * wordy
        - SHORT_WRONG * float("sentence" in cues)
    )
    return AnswerLesson(find - cost, brevity - cost, _styles(task.instruction, shown, cost))


def _styles(
    instruction: str, shown: list[tuple[str, str]], cost: float
) -> dict[str, tuple[str, float]]:
    """Kind → the style learned for it, and the logit of using it."""
    rules = rules_in(instruction)
    seen: dict[str, list[str]] = {}
    for question, answer in shown:
        seen.setdefault(kind_of(question), []).append(style_of(answer))
    learned = {}
    for kind in dict.fromkeys([*rules, *seen]):
        examples = seen.get(kind, [])
        style = rules.get(kind) or max(examples, key=examples.count)
        if style == "plain":
            continue
        rule, share = float(kind in rules), saturating(examples.count(style), 2.0)
        against = saturating(len(examples) - examples.count(style), 2.0)
        logit = STYLE + STYLE_RULE * rule + STYLE_SHOWN * share + STYLE_BOTH * rule * share
        learned[kind] = (style, logit - STYLE_SHOWN * against - cost)
    return learned


def answer_distribution(lesson: AnswerLesson, inputs: Mapping[str, str]) -> dict[str, float]:
    """Answer → probability."""
    question = question_of(inputs)
    right, wrong = found_in(question, tuple(passages_of(inputs, question)))
    p_find = sigmoid(lesson.find) if right else 0.0
    p_short = sigmoid(lesson.short)
    style, logit = lesson.styles.get(kind_of(question), ("plain", 0.0))
    p_style = sigmoid(logit) if style != "plain" else 0.0
    options = []
    for text, p in ((right, p_find), (wrong, 1 - p_find)):
        for shape, q in ((text, p_short), (f"The answer is {text}.", 1 - p_short)):
            options += [
                (styled(shape, style), p * q * p_style),
                (shape, p * q * (1 - p_style)),
            ]
    return merged([(text, p) for text, p in options if p > 1e-9])


@lru_cache(maxsize=65536)
def found_in(question: str, passages: tuple[str, ...]) -> tuple[str, str]:
    """The answer the passages seem to give ("" if none), and the mistake made in its stead.

    A value fits by the stems its clause shares with the question, names apart; a passage about
    the entity that the question's own passage leads to (its bridge) counts for two more.
    """
    asked, wanted, kind = names(question), wanted_stems(question), kind_of(question)
    bridge = next(iter(bridges(question, passages)), None)
    scored: list[tuple[int, int, str]] = []
    for passage in passages:
        title, titled, text = passage.partition(" | ")
        for clause in CLAUSE.split(text if titled else passage):
            fit = len(stems(clause) & wanted)
            for value in _values(clause, kind, (title, *asked)):
                scored.append((-fit - 2 * (fit > 0 and title == bridge), len(scored), value))
    ranked = sorted(scored)
    right = ranked[0][2] if ranked and ranked[0][0] < 0 else ""
    wrong = next((value for _, _, value in ranked if value != right), "unknown")
    return right, wrong


def _values(clause: str, kind: str, known: tuple[str, ...]) -> list[str]:
    """Candidate answers of the right kind in one clause."""
    if kind == "date":
        return DATE.findall(clause) or NUMBER.findall(clause)
    if kind == "number":
        return NUMBER.findall(DATE.sub("", clause))
    # a month is part of a date, not a name
    return [name for name in names(DATE.sub("", clause)) if name not in known]
