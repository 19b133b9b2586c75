"""What every test stands on. Helper classes are in `doubles.py`, strategies in `strategies.py`.

pytest puts this folder on the path (it has no `__init__.py`), so both import by their plain names
from any test; a test file's own name must therefore be unique in the whole tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import settings

# before numpy is there: its threads wait for each other in a loop, so that where cores are shared
# small matrices take thirty times as long
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# a slow moment of the machine is no failure, and every run tries the same values
settings.register_profile("mipro", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("mipro")


@pytest.fixture(autouse=True)
def no_tiktoken_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIPRO_TIKTOKEN", "0")


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Two other processes, started from nothing, as on another machine."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield pool
