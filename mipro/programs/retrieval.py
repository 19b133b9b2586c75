"""Retrieval for multi-hop programs: BM25 over any corpus of titled passages, by `bm25s`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mipro.data import load_jsonl
from mipro.errors import ConfigError, DataError

_WORD = re.compile(r"\w+")


class BM25:
    """`BM25(passages)(query)` → the `k` best passages, each a text `"title | text"`.

    `passages` holds (title, text) pairs; the title counts as text. Ties go to the earlier passage,
    so results are the same on every machine. Raises `ConfigError` where `bm25s` is not installed.
    """

    def __init__(self, passages: Sequence[tuple[str, str]], k: int = 3) -> None:
        if not passages or k < 1:
            raise DataError(f"a corpus of {len(passages)} passages cannot be searched for {k}")
        self.passages = [f"{title} | {text}" for title, text in passages]
        self.k = min(k, len(passages))
        self._build()

    @classmethod
    def from_jsonl(cls, path: str | Path, k: int = 3) -> BM25:
        """A corpus file: one object a line, with `title` and `text`."""
        rows = load_jsonl(path, inputs=("title", "text"))
        return cls([(row["title"], row["text"]) for row in rows], k)

    def _build(self) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise ConfigError(
                "retrieval needs bm25s, which is not installed: pip install bm25s"
            ) from error
        self._index: Any = bm25s.BM25(k1=1.5, b=0.75)
        self._index.index([_tokens(passage) for passage in self.passages], show_progress=False)
        # a program asks the same queries again and again over a run
        self._search = lru_cache(maxsize=100_000)(self._search_uncached)

    def __call__(self, query: str) -> list[str]:
        """The `k` passages that fit `query` best, the best first; none where no word is known."""
        return list(self._search(query))

    def _search_uncached(self, query: str) -> tuple[str, ...]:
        known = [word for word in _tokens(query) if word in self._index.vocab_dict]
        if not known:
            return ()
        scores = self._index.get_scores(known)
        best = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[: self.k]
        return tuple(self.passages[i] for i in best if scores[i] > 0)

    def __getstate__(self) -> dict[str, Any]:
        return {"passages": self.passages, "k": self.k}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._build()


def _tokens(text: str) -> list[str]:
    return _WORD.findall(text.lower())
