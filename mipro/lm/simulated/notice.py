"""What the embedded LM notices in rows of data: regularities, each as a sentence.

Rows come as it was shown them, one JSON object a numbered line: `{"inputs": …, "outputs": …}`.
Every finding has a key, so that what was said before is not said again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mipro import strict
from mipro.lm.simulated.language import STYLE_PHRASES, kind_of, style_of, words
from mipro.lm.simulated.reader import items

# atomic, and from the start of a line, so that a long question takes no time to speak of
_CHAINED = re.compile(
    r"^(?>.*?\b(?:town|author|founder|company)\b)(?>.*?\b(?:where|of|that)\b ).*[A-Z]", re.MULTILINE
)
LARGEST = 1e100  # a number beyond it is none to reckon with


@dataclass(frozen=True)
class Row:
    """One row as shown: inputs, and the value that was wanted."""

    inputs: Mapping[str, Any]
    wanted: str


def rows_in(text: str) -> list[Row]:
    """The rows of a numbered list; lines that are no such object are passed over."""
    rows = []
    for item in items(text):
        try:
            body = strict.loads(item)
        except ValueError:
            continue
        outputs = body.get("outputs") if isinstance(body, dict) else None
        if isinstance(outputs, dict) and outputs and isinstance(body.get("inputs"), dict):
            rows.append(Row(body["inputs"], str(list(outputs.values())[-1])))
    return rows


def findings(rows: list[Row]) -> dict[str, str]:
    """Key → sentence, in a fixed order."""
    if len(rows) < 2:
        return {}
    return {**_classes(rows), **_rules(rows), **_shape(rows)}


def _classes(rows: list[Row]) -> dict[str, str]:
    """Labels, and the numeric fields that tell them apart, with each label's means."""
    counts = Counter(row.wanted for row in rows)
    numeric = [
        field for field in rows[0].inputs if all(_is_number(row.inputs.get(field)) for row in rows)
    ]
    if not numeric or not 2 <= len(counts) <= max(2, len(rows) // 2):
        return {}
    ratios = {field: separation(rows, field) for field in numeric}
    best = sorted(numeric, key=lambda field: -ratios[field])[: max(1, len(numeric) // 2)]
    found = {"features": f"The fields {' and '.join(best)} tell the labels apart"}
    for label in sorted(counts):
        means = ", ".join(f"{f} about {_mean(rows, f, label):.1f}" for f in best)
        found[f"class {label}"] = f"{label}: {means}"
    return found


def _is_number(value: Any) -> bool:
    """One that can be squared and added up."""
    return isinstance(value, (int, float)) and abs(value) < LARGEST


def separation(rows: list[Row], field: str) -> float:
    """Between-label over within-label variance of a numeric field (an F ratio, unscaled)."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row.wanted, []).append(float(row.inputs[field]))
    means = {label: sum(v) / len(v) for label, v in values.items()}
    grand = sum(sum(v) for v in values.values()) / len(rows)
    between = sum(len(v) * (means[label] - grand) ** 2 for label, v in values.items())
    within = sum((x - means[label]) ** 2 for label, v in values.items() for x in v)
    return between / (within + 1e-3 * (abs(grand) + 1e-9))


def _mean(rows: list[Row], field: str, label: str) -> float:
    values = [float(row.inputs[field]) for row in rows if row.wanted == label]
    return sum(values) / len(values)


def _rules(rows: list[Row]) -> dict[str, str]:
    """Styles that answers of one kind share: two rows at least, and none against."""
    styles: dict[str, list[str]] = {}
    for row in rows:
        styles.setdefault(kind_of(question_in(row)), []).append(style_of(row.wanted))
    found = {}
    for kind, seen in sorted(styles.items()):
        if kind != "other" and len(seen) >= 2 and len(set(seen)) == 1 and seen[0] != "plain":
            phrase = STYLE_PHRASES[seen[0]]
            found[f"rule {kind}"] = f"An answer that is a {kind} is written {phrase}"
    return found


def _shape(rows: list[Row]) -> dict[str, str]:
    """How long answers are, and whether questions chain facts."""
    found = {}
    asking = [row for row in rows if question_in(row)]
    if asking and all(len(row.wanted.split()) <= 4 for row in asking):
        found["short"] = "Answers are a few words, just the name or number"
    if asking and sum(bool(_CHAINED.search(question_in(row))) for row in asking) * 2 > len(asking):
        found["bridge"] = "Questions chain two facts through an intermediate entity"
    return found


def question_in(row: Row) -> str:
    """The row's question, "" if it has none."""
    texts = (v for v in row.inputs.values() if isinstance(v, str))
    return next((text for text in texts if text.rstrip().endswith("?")), "")


def bridging(rows: list[Row]) -> bool:
    """Do these demonstrations look up a name that their passages give and the question does not?"""
    for row in rows:
        passages, question = row.inputs.get("context"), question_in(row).lower()
        text = " ".join(map(str, passages)) if isinstance(passages, list) else str(passages or "")
        if any(w not in question and w in text.lower() for w in words(row.wanted)):
            return True
    return False
