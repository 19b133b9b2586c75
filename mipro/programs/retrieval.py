"""Retrieval for multi-hop programs: BM25 over any corpus of titled passages, by `bm25s`.

From a file, only the index is held in memory: passages are read from disk as they are found. Where
building it takes long, it can be kept in a folder (see `kept`).
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipro.errors import ConfigError, DataError
from mipro.programs import kept
from mipro.programs.passages import PassageFile, checked, read_passages

_WORD = re.compile(r"\w+")


class BM25:
    """`BM25(passages)(query)` → the `k` best passages, each a text `"title | text"`.

    `passages` holds (title, text) pairs; the title counts as text. Ties go to the earlier passage,
    so results are the same on every machine. Raises `ConfigError` where `bm25s` is not installed.
    """

    def __init__(self, passages: Sequence[tuple[str, str]], k: int = 3) -> None:
        if not passages or k < 1:
            raise DataError(f"a corpus of {len(passages)} passages cannot be searched for {k}")
        texts = []
        for i, (title, text) in enumerate(passages, 1):
            try:
                texts.append(str(checked(title, text)))
            except ValueError as error:
                raise DataError(f"passage {i}: {error}") from error
        self._set(texts, k, _indexed(texts))

    @classmethod
    def from_jsonl(cls, path: str | Path, k: int = 3, index: str | Path | None = None) -> BM25:
        """A corpus file: one object a line, with `title` and `text`.

        `index` names a folder to keep the index in: where it holds that of this very file, it is
        read, else it is made there. Without it, `<path>.bm25` is such a folder where it exists.
        Raises `DataError` with file and line for what is no passage.
        """
        if k < 1:
            raise DataError(f"{path} cannot be searched for {k} passages: 1 or more is wanted")
        path = Path(path)
        beside = path.with_name(f"{path.name}.bm25")
        folder = Path(index) if index is not None else beside if os.path.isdir(beside) else None
        made, offsets = _opened(path, folder)
        search = cls.__new__(cls)
        search._set(PassageFile(path, offsets), k, made, folder)
        return search

    def _set(self, passages: Sequence[str], k: int, index: Any, folder: Path | None = None) -> None:
        self.passages, self.k = passages, min(k, len(passages))
        self._index, self._folder = index, folder
        # a program asks the same queries again and again over a run
        self._search = lru_cache(maxsize=100_000)(self._search_uncached)

    def __call__(self, query: str) -> list[str]:
        """The `k` passages that fit `query` best, the best first; none where no word is known."""
        return list(self._search(query))

    def _search_uncached(self, query: str) -> tuple[str, ...]:
        known = [word for word in _words(query) if word in self._index.vocab_dict]
        if not known:
            return ()
        return tuple(self.passages[i] for i in best(self._index.get_scores(known), self.k))

    def __getstate__(self) -> dict[str, Any]:
        return {"passages": self.passages, "k": self.k, "folder": self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In another process: the index is made again (or read, where it is kept)."""
        passages, k, folder = state["passages"], state["k"], state["folder"]
        if isinstance(passages, PassageFile):
            index, offsets = _opened(passages.path, folder)
            self._set(PassageFile(passages.path, offsets), k, index, folder)
        else:
            self._set(passages, k, _indexed(passages))


def best(scores: NDArray[np.floating[Any]], k: int) -> list[int]:
    """Positions of the `k` highest scores above 0, the highest first, ties to the earlier.

    `scores` has shape (passages,). The time is linear in it: only what can be among the `k` is
    sorted.
    """
    least = np.partition(scores, -k)[-k] if k < len(scores) else 0.0
    able = np.flatnonzero((scores >= least) & (scores > 0))
    return [int(i) for i in able[np.lexsort((able, -scores[able]))][:k]]


def _opened(path: Path, folder: Path | None) -> tuple[Any, array[int]]:
    """The index of a file, and its passages' offsets: as they were kept, or made now."""
    bm25s = _bm25s()
    if folder is None:
        return _indexed_file(path)
    digest = kept.digest(path)
    found = kept.read(folder, digest, bm25s)
    if found is None:
        found = _indexed_file(path)
        kept.write(folder, digest, bm25s, *found)
    return found


def _indexed_file(path: Path) -> tuple[Any, array[int]]:
    offsets = array("q")

    def texts() -> Iterable[str]:
        for offset, passage in read_passages(path):
            offsets.append(offset)
            yield str(passage)

    return _indexed(texts()), offsets


def _indexed(texts: Iterable[str]) -> Any:
    """The index of the texts, which are gone through once: what stays is a number for each word."""
    bm25s = _bm25s()
    numbers: dict[str, int] = {}
    rows = [
        array("i", (numbers.setdefault(w, len(numbers)) for w in _words(text))) for text in texts
    ]
    if not numbers:
        raise DataError(f"the corpus of {len(rows)} passages holds no word to search for")
    index = bm25s.BM25(k1=1.5, b=0.75)
    index.index((rows, numbers), show_progress=False)
    return index


def _bm25s() -> Any:
    try:
        import bm25s
    except ImportError as error:
        raise ConfigError(
            "retrieval needs bm25s, which is not installed: pip install 'mipro[retrieval]' "
            "(or pip install bm25s)"
        ) from error
    return bm25s


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
