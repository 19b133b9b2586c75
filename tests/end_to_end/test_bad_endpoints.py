"""Endpoints that fail now and then, for good, or in the middle of a run; all over real HTTP.

Whole runs take seconds each: here with one fault of each sort, with all of them in `make faults`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from small_runs import small

import mipro
from mipro.journal import read_journal
from mipro.lm import allowance, base
from mipro.lm.base import Message, Request
from mipro.lm.faults import FAULTS, FaultProxy
from mipro.lm.openai import close_clients
from mipro.lm.simulated import SimulatedLM
from mipro.worlds import World

SHORT = {"trials": 4, "minibatch": 10, "full_every": 2, "instructions": 3, "demo_sets": 3}
PASSING = tuple(FAULTS)[: tuple(FAULTS).index("wrong_key")]  # what a good endpoint gives at times
# of a status, of a connection, of a body and of a reply
SOME = ("rate_limit", "hang", "cut_off", "half_json", "length")
QUESTION = Request((Message("user", "Where is the [[ ## answer ## ]] to be found?"),))


def slow_but(quick: Sequence[str], cases: Sequence[Any]) -> list[Any]:
    """The cases as parameters, all but those of the faults in `quick` left to the slower tier."""
    parts = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*part, marks=() if part[0] in quick else pytest.mark.faults) for part in parts
    ]


@pytest.fixture(autouse=True)
def _clients() -> Iterator[None]:
    yield
    close_clients()


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The back-off, fifty times as fast."""
    monkeypatch.setattr(allowance, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(allowance, "LONGEST_PAUSE", 0.16)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.16)


@pytest.fixture(scope="module")
def server() -> Iterator[mipro.Server]:
    with mipro.Server(SimulatedLM()) as running:
        yield running


def proxy(server: mipro.Server, rates: dict[str, float], **settings: Any) -> FaultProxy:
    return FaultProxy(server.base_url, rates, **{"slow": 0.05, "retry_after": 0.05} | settings)


def lm_at(faulty: FaultProxy, **settings: Any) -> mipro.OpenAILM:
    return mipro.OpenAILM("simulated", base_url=faulty.base_url, **{"timeout": 1.0} | settings)


def run(world: World, lm: mipro.LM, path: Any = None, **settings: Any) -> mipro.Result:
    data = {"val": world.val, "test": world.test}
    options = {"threads": 8, **SHORT, **settings}
    return mipro.optimize(
        world.program, world.train, world.metric, lm=lm, run_dir=path, **data, **options
    )


@pytest.fixture(scope="module")
def world() -> World:
    return small("twohop", val=16, test=12)


@pytest.fixture(scope="module")
def clean(world: World) -> mipro.Result:
    """The same run in this process."""
    return run(world, world.lm)


# ---- one call, which meets the fault every time -------------------------------------------------
# 3 tries, or 2 where each is paid for; where none found a readable answer, 2 more of a word


@pytest.mark.parametrize(
    ("fault", "kind", "tries", "advice"),
    [
        ("rate_limit", base.RateLimitError, 3, "send fewer at a time"),
        ("rate_limit_bare", base.RateLimitError, 3, "send fewer at a time"),
        ("server_error", base.UnavailableError, 3, "endpoint is failing"),
        ("bad_gateway", base.UnavailableError, 3, "endpoint is failing"),
        ("reset", base.UnavailableError, 3, "Is the server running"),
        ("hang", base.LMTimeoutError, 5, "Raise timeout"),
        ("drip", base.LMTimeoutError, 5, "Raise timeout"),
        ("cut_off", base.UnavailableError, 3, "cut off"),
        ("half_json", base.MalformedResponseError, 4, "is not JSON"),
        ("wrong_fields", base.MalformedResponseError, 4, "no message"),
        ("empty", base.MalformedResponseError, 4, "no text"),
        ("refusal", base.MalformedResponseError, 4, "Reword the prompt"),
        ("wrong_key", base.AuthError, 1, "Check the key"),
        ("unknown_model", base.ModelNotFoundError, 1, "model's name"),
        ("context_too_small", base.ContextLengthError, 1, "fewer or shorter demonstrations"),
    ],
)
def test_a_fault_that_lasts_ends_a_call_in_bounded_time(server, fault, kind, tries, advice):
    start = time.perf_counter()
    with proxy(server, {fault: 1.0}) as faulty:
        lm = lm_at(faulty, timeout=0.3, max_retries=2, max_reasks=1)
        with pytest.raises(base.LMError) as caught:
            lm(QUESTION)
    assert time.perf_counter() - start < 8
    assert type(caught.value) is kind
    assert advice in str(caught.value)
    assert lm.base_url in str(caught.value)
    assert faulty.counts == {fault: tries}
    assert caught.value.retries == tries - 1


