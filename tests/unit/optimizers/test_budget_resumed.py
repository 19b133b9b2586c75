"""A budget is the run's, not a sitting's: what was paid before a run stopped counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import SHORT, counted, small

import mipro
from mipro import Budget
from mipro.lm.base import UnavailableError
from mipro.lm.simulated import SimulatedLM


def test_calls_of_an_earlier_sitting_count(tmp_path: Path) -> None:
    world, budget = small(), Budget(calls=700)
    settings = {"val": world.val, "test": world.test, "budget": budget, "trials": 40, "threads": 1}
    settings = {**SHORT, **settings, "method": "mipro"}
    first, left = counted(), iter(range(400))
    simulated = SimulatedLM()

    def dying(request: mipro.Request) -> str | Exception:
        down = next(left, None) is None
        return UnavailableError("down") if down else simulated(request).text

    first.reply = dying
    parts = (world.program, world.train, world.metric)
    with pytest.raises(UnavailableError):
        mipro.optimize(*parts, lm=first, run_dir=tmp_path / "run", **settings)
    second = counted()
    result = mipro.resume(tmp_path / "run", *parts, lm=second, **settings)
    assert 0 < second.calls <= 700 - 400
    assert result.stopped == "calls"
    assert result.test is not None
