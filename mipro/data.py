"""Examples, and how they come in: JSONL and CSV, and seeded splits.

A file is read whole or not at all: the first bad line raises `DataError` with the file, the line
and what is wrong with it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mipro import strict
from mipro.errors import DataError, MissingFieldError
from mipro.seeds import stream


class Example(Mapping[str, Any]):
    """One datum: named fields, some of which are the program's inputs, the rest its labels.

    Fields are read as attributes (`example.question`) or items (`example["question"]`; a field
    with the name of a method, say `values`, only so). Asking for a field it lacks raises
    `MissingFieldError`, which names the fields it has. Immutable.
    """

    __slots__ = ("_fields", "_inputs")

    def __init__(self, fields: Mapping[str, Any], inputs: Sequence[str]) -> None:
        object.__setattr__(self, "_fields", dict(fields))
        object.__setattr__(self, "_inputs", _input_names(inputs))
        for name in self._inputs:
            if self._fields.get(name) is None:
                raise MissingFieldError(
                    f"the input field '{name}' is missing; the example has {_names(self._fields)}"
                )

    _fields: dict[str, Any]
    _inputs: tuple[str, ...]

    @property
    def inputs(self) -> dict[str, Any]:
        """What the program is called with: lists are copies, the program's to change."""
        return {name: _own(self._fields[name]) for name in self._inputs}

    @property
    def labels(self) -> dict[str, Any]:
        """All that is not an input: what the metric may compare with."""
        return {name: v for name, v in self._fields.items() if name not in self._inputs}

    def __getitem__(self, name: str) -> Any:
        try:
            return self._fields[name]
        except KeyError:
            raise MissingFieldError(
                f"the example has no field '{name}'; it has {_names(self._fields)}"
            ) from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # never a field: keeps copy and pickle out of here
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"an Example is immutable; '{name}' cannot be set")

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Example({self._fields!r}, inputs={self._inputs!r})"

    def __reduce__(self) -> tuple[type[Example], tuple[dict[str, Any], tuple[str, ...]]]:
        return Example, (self._fields, self._inputs)


