"""Runs that stop and are gone on with: what they need, and all that must be the same at the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_runs import SHORT, journal_of, small

import mipro
from mipro.lm.base import Completion, Request, UnavailableError
from mipro.lm.simulated import SimulatedLM
from mipro.worlds import World

LINE = 33  # bytes of the log: a digest and a newline


class LoggedLM:
    """The embedded LM. Every request is a line of `log` before it is answered; after `most` in all,
    whichever process asked, the endpoint is down.
    """

    model = identity = "logged"

    def __init__(self, log: Path, most: int | None = None, latency: float = 0.0) -> None:
        self.log, self.most, self.latency = log, most, latency
        self.simulated = SimulatedLM()

    def __call__(self, request: Request, /) -> Completion:
        if self.most is not None and len(asked(self.log)) >= self.most:
            raise UnavailableError("the endpoint went away")
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, request.digest(self.identity).encode() + b"\n")
        os.close(file)
        if self.latency:
            time.sleep(self.latency)
        return self.simulated(request)


def asked(log: Path) -> list[str]:
    """The digest of every request that was sent, in order."""
    return log.read_text().split() if log.exists() else []


def begin(directory: Path, lm: Any, world: World | None = None, **settings: Any) -> mipro.Result:
    """`optimize` in a directory."""
    return _called(mipro.optimize, world, lm, run_dir=directory, **{**SHORT, **settings})


def go_on(directory: Path, lm: Any, world: World | None = None, **settings: Any) -> mipro.Result:
    """`resume` there."""

    def resumed(*parts: Any, **more: Any) -> mipro.Result:
        return mipro.resume(directory, *parts, **more)

    return _called(resumed, world, lm, **settings)


def _called(
    function: Callable[..., mipro.Result], world: World | None, lm: Any, **settings: Any
) -> mipro.Result:
    world = world or small("iris")
    parts = {"val": world.val, "test": world.test, **settings}
    train = parts.pop("train", world.train)
    return function(world.program, train, parts.pop("metric", world.metric), lm=lm, **parts)


def end_of(directory: Path) -> list[Any]:
    """All that a run left behind, but for times."""
    result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
    del result["seconds"]
    return [journal_of(directory), result, (directory / "candidate.json").read_bytes()]