def test_a_reply_that_is_always_cut_off_at_its_length_is_handed_on(server):
    with proxy(server, {"length": 1.0}) as faulty:
        completion = lm_at(faulty, max_reasks=1)(QUESTION)
    assert (completion.finish_reason, completion.retries) == ("length", 1)


def test_a_late_first_byte_is_no_fault(server):
    with proxy(server, {"slow": 1.0}) as faulty:
        assert lm_at(faulty)(QUESTION).retries == 0


# ---- a run, in which one request in twenty meets it ---------------------------------------------


def is_as_clean(result: mipro.Result, clean: mipro.Result) -> None:
    assert result.candidate == clean.candidate
    assert [t.scores for t in result.trials] == [t.scores for t in clean.trials]
    assert not any(t.failures for t in result.trials)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("fault", slow_but(SOME, PASSING))
def test_a_run_with_a_fault_now_and_then_finds_the_same_candidate(fault, server, world, clean):
    with proxy(server, {fault: 0.05}) as faulty:
        result = run(world, lm_at(faulty, timeout=0.5))
    assert faulty.counts[fault] > 5
    is_as_clean(result, clean)
    booked = {k: sum(entry[k] for entry in result.usage.values()) for k in ("calls", "retries")}
    assert booked["retries"] == (0 if fault == "slow" else faulty.counts[fault])
    assert booked["calls"] + booked["retries"] == faulty.counts.total()


@pytest.mark.faults
@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("seed", range(3))
def test_with_all_faults_at_once_the_defaults_come_to_the_same(seed, server, world, clean):
    # two requests of three are spoilt
    with proxy(server, dict.fromkeys(PASSING, 0.05), seed=seed) as faulty:
        result = run(world, lm_at(faulty, timeout=0.5), threads=16)
    assert all(faulty.counts[fault] > 5 for fault in PASSING)
    is_as_clean(result, clean)
    booked = {k: sum(entry[k] for entry in result.usage.values()) for k in ("calls", "retries")}
    assert booked["calls"] + booked["retries"] == faulty.counts.total()


# ---- a run on an endpoint that fails for good ---------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("server_error", base.UnavailableError, "endpoint is failing"),
        ("rate_limit", base.RateLimitError, "send fewer at a time"),
        ("reset", base.UnavailableError, "Is the server running"),
        ("hang", base.LMTimeoutError, "Raise timeout"),
        ("half_json", base.MalformedResponseError, "OpenAI-compatible API"),
        ("wrong_key", base.AuthError, "Check the key"),
        ("unknown_model", base.ModelNotFoundError, "model's name"),
        ("context_too_small", mipro.errors.RunError, "fewer or shorter demonstrations"),
        ("refusal", base.MalformedResponseError, "Reword the prompt"),
    ],
)
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.faults), 8])
def test_a_run_on_a_dead_endpoint_ends_with_one_error(
    server, world, fault, kind, says, threads, tmp_path
):
    start = time.perf_counter()
    with proxy(server, {fault: 1.0}) as faulty:
        lm = lm_at(faulty, timeout=0.3, max_retries=1)
        with pytest.raises(kind, match=says):
            run(world, lm, tmp_path, threads=threads)
    assert time.perf_counter() - start < 8
    assert read_journal(tmp_path / "journal.jsonl")[-1]["event"] == "error"
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "candidate.json").exists()


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    "fault",
    slow_but(
        ["hang", "half_json"],
        ["server_error", "hang", "half_json", "reset", "empty", "refusal"],
    ),
)
def test_an_endpoint_that_dies_in_the_middle_ends_the_run_which_goes_on_when_it_is_back(
    fault, server, world, clean, tmp_path
):
    with proxy(server, {}) as faulty:

        def dies(event: Any) -> None:
            if event["event"] == "trial" and event["number"] == 2:
                faulty.rates = {fault: 1.0}

        # a good reply that is late on a busy machine would be asked for, and counted, twice
        timeout = 0.5 if fault == "hang" else 10.0
        lm = lm_at(faulty, timeout=timeout, max_retries=1, patience=1.0)
        start = time.perf_counter()
        with pytest.raises(base.LMError) as caught:
            run(world, lm, tmp_path, on_event=dies)
        assert time.perf_counter() - start < 30
        assert caught.value.systemic
        events = read_journal(tmp_path / "journal.jsonl")
        assert events[-1]["event"] == "error"
        assert events[-1]["kind"] == type(caught.value).__name__
        trials = [e for e in events if e["event"] == "trial"]
        assert [e["number"] for e in trials] == [0, 1, 2]
        assert not any(e["failures"] for e in trials)
        assert not (tmp_path / "result.json").exists()

        faulty.rates = {}
        before = faulty.counts["passed"]
        result = mipro.resume(
            tmp_path,
            world.program,
            world.train,
            world.metric,
            lm=lm,
            val=world.val,
            test=world.test,
        )
    is_as_clean(result, clean)
    assert faulty.counts["passed"] == result.calls  # what was paid for is not asked for again
    assert 0 < before < result.calls


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(
    ("fault", "threads"),
    [
        ("server_error", 8),
        pytest.param("rate_limit_bare", 1, marks=pytest.mark.faults),
        pytest.param("reset", 8, marks=pytest.mark.faults),
        pytest.param("hang", 8, marks=pytest.mark.faults),
    ],
)
def test_a_run_outlives_an_outage_far_longer_than_its_retries(
    fault, threads, server, world, clean, tmp_path
):
    with proxy(server, {}) as faulty:
        over = threading.Timer(5.0, lambda: setattr(faulty, "rates", {}))

        def out(event: Any) -> None:
            if event["event"] == "trial" and event["number"] == 2:
                faulty.rates = {fault: 1.0}
                over.start()

        lm = lm_at(faulty, timeout=0.5)
        result = run(world, lm, tmp_path, on_event=out, threads=threads)
        over.join()
    assert faulty.counts[fault] > 5 * threads  # the retries of a call to a dead endpoint, and more
    is_as_clean(result, clean)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("fault", slow_but(["empty"], ["empty", "refusal"]))
