"""Trials in flight: the run is a function of (seed, k), whichever trial is over first.

1. With an LM of random latencies the journal, the ledger in it included, is the same each time, at
   any number of threads; so it is when the run is killed and gone on with.
2. Trial t is asked for once trial t − k is told, and no sooner or later than the strategy likes.
3. The calls paid for are those an independent count finds, each request sent once.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import SHORT, counted, journal_of, of, recorded, run, small, task_of

import mipro
from mipro.errors import ConfigError
from mipro.lm.base import Completion, Request, UnavailableError
from mipro.lm.simulated import SimulatedLM
from mipro.optimizers.loop import run_loop
from mipro.optimizers.methods import METHODS
from mipro.optimizers.mipro import Mipro
from mipro.optimizers.random_search import RandomSearch
from mipro.optimizers.task import Step, Trial


class Moody:
    """The embedded LM, in no hurry: each call takes 0 to 2 ms, by a generator nobody seeds.

    `most` calls are answered; one after them finds the endpoint gone.
    """

    model = identity = "moody"

    def __init__(self, most: int | None = None, mood: int | None = None) -> None:
        self.left, self.simulated, self.random = most, SimulatedLM(), random.Random(mood)
        self.asked: list[str] = []
        self.lock = threading.Lock()

    def __call__(self, request: Request, /) -> Completion:
        with self.lock:
            if self.left == 0:
                raise UnavailableError("the endpoint went away")
            self.left = None if self.left is None else self.left - 1
            self.asked.append(request.digest())
        time.sleep(self.random.choice((0, 0, 0.0005, 0.002)))
        return self.simulated(request)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [2, 8])
def test_the_same_seed_and_k_are_the_same_journal_at_any_latency(method, k, tmp_path):
    journals = []
    for threads in (2, 16):
        lm, directory = Moody(), tmp_path / str(threads)
        result = run(
            small(), method, lm, run_dir=directory, threads=threads, seed=3, trials_in_flight=k
        )
        assert result.calls == len(lm.asked) == len(set(lm.asked))
        journals.append(journal_of(directory))
    assert journals[0] == journals[1]
    assert [t["number"] for t in of(journals[0], "trial")] == list(range(len(result.trials)))


@settings(max_examples=8)
@given(
    st.integers(2, 9),
    st.integers(0, 2**16),
    st.fixed_dictionaries(
        {
            "trials": st.integers(1, 12),
            "full_every": st.integers(1, 5),
            "minibatch": st.sampled_from([2, 7, 15]),
            "instructions": st.integers(1, 4),
            "demo_sets": st.integers(1, 4),
            "proposal_waves": st.integers(1, 2),
        }
    ),
)
def test_whatever_the_settings_two_runs_are_the_same(k: int, seed: int, options: dict[str, Any]):
    world, told = small(), []
    for threads in (3, 8):
        more = {**options, "seed": seed, "trials_in_flight": k, "threads": threads}
        result, events = recorded(world, lm=Moody(), **more)
        told.append([{**event, "seconds": 0} for event in events])
    assert told[0] == told[1]
    full = [trial for trial in result.trials if trial.kind == "full"]
    minibatches = [trial for trial in result.trials if trial.kind == "minibatch"]
    assert len(minibatches) <= options["trials"]
    assert len(full) - 1 <= -(-options["trials"] // options["full_every"])
    assert result.chosen in full or options["minibatch"] == 15


@pytest.mark.parametrize("k", [2, 4])
def test_a_run_that_died_is_gone_on_with_to_the_same_journal(k, tmp_path):
    world, more = small(), {"seed": 1, "threads": 4, "trials_in_flight": k}
    run(world, lm=Moody(), run_dir=tmp_path / "whole", **more)
    for most in (50, 150, 200, 260):
        directory = tmp_path / str(most)
        first, second = Moody(most), Moody()
        with pytest.raises(UnavailableError):
            run(world, lm=first, run_dir=directory, **more)
        error = journal_of(directory)[-1]
        assert error["event"] == "error"
        booked = sum(part["calls"] for part in error["usage"].values())
        assert booked == most  # of trials that were never told as well
        data = {"lm": second, "val": world.val, "test": world.test}
        mipro.resume(directory, world.program, world.train, world.metric, **data)
        assert journal_of(directory) == journal_of(tmp_path / "whole")
        assert not set(first.asked[:most]) & set(second.asked)


def test_one_in_flight_is_the_plain_loop(tmp_path):
    run(small(), run_dir=tmp_path / "unsaid", seed=2)
    run(small(), run_dir=tmp_path / "one", seed=2, trials_in_flight=1)
    assert journal_of(tmp_path / "unsaid") == journal_of(tmp_path / "one")
    assert "trials_in_flight" not in journal_of(tmp_path / "one")[0]["options"]
    run(small(), run_dir=tmp_path / "three", seed=2, trials_in_flight=3)
    assert journal_of(tmp_path / "three")[0]["options"]["trials_in_flight"] == 3


def test_another_k_is_another_run_and_is_not_gone_on_with(tmp_path):
    world = small()
    run(world, run_dir=tmp_path, trials_in_flight=2)
    data = {"lm": world.lm, "val": world.val, "test": world.test}
    args = (world.program, world.train, world.metric)
    with pytest.raises(ConfigError, match=r"trials_in_flight was 2, is 4"):
        mipro.resume(tmp_path, *args, **data, trials_in_flight=4)


# --- when a trial is asked for -------------------------------------------------------------------


def watched(strategy: type, log: list[tuple[str, int]]) -> Any:
    """The strategy, noting each ask and tell by the trial's number."""

    class Watched(strategy):  # type: ignore[misc]
        number = 0

        def propose(self) -> Step | None:
            step = super().propose()
            if step is not None:
                self.number += 1
                log.append(("ask", self.number))
            return step

        def update(self, trial: Trial) -> None:
            log.append(("tell", trial.number))
            super().update(trial)

    return Watched()


