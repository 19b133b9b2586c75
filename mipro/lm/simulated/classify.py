"""Choosing a label: kernel regression over the demonstrations shown.

    p(y | x) ∝ κ/|Y| + Σ_j ω_j K(x, x_j) [y_j = y],     K = exp(−D² / 2h²)
    D²(x, x') = Σ_f a_f d_f(x, x')² / Σ_f a_f

over the input fields f, d_f being the relative difference of two numbers, or `WORDS` times one
minus the cosine of two bags of words (without the words that demonstrations of two labels share).
An instruction acts in two ways: fields it names get the attention a_f = 1 and the others `UNNAMED`
(none or all named: everyone 1), and a class it describes ("setosa: petal_length about 1.5") is a
demonstration of its own, of weight `HEARSAY` and with only those fields. So mislabelled demos pull
the wrong way, distant ones say nothing, and knowing which features matter pays only together with
demos that show them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mipro.lm.simulated.language import named_in, words
from mipro.lm.simulated.reader import Asked, Task

KAPPA = 0.06  # weight of the prior over the labels
BANDWIDTH = 0.16  # h
LARGEST = 1e100  # a number beyond it is none to reckon with
WORDS = 0.4  # d_f of two texts with no word in common
UNNAMED = 0.15  # attention to a field the instruction leaves out
HEARSAY = 0.05  # weight of a class described in the instruction, against a demo's 1
LAPSE = 0.03  # share of replies that are a label at random
SHARPNESS = 3.0  # the LM says its favourite label more often than p

# from the start of a word, and with no second thoughts: a long word takes no time to speak of
_ABOUT = re.compile(r"(?<!\w)(\w++)`? (?:about|around|near) (-?\d+(?:\.\d+)?)")

Value = float | Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a prompt teaches about one output field; read once for all the inputs it is used on."""

    labels: tuple[str, ...]
    shots: tuple[tuple[Mapping[str, Value], str, float], ...]  # (fields, label, weight ω)
    attention: Mapping[str, float]
    common: frozenset[str] = frozenset()  # words shown with several labels: they tell nothing


def learn(task: Task, asked: Asked) -> Lesson:
    """Read demonstrations and instruction for `asked`."""
    shown = [(s.inputs, s.outputs[asked.name]) for s in task.shots if s.outputs.get(asked.name)]
    common = _common(shown)
    shots: list[tuple[Mapping[str, Value], str, float]] = [
        ({name: value(text, common) for name, text in inputs.items()}, label, 1.0)
        for inputs, label in shown
    ]
    labels = asked.choices or tuple(dict.fromkeys(label for _, label, _ in shots))
    shots += [
        (fields, label, HEARSAY) for label, fields in described(task.instruction, labels).items()
    ]
    named = named_in(task.instruction, task.inputs)
    apart = 0 < len(named) < len(task.inputs)
    attention = {f: 1.0 if f in named or not apart else UNNAMED for f in task.inputs}
    return Lesson(labels, tuple(shots), attention, common)


def described(instruction: str, labels: tuple[str, ...]) -> dict[str, dict[str, Value]]:
    """Classes that the instruction describes by numbers: label → field → value."""
    found: dict[str, dict[str, Value]] = {}
    for clause in re.split(r";|\n|\. ", instruction):
        spoken = [label for label in labels if re.search(rf"\b{re.escape(label)}\b", clause)]
        numbers = _ABOUT.findall(clause)
        if len(spoken) == 1 and numbers:
            near = {f: float(x) for f, x in numbers if abs(float(x)) < LARGEST}
            found.setdefault(spoken[0], {}).update(near)
    return found


def _common(shown: list[tuple[Mapping[str, str], str]]) -> frozenset[str]:
    """Words that the demonstrations of two labels or more have in common."""
    labels: dict[str, set[str]] = {}
    for inputs, label in shown:
        for text in inputs.values():
            for word in words(text):
                labels.setdefault(word, set()).add(label)
    return frozenset(word for word, with_it in labels.items() if len(with_it) > 1)


def value(text: str, common: frozenset[str] = frozenset()) -> Value:
    """A number, or a bag of words of unit length without the `common` ones.

    "nan", "inf" and what is as large are words: nothing can be said of how far they are from a
    number.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if abs(number) < LARGEST:  # no "nan" is
        return number
    bag: dict[str, float] = {}
    for word in words(text):
        if word not in common:
            bag[word] = bag.get(word, 0.0) + 1.0
    norm = math.sqrt(sum(x * x for x in bag.values())) or 1.0
    return {word: x / norm for word, x in bag.items()}


def difference(a: Value, b: Value) -> float:
    """d_f: in [0, 2] for numbers, in [0, WORDS] for words; 1 between the two kinds."""
    if isinstance(a, float) and isinstance(b, float):
        scale = abs(a) + abs(b)
        return 2 * abs(a - b) / scale if scale else 0.0
    if isinstance(a, float) or isinstance(b, float):
        return 1.0
    return WORDS * (1.0 - sum(x * b.get(word, 0.0) for word, x in a.items()))


def kernel(lesson: Lesson, x: Mapping[str, Value], shot: Mapping[str, Value]) -> float:
    """K between an input and a demonstration, over the fields both have."""
    total = weights = 0.0
    for name, mine in x.items():
        theirs = shot.get(name)
        if theirs is not None:
            attention = lesson.attention.get(name, 1.0)
            total += attention * difference(mine, theirs) ** 2
            weights += attention
    return math.exp(-total / weights / (2 * BANDWIDTH**2)) if weights else 0.0


def label_distribution(lesson: Lesson, inputs: Mapping[str, str]) -> dict[str, float]:
    """Label → probability; empty where the LM knows no labels at all."""
    if not lesson.labels:
        return {}
    x = {name: value(text, lesson.common) for name, text in inputs.items()}
    mass = dict.fromkeys(lesson.labels, KAPPA / len(lesson.labels))
    for fields, label, weight in lesson.shots:
        # a demo may carry a label that the field does not admit: the LM repeats that too
        mass[label] = mass.get(label, 0.0) + weight * kernel(lesson, x, fields)
    total = sum(mass.values())
    sharp = {label: (m / total) ** SHARPNESS for label, m in mass.items()}
    norm = sum(sharp.values())
    return {label: (1 - LAPSE) * s / norm + LAPSE / len(sharp) for label, s in sharp.items()}
