"""What a person sees of a run: live progress, then a table of what was found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from mipro.journal import Event
from mipro.optimizers.result import Result
from mipro.optimizers.task import Options
from mipro.programs.prompt import Demo, Prompt
from mipro.programs.signature import Field, Signature

SIMULATED = "The language model is simulated: so is every score."


class Progressing:
    """Follows a run's events: a live line on a terminal, elsewhere a plain line at each advance.

    A context manager; pass it as `on_event`.
    """

    def __init__(self, console: Console, options: Options, val: int) -> None:
        self.console, self.val = console, val
        self.total = options.examples(val) + val  # with the original program's evaluation
        self.done = 0
        self.best = float("-inf")
        self.started = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("{task.fields[now]}"),
        )
        self.bar = Progress(*columns, console=console, transient=True)
        self.task = self.bar.add_task("starting", total=self.total, now="")

    def __enter__(self) -> Progressing:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        kind = event["event"]
        if kind == "trial":
            self._trial(event)
        elif kind == "bootstrap":
            self._say(f"bootstrapping: {event['passed']} of {event['attempted']} traces passed")
        elif kind == "space":
            grown = "grown to " if event["grown"] else ""
            start = f"; the first {event['startup']} trials are spread over it, then TPE chooses"
            size = f"search space: {grown}{event['size']:,} configurations"
            self._say(size if grown else size + start)
        elif kind == "note":
            self._say(f"note: {event['text']}")
        elif kind == "proposal":
            self._now("proposing", f"an instruction for {event['module']}")

    def _trial(self, event: Event) -> None:
        self.done += int(event["n"])
        better = event["n"] == self.val and float(event["score"]) > self.best
        if better:
            self.best = float(event["score"])
        calls = sum(int(entry["calls"]) for entry in event["usage"].values())
        costs = [e["cost_usd"] for e in event["usage"].values() if "cost_usd" in e]
        cost = f", ${sum(costs):.2f}" if costs else ""
        spent = time.monotonic() - self.started
        left = spent / self.done * max(0, self.total - self.done)
        now = f"best {self.best:.3f}, {calls:,} calls{cost}, about {_clock(left)} left"
        what = f"trial {event['number']}" if event["number"] else "original program"
        self._now(what, now)
        if better and not self.console.is_terminal:
            self._say(f"{what}: {now}")

    def _now(self, what: str, now: str) -> None:
        self.bar.update(self.task, description=what, now=now, completed=self.done)

    def _say(self, text: str) -> None:
        self.bar.console.print(Text(text))


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_result(console: Console, result: Result, *, simulated: bool) -> None:
    """The table of scores and spending, then the prompts, tuned against original."""
    console.print(_scores(result))
    console.print(_spending(result.usage, result.seconds))
    for name, prompt in result.candidate.items():
        console.print(_prompt(name, result.original[name], prompt, result.signatures[name]))
    if result.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result.importances.items())
        console.print(Text(f"Main effects seen in these trials (shares overlap): {shares}"))
    for note in result.notes:
        console.print(Text(f"note: {note}"))
    if simulated:
        console.print(Text(SIMULATED, style="italic"))
    if result.run_dir is not None:
        console.print(Text(f"The run is kept in {result.run_dir}"))


def _scores(result: Result) -> Table:
    table = Table(title=f"{result.method}: scores", title_justify="left")
    for column in ("", "original", "tuned", "difference"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row(
        "validation\n(selected on)",
        f"{result.baseline:.3f}",
        _with_interval(result.score, result.interval),
        f"{result.score - result.baseline:+.3f}",
    )
    test = result.test
    if test is not None:
        table.add_row(
            f"test\n(n = {test.paired.n})",
            _with_interval(test.before, test.before_interval),
            _with_interval(test.after, test.after_interval),
            f"{test.paired.difference:+.3f}\np = {test.paired.p_value:.2g}",
        )
        table.caption = f"95% intervals; paired test on the test set: {test.paired.method}"
    return table


def _with_interval(score: float, bounds: tuple[float, float]) -> str:
    return f"{score:.3f}\n[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def _spending(usage: Mapping[str, Mapping[str, Any]], seconds: float) -> Table:
    table = Table(title=f"spent in {_clock(seconds)}", title_justify="left")
    priced = any("cost_usd" in entry for entry in usage.values())
    for column in ("role", "calls", "cached", "failed calls", "prompt tokens", "reply tokens"):
        table.add_column(column, justify="left" if column == "role" else "right")
    if priced:
        table.add_column("US$", justify="right")
    keys = ("calls", "cached", "failed", "prompt_tokens", "completion_tokens")
    for role, entry in usage.items():
        paid = f"{entry['cost_usd']:.4f}" if "cost_usd" in entry else "not priced"
        cost = [paid] if priced else []
        table.add_row(role, *(f"{entry[key]:,}" for key in keys), *cost)
    return table


def _prompt(name: str, original: Prompt, tuned: Prompt, signature: Signature) -> Panel:
    text = Text()
    if tuned.instruction == original.instruction:
        text.append("instruction, unchanged: ", style="bold")
        text.append(original.instruction)
    else:
        text.append("original: ", style="bold")
        text.append(f"{original.instruction}\n")
        text.append("tuned:    ", style="bold")
        text.append(tuned.instruction)
    for number, demo in enumerate(tuned.demos, 1):
        origin = "bootstrapped" if demo.bootstrapped else "labelled"
        text.append(f"\ndemo {number}, {origin}: ", style="bold")
        text.append(_shown(demo, signature.inputs, 90))
        text.append(" → ", style="bold")
        text.append(_shown(demo, signature.outputs, 90))
    return Panel(text, title=name, title_align="left")


def _shown(demo: Demo, fields: Sequence[Field], most: int) -> str:
    """Some of a demo's fields in a line; the reasoning is for the model, not for this table."""
    names = [f.name for f in fields if f.name in demo.values and f.name != "reasoning"]
    return _short("; ".join(f"{name} = {demo.values[name]}" for name in names), most)


def _short(text: str, most: int) -> str:
    folded = " ".join(text.split())
    return folded if len(folded) <= most else f"{folded[:most]}…"
