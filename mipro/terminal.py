"""What a person sees of a run: live progress, then a table of what was found."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from mipro.improvement import Optimism
from mipro.journal import Event
from mipro.optimizers.result import Result
from mipro.optimizers.task import Options
from mipro.programs.prompt import Demo, Prompt
from mipro.programs.signature import Field, Signature
from mipro.tpe import Effect, Importance

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # but for tab and newline
SIMULATED = "The language model is simulated: so is every score."


def plain(text: str) -> str:
    """Text from data or a model, fit for a screen.

    What would move the cursor or change colours, and half a surrogate pair, which no screen can be
    sent, are spelled out.
    """
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


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
        elif kind == "forecast":
            self._forecast(event)
        elif kind == "stopped":
            self._say(f"the budget is spent ({event['limit']}): ending in order")
        elif kind == "note":
            self._say(f"note: {event['text']}")
        elif kind == "look":
            self._say(f"test, look {event['number']}: {event['n']} examples")
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

    def _forecast(self, event: Event) -> None:
        if event["after"] == "start":
            show_forecast(self.bar.console, event)
            return
        calls, tokens = (_range(_measure(event["total"], m), m) for m in ("calls", "tokens"))
        self._say(f"forecast, made again after bootstrapping: {calls} calls, {tokens} tokens")

    def _now(self, what: str, now: str) -> None:
        self.bar.update(self.task, description=what, now=now, completed=self.done)

    def _say(self, text: str) -> None:
        self.bar.console.print(Text(plain(text)))


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_result(console: Console, result: Result, *, simulated: bool) -> None:
    """The table of scores and spending, then the prompts, tuned against original."""
    console.print(_scores(result))
    console.print(Text(result.improvement.text, style="bold"))
    if result.optimism is not None:
        console.print(Text(_optimism(result.optimism)))
    console.print(_spending(result.usage, result.seconds))
    if result.forecast is not None:
        known = (result.reforecast or result.forecast).to_json()
        again = ", made again after bootstrapping" if result.reforecast else ""
        console.print(_forecast(known, result.phases, again))
    if result.stopped is not None:
        console.print(Text(f"Stopped by the budget ({result.stopped}): the best so far."))
    for name, prompt in result.candidate.items():
        console.print(_prompt(name, result.original[name], prompt, result.signatures[name]))
    for line in _importances(result.importances, "all candidates"):
        console.print(Text(line))
    if result.settings_importances is not None:
        for line in _importances(result.settings_importances, "all the proposer's settings"):
            console.print(Text(line))
    for note in result.notes:
        console.print(Text(plain(f"note: {note}")))
    if simulated:
        console.print(Text(SIMULATED, style="italic"))
    if result.run_dir is not None:
        console.print(Text(f"The run is kept in {result.run_dir}"))


def _importances(found: Importance, what: str) -> list[str]:
    """Variables, most important first, and pairs worth a word; nothing if nothing is known."""
    if found.spread is None:
        return []
    slots = sorted(found.main.items(), key=lambda item: -item[1].value)
    pairs = sorted(found.pairs.items(), key=lambda item: -item[1].value)
    low, high = found.spread.low, found.spread.high
    lines = [
        f"Shares of the variance of true scores over {what} (95% intervals);",
        f"their standard deviation is {found.spread.value:.3f} ({low:.3f} to {high:.3f}):",
    ]
    lines += [f"  {name} {_share(effect)}" for name, effect in slots]
    lines += [
        f"  {a} together with {b}, beyond the two: {_share(effect)}"
        for (a, b), effect in pairs[:3]
        if effect.value >= 0.05
    ]
    return lines


def _share(effect: Effect) -> str:
    return f"{effect.value:.0%} ({effect.low:.0%} to {effect.high:.0%})"


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
        table.caption = f"95% intervals; two-sided p of the paired test: {test.paired.method}"
    return table


def _optimism(found: Optimism) -> str:
    low, high = found.interval
    text = f"Optimism, selected − held out: {found.value:+.3f} [{low:+.3f}, {high:+.3f}]"
    low, high = found.net_interval
    return (
        f"{text}; with the original's own difference between the two sets taken off: "
        f"{found.net:+.3f} [{low:+.3f}, {high:+.3f}]"
    )


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


def show_forecast(console: Console, forecast: Mapping[str, Any]) -> None:
    """A forecast, as `Forecast.to_json` and the journal's event have it."""
    console.print(_forecast(forecast, None))
    if "cost_usd" not in forecast["total"]:
        console.print(Text("No cost is given: a model has no price ([prices] in the config)."))


def _forecast(
    forecast: Mapping[str, Any], actual: Mapping[str, Mapping[str, Any]] | None, again: str = ""
) -> Table:
    """Calls, tokens and cost by phase: expected (low to high), and what they were."""
    probed = forecast["probed"]
    known = f"{probed} examples probed" if probed else "nothing probed: replies are assumed"
    table = Table(title=f"forecast{again} ({known})", title_justify="left")
    shown = ["calls", "tokens"] + ["US$"] * ("cost_usd" in forecast["total"])
    for column in [
        "phase",
        *(c for name in shown for c in ([name, "actual"] if actual else [name])),
    ]:
        table.add_column(column, justify="left" if column == "phase" else "right")
    total = {"total": _sum(actual.values())} if actual else {}
    for phase, expected in {**forecast["phases"], "total": forecast["total"]}.items():
        spent = {**(actual or {}), **total}.get(phase, {})
        cells = []
        for name in shown:
            cells.append(_range(_measure(expected, name), name))
            if actual:
                cells.append(_amount(_measure(spent, name), name))
        table.add_row(phase, *cells)
    return table


def _sum(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for entry in entries:
        for key, value in entry.items():
            sums[key] = sums.get(key, 0) + value
    return sums


def _measure(entry: Mapping[str, Any], name: str) -> Any:
    """Of an entry of the ledger a number, of a phase of a forecast a range of three."""
    if name == "US$":
        return entry.get("cost_usd")
    if name == "calls":
        return entry.get("calls", 0)
    prompt, completion = entry.get("prompt_tokens", 0), entry.get("completion_tokens", 0)
    if isinstance(prompt, list):
        return [p + c for p, c in zip(prompt, completion, strict=True)]
    return prompt + completion


def _range(values: Any, name: str) -> str:
    if values is None:
        return "not priced"
    low, expected, high = (_amount(value, name) for value in values)
    return expected if low == expected == high else f"{expected} ({low} to {high})"


def _amount(value: Any, name: str) -> str:
    if value is None:
        return "–"
    if name == "US$":
        return f"{value:.4f}" if value < 1 else f"{value:.2f}"
    return f"{value / 1e6:.2f}M" if value >= 1e6 else f"{value:,.0f}"


def _prompt(name: str, original: Prompt, tuned: Prompt, signature: Signature) -> Panel:
    text = Text()
    if tuned.instruction == original.instruction:
        text.append("instruction, unchanged: ", style="bold")
        text.append(plain(original.instruction))
    else:
        text.append("original: ", style="bold")
        text.append(plain(f"{original.instruction}\n"))
        text.append("tuned:    ", style="bold")
        text.append(plain(tuned.instruction))
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
    folded = plain(" ".join(text.split()))
    return folded if len(folded) <= most else f"{folded[:most]}…"
