"""An index on disk, so that a large corpus is gone through once.

A folder holds arrays (`.npy`, without pickles), the vocabulary (JSON) and `index.json`, written
last: the digest of the corpus and of every other file. Where one of them is not what it says, the
index is made anew; nothing of it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from mipro import strict
from mipro.errors import ConfigError
from mipro.lines import written

VERSION = 1  # of how words are told apart, and of the folder
OFFSETS = "offsets.index.npy"
_BLOCK = 2**20


def digest(path: Path) -> str:
    """A digest of a file's bytes. Raises `ConfigError` where it cannot be read."""
    made = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                made.update(block)
    except (OSError, ValueError) as error:  # a ValueError: a NUL in the name
        raise ConfigError(f"{str(path)!r}: cannot be read: {error}") from error
    return made.hexdigest()


def read(folder: Path, corpus: str, bm25s: Any) -> tuple[Any, array[int]] | None:
    """The index and the offsets kept in `folder`; None where they are not those of `corpus`."""
    try:
        body = strict.loads((folder / "index.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(body, dict) or body.get("of") != _of(corpus, bm25s):
        return None
    files = body.get("files")
    if not isinstance(files, dict) or not all(_whole(folder, *item) for item in files.items()):
        return None
    try:
        offsets = array("q", np.load(folder / OFFSETS, allow_pickle=False).tolist())
        return bm25s.BM25.load(folder, allow_pickle=False, show_progress=False), offsets
    except (OSError, ValueError, TypeError, KeyError):
        return None  # whole, but not what `write` leaves (pickles in an array, say)


def write(folder: Path, corpus: str, bm25s: Any, index: Any, offsets: array[int]) -> None:
    """Keep an index. Raises `ConfigError` where the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.json").unlink(missing_ok=True)  # until all is there, nothing is
        index.save(folder, allow_pickle=False, show_progress=False)
        np.save(folder / OFFSETS, np.asarray(offsets, dtype=np.int64), allow_pickle=False)
    except OSError as error:
        raise ConfigError(f"{folder}: the index cannot be kept there: {error.strerror}") from error
    files = {file.name: digest(file) for file in sorted(folder.glob("*.index.*"))}
    body = {"of": _of(corpus, bm25s), "files": files}
    written(folder / "index.json", json.dumps(body))


def _of(corpus: str, bm25s: Any) -> list[Any]:
    return [VERSION, corpus, bm25s.__version__]


def _whole(folder: Path, name: str, wanted: Any) -> bool:
    file = folder / Path(name).name
    return file.is_file() and digest(file) == wanted
