"""HotPotQA Conditional: questions over two hops, whose answer's form depends on what it is.

A person in lower case, a place without punctuation, a date with "Peace!" after it, all else in
capitals. Rows and labels are the authors' (500 train, 200 dev, 200 test, no question twice); their
answers stand in no such form, so the rule is nowhere in the data: only scores tell of it. For the
same reason a labelled demonstration shows the wrong form (run with `max_labelled = 0`).
"""

from __future__ import annotations

import csv
import io
import string
import unicodedata
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mipro.data import Example
from mipro.errors import DataError
from mipro.metrics import Metric
from mipro.programs.hotpotqa import MultiHop
from mipro.programs.trace import Prediction
from mipro.tasks.categories import KIND_OF
from mipro.tasks.folder import data_folder
from mipro.tasks.searching import searcher
from mipro.tasks.task import PaperTask

COLUMNS = ("question", "answer", "answer category", "question word", "topic")
# part → the file and its rows
FILES = {
    "train": ("hotpot_train.csv", 500),
    "val": ("hotpot_dev.csv", 200),
    "test": ("hotpot_test.csv", 200),
}
PEACE = "Peace!"


def hotpotqa_conditional(
    data: str | Path | None = None, seed: int = 0, corpus: str | Path | None = None
) -> PaperTask:
    """HotPotQA Conditional: 500 train, 200 val, 200 test, as published (`seed` changes nothing)."""
    retrieve = searcher("hotpotqa_conditional", corpus, k=3)
    folder = data_folder(data) / "hotpotqa_conditional"
    train, val, test = (
        tuple(rows(folder / name, n)) for name, n in (FILES["train"], FILES["val"], FILES["test"])
    )
    program, metric = MultiHop(retrieve), conditional_form()
    return PaperTask("hotpotqa_conditional", program, metric, train, val, test)


def rows(path: Path, count: int) -> list[Example]:
    """The rows of one file: `question`, `answer` and `category`.

    The dev file has 21 columns without a name, which hold a second, pasted piece of some version of
    the table in lines 41 to 56; they are left out. Raises `DataError`, with file and line, for
    other columns, a row of another width, an empty value, a category that is not in the table, a
    question that was there before, and another number of rows than `count`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: dict[str, Example] = {}
    try:
        header = next(reader, [])
        if tuple(header[:5]) != COLUMNS or any(name.strip() for name in header[5:]):
            raise ValueError(f"the columns {', '.join(COLUMNS)} are wanted, not {header!r:.80}")
        for cells in reader:
            example = _example(header, cells)
            if example.question in found:
                raise ValueError(f"the question {example.question!r:.80} was there before")
            found[example.question] = example
        if len(found) != count:
            raise ValueError(f"{len(found)} rows; the published file has {count}: fetch it again")
    except (csv.Error, ValueError) as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    return list(found.values())


def _example(header: list[str], cells: list[str]) -> Example:
    """Raises `ValueError` that says what is wrong with the row."""
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} values for {len(header)} columns")
    named = {name: cell.strip() for name, cell in zip(COLUMNS, cells[:5], strict=True)}
    for name, cell in named.items():
        if not cell:
            raise ValueError(f"the column '{name}' is empty")
    category = named["answer category"]
    if category not in KIND_OF:
        raise ValueError(f"no category is called {category!r:.80}")
    fields = {"question": named["question"], "answer": named["answer"], "category": category}
    return Example(fields, inputs=("question",))


def conditional_form(kinds: Mapping[str, str] = KIND_OF) -> Metric:
    """Is the answer the label, but for punctuation and case, and in the form of its category?

    `kinds` says which category is a `person`, a `place` or a `date`; any other is none of them.
    """
    return Metric(partial(_scored, kinds), "conditional_form")


def _scored(kinds: Mapping[str, str], example: Example, prediction: Prediction) -> bool:
    kind, answer = kinds.get(example["category"], "other"), str(prediction["answer"]).strip()
    # what a date ends with is no part of the answer; the released metric, which takes the
    # punctuation away first, leaves a "peace" there, and so passes no date at all
    bare = answer.removesuffix(PEACE) if kind == "date" else answer
    return in_form(kind, answer) and plain(bare) == plain(str(example["answer"]))


def in_form(kind: str, answer: str) -> bool:
    """Is the answer written as one of its kind is to be?

    That nothing but a date ends with "Peace!" follows: it has small letters, a capital and a mark.
    """
    if kind == "date":
        return answer.endswith(PEACE)
    if kind == "person":
        return answer == answer.lower()
    if kind == "place":
        return not any(map(_is_punctuation, answer))
    return answer == answer.upper()


def plain(text: str) -> str:
    """The text without punctuation, case and spare white space; accents in one encoding."""
    kept = "".join(c for c in unicodedata.normalize("NFC", text) if not _is_punctuation(c))
    # by way of capitals: those of "ß" are "SS", and those of "ı" are "I"
    return unicodedata.normalize("NFC", " ".join(kept.upper().casefold().split()))


def _is_punctuation(char: str) -> bool:
    """ASCII's, of which `$` and `+` are symbols to Unicode, and Unicode's: dashes, quotes, …"""
    return char in string.punctuation or unicodedata.category(char).startswith("P")
