"""The `mipro` command: demo, optimize, eval, serve."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from mipro.config import RunConfig, load_config
from mipro.data import Example
from mipro.errors import ConfigError, MiproError

Result = TypeVar("Result")


def _place(asked: Path | None, stem: str) -> Path:
    """The directory asked for, or a new one under `runs` named after the time."""
    if asked is not None:
        return asked
    wanted = Path("runs") / time.strftime(f"{stem}%Y%m%d-%H%M%S")
    taken = (wanted.with_name(f"{wanted.name}-{i}") for i in itertools.count(2))
    return wanted if not wanted.exists() else next(p for p in taken if not p.exists())


def _kept(place: Path, run: Callable[[], Result]) -> Result:
    """Run; if it ends early, say where the run up to there is kept."""
    try:
        return run()
    except KeyboardInterrupt:
        err.print(Text(f"interrupted; the run up to here is kept in {place}"))
        raise typer.Exit(INTERRUPTED) from None
    except MiproError:
        if (place / "journal.jsonl").is_file():
            err.print(Text(f"the run up to here is kept in {place}"))
        raise


app = typer.Typer(
    help="Tune the instructions and demonstrations of language-model programs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
err = Console(stderr=True)
INTERRUPTED = 130

Method = Annotated[str, typer.Option(help="The optimizer.")]
Seed = Annotated[int, typer.Option(min=0, help="The root of all randomness.")]
RunDir = Annotated[Path | None, typer.Option(help="Where the run is kept.")]
ConfigFile = Annotated[Path, typer.Argument(help="A TOML file that describes the run.")]


def _version(asked: bool) -> None:
    if asked:
        from mipro import __version__

        console.print(f"mipro {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Tune the instructions and demonstrations of language-model programs."""


@app.command()
def demo(
    world: Annotated[
        str, typer.Option(help="twohop, iris, conditional, or several with commas.")
    ] = "twohop,iris",
    method: Method = "mipro",
    trials: Annotated[int, typer.Option(min=1, help="Minibatch trials of each run.")] = 50,
    seed: Seed = 0,
    run_dir: RunDir = None,
) -> None:
    """Optimize two programs on the embedded LM: no key, no network, under a minute.

    Exits with 1 if a program was not shown to be better on its test set (p < 0.05).
    """
    from mipro.optimizers.optimize import optimize
    from mipro.optimizers.task import Options
    from mipro.terminal import SIMULATED, Progressing, show_result
    from mipro.worlds import load_world

    place = _place(run_dir, "demo-")
    worlds = [load_world(name.strip(), seed) for name in world.split(",")]
    console.print(Text(SIMULATED, style="italic"))
    unproven = []
    for it in worlds:
        console.rule(f"{it.name}: modules {', '.join(it.program.modules())}")
        options = Options(trials=trials, seed=seed)
        with Progressing(console, options, len(it.val)) as progress:
            run = partial(
                optimize,
                it.program,
                it.train,
                it.metric,
                lm=it.lm,
                val=it.val,
                test=it.test,
                method=method,
                trials=trials,
                seed=seed,
                run_dir=place / it.name,
                on_event=progress,
            )
            result = _kept(place / it.name, run)
        show_result(console, result, simulated=True)
        test = result.test
        if test is None or test.paired.p_value >= 0.05 or test.paired.difference <= 0:
            unproven.append(it.name)
    if unproven:
        console.print(Text(f"Not shown to be better (p < 0.05): {', '.join(unproven)}"))
        raise typer.Exit(1)


@app.command()
def optimize(config: ConfigFile, run_dir: RunDir = None) -> None:
    """Run the optimizer that CONFIG describes."""
    from mipro.bootstrapping import Teacher
    from mipro.optimizers.optimize import optimize as optimized
    from mipro.optimizers.task import Options
    from mipro.terminal import Progressing, show_result

    loaded = load_config(config)
    place = _place(run_dir or loaded.run_dir, "")
    options = Options.of(loaded.settings)
    with Progressing(console, options, len(loaded.val)) as progress:
        run = partial(
            optimized,
            loaded.program,
            loaded.train,
            loaded.metric,
            lm=loaded.lm,
            val=loaded.val,
            test=loaded.test or None,
            method=loaded.method,
            prompt_lm=loaded.prompt_lm,
            teacher=Teacher(lm=loaded.teacher_lm),
            adapter=loaded.adapter,
            prices=loaded.prices,
            run_dir=place,
            on_event=progress,
            **loaded.settings,
        )
        result = _kept(place, run)
    show_result(console, result, simulated=loaded.lm.model == "simulated")


@app.command("eval")
def evaluate(
    config: ConfigFile,
    candidate: Annotated[
        Path | None, typer.Option(help="A candidate file; the program as it is without one.")
    ] = None,
    on: Annotated[str, typer.Option(help="train, val or test.")] = "test",
) -> None:
    """Score a program, as it is or with a tuned candidate, on one part of CONFIG's data."""
    from mipro.evaluation import evaluate as score
    from mipro.lm.meter import Ledger, Metered
    from mipro.optimizers.task import Options
    from mipro.terminal import SIMULATED

    loaded = load_config(config)
    ledger = Ledger(loaded.prices)
    result = score(
        loaded.program,
        _part(loaded, on),
        loaded.metric,
        lm=Metered(loaded.lm, ledger),
        candidate=loaded.program.load(candidate).candidate if candidate else None,
        adapter=loaded.adapter,
        threads=Options.of(loaded.settings).threads,
    )
    low, high = result.interval
    spent = ledger.total
    console.print(
        Text(
            f"{loaded.metric.name} on {on}: {result.score:.3f} [{low:.3f}, {high:.3f}], "
            f"n = {result.n}, {len(result.failures)} failed; {spent.calls:,} calls, "
            f"{spent.tokens:,} tokens" + (f", ${spent.cost:.4f}" if spent.cost is not None else "")
        )
    )
    for outcome in result.failures[:5]:
        console.print(Text(f"  example {outcome.index} failed: {outcome.error}"))
    if loaded.lm.model == "simulated":
        console.print(Text(SIMULATED, style="italic"))


def _part(loaded: RunConfig, on: str) -> tuple[Example, ...]:
    if on not in ("train", "val", "test"):
        raise ConfigError(f"--on {on}: train, val or test is wanted")
    part: tuple[Example, ...] = getattr(loaded, on)
    if not part:
        raise ConfigError(f"--on {on}: {loaded.path} names no such data")
    return part


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    seed: Seed = 0,
    latency: Annotated[float, typer.Option(min=0, help="Seconds before each reply.")] = 0.0,
    allow_remote: Annotated[
        bool, typer.Option(help="Listen on an address other machines can reach.")
    ] = False,
) -> None:
    """Serve the embedded LM as an OpenAI-compatible endpoint on loopback."""
    from mipro.lm.serve import Server
    from mipro.lm.simulated import SimulatedLM

    server = Server(SimulatedLM(seed), host, port, latency, allow_remote=allow_remote)
    console.print(Text(f"model 'simulated' at {server.base_url} (Ctrl-C ends it)"))
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        console.print(Text(f"served: {server.stats}"))
    finally:
        server.close()


def main() -> None:
    """Run the command; an error of ours is one line on standard error and exit code 1."""
    try:
        app()
    except MiproError as error:
        err.print(Text(f"error: {error}", style="red"), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
