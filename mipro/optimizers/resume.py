"""`resume`: go on with a run that stopped early, to the end it would have come to.

The run is run again from its start. What it was answered is in its directory and is not asked for
again; what it did is in its journal, and is compared instead of being written (`journal.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mipro.data import Example
from mipro.errors import ConfigError
from mipro.lm.base import LM
from mipro.metrics import Metric
from mipro.optimizers.given import Given
from mipro.optimizers.optimize import sit
from mipro.optimizers.recorder import Sitting
from mipro.optimizers.result import Result
from mipro.optimizers.run_dir import read_config, recorded
from mipro.optimizers.task import Options
from mipro.programs.program import Program


def resume(
    run_dir: str | Path,
    program: Program,
    train: Sequence[Example],
    metric: Metric | Callable[..., Any],
    *,
    lm: LM,
    even_if_changed: bool = False,
    **arguments: Any,
) -> Result:
    """Go on with the run in `run_dir`; one that has ended returns its result without a call.

    Program, data, metric, LMs and the other `arguments` are given as they were to `optimize`; the
    method and settings may be left out, and are then the run's own. `threads` and `executor` may
    change, as they change nothing but the time.

    Raises `ConfigError` for a directory without a run, or in use, or with a damaged file (the line
    is named), and, with what it is, where something has changed since; `even_if_changed` runs it
    all the same, from its start, the journal so far kept beside the new one and equal requests not
    asked again (the ledger is then of the new course alone). Raises `RunError` where the run does
    not go as it went (a program or metric that draws anew each time), and whatever `optimize`
    raises.
    """
    then = recorded(Path(run_dir))
    if then is None:
        known: dict[str, Any] = {}
    else:
        known = _settings(then, Path(run_dir))
    sitting = Sitting(run_dir, resume=True, even_if_changed=even_if_changed)
    own = {"program": program, "train": train, "metric": metric, "lm": lm}
    return sit(sitting, Given.of(**{**known, **arguments, **own}))


def _settings(then: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """Method and options of the run; nothing else that its files may say is passed on."""
    method, options = then.get("method"), then.get("options", {})
    if not isinstance(method, str) or not isinstance(options, dict):
        raise ConfigError(f"{run / 'journal.jsonl'}, line 1: a method and its options are wanted")
    try:
        Options.of(options)
    except ConfigError as error:
        raise ConfigError(f"{run / 'journal.jsonl'}, line 1: {error}") from error
    return {"method": method, **options}


def found_origin(run: Path) -> Mapping[str, Any]:
    """How the command began the run in `run`, or the first of those in its subdirectories.

    Raises `ConfigError` where there is none, or it was not begun by the command.
    """
    if not run.is_dir():
        what = "is a file: its directory is wanted" if run.exists() else "is not there"
        raise ConfigError(f"{run} {what}; `mipro resume` takes the directory of a run")
    for directory in (run, *sorted(path for path in run.glob("*/") if path.is_dir())):
        config = read_config(directory)
        if config:
            if not config.get("origin"):
                raise ConfigError(
                    f"{directory} was not begun by the mipro command: go on with it from Python, "
                    f"mipro.resume({str(directory)!r}, program, train, metric, lm=…)"
                )
            return _origin(config["origin"], directory)
    raise ConfigError(
        f"{run} holds no run that can be gone on with (there is no config.json): begin it again"
    )


def _origin(body: Any, directory: Path) -> dict[str, Any]:
    """What the command wrote, and nothing else."""
    if isinstance(body, dict) and isinstance(body.get("config"), str):
        return {"config": body["config"]}
    demo = body.get("demo") if isinstance(body, dict) else None
    kinds = {"world": str, "method": str, "trials": int, "seed": int}
    if (
        not isinstance(demo, dict)
        or set(demo) != set(kinds)
        or not all(type(demo[name]) is kind for name, kind in kinds.items())
    ):
        raise ConfigError(
            f"{directory / 'config.json'}: its origin is not what the mipro command writes: begin "
            f"the run again"
        )
    return {"demo": demo}
