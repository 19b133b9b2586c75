"""What a run found: scores, what was spent, the prompts tuned against original, importances."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mipro.improvement import Optimism
from mipro.optimizers.result import Result
from mipro.programs.prompt import Demo, Prompt
from mipro.programs.signature import Field, Signature
from mipro.terminal.spending import forecast_table, spending_table
from mipro.terminal.text import SIMULATED, clock, plain
from mipro.tpe import Effect, Importance


def show_result(console: Console, result: Result, *, simulated: bool) -> None:
    """The table of scores and spending, then the prompts, tuned against original."""
    console.print(_scores(result))
    console.print(Text(result.improvement.text, style="bold"))
    if result.optimism is not None:
        console.print(Text(_optimism(result.optimism)))
    console.print(spending_table(result.usage, f"spent in {clock(result.seconds)}"))
    if len(result.models) > 1:
        console.print(spending_table(result.models, "spent by model", "model"))
    if result.forecast is not None:
        known = (result.reforecast or result.forecast).to_json()
        again = ", made again after bootstrapping" if result.reforecast else ""
        console.print(forecast_table(known, result.phases, again))
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


def _with_interval(score: float, bounds: tuple[float, float]) -> str:
    return f"{score:.3f}\n[{bounds[0]:.3f}, {bounds[1]:.3f}]"


def _optimism(found: Optimism) -> str:
    low, high = found.interval
    text = f"Optimism, selected − held out: {found.value:+.3f} [{low:+.3f}, {high:+.3f}]"
    low, high = found.net_interval
    return (
        f"{text}; with the original's own difference between the two sets taken off: "
        f"{found.net:+.3f} [{low:+.3f}, {high:+.3f}]"
    )


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
