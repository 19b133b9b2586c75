"""What a run is expected to take, phase by phase, and what it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mipro.lm.budget import Budget
from mipro.terminal.text import plain


def show_forecast(
    console: Console, forecast: Mapping[str, Any], budget: Budget | None = None
) -> None:
    """A forecast, as `Forecast.to_json` and the journal's event have it, beside the budget."""
    console.print(forecast_table(forecast, None))
    if "cost_usd" not in forecast["total"]:
        how = "in a config: `price` in its table, or [prices]"
        console.print(Text(f"No cost is given: a model has no price ({how})."))
    for line in [] if budget is None else beyond(budget, forecast["total"]):
        console.print(Text(line, style="bold"))


def beyond(budget: Budget, total: Mapping[str, Any]) -> list[str]:
    """Which limits will end the run before its end, a line each; of `seconds` nothing is known."""
    lines = []
    for limit, most in budget.limits.items():
        name = "US$" if limit == "usd" else limit
        values = None if limit == "seconds" else measure(total, name)
        if values is None or most >= values[2]:
            continue
        how = "will" if most < values[0] else "will probably" if most < values[1] else "may"
        lines.append(
            f"The budget of {amount(most, name)} {name} {how} end the run early: all of it is "
            f"expected to take {shown_range(values, name)}."
        )
    return lines


def forecast_table(
    forecast: Mapping[str, Any], actual: Mapping[str, Mapping[str, Any]] | None, again: str = ""
) -> Table:
    """Calls, tokens and cost by phase: expected (low to high), and what they were."""
    probed = forecast["probed"]
    known = f"{probed} examples probed" if probed else "nothing probed: replies are assumed"
    table = Table(title=f"forecast{again} ({known})", title_justify="left")
    table.caption = "expected (least, if nothing that is proposed is new, to most)"
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
            cells.append(shown_range(measure(expected, name), name))
            if actual:
                cells.append(amount(measure(spent, name), name))
        table.add_row(phase, *cells)
    return table


def spending_table(usage: Mapping[str, Mapping[str, Any]], title: str, by: str = "role") -> Table:
    """What was spent by role, or by model; in dollars where a model has a price."""
    table = Table(title=title, title_justify="left")
    priced = any("cost_usd" in entry for entry in usage.values())
    for column in (by, "calls", "cached", "failed calls", "prompt tokens", "reply tokens"):
        table.add_column(column, justify="left" if column == by else "right")
    if priced:
        table.add_column("US$", justify="right")
    keys = ("calls", "cached", "failed", "prompt_tokens", "completion_tokens")
    for name, entry in usage.items():
        paid = f"{entry['cost_usd']:.4f}" if "cost_usd" in entry else "not priced"
        cost = [paid] if priced else []
        table.add_row(Text(plain(name)), *(f"{entry[key]:,}" for key in keys), *cost)
    return table


def _sum(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for entry in entries:
        for key, value in entry.items():
            sums[key] = sums.get(key, 0) + value
    return sums


def measure(entry: Mapping[str, Any], name: str) -> Any:
    """Of an entry of the ledger a number, of a phase of a forecast a range of three."""
    if name == "US$":
        return entry.get("cost_usd")
    if name == "calls":
        return entry.get("calls", 0)
    prompt, completion = entry.get("prompt_tokens", 0), entry.get("completion_tokens", 0)
    if isinstance(prompt, list):
        return [p + c for p, c in zip(prompt, completion, strict=True)]
    return prompt + completion


def shown_range(values: Any, name: str) -> str:
    """The expected figure, and its range where it has one."""
    if values is None:
        return "not priced"
    low, expected, high = (amount(value, name) for value in values)
    return expected if low == expected == high else f"{expected} ({low} to {high})"


def amount(value: Any, name: str) -> str:
    """One figure, shortened."""
    if value is None:
        return "–"
    if name == "US$":
        return f"{value:.4f}" if value < 1 else f"{value:.2f}"
    return f"{value / 1e6:.2f}M" if value >= 1e6 else f"{value:,.0f}"
