"""Heart Disease: the Cleveland file's 303 patients, 120 to optimize on and 183 to test.

Codes become the words they stand for, by the data set's own description. The six values that are
missing (`?`; four of `ca`, two of `thal`) become "unknown": a patient is not left out, for 120 and
183 are all there are. The label is no for 0, yes for 1 to 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mipro.data import Example, split
from mipro.metrics import exact_match
from mipro.programs.heart import PATIENT, HeartDisease
from mipro.tasks.folder import data_folder
from mipro.tasks.reading import table
from mipro.tasks.task import PaperTask

FILE = Path("heart_disease") / "processed.cleveland.data"
ROWS = 303
LABEL = "(num) (the predicted attribute)"
UNKNOWN = "unknown"


def _whole(cell: str) -> int:
    if not float(cell).is_integer():
        raise ValueError("a whole number is wanted")
    return int(float(cell))


def _coded(words: Mapping[int, str]) -> Callable[[str], str]:
    codes = {f"{code}.0": word for code, word in words.items()}

    def word(cell: str) -> str:
        if cell not in codes:
            raise ValueError(f"one of {', '.join(codes)} is wanted")
        return codes[cell]

    return word


def _or_unknown(known: Callable[[str], str]) -> Callable[[str], str]:
    return lambda cell: UNKNOWN if cell == "?" else known(cell)


def _diagnosis(cell: str) -> str:
    if cell not in ("0", "1", "2", "3", "4"):
        raise ValueError("0, for none, or 1 to 4 is wanted")
    return "no" if cell == "0" else "yes"


READ: Mapping[str, Callable[[str], Any]] = {
    "age": _whole,
    "sex": _coded({0: "female", 1: "male"}),
    "cp": _coded(
        {1: "typical angina", 2: "atypical angina", 3: "non-anginal pain", 4: "asymptomatic"}
    ),
    "trestbps": _whole,
    "chol": _whole,
    "fbs": _coded({0: "false", 1: "true"}),
    "restecg": _coded({0: "normal", 1: "ST-T wave abnormality", 2: "left ventricular hypertrophy"}),
    "thalach": _whole,
    "exang": _coded({0: "no", 1: "yes"}),
    "oldpeak": float,
    "slope": _coded({1: "upsloping", 2: "flat", 3: "downsloping"}),
    "ca": _or_unknown(_coded({0: "0", 1: "1", 2: "2", 3: "3"})),
    "thal": _or_unknown(_coded({3: "normal", 6: "fixed defect", 7: "reversible defect"})),
}


def heart(
    data: str | Path | None = None, seed: int = 0, corpus: str | Path | None = None
) -> PaperTask:
    """Heart Disease: 120 train, 183 test."""
    parts = split(heart_rows(data_folder(data)), train=120, test=183, seed=seed)
    return PaperTask("heart", HeartDisease(), exact_match("answer"), *parts)


def heart_rows(folder: Path) -> list[Example]:
    """All rows, in the file's order."""
    columns = {f"({name})": read for name, read in READ.items()}
    found = table(folder / FILE, {**columns, LABEL: _diagnosis}, ROWS)
    names = [field.name for field in PATIENT]
    return [
        Example({**{name: row[f"({name})"] for name in names}, "answer": row[LABEL]}, inputs=names)
        for row in found
    ]
