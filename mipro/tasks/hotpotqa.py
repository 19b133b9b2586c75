"""HotPotQA: questions over two hops of Wikipedia. The questions are the user's to supply.

They are a JSONL file, an object a line with `question` and `answer` (and `titles`, those of the
passages that are needed, if they are known). 3,000 of them and more are cut into the paper's 500,
500 and 2,000; fewer in the same proportion, a sixth, a sixth and the rest.
"""

from __future__ import annotations

import os
from pathlib import Path

from mipro.data import Example, split
from mipro.errors import ConfigError
from mipro.metrics import exact_match
from mipro.programs.hotpotqa import MultiHop
from mipro.tasks.folder import data_folder
from mipro.tasks.reading import distinct, lines
from mipro.tasks.searching import searcher
from mipro.tasks.task import PaperTask

FILE = "questions.jsonl"
SIZES = (500, 500, 2000)
EXAMPLE = '{"question": "Who wrote it?", "answer": "Ada Lovelace", "titles": ["Ada Lovelace"]}'


def hotpotqa(
    data: str | Path | None = None, seed: int = 0, corpus: str | Path | None = None
) -> PaperTask:
    """HotPotQA: 500 train, 500 val, 2,000 test, or what there is in that proportion.

    `data` is the file of questions, or a folder with `hotpotqa/questions.jsonl` in it.
    """
    retrieve = searcher("hotpotqa", corpus, k=3)
    examples = distinct(lines(_file(data), ("question", "answer"), _example, rows=None))
    train, val, test = sizes(len(examples))
    parts = split(examples, train=train, val=val, test=test, seed=seed)
    notes: tuple[str, ...] = ()
    if (train, val, test) != SIZES:
        paper = "500 train, 500 val and 2,000 test"
        notes = (
            f"{train} train, {val} val and {test} test questions, not the paper's {paper}: give "
            f"{sum(SIZES):,} by `data`",
        )
    metric = exact_match("answer")
    return PaperTask("hotpotqa", MultiHop(retrieve), metric, *parts, notes)


def sizes(total: int) -> tuple[int, int, int]:
    """How many train, val and test examples come of `total`. Raises `ConfigError` below 6."""
    if total < 6:
        raise ConfigError(f"{total} questions cannot be cut into train, val and test: 6 can")
    if total >= sum(SIZES):
        return SIZES
    return total // 6, total // 6, total - 2 * (total // 6)


def _file(data: str | Path | None) -> Path:
    """The file of questions. Raises `ConfigError` that says what to supply where there is none."""
    lack = "none was given"
    if data is not None and not os.path.isdir(data):
        file = Path(data)
    else:
        try:
            file = data_folder(data) / "hotpotqa" / FILE
        except ConfigError:  # it says what the other tasks need
            file = Path()
    if os.path.isfile(file):
        return file
    if file != Path():
        lack = f"there is no file {file}"
    raise ConfigError(
        f"the task 'hotpotqa' needs questions, and {lack}: name a JSONL file by `data`, one "
        f"question a line, such as\n{EXAMPLE}\n(`titles` may be left out)"
    )


def _example(row: Example) -> Example:
    """Raises `ValueError` that says what is wrong with the row."""
    fields = {"question": row["question"].strip(), "answer": row["answer"].strip()}
    for name, value in fields.items():
        if not value:
            raise ValueError(f"'{name}' is empty")
    titles = row.get("titles", [])
    if not isinstance(titles, list) or not all(isinstance(t, str) and t.strip() for t in titles):
        raise ValueError(f"'titles' is no list of texts: {titles!r:.80}")
    return Example({**fields, **({"titles": titles} if titles else {})}, inputs=("question",))
