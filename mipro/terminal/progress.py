"""A run while it goes on: a live line on a terminal, elsewhere plain lines."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from mipro.journal import Event
from mipro.lm.budget import Budget
from mipro.optimizers.task import Options
from mipro.terminal.spending import measure, show_forecast, shown_range
from mipro.terminal.text import clock, plain


class Progressing:
    """Follows a run's events: a live line on a terminal, elsewhere a plain line at each advance.

    A context manager; pass it as `on_event`.
    """

    def __init__(
        self, console: Console, options: Options, val: int, budget: Budget | None = None
    ) -> None:
        self.console, self.val, self.budget = console, val, budget
        self.trials = options.trials
        self.told: Counter[str] = Counter()  # trials by kind, the original program's apart
        self.total = options.examples(val) + val  # with the original program's evaluation
        self.kept = False  # has anything come of the run that it could be gone on with?
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
        paid = any(entry.get("calls") for entry in event.get("usage", {}).values())
        self.kept = self.kept or paid or kind not in ("start", "note", "error")
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
        now = f"best {self.best:.3f}, {calls:,} calls{cost}, about {clock(left)} left"
        what = self._name(event)
        self._now(what, now)
        if better and not self.console.is_terminal:
            self._say(f"{what}: {now}")

    def _name(self, event: Event) -> str:
        """A full evaluation has a number in the journal, and is no trial to who asked for some."""
        if event["number"] == 0:
            return "original program"
        self.told[event["kind"]] += 1
        if event["kind"] == "minibatch":
            return f"trial {self.told['minibatch']} of {self.trials}"
        after = f", after trial {self.told['minibatch']}" if self.told["minibatch"] else ""
        return f"full evaluation {self.told['full']}{after}"

    def _forecast(self, event: Event) -> None:
        if event["after"] == "start":
            show_forecast(self.bar.console, event, self.budget)
            return
        calls, tokens = (shown_range(measure(event["total"], m), m) for m in ("calls", "tokens"))
        self._say(f"forecast, made again after bootstrapping: {calls} calls, {tokens} tokens")

    def _now(self, what: str, now: str) -> None:
        self.bar.update(self.task, description=what, now=now, completed=self.done)

    def _say(self, text: str) -> None:
        self.bar.console.print(Text(plain(text)))
