"""The corpus that a multi-hop task searches, which the user supplies."""

from __future__ import annotations

import os
from pathlib import Path

from mipro.errors import ConfigError
from mipro.programs.passages import EXAMPLE
from mipro.programs.retrieval import BM25


def searcher(task: str, corpus: str | Path | None, k: int) -> BM25:
    """A BM25 search that returns `k` passages of `corpus`.

    Raises `ConfigError` that says what to supply where there is none, `DataError` with file and
    line for what is no passage.
    """
    if corpus is None or not os.path.isfile(corpus):
        lack = "none was given" if corpus is None else f"there is no file {corpus}"
        raise ConfigError(
            f"the task '{task}' searches a corpus, and {lack}: name a JSONL file by `corpus`, one "
            f"passage a line, with its title and its text, such as\n{EXAMPLE}\n"
            f"(the paper's is the abstracts of Wikipedia in 2017, some five million). An empty "
            f"folder beside it, named like the file with .bm25 after it, keeps its index"
        )
    return BM25.from_jsonl(corpus, k)
