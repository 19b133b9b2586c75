"""Kill -9 at random points: every run is gone on with to the identical end (`points.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("points.py")
PHASES = {"bootstrap", "proposing", "minibatch", "full", "write"}


def killed(points: int, seed: int) -> dict:
    """The driver's report: a process of its own, as it forks."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), "--points", str(points), "--seed", str(seed)],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["points"] == points
    assert report["kills"] >= points
    assert report["ends that differ"] == 0
    assert report["kept replies asked for again"] == 0
    return report


def test_a_few_points() -> None:
    report = killed(6, seed=1)
    assert report["torn lines"] >= 1


@pytest.mark.kill
def test_two_hundred_points() -> None:
    report = killed(200, seed=0)
    assert set(report["killed in"]) >= PHASES
    assert min(report["killed in"][phase] for phase in PHASES) >= 15
