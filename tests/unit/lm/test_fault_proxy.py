"""The fault proxy itself: who meets a fault is drawn, at the rates given, and counted."""

from __future__ import annotations

import http.client
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from lm_doubles import EchoLM, ask

from mipro.errors import ConfigError
from mipro.lm.faults import FAULTS, FaultProxy
from mipro.lm.openai import OpenAILM
from mipro.lm.serve import Server

NOWHERE = "http://127.0.0.1:9/v1"
BODIES = [b"request %d" % i for i in range(4000)]


@pytest.fixture
def proxy():
    made = []

    def make(rates, **settings):
        made.append(FaultProxy(NOWHERE, rates, **settings))
        return made[-1]

    yield make
    for one in made:
        one._http.server_close()


def test_faults_come_at_their_rates(proxy):
    rates = dict.fromkeys(FAULTS, 0.05)
    drawn = Counter(map(proxy(rates).draw, BODIES))
    # n = 4000, p = 0.05: five standard deviations are 69, a false alarm in a million
    assert all(abs(drawn[fault] - 200) < 69 for fault in FAULTS)
    assert drawn["passed"] == 4000 - sum(drawn[fault] for fault in FAULTS)


def test_a_draw_depends_on_seed_body_and_attempt_and_on_no_order(proxy):
    rates = {"reset": 0.3, "hang": 0.3}
    first, again, other = proxy(rates), proxy(rates), proxy(rates, seed=1)
    once = [first.draw(body) for body in BODIES]
    twice = [first.draw(body) for body in BODIES]
    assert once != twice
    assert once != [other.draw(body) for body in BODIES]
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(again.draw, reversed(BODIES)))
    assert drawn[::-1] == once
    assert first.counts == Counter(once + twice)


def test_no_rates_no_faults_and_1_is_always(proxy):
    assert {proxy({}).draw(body) for body in BODIES} == {"passed"}
    assert {proxy({"reset": 0.0, "hang": 1.0}).draw(body) for body in BODIES} == {"hang"}


@pytest.mark.parametrize(
    ("rates", "named"),
    [
        ({"flood": 0.1}, "no fault is called 'flood'"),
        ({"hang": -0.1}, "hang"),
        ({"hang": float("nan")}, "hang"),
        ({"hang": 0.6, "reset": 0.6}, "1.2"),
    ],
)
def test_rates_that_make_no_sense_are_refused(rates, named):
    with pytest.raises(ConfigError, match=named):
        FaultProxy(NOWHERE, rates)


def test_what_is_not_spoilt_comes_as_it_was_sent():
    with Server(EchoLM()) as server, FaultProxy(server.base_url, {}) as proxy:
        direct = OpenAILM("echo", base_url=server.base_url)(ask(n=2, rollout=3))
        assert OpenAILM("echo", base_url=proxy.base_url)(ask(n=2, rollout=3)) == direct
        connection = http.client.HTTPConnection(proxy.base_url[7:-3], timeout=5)
        connection.request("GET", "/v1/models")
        assert b'"echo"' in connection.getresponse().read()
        connection.close()
    assert proxy.counts == {"passed": 1}


def test_an_endpoint_that_is_not_there_is_a_bad_gateway():
    with FaultProxy(NOWHERE, {}) as proxy:
        connection = http.client.HTTPConnection(proxy.base_url[7:-3], timeout=5)
        connection.request("GET", "/v1/models")
        assert connection.getresponse().status == 502
        connection.close()
