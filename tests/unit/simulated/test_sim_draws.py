"""A reply depends on (seed, request) alone, and is drawn from the distribution that is documented.

A chi-square test below has 2,000 seeds and fails at p < 1e-4: that is the rate of false alarm for a
change that is none; the seeds are fixed, so that the same code always passes or always fails.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare
from sim_prompts import (
    ANSWER,
    FESTIVAL,
    FLOWER,
    HOP,
    QUERY,
    SETOSA,
    VERSICOLOR,
    VIRGINICA,
    demo,
    flower,
    request,
)

from mipro.lm.base import Message, Request
from mipro.lm.simulated import SimulatedLM
from mipro.programs.module import ChainOfThought
from mipro.programs.signature import Signature
from mipro.worlds import load_world

SHOWN = [demo(flower(VERSICOLOR), species="versicolor")]
REQUESTS = [
    request(FLOWER, flower(VIRGINICA), demos=SHOWN),
    request(ANSWER, FESTIVAL, "An answer that is a person is written in lower case."),
    request(QUERY, HOP),
    request(ChainOfThought(QUERY).signature, HOP, temperature=0.8),
]
SEEDS = 2_000

IN_A_PROCESS = """
import json
from mipro.lm.simulated import SimulatedLM
from mipro.worlds import load_world
said = []
for name in ("iris", "twohop", "conditional"):
    world = load_world(name)
    for example in world.val[:5]:
        run = world.program.run(example.inputs, lm=SimulatedLM(3, temperature=0.5))
        said += [call.reply for call in run.trace]
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.settings import Settings
proposer = GroundedProposer(world.program, world.train, world.lm)
said.append(proposer.propose("answer", Settings(temperature=1.0), current="Answer.").instruction)
print(json.dumps(said))
"""


def test_the_hash_seed_of_the_process_changes_no_reply():
    replies = []
    for hash_seed in ("0", "1", "4242"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        replies.append(json.loads(done.stdout))
    assert replies[0] == replies[1] == replies[2]
    assert len(set(replies[0])) > 10


def test_threads_get_the_replies_that_one_thread_gets():
    many = [replace(r, rollout=i, temperature=1.0) for r in REQUESTS for i in range(100)]
    alone = [SimulatedLM(1)(r).texts for r in many]
    lm = SimulatedLM(1)
    with ThreadPoolExecutor(16) as pool:
        assert [c.texts for c in pool.map(lm, many)] == alone


def test_a_pickled_lm_replies_as_the_first_does():
    lm = SimulatedLM(5, temperature=0.7, malformed=0.3)
    again = pickle.loads(pickle.dumps(lm))
    assert again.identity == lm.identity
    assert [again(r) for r in REQUESTS] == [lm(r) for r in REQUESTS]


@pytest.mark.parametrize("asked", REQUESTS)
def test_rollouts_agree_at_temperature_0_and_differ_above(asked: Request):
    def replies(temperature: float) -> set[str]:
        rollouts = [replace(asked, temperature=temperature, rollout=i) for i in range(60)]
        return {SimulatedLM(0)(r).text for r in rollouts}

    assert len(replies(0.0)) == 1
    assert len(replies(1.0)) > 1


def test_the_samples_of_one_request_agree_at_temperature_0_and_differ_above():
    cold = SimulatedLM(0)(replace(REQUESTS[0], n=40))
    warm = SimulatedLM(0)(replace(REQUESTS[0], n=40, temperature=1.0))
    assert len(cold.texts) == len(warm.texts) == 40
    assert len(set(cold.texts)) == 1
    assert len(set(warm.texts)) > 1


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.5])
@pytest.mark.parametrize("malformed", [0.0, 0.2])
def test_a_distribution_adds_to_one(asked: Request, temperature: float, malformed: float):
    lm = SimulatedLM(temperature=temperature, malformed=malformed)
    options = lm.distribution(replace(asked, temperature=None))
    assert sum(options.values()) == pytest.approx(1, abs=1e-8)
    assert all(p > 0 for p in options.values())


@pytest.mark.parametrize("asked", REQUESTS)
@pytest.mark.parametrize("malformed", [0.0, 0.15])
def test_replies_over_seeds_come_as_often_as_the_distribution_says(
    asked: Request, malformed: float
):
    options = SimulatedLM(malformed=malformed).distribution(asked)
    drawn = [SimulatedLM(seed, malformed=malformed)(asked).text for seed in range(SEEDS)]
    assert set(drawn) <= set(options)
    expected = np.array([p * SEEDS for p in options.values()])
    counts = np.array([drawn.count(text) for text in options])
    common = expected >= 5  # chi-square wants no cell smaller; the rare ones are put together
    expected = np.append(expected[common], expected[~common].sum() + 1e-6)
    counts = np.append(counts[common], counts[~common].sum())
    expected *= counts.sum() / expected.sum()
    keep = expected >= 1
    expected = expected[keep] * counts[keep].sum() / expected[keep].sum()
    assert chisquare(counts[keep], expected).pvalue > 1e-4


def _first(asked: Request) -> np.ndarray:
    """Seed by seed: is the reply the first of those there can be?"""
    first = next(iter(SimulatedLM().distribution(asked)))
    return np.array([SimulatedLM(seed)(asked).text == first for seed in range(600)], dtype=float)


def test_an_input_that_is_hard_under_one_instruction_is_hard_under_another():
    a = _first(request(FLOWER, flower(VIRGINICA), "Name it."))
    b = _first(request(FLOWER, flower(VIRGINICA), "Say what it is."))
    assert np.corrcoef(a, b)[0, 1] > 0.15


def test_two_modules_shown_the_same_input_have_nothing_to_do_with_one_another():
    # 600 seeds: the correlation of independent luck has a standard error of 0.04
    other = Signature.of(str(FLOWER).replace("species", "kind"))
    a = _first(request(FLOWER, flower(VIRGINICA), "Name it."))
    b = _first(request(other, flower(VIRGINICA), "Name it."))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.16


def test_a_thousand_calls_a_second_on_the_two_hop_world():
    world = load_world("twohop")
    started, calls = time.process_time(), 0
    for example in world.train:
        calls += len(world.program.run(example.inputs, lm=world.lm).trace)
    assert calls == 3 * len(world.train)
    assert calls / (time.process_time() - started) > 1_000


def test_another_seed_is_another_luck_with_the_same_competence():
    a, b = SimulatedLM(0), SimulatedLM(1)
    assert a.identity != b.identity
    assert [a.distribution(r) for r in REQUESTS] == [b.distribution(r) for r in REQUESTS]
    inputs = [flower([x + i / 10 for x in VIRGINICA]) for i in range(30)]
    asked = [request(FLOWER, i, demos=[demo(flower(SETOSA), species="setosa")]) for i in inputs]
    assert [a(r).text for r in asked] != [b(r).text for r in asked]


def test_a_prompt_in_no_known_layout_gets_an_honest_answer():
    for messages in ((), (Message("user", "What is the capital of France?"),)):
        reply = SimulatedLM(malformed=0.5)(Request(messages)).text
        assert "simulated" in reply
        assert "Paris" not in reply
        assert SimulatedLM().distribution(Request(messages)) == {reply: 1.0}
