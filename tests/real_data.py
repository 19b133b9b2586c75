"""The real files of the paper's tasks, for tests that skip, and say why, where they are not."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest

from mipro.errors import ConfigError
from mipro.tasks import PaperTask, data_folder, load_task

IRIS = ("iris", "iris_typo")


def real_folder() -> Path:
    """The folder of the real data; skips the test where there is none."""
    try:
        return data_folder()
    except ConfigError as error:
        pytest.skip(f"real data: {error}")


def real_task(name: str, seed: int = 0) -> PaperTask:
    """A task on its real rows; skips the test where they, or what reads them, are not there."""
    if name in IRIS:
        pytest.importorskip("sklearn", reason="Iris' rows come with scikit-learn")
    else:
        real_folder()
    return _loaded(name, seed)


@lru_cache
def _loaded(name: str, seed: int) -> PaperTask:
    return load_task(name, seed=seed)