class Splits(NamedTuple):
    """Disjoint parts of one data set, in the order of the shuffle."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]


def load_jsonl(path: str | Path, inputs: Sequence[str]) -> list[Example]:
    """Read one JSON object a line. Raises `DataError` with file and line on the first bad one.

    JSON is read strictly (`strict.py`): NaN, say, and a name that stands twice, are refused.
    """
    import jsonlines

    inputs = _input_names(inputs)
    examples: list[Example] = []
    line = 0

    def counted(file: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal line
        for line, text in enumerate(file, 1):  # noqa: B007 - read by the loop below
            yield text

    with _opened(path) as file, jsonlines.Reader(counted(file), loads=strict.loads) as reader:
        try:
            for fields in reader.iter(allow_none=True, skip_empty=True):
                if not isinstance(fields, dict):
                    kind = type(fields).__name__
                    raise _bad(path, line, f"a JSON object is wanted, not {kind}")
                examples.append(_example(fields, inputs, path, line))
        except jsonlines.InvalidLineError as error:
            raise _bad(path, error.lineno, str(error)) from error
    return _some(examples, path)


def load_csv(
    path: str | Path,
    inputs: Sequence[str],
    types: Mapping[str, Callable[[str], Any]] | None = None,
) -> list[Example]:
    """Read a CSV file with a header line; `types` converts named columns (say `{"age": float}`).

    A column without a name is dropped where it is empty, unless `types` names it (`""`). Raises
    `DataError` with file and line on a column named twice, a row of the wrong width, an empty
    input, or a value its type refuses.
    """
    inputs, types = _input_names(inputs), types or {}
    with _opened(path) as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise _bad(path, line, f"not UTF-8 text ({error.reason})") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = (cells for cells in reader if cells)  # a blank line is no row
        header = _header(next(rows, []), types, path, reader.line_num)
        examples = [
            _example(_row(header, cells, types, path, reader.line_num), inputs, path, line)
            for cells in rows
            if (line := reader.line_num)
        ]
    except csv.Error as error:
        raise _bad(path, reader.line_num, str(error)) from error
    return _some(examples, path)


def _header(
    names: list[str], types: Mapping[str, Callable[[str], Any]], path: str | Path, line: int
) -> list[str]:
    for i, name in enumerate(names):
        if (name.strip() or name in types) and name in names[:i]:
            raise _bad(path, line, f"two columns are called '{name}'")
    for name in types:
        if names and name not in names:
            raise _bad(path, line, f"`types` names a column '{name}'; there are {_names(names)}")
    return names


def _row(
    header: list[str],
    cells: list[str],
    types: Mapping[str, Callable[[str], Any]],
    path: str | Path,
    line: int,
) -> dict[str, Any]:
    if len(cells) != len(header):
        raise _bad(path, line, f"{len(cells)} values for {len(header)} columns")
    row: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if not name.strip() and name not in types:
            if cell.strip():
                raise _bad(path, line, f"the value {cell!r} stands in a column without a name")
            continue
        try:
            row[name] = _converted(types[name], cell) if name in types else cell
        except Exception as error:  # the user's own conversion may raise anything
            shown = repr(cell) if len(cell) <= 80 else f"{cell[:80]!r}…"
            why = str(error) if len(str(error)) <= 200 else f"{str(error)[:200]}…"
            what = f"column '{name}': {shown} is refused ({type(error).__name__}: {why})"
            raise _bad(path, line, what) from error
    return row


def _converted(kind: Callable[[str], Any], cell: str) -> Any:
    value = kind(cell)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number is wanted")
    return value


def _opened(path: str | Path) -> Any:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a name that no file can have: a NUL in it, say
        raise DataError(f"{str(path)!r}: cannot be read: {error}") from error


def _example(
    fields: Mapping[str, Any], inputs: Sequence[str], path: str | Path, line: int
) -> Example:
    for name in inputs:
        if fields.get(name) is None or fields[name] == "":
            have = _names(fields)
            raise _bad(path, line, f"the input field '{name}' is missing or empty; it has {have}")
    return Example(fields, inputs)


def _some(examples: list[Example], path: str | Path) -> list[Example]:
    if not examples:
        raise DataError(f"{path}: holds no examples")
    return examples


def _bad(path: str | Path, line: int, what: str) -> DataError:
    return DataError(f"{path}, line {line}: {what}")


def _input_names(inputs: Sequence[str]) -> tuple[str, ...]:
    if isinstance(inputs, str):  # inputs=("question") is a text, for want of a comma
        raise DataError(f"inputs={inputs!r}: a sequence of names is wanted, say ({inputs!r},)")
    return tuple(inputs)


def _own(value: Any) -> Any:
    """A list or dict copied at every depth; anything else as it is."""
    if type(value) is list:
        return [_own(item) for item in value]
    if type(value) is dict:
        return {key: _own(item) for key, item in value.items()}
    return value


def _names(fields: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in fields) or "no fields"


def split(
    examples: Sequence[Example],
    *,
    train: float | int,
    val: float | int = 0,
    test: float | int = 0,
    seed: int = 0,
) -> Splits:
    """Shuffle by `seed`, then cut into disjoint train, val and test.

    A size is a count (an int) or a share of all examples (a float in (0, 1)). Raises `DataError`
    where they add up to more than there is.
    """
    total = len(examples)
    counts = []
    for name, size in (("train", train), ("val", val), ("test", test)):
        share = isinstance(size, float)
        if not size >= 0 or (share and size > 1):
            raise DataError(f"{name}={size}: a count, or a share between 0 and 1, is wanted")
        counts.append(int(size * total + 1e-9) if share else int(size))
        if size and not counts[-1]:
            raise DataError(f"{name}={size} of {total} examples is none: more examples are wanted")
    if sum(counts) > total:
        raise DataError(
            f"train {counts[0]} + val {counts[1]} + test {counts[2]} examples are asked of {total}"
        )
    order = stream(seed, "split").permutation(total)
    shuffled = [examples[i] for i in order]
    a, b, c = counts[0], counts[0] + counts[1], sum(counts)
    return Splits(tuple(shuffled[:a]), tuple(shuffled[a:b]), tuple(shuffled[b:c]))
