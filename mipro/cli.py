"""The `mipro` command: demo, optimize, resume, estimate, eval, serve."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from mipro.config import RunConfig, load_config
from mipro.data import Example
from mipro.errors import ConfigError, MiproError
from mipro.evaluation import evaluate as scored
from mipro.lm.meter import Ledger, Metered
from mipro.optimizers.estimate import estimated
from mipro.optimizers.methods import METHODS
from mipro.optimizers.recorder import Sitting
from mipro.optimizers.resume import found_origin
from mipro.optimizers.task import Options
from mipro.running import INTERRUPTED, JOURNAL, console, err, place_for, run_config, run_demo
from mipro.terminal import SIMULATED, plain, show_forecast

app = typer.Typer(
    help="Tune the instructions and demonstrations of language-model programs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Method = Annotated[str, typer.Option(help="The optimizer.")]
Seed = Annotated[int, typer.Option(min=0, help="The root of all randomness.")]
RunDir = Annotated[Path | None, typer.Option(help="Where the run is kept.")]
ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A TOML file that describes the run.")
]


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
    if method not in METHODS:
        raise ConfigError(f"--method {method}: there are {', '.join(METHODS)}")
    asked: dict[str, Any] = {"world": world, "method": method, "trials": trials, "seed": seed}
    run_demo(Sitting(place_for(run_dir, "demo-"), origin={"demo": asked}), **asked)


@app.command()
def optimize(config: ConfigFile, run_dir: RunDir = None) -> None:
    """Run the optimizer that CONFIG describes."""
    loaded = _loaded(config)
    origin = {"config": str(config.resolve())}
    run_config(Sitting(place_for(run_dir or loaded.run_dir), origin=origin), loaded)


@app.command()
def resume(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The directory of a run that stopped early.")
    ],
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
    origin = found_origin(run)
    sitting = Sitting(run, resume=True, even_if_changed=even_if_changed, origin=origin)
    if "demo" in origin:
        if (run / JOURNAL).is_file():  # one world of a demo: go on with all of it
            sitting = replace(sitting, run_dir=run.resolve().parent)
        run_demo(sitting, **origin["demo"])
    else:
        run_config(sitting, _loaded(origin["config"]))


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
    loaded = _loaded(config)
    expected = estimated(loaded.given(), probe)
    show_forecast(console, expected.to_json(), loaded.budget)
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
    loaded = _loaded(config)
    ledger = Ledger(loaded.prices)
    result = scored(
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


def _loaded(config: str | Path) -> RunConfig:
    """A config, loaded; what of a task is not as in the paper is said before anything is run."""
    loaded = load_config(config)
    for note in loaded.notes:
        console.print(Text(plain(f"note: {note}")))
    return loaded


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
    from mipro.lm.address import is_loopback
    from mipro.lm.serve import Server
    from mipro.lm.simulated import SimulatedLM

    if not allow_remote and not is_loopback(host):
        raise ConfigError(
            f"--host {host} is not loopback: other machines could reach the server, which asks for "
            f"no key; say so with --allow-remote, or use 127.0.0.1"
        )
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
