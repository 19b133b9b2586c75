"""The low end of a forecast: what a run takes in which proposals repeat, give or take a minibatch.

A search may look again where the rehearsed one looked at something else: that is a minibatch less.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from small_runs import SHORT, recorded, small

import mipro
from mipro.lm.base import Completion, Request, Usage
from mipro.optimizers.dry_runs import made_up_reply
from mipro.optimizers.methods import METHODS
from mipro.proposers.summaries import COMPLETE


@dataclass(frozen=True)
class Parrot:
    """A prompt LM that sees nothing in the data, and proposes one instruction again and again."""

    instruction: str
    model: str = "parrot"
    identity: str = "parrot"

    def __call__(self, request: Request, /) -> Completion:
        text = COMPLETE if COMPLETE in request.messages[0].content else self.instruction
        return Completion((made_up_reply(request, text),), Usage(10, 10), self.model)


def out_of_range(result: mipro.Result, forecast: mipro.Forecast) -> list[str]:
    """Phases, and the total, in which a run took fewer calls than its forecast's low end."""
    spent = {name: entry["calls"] for name, entry in result.phases.items()}
    least = {name: phase.calls.low for name, phase in forecast.phases.items()}
    spent["total"], least["total"] = sum(spent.values()), forecast.total.calls.low
    for name in ("minibatches", "total"):
        least[name] = least.get(name, 0) - SHORT["minibatch"]
    return [f"{n}: {spent.get(n, 0)} < {low}" for n, low in least.items() if spent.get(n, 0) < low]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_in_which_proposals_repeat_takes_the_low_end(method: str):
    world = small("iris")
    (original,) = (prompt.instruction for prompt in world.program.prompts().values())
    result, _ = recorded(world, method, prompt_lm=Parrot(original), forecasts=True)
    for forecast in (result.forecast, result.reforecast):
        if forecast is not None:
            assert out_of_range(result, forecast) == []
            assert sum(e["calls"] for e in result.phases.values()) <= forecast.total.calls.high


def test_an_original_that_stays_the_leader_is_tested_once():
    """Without demonstrations, and with nothing new proposed, only the original is ever run."""
    world = small("iris")
    (original,) = (prompt.instruction for prompt in world.program.prompts().values())
    result, _ = recorded(world, "mipro_zero_shot", prompt_lm=Parrot(original), forecasts=True)
    assert result.improvement.verdict == "unchanged"
    low = {name: phase.calls.low for name, phase in result.forecast.phases.items()}
    assert (low["full evaluations"], low["minibatches"], low["test"]) == (15, 0, 12)


def test_equal_examples_are_counted_once():
    world = small("iris")
    val = [*world.val, *world.val]
    result, _ = recorded(world, "random_search", val=val, train=[*world.train] * 2, forecasts=True)
    assert out_of_range(result, result.forecast) == []
    expected = result.forecast.phases["full evaluations"].calls.expected
    assert abs(expected - result.phases["full evaluations"]["calls"]) <= 0.1 * expected
