"""Short runs of `optimize` on cut-down worlds, and what their journals say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from doubles import CountingLM

import mipro
from mipro.bootstrapping import Teacher
from mipro.journal import read_journal, without_times
from mipro.lm.base import LM, Completion, Request, UnavailableError
from mipro.lm.simulated import SimulatedLM
from mipro.optimizers.task import Options, Task
from mipro.programs.prompt import Demo, Prompt
from mipro.worlds import World, load_world

SHORT = {"trials": 8, "minibatch": 7, "full_every": 3, "instructions": 4, "demo_sets": 4}


def small(name: str = "twohop", train: int = 40, val: int = 15, test: int = 12) -> World:
    """A world with fewer examples."""
    world = load_world(name)
    parts = {"train": world.train[:train], "val": world.val[:val], "test": world.test[:test]}
    return replace(world, **parts)


def run(world: World, method: str = "mipro", lm: LM | None = None, **settings: Any) -> mipro.Result:
    """`optimize` on a world, with the short settings unless told others.

    A forecast only where it is asked for, or a budget wants it: it takes as long as the run.
    """
    settings.setdefault("forecasts", "budget" in settings)
    data = {"val": world.val, "test": world.test}
    return mipro.optimize(
        world.program,
        settings.pop("train", world.train),
        world.metric,
        lm=lm or world.lm,
        method=method,
        **{**data, **SHORT, **settings},
    )


def recorded(world: World, method: str = "mipro", **settings: Any) -> tuple[mipro.Result, list]:
    """The result, and all events."""
    events: list[Mapping[str, Any]] = []
    return run(world, method, on_event=events.append, **settings), events


def of(events: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [event for event in events if event["event"] == kind]


def journal_of(directory: Path) -> list[dict[str, Any]]:
    """A run's journal without its times."""
    return [without_times(event) for event in read_journal(directory / "journal.jsonl")]


def counted(lm: SimulatedLM | None = None) -> CountingLM:
    """The embedded LM, its requests counted and kept."""
    simulated = lm or SimulatedLM()
    return CountingLM(lambda request: simulated(request).text)


def task_of(world: World, emit: Any = lambda event: None, **settings: Any) -> Task:
    """What a strategy is given."""
    options = Options.of({**SHORT, **settings})
    lm, data = world.lm, (world.train, world.val)
    return Task(world.program, *data, world.metric, lm, lm, Teacher(lm=lm), options, emit)


class Dying:
    """The embedded LM, unavailable after `calls` calls."""

    model = "dying"
    identity = "dying"

    def __init__(self, calls: int) -> None:
        self.left, self.simulated = calls, SimulatedLM()

    def __call__(self, request: Request, /) -> Completion:
        if self.left == 0:
            raise UnavailableError("the endpoint went away")
        self.left -= 1
        return self.simulated(request)


def slots_of(world: World, events: Sequence[Mapping[str, Any]]) -> tuple[dict, dict]:
    """Every instruction and demonstration set by module and index, read from the events alone."""
    prompts = world.program.prompts()
    instructions = {m: {0: prompt.instruction} for m, prompt in prompts.items()}
    for event in of(events, "proposal"):
        if event["index"] is not None:
            instructions[event["module"]][event["index"]] = event["instruction"]
    sets: dict[str, dict[int, tuple[Demo, ...]]] = {m: {0: ()} for m in prompts}
    for event in of(events, "bootstrap"):
        for module, chosen in event["demo_sets"].items():
            for index, demos in enumerate(chosen):
                sets[module][index] = tuple(Demo(d["values"], d["bootstrapped"]) for d in demos)
    return instructions, sets


def candidate_of(
    config: Mapping[str, int], instructions: Mapping[str, Any], sets: Mapping[str, Any]
) -> dict[str, Prompt]:
    """The candidate that a trial's configuration names."""
    return {
        module: Prompt(
            instructions[module][config.get(f"{module}.instruction", 0)],
            sets[module][config.get(f"{module}.demos", 0)],
        )
        for module in instructions
    }