def test_a_run_resumed_on_an_endpoint_that_has_nothing_to_say_ends_too(
    fault, server, world, tmp_path
):
    """The LM of a new process has never been answered, and its run has."""
    given = (world.program, world.train, world.metric)
    data = {"val": world.val, "test": world.test}
    with proxy(server, {}) as faulty:

        def dies(event: Any) -> None:
            if event["event"] == "trial" and event["number"] == 1:
                faulty.rates = {fault: 1.0}

        with pytest.raises(base.MalformedResponseError):
            run(world, lm_at(faulty), tmp_path, on_event=dies, method="bayesian_bootstrap")
        with pytest.raises(base.MalformedResponseError) as caught:
            mipro.resume(tmp_path, *given, lm=lm_at(faulty), **data)
    assert caught.value.systemic
    trials = [e for e in read_journal(tmp_path / "journal.jsonl") if e["event"] == "trial"]
    assert [e["number"] for e in trials] == [0, 1]
    assert not (tmp_path / "result.json").exists()


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("fault", slow_but(["empty"], ["empty", "refusal", "half_json"]))
def test_an_endpoint_that_has_nothing_more_to_say_ends_a_run_on_processes_too(
    fault, server, world, tmp_path
):
    """Each process has an LM of its own for each candidate, which was never answered before."""
    with proxy(server, {}) as faulty, ProcessPoolExecutor(2) as pool:

        def dies(event: Any) -> None:
            if event["event"] == "trial" and event["number"] == 1:
                faulty.rates = {fault: 1.0}

        with pytest.raises(base.MalformedResponseError, match="A question of a word") as caught:
            run(
                world,
                lm_at(faulty, timeout=10.0),
                tmp_path,
                on_event=dies,
                executor=pool,
                method="bayesian_bootstrap",  # which asks nothing in this process
                forecasts=False,
            )
    assert caught.value.systemic
    events = read_journal(tmp_path / "journal.jsonl")
    trials = [e for e in events if e["event"] == "trial"]
    assert [e["number"] for e in trials] == [0, 1]
    assert not any(e["failures"] for e in trials)
    assert events[-1]["event"] == "error"
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("fault", "in_flight"), slow_but(["rate_limit"], [("server_error", 1), ("rate_limit", 2)])
)
def test_a_budget_in_seconds_ends_a_run_that_waits_for_its_endpoint(
    fault, in_flight, server, world, tmp_path
):
    """In order, with what was evaluated before, and long before the patience of ten minutes."""
    seconds = 12.0
    with proxy(server, {}, retry_after=100) as faulty:

        def dies(event: Any) -> None:
            if event["event"] == "trial" and event["number"] == 2:
                faulty.rates = {fault: 1.0}

        start = time.perf_counter()
        result = run(
            world,
            lm_at(faulty, timeout=10.0),
            tmp_path,
            on_event=dies,
            budget=mipro.Budget(seconds=seconds),
            trials_in_flight=in_flight,
            trials=20,
        )
        # on a machine whose time is others' as well; Retry-After alone asks for 100 seconds
        assert seconds - 1 < time.perf_counter() - start < seconds + 30
    assert result.stopped == "seconds"
    assert result.chosen.n == len(world.val)
    assert len(result.trials) >= 3
    assert not any(trial.failures for trial in result.trials)
    assert result.test is None
    booked = {k: sum(e[k] for e in result.usage.values()) for k in ("calls", "failed", "retries")}
    assert booked["failed"] > 0
    assert sum(booked.values()) == faulty.counts.total()
    assert read_journal(tmp_path / "journal.jsonl")[-1]["event"] == "end"
