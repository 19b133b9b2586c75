"""ScoNe: six kinds of sentence pairs that differ in how, and how often, something is negated.

The published test files are the paper's 1,200; its 500 and 500 are drawn from the train files,
whose 6,012 rows hold 5,980 different pairs (the repeats are left out, so that no pair is in both).
"""

from __future__ import annotations

from pathlib import Path

from mipro.data import Example, split
from mipro.metrics import exact_match
from mipro.programs.scone import ScoNe
from mipro.tasks.folder import data_folder
from mipro.tasks.reading import distinct, numbered, one_of, table
from mipro.tasks.task import PaperTask

# kind of pair → the columns of premise, hypothesis and label. A `gold_label` beside an edited one
# is of the sentences before they were edited; `one_scoped` holds just those sentences
EDITED = ("sentence1_edited", "sentence2_edited", "gold_label_edited")
COLUMNS = {
    "no_negation": EDITED,
    "one_not_scoped": EDITED,
    "one_scoped": ("sentence1", "sentence2", "gold_label"),
    "one_scoped_one_not_scoped": EDITED,
    "two_not_scoped": EDITED,
    "two_scoped": EDITED,
}
ROWS = {"train": 1002, "test": 200}  # of each file
TRAIN = VAL = 500


def scone(
    data: str | Path | None = None, seed: int = 0, corpus: str | Path | None = None
) -> PaperTask:
    """ScoNe: 500 train, 500 val, 1,200 test."""
    folder = data_folder(data) / "scone"
    parts = split(distinct(scone_rows(folder, "train")), train=TRAIN, val=VAL, seed=seed)
    test = tuple(scone_rows(folder, "test"))
    return PaperTask("scone", ScoNe(), exact_match("answer"), parts.train, parts.val, test)


def scone_rows(folder: Path, part: str) -> list[Example]:
    """All rows of the six files of a part, `train` or `test`, in the files' order."""
    label = one_of("entailment", "neutral")
    return [
        _example(*(str(row[name]) for name in columns))
        for kind, columns in COLUMNS.items()
        for row in table(
            folder / part / f"{kind}.csv",
            {**dict(zip(columns, (str, str, label), strict=True)), "": numbered()},
            ROWS[part],
        )
    ]


def question(hypothesis: str) -> str:
    """The hypothesis as the clause of a question, as the paper asks it."""
    clause = hypothesis.strip().removesuffix(".")
    return f"Can we logically conclude for sure that {clause[:1].lower()}{clause[1:]}?"


def _example(premise: str, hypothesis: str, label: str) -> Example:
    return Example(
        {
            "context": premise.strip(),
            "question": question(hypothesis),
            "answer": "Yes" if label == "entailment" else "No",
        },
        inputs=("context", "question"),
    )
