"""The `mipro` command: demo, optimize, resume, estimate, eval, serve."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from mipro.config import RunConfig, load_config
from mipro.data import Example
from mipro.errors import ConfigError, MiproError
from mipro.optimizers.recorder import Sitting

Result = TypeVar("Result")


def _place(asked: Path | None, stem: str) -> Path:
    """The directory asked for, or a new one under `runs` named after the time."""
    if asked is not None:
        return asked
    wanted = Path("runs") / time.strftime(f"{stem}%Y%m%d-%H%M%S")
    taken = (wanted.with_name(f"{wanted.name}-{i}") for i in itertools.count(2))
    return wanted if not wanted.exists() else next(p for p in taken if not p.exists())


def _kept(place: Path, run: Callable[[], Result]) -> Result:
    """Run; if it ends early, say where the run up to there is kept, and how to go on with it."""
    kept = f"the run up to here is kept in {place}; go on with it: mipro resume {place}"
    try:
        return run()
    except KeyboardInterrupt:
        err.print(Text(f"interrupted; {kept}"), soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except ConfigError:  # nothing was run
        raise
    except MiproError:
        if any(path.is_file() for path in (*place.glob(JOURNAL), *place.glob(f"*/{JOURNAL}"))):
            err.print(Text(kept), soft_wrap=True)
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
JOURNAL = "journal.jsonl"

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
        str, typer.Option(help="twohop, iris, conditional, misled, or several with commas.")
    ] = "twohop,iris",
    method: Method = "mipro",
    trials: Annotated[int, typer.Option(min=1, help="Minibatch trials of each run.")] = 50,
    seed: Seed = 0,
    run_dir: RunDir = None,
) -> None:
    """Optimize two programs on the embedded LM: no key, no network, under a minute.

    Exits with 1 if a program was not shown to be better on its test set (p < 0.05).
    """
    origin = {"demo": {"world": world, "method": method, "trials": trials, "seed": seed}}
    _demo(Sitting(_place(run_dir, "demo-"), origin=origin), world, method, trials, seed)


def _demo(sitting: Sitting, world: str, method: str, trials: int, seed: int) -> None:
    """The worlds one by one, each in a directory of its own; those that have one go on with it."""
    from mipro.optimizers.optimize import sit
    from mipro.optimizers.task import Options
    from mipro.terminal import SIMULATED, Progressing, show_result
    from mipro.worlds import load_world

    place = Path(sitting.run_dir or ".")
    worlds = [load_world(name.strip(), seed) for name in world.split(",")]
    console.print(Text(SIMULATED, style="italic"))
    unproven = []
    for it in worlds:
        console.rule(f"{it.name}: modules {', '.join(it.program.modules())}")
        options = Options(trials=trials, seed=seed)
        with Progressing(console, options, len(it.val)) as progress:
            here = place / it.name
            begun = sitting.resume and (here / JOURNAL).is_file()
            run = partial(
                sit,
                replace(sitting, run_dir=here, resume=begun),
                it.program,
                it.train,
                it.metric,
                lm=it.lm,
                val=it.val,
                test=it.test,
                method=method,
                trials=trials,
                seed=seed,
                on_event=progress,
            )
            result = _kept(place, run)
        show_result(console, result, simulated=True)
        if not result.improvement.shown:
            unproven.append(it.name)
    if unproven:
        console.print(Text(f"Not shown to be better (p < 0.05): {', '.join(unproven)}"))
        raise typer.Exit(1)


@app.command()
def optimize(config: ConfigFile, run_dir: RunDir = None) -> None:
    """Run the optimizer that CONFIG describes."""
    loaded = load_config(config)
    origin = {"config": str(config.resolve())}
    _optimize(Sitting(_place(run_dir or loaded.run_dir, ""), origin=origin), loaded)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The directory of a run that stopped early.")],
    even_if_changed: Annotated[
        bool,
        typer.Option(
            "--even-if-changed",
            help="Go on though code, data or settings are others now: from the start, the same "
            "requests not asked twice.",
        ),
    ] = False,
) -> None:
    """Go on with a run that `optimize` or `demo` began, to the end it would have come to.

    A run that has ended shows its result again, without a call.
    """
    from mipro.optimizers.resume import found_origin

    origin = found_origin(run)
    sitting = Sitting(run, resume=True, even_if_changed=even_if_changed, origin=origin)
    if "demo" in origin:
        if (run / JOURNAL).is_file():  # one world of a demo: go on with all of it
            sitting = replace(sitting, run_dir=run.resolve().parent)
        _demo(sitting, **origin["demo"])
    else:
        _optimize(sitting, load_config(origin["config"]))


def _optimize(sitting: Sitting, loaded: RunConfig) -> None:
    from mipro.bootstrapping import Teacher
    from mipro.optimizers.optimize import sit
    from mipro.optimizers.task import Options
    from mipro.terminal import Progressing, show_result

    options = Options.of(loaded.settings)
    with Progressing(console, options, len(loaded.val)) as progress:
        run = partial(
            sit,
            sitting,
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
            budget=loaded.budget,
            on_event=progress,
            **loaded.settings,
        )
        result = _kept(Path(sitting.run_dir or "."), run)
    show_result(console, result, simulated=loaded.lm.model == "simulated")


@app.command()
def estimate(
    config: ConfigFile,
    probe: Annotated[
        int, typer.Option(min=0, help="Run so many examples to know better (paid calls).")
    ] = 0,
) -> None:
    """Forecast what optimizing by CONFIG takes: calls, tokens and cost. Without --probe no call.

    Exits with 1 if CONFIG's budget is too small for one sensible step.
    """
    from mipro.bootstrapping import Teacher
    from mipro.optimizers.estimate import estimate as estimated
    from mipro.terminal import show_forecast

    loaded = load_config(config)
    expected = estimated(
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
        probe=probe,
        **loaded.settings,
    )
    show_forecast(console, expected.to_json())
    if loaded.budget is not None:
        expected.check(loaded.budget)


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
    from mipro.terminal import SIMULATED, plain

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
        console.print(Text(plain(f"  example {outcome.index} failed: {outcome.error}")))
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
    """Run the command; an error of ours is one line on standard error and exit code 1.

    SIGTERM ends it as Ctrl-C does: in order, with exit code 130.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except MiproError as error:
        from mipro.terminal import plain

        err.print(Text(plain(f"error: {error}"), style="red"), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
    finally:
        # where an interrupt came through code run from a text (scipy has some, at its import), the
        # interpreter would end by the signal, whatever the exit code: the next text undoes that
        exec("")


if __name__ == "__main__":
    main()
