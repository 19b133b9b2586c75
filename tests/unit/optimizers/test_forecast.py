"""Forecasts: no call for a dry one, near what a run takes for a probed one."""

from __future__ import annotations

import io

import pytest
from doubles import CountingLM, TwoStep, examples
from rich.console import Console
from small_runs import SHORT, counted, of, recorded, run, small

import mipro
from mipro import Price
from mipro.metrics import exact_match
from mipro.optimizers.methods import METHODS
from mipro.terminal import show_forecast, show_result
from mipro.worlds import World


def estimated(world: World, method: str, **settings: object) -> mipro.Forecast:
    data = {"val": world.val, "test": world.test}
    return mipro.estimate(
        world.program, world.train, world.metric, **{"lm": world.lm, **data, **SHORT, **settings},
        method=method,
    )  # fmt: skip


def spent(result: mipro.Result) -> tuple[int, int]:
    entries = result.phases.values()
    tokens = sum(e["prompt_tokens"] + e["completion_tokens"] for e in entries)
    return sum(e["calls"] for e in entries), tokens


@pytest.mark.parametrize("method", METHODS)
def test_an_estimate_calls_no_lm_and_finds_the_loops_of_the_program(method):
    lm = CountingLM(lambda request: pytest.fail("an estimate called the LM"))
    data = {"val": examples(12), "test": examples(6)}
    expected = mipro.estimate(
        TwoStep(), examples(20), exact_match("answer"), lm=lm, method=method, **data, **SHORT
    )
    assert lm.calls == expected.probed == 0
    assert expected.phases["test"].calls.high == 6 * 3 * 2  # three calls an example, two programs
    assert expected.total.cost is None
    for phase in expected.phases.values():
        for low, middle, high in (phase.calls, phase.prompt_tokens, phase.completion_tokens):
            assert 0 <= low <= middle <= high


def test_a_paid_estimate_runs_as_many_examples_as_asked():
    lm = counted()
    expected = estimated(small("iris"), "mipro", lm=lm, probe=5)
    assert lm.calls == expected.probed == 5


def test_the_probe_of_a_run_costs_nothing():
    """Its examples are needed by the first evaluation, and equal requests are sent once."""
    lm = counted()
    result = run(small("iris"), lm=lm, forecasts=True)
    assert result.phases["full evaluations"]["calls"] <= 15 * sum(
        t.kind == "full" for t in result.trials
    )
    assert lm.calls == result.calls


def test_costs_are_by_the_users_prices_phase_by_phase():
    prices = {"simulated": Price(2.0, 8.0)}
    expected = estimated(small("iris"), "mipro", prices=prices)
    for phase in (*expected.phases.values(), expected.total):
        wanted = (phase.prompt_tokens[1] * 2 + phase.completion_tokens[1] * 8) / 1e6
        assert phase.cost.expected == pytest.approx(wanted)


def test_a_phase_without_a_price_leaves_the_total_without_a_cost():
    expected = estimated(
        small("iris"), "mipro", lm=counted(), prices={"simulated": Price(1, 1)},
        prompt_lm=mipro.SimulatedLM(),
    )  # fmt: skip
    assert expected.phases["proposals"].cost is not None
    assert expected.phases["minibatches"].cost is None
    assert expected.total.cost is None


def test_phases_add_up_to_the_ledger_and_stand_beside_the_forecast():
    result, events = recorded(small(), forecasts=True)
    assert spent(result)[0] == result.calls
    assert set(result.phases) == set(result.forecast.phases)
    body = result.to_json()
    assert body["forecast"]["phases"].keys() == body["phases"].keys()
    kinds = [event["event"] for event in events]
    assert kinds.index("forecast") < kinds.index("trial")
    first, again = of(events, "forecast")
    assert (first["after"], again["after"]) == ("start", "bootstrap")
    assert first["total"] == result.forecast.to_json()["total"]
    assert again["total"] == result.reforecast.to_json()["total"]
    assert body["reforecast"]["total"] == again["total"]


@pytest.mark.parametrize("method", ["random_search", "bayesian_bootstrap", "mipro"])
def test_once_the_demonstrations_are_there_what_they_took_is_known_exactly(method):
    result = run(small(), method, forecasts=True)
    again, took = result.reforecast.phases["bootstrap"], result.phases["bootstrap"]
    assert again.calls == (took["calls"],) * 3
    assert again.prompt_tokens == (took["prompt_tokens"],) * 3
    assert again.completion_tokens == (took["completion_tokens"],) * 3


def test_a_method_without_demonstrations_has_one_forecast():
    result, events = recorded(small(), "mipro_zero_shot", forecasts=True)
    assert result.reforecast is None
    assert len(of(events, "forecast")) == 1


def test_the_terminal_shows_forecast_and_actual():
    world = small("iris")
    result = run(world, forecasts=True, prices={"simulated": Price(1.0, 4.0)})
    out = io.StringIO()
    console = Console(file=out, width=160)
    show_forecast(console, estimated(world, "mipro").to_json())
    assert "nothing probed" in out.getvalue()
    assert "No cost is given" in out.getvalue()
    show_result(console, result, simulated=True)
    text = out.getvalue()
    assert f"made again after bootstrapping ({result.forecast.probed} examples probed)" in text
    assert f"{spent(result)[0]:,}" in text
    assert "actual" in text