@pytest.mark.parametrize("strategy", [RandomSearch, Mipro])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_trial_t_is_asked_once_trial_t_minus_k_is_told(strategy, k):
    log: list[tuple[str, int]] = []
    task = task_of(small(), trials=20, trials_in_flight=k, proposal_waves=1, demo_sets=12)
    _, trials = run_loop(watched(strategy, log), task)
    assert [n for what, n in log if what == "tell"] == list(range(len(trials)))
    place = {entry: i for i, entry in enumerate(log)}
    late = 0
    for t in range(1, len(trials)):
        assert place["ask", t] > place["tell", max(0, t - k)]
        late += t > k and place["ask", t] > place["tell", t - k + 1]
    # later only where the strategy waits: the last full evaluation waits for all
    assert late <= 1
    out = most = 0
    for what, n in log:
        out += 1 if what == "ask" else -(n > 0)
        most = max(most, out)
    assert most == k


def test_the_last_full_evaluation_and_the_second_wave_wait_for_what_is_out():
    _, events = recorded(small(), trials=12, full_every=4, instructions=6, trials_in_flight=4)
    kinds = "".join(event["kind"][0] for event in of(events, "trial"))
    assert kinds == "f" + "mmmmf" + "mmmmf" + "mmmmf"
    waves = [i for i, event in enumerate(events) if event["event"] == "space"]
    assert len(waves) == 2
    before = [e for e in of(events[: waves[1]], "trial") if e["kind"] == "minibatch"]
    assert len(before) == 12 // 3  # all that were asked for by then


def test_no_configuration_is_out_twice_and_a_small_space_is_used_up():
    result, _ = recorded(
        small(), "bayesian_bootstrap", trials=30, demo_sets=2, minibatch=4, trials_in_flight=8
    )
    configs = [tuple(sorted(t.config.items())) for t in result.trials if t.kind == "minibatch"]
    assert len(configs) == len(set(configs)) == 3  # of 2 × 2, one of them the original
    fewer, _ = recorded(small(), "random_search", trials=30, demo_sets=1, trials_in_flight=8)
    assert len(fewer.trials) == 1  # the original is all there is


# --- money ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 4])
def test_a_budget_in_calls_is_kept_and_ends_the_run_in_the_same_place(k, tmp_path):
    journals = []
    for threads in (1, 8):
        lm, directory = Moody(), tmp_path / str(threads)
        more = {"trials": 20, "budget": mipro.Budget(calls=420), "threads": threads}
        result = run(small(), lm=lm, run_dir=directory, seed=1, trials_in_flight=k, **more)
        assert result.stopped == "calls"
        assert result.calls == len(lm.asked) <= 420
        journals.append([e for e in journal_of(directory) if e["event"] == "trial"])
    # what the trial that was cut short had been granted is chance; which one it was is not
    cut = [[{**e, "usage": None} for e in journal] for journal in journals]
    assert cut[0] == cut[1]
    assert len(cut[0]) > 6


def test_the_ledger_of_a_trial_is_that_of_trials_one_after_the_other():
    lm = counted()
    result, events = recorded(small(), lm=lm, trials_in_flight=4, seed=5)
    spent = [event["usage"]["task"]["calls"] for event in of(events, "trial")]
    assert spent == sorted(spent)
    assert result.calls == lm.calls
    uses = [event["usage"]["task"] for event in of(events, "trial")]
    for before, after, event in zip(uses, uses[1:], of(events, "trial")[1:], strict=False):
        asked = sum(after[what] - before[what] for what in ("calls", "cached", "failed"))
        if not event["failures"]:
            assert asked == 3 * event["n"]  # each example of the program is three calls


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_an_interruption_leaves_a_journal_that_is_gone_on_with(directory):
    world, more = small(), {"seed": 1, "threads": 4, "trials_in_flight": 3}
    run(world, lm=Moody(), run_dir=directory / "whole", **more)

    def listener(event: Any) -> None:
        if event["event"] == "trial" and event["number"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(world, lm=Moody(), run_dir=directory / "run", on_event=listener, **more)
    data = {"lm": Moody(), "val": world.val, "test": world.test}
    mipro.resume(directory / "run", world.program, world.train, world.metric, **data)
    assert journal_of(directory / "run") == journal_of(directory / "whole")


def test_fewer_than_one_in_flight_is_refused():
    for k in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="trials_in_flight"):
            run(small(), trials_in_flight=k)
    assert "trials_in_flight" not in SHORT
