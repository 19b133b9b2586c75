"""A corpus: a JSONL file of titled passages, read a line at a time and never held as a whole."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

from mipro import strict
from mipro.errors import DataError

EXAMPLE = '{"title": "Ada Lovelace", "text": "Ada Lovelace was an English mathematician."}'
BETWEEN = " | "  # a title and its text, in what a program sees
_BLANK = b" \t\r\n\xef\xbb\xbf"  # the last three a byte order mark, which JSON's reader takes off


class Passage(NamedTuple):
    """A title and its text. As a program sees it: `"title | text"`."""

    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.title}{BETWEEN}{self.text}"


def title_of(passage: str) -> str:
    """The title of a passage as a program sees it."""
    return passage.partition(BETWEEN)[0]


class PassageFile(Sequence[str]):
    """The passages of a file by number, each read from disk when it is asked for.

    `offsets` holds where each line begins, in bytes: eight bytes of memory a passage.
    """

    def __init__(self, path: str | Path, offsets: array[int]) -> None:
        self.path, self.offsets = Path(path).resolve(), offsets

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        # opened anew each time: nothing is shared between threads, or left open after a run
        try:
            with self.path.open("rb") as file:
                file.seek(self.offsets[index])
                return str(_passage(file.readline()))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path}: a passage that was there cannot be read now ({error}): the file "
                f"was changed; start again"
            ) from error


def read_passages(path: str | Path) -> Iterator[tuple[int, Passage]]:
    """Each passage of a file, with the offset in bytes at which its line begins.

    A line is an object with `title` and `text`, both text that is not empty; what else it holds is
    left alone, and so is a blank line. Raises `DataError` with file and line for any other.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the `with` below
    except (OSError, ValueError) as error:  # a ValueError: a NUL in the name
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"the corpus {str(path)!r} cannot be read: {why}") from error
    offset = found = 0
    with file:
        for number, line in enumerate(file, 1):
            if line.strip(_BLANK):
                try:
                    passage = _passage(line)
                except ValueError as error:
                    raise DataError(
                        f"{path}, line {number}: {error}. A passage is a line such as {EXAMPLE}"
                    ) from error
                yield offset, passage
                found += 1
            offset += len(line)
    if not found:
        raise DataError(f"{path}: holds no passages. A passage is a line such as {EXAMPLE}")


def _passage(line: bytes) -> Passage:
    """Raises `ValueError` (a `UnicodeDecodeError` is one) that says what is wrong with the line."""
    body = strict.loads(line)
    if not isinstance(body, dict):
        raise ValueError(f"a JSON object is wanted, not {type(body).__name__}")
    return checked(body.get("title"), body.get("text"))


def checked(title: object, text: object) -> Passage:
    """A passage, if title and text can be one. Raises `ValueError`."""
    for name, value in (("title", title), ("text", text)):
        if not isinstance(value, str):
            given = "missing" if value is None else f"a {type(value).__name__}"
            raise ValueError(f"'{name}' is {given}: text is wanted")
        if not value.strip():
            raise ValueError(f"'{name}' is empty")
    assert isinstance(title, str)  # as was just seen
    assert isinstance(text, str)
    if BETWEEN in title:
        raise ValueError(f"the title {title[:80]!r} holds {BETWEEN!r}, which ends a title")
    return Passage(title.strip(), text.strip())
