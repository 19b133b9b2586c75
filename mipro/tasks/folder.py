"""Where the real data are: an argument, $MIPRO_DATA, or a folder beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import mipro
from mipro.errors import ConfigError

VARIABLE = "MIPRO_DATA"
BESIDE = Path("shared") / "data"


def data_folder(given: str | Path | None = None) -> Path:
    """The folder that holds `gsm8k/`, `scone/` and the rest.

    `given` if there is one, else what the environment variable MIPRO_DATA names, else
    `../shared/data` from the current directory or from the folder the package is installed from.
    A place that was named is not searched past. Raises `ConfigError` that says where was looked.
    """
    if given is not None:
        return _existing(Path(given), "the data folder given")
    if named := os.environ.get(VARIABLE):
        return _existing(Path(named), f"the data folder that {VARIABLE} names")
    starts = (Path.cwd(), Path(mipro.__file__).resolve().parents[1])
    places = [start.parent / BESIDE for start in starts]
    for place in places:
        if place.is_dir():
            return place.resolve()
    looked = ", ".join(dict.fromkeys(str(place) for place in places))
    raise ConfigError(
        f"the tasks' data are not here: {VARIABLE} is not set, and there is no folder {looked}. "
        f"Give `data`, or set {VARIABLE} to the folder that holds gsm8k/, scone/, heart_disease/, "
        f"hover/ and hotpotqa_conditional/"
    )


def _existing(place: Path, what: str) -> Path:
    shown = f"{str(place)!r:.200}"
    try:
        if not place.is_dir():
            raise ConfigError(f"{what}, {shown}, is no folder: name one that exists")
    except (OSError, ValueError) as error:  # a name that no folder can have: one too long, say
        raise ConfigError(f"{what}, {shown}: {error}"[:400]) from error
    return place.resolve()
