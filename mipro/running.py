"""Runs as the command makes them: shown while they go on, and kept so that one can go on with them.

`mipro optimize` runs what a config describes, `mipro demo` the worlds of the embedded LM;
`mipro resume` either, in the directory that it was begun in.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from mipro.config import RunConfig
from mipro.errors import MiproError
from mipro.optimizers.given import Given
from mipro.optimizers.optimize import sit
from mipro.optimizers.recorder import Sitting
from mipro.optimizers.result import Result
from mipro.terminal import SIMULATED, Progressing, show_result
from mipro.worlds import load_world

INTERRUPTED = 130
JOURNAL = "journal.jsonl"
console = Console()
err = Console(stderr=True)


def place_for(asked: Path | None, stem: str = "") -> Path:
    """The directory asked for, or a new one under `runs` named after the time."""
    if asked is not None:
        return asked
    wanted = Path("runs") / time.strftime(f"{stem}%Y%m%d-%H%M%S")
    taken = (wanted.with_name(f"{wanted.name}-{i}") for i in itertools.count(2))
    return wanted if not wanted.exists() else next(p for p in taken if not p.exists())


def run_config(sitting: Sitting, loaded: RunConfig) -> None:
    """Run what a config describes, and show what was found."""
    result = _seen(sitting, loaded.given(), Path(sitting.run_dir or "."))
    show_result(console, result, simulated=loaded.lm.model == "simulated")


def run_demo(sitting: Sitting, world: str, method: str, **settings: Any) -> None:
    """The worlds one by one, each in a directory of its own; those that have one go on with it.

    Exits with 1 if one was not shown to be better.
    """
    place = Path(sitting.run_dir or ".")
    worlds = [load_world(name.strip(), settings["seed"]) for name in world.split(",")]
    console.print(Text(SIMULATED, style="italic"))
    unproven = []
    for it in worlds:
        console.rule(f"{it.name}: modules {', '.join(it.program.modules())}")
        given = Given(
            program=it.program,
            train=it.train,
            metric=it.metric,
            lm=it.lm,
            val=it.val,
            test=it.test,
            method=method,
            settings=settings,
        )
        here = place / it.name
        begun = sitting.resume and (here / JOURNAL).is_file()
        result = _seen(replace(sitting, run_dir=here, resume=begun), given, place)
        show_result(console, result, simulated=True)
        if not result.improvement.shown:
            unproven.append(it.name)
    if unproven:
        console.print(Text(f"Not shown to be better (p < 0.05): {', '.join(unproven)}"))
        raise typer.Exit(1)


def _seen(sitting: Sitting, given: Given, place: Path) -> Result:
    """Run; if it ends early, say where the run up to there is kept, and how to go on with it."""
    kept = f"the run up to here is kept in {place}; go on with it: mipro resume {place}"
    with Progressing(console, given.options, len(given.val or ()), given.budget) as progress:
        try:
            return sit(sitting, replace(given, on_event=progress))
        except KeyboardInterrupt:
            err.print(Text(f"interrupted; {kept}"), soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None
        except MiproError:
            if progress.kept:
                err.print(Text(kept), soft_wrap=True)
            raise
