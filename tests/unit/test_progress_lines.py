"""What a run says of itself while it goes on, in lines."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from small_runs import SHORT, recorded, small

from mipro import Budget
from mipro.optimizers.task import Options
from mipro.terminal import Progressing


def lines(events: list, budget: Budget | None = None, **settings: int) -> str:
    """All that is said of a run, in one line."""
    console = Console(file=io.StringIO(), width=300)
    options = Options(**{**SHORT, **settings})
    with Progressing(console, options, 15, budget) as progress:
        for event in events:
            if event["event"] == "trial":
                progress.best = float("-inf")  # so that every full evaluation is said
            progress(event)
    return console.file.getvalue()


def test_full_evaluations_are_not_counted_as_trials():
    result, events = recorded(small("iris"), "mipro")
    kinds = [trial.kind for trial in result.trials]
    assert len(kinds) > 1 + SHORT["trials"]  # of the journal: the original, trials, evaluations
    text = lines(events)
    assert re.findall(r"full evaluation (\d)", text) == [
        str(i) for i in range(1, kinds.count("full"))
    ]
    assert f"full evaluation 1, after trial {SHORT['full_every']}: best" in text
    assert f"after trial {SHORT['trials']}: best" in text  # the last comes after all of them
    assert f"trial {SHORT['trials'] + 1}" not in text


def test_a_method_of_full_evaluations_alone_has_no_trials_to_come_after():
    _, events = recorded(small("iris"), "random_search")
    assert re.search(r"full evaluation 1: best", lines(events))


@pytest.mark.parametrize(
    ("share", "how"),
    [("least", "will end"), ("expected", "will probably end"), ("most", "may end")],
)
def test_a_budget_that_will_end_the_run_early_is_said_under_the_forecast(share: str, how: str):
    _, events = recorded(small("twohop"), "mipro", forecasts=True)
    (told,) = [e for e in events if e["event"] == "forecast" and e["after"] == "start"]
    low, expected, high = told["total"]["calls"]
    assert low < expected < high
    at = {"least": low, "expected": expected, "most": high}[share]
    said = f"The budget of {at - 1:,} calls {how} the run early: all of it is expected to take"
    assert said in lines([told], Budget(calls=at - 1))
    assert "The budget" not in lines([told], Budget(calls=high))
    assert "The budget" not in lines([told], Budget(seconds=1.0))
