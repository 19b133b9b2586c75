"""The published files, read strictly: other columns, other labels or other counts are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from mipro.data import Example, load_csv, load_jsonl
from mipro.errors import DataError


def table(path: Path, columns: Mapping[str, Callable[[str], Any]], rows: int) -> list[Example]:
    """The `rows` rows of a CSV file, of which `columns` says what is read and by what.

    A conversion refuses a value by raising `ValueError`. Raises `DataError`, with file and line,
    for a column that is missing, a value that is missing or refused, and another number of rows.
    """
    found = load_csv(path, tuple(columns), columns)
    return [
        Example({name: row[name] for name in columns}, tuple(columns))
        for row in whole(found, rows, path)
    ]


def lines(
    path: Path, fields: Sequence[str], made: Callable[[Example], Example], rows: int | None
) -> list[Example]:
    """The `rows` objects of a JSONL file, each with `fields` that are text, made into examples.

    `rows` is None for a file of the user's own. `made` refuses an object by raising `ValueError`.
    Raises `DataError`, with file and line, for a field that is missing or no text, an object
    refused, and another number of objects.
    """
    examples = []
    found: Sequence[Example] = load_jsonl(path, fields)
    for i, row in enumerate(found if rows is None else whole(found, rows, path)):
        try:
            for name in fields:
                if not isinstance(row[name], str):
                    raise ValueError(f"'{name}' is no text: {row[name]!r:.80}")
            examples.append(made(row))
        except ValueError as error:
            raise DataError(f"{path}, line {_line(path, i)}: {error}") from error
    return examples


def whole(found: Sequence[Example], rows: int, path: Path) -> Sequence[Example]:
    """What was read of a file, if it is as many `rows` as were published; else `DataError`."""
    if len(found) != rows:
        last = len(path.read_bytes().splitlines())
        raise DataError(
            f"{path}, line {last}: the file ends after {len(found)} rows, the published one after "
            f"{rows}: fetch it again"
        )
    return found


def one_of(*values: str) -> Callable[[str], str]:
    """A conversion that takes these values only."""

    def chosen(cell: str) -> str:
        if cell not in values:
            raise ValueError(f"one of {', '.join(values)} is wanted")
        return cell

    return chosen


def numbered() -> Callable[[str], int]:
    """A conversion of a column that counts the rows from 0: a row lost or moved is refused."""
    expected = count()

    def number(cell: str) -> int:
        if cell != str(wanted := next(expected)):
            raise ValueError(f"row {wanted} is wanted here")
        return wanted

    return number


def distinct(examples: Sequence[Example]) -> list[Example]:
    """The first of each group of examples with equal inputs.

    So that parts cut from them share no question; what is left out repeats what is kept.
    """
    kept: dict[tuple[str, ...], Example] = {}
    for example in examples:
        kept.setdefault(tuple(map(repr, example.inputs.values())), example)
    return list(kept.values())


def _line(path: Path, index: int) -> int:
    """The line on which the object `index` (from 0) stands: blank lines hold none."""
    full = (n for n, text in enumerate(path.read_bytes().split(b"\n"), 1) if text.strip())
    return next(n for i, n in enumerate(full) if i == index)
