"""`experiments/throughput.py`: each arm gets the endpoint's reply, and its figures are rates."""

from __future__ import annotations

import importlib.util
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments"))

import throughput
from loopback import endpoint, held

from mipro.lm.openai import close_clients


@pytest.mark.parametrize(
    "name", [n for n, (_, needed) in throughput.ARMS.items() if needed is None]
)
def test_an_arm_makes_all_its_calls_at_the_latency_asked_for(name):
    with endpoint(0.05) as url, ExitStack() as stack:
        arm = throughput.ARMS[name][0](url, stack)
        arm(4, 4)  # connects
        cpu, rate = throughput.measured(arm, 12, 4)
        close_clients()
    assert cpu > 0
    assert 0 < rate <= 4 / 0.05


def fastest(latency: float) -> tuple[float, float]:
    """Seconds of the fastest of 40 single calls, and the milliseconds it says it held them for."""
    with endpoint(latency) as url, ExitStack() as stack:
        one = throughput.bare_sockets(url, stack)
        taken = [1 / throughput.measured(one, 1, 1)[1] for _ in range(40)]
        return min(taken), held(url)


def slept(seconds: float) -> float:
    """By how much the machine's own timer is late, at the least of 40."""
    late = []
    for _ in range(40):
        start = time.perf_counter()
        time.sleep(seconds)
        late.append(time.perf_counter() - start - seconds)
    return min(late)


def test_the_endpoint_is_late_by_less_than_a_time_out_rounded_to_milliseconds_would_be():
    """Beside what is the machine's: a call that is answered at once, and a plain sleep."""
    latency = 0.0105
    (at_once, _), late, (taken, says) = fastest(0.0), slept(latency), fastest(latency)
    assert latency <= taken < latency + at_once + late + 0.45e-3
    assert 1e3 * latency <= says


def test_what_others_are_measured_on_is_what_we_send():
    sent = throughput.body(0)["messages"]
    assert [m["role"] for m in sent] == ["system", "user"]
    assert throughput.question(0) in sent[-1]["content"]


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="aiohttp is not installed")
def test_aiohttp_takes_part_where_it_is_installed():
    with endpoint(0.05) as url, ExitStack() as stack:
        throughput.measured(throughput.bare_aiohttp(url, stack), 8, 4)
