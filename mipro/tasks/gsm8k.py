"""GSM8K: word problems whose answer is the number behind "####" in the worked solution.

The paper does not use it; the sizes are those of its larger tasks, the test set is the published
one.
"""

from __future__ import annotations

import re
from pathlib import Path

from mipro.data import Example, split
from mipro.metrics import numeric_match
from mipro.programs.gsm8k import GSM8K
from mipro.tasks.folder import data_folder
from mipro.tasks.reading import lines
from mipro.tasks.task import PaperTask

ROWS = {"train": 7473, "test": 1319}
TRAIN = VAL = 500
MARK = "####"
_NUMBER = re.compile(r"-?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?", re.ASCII)


def gsm8k(
    data: str | Path | None = None, seed: int = 0, corpus: str | Path | None = None
) -> PaperTask:
    """GSM8K: 500 train, 500 val, 1,319 test."""
    folder = data_folder(data) / "gsm8k"
    parts = split(gsm8k_rows(folder, "train"), train=TRAIN, val=VAL, seed=seed)
    test = tuple(gsm8k_rows(folder, "test"))
    return PaperTask("gsm8k", GSM8K(), numeric_match("answer"), parts.train, parts.val, test)


def gsm8k_rows(folder: Path, part: str) -> list[Example]:
    """All rows of a part, `train` or `test`, in the file's order."""
    return lines(folder / f"{part}.jsonl", ("question", "answer"), _example, ROWS[part])


def final_number(solution: str) -> str:
    """The number behind the mark, without thousands separators. Raises `ValueError`."""
    parts = solution.split(MARK)
    if len(parts) != 2:
        raise ValueError(f"'answer' has {len(parts) - 1} times {MARK}: one is wanted")
    number = parts[1].strip()
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"'answer' has no number behind {MARK}: {number!r:.80}")
    return number.replace(",", "")


def _example(row: Example) -> Example:
    return Example(
        {"question": row["question"], "answer": final_number(row["answer"])}, inputs=("question",)
    )
