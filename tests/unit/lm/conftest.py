"""Fixtures of the LM tests: see `lm_doubles.py` for what they stand on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from lm_doubles import Faulty

from mipro.lm.openai import close_clients


@pytest.fixture
def faulty() -> Iterator[Callable[..., Faulty]]:
    with ExitStack() as stack:
        yield lambda *steps: stack.enter_context(Faulty(*steps))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key or endpoint of the machine's own, and no connection left open."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    yield
    close_clients()


@pytest.fixture
def timed() -> Callable[[], float]:
    start = time.perf_counter()
    return lambda: time.perf_counter() - start
