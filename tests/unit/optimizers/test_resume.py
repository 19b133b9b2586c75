"""Resuming: to the same end as if nothing had happened, and nothing paid for twice."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from dataclasses import replace

import pytest
from doubles import QA, CountingLM, examples
from resuming import LoggedLM, asked, begin, end_of, go_on
from small_runs import SHORT, small

import mipro
from mipro.errors import ConfigError, DataError, MiproError, RunError
from mipro.journal import read_journal
from mipro.lm.base import LMTimeoutError, UnavailableError
from mipro.lm.budget import Budget
from mipro.lm.simulated import SimulatedLM
from mipro.optimizers.methods import METHODS


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its directory and its log."""
    place = tmp_path_factory.mktemp("whole")
    begin(place / "run", LoggedLM(place / "log"), threads=4)
    return place


def stopped(place, calls, **settings):
    """A run whose endpoint went away after so many calls."""
    with pytest.raises(UnavailableError):
        begin(place / "run", LoggedLM(place / "log", most=calls), **settings)


def unchanged(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_stopped_comes_to_the_same_end(method, tmp_path):
    first = begin(tmp_path / "whole", LoggedLM(tmp_path / "whole.log"), method=method)
    paid = len(asked(tmp_path / "whole.log"))
    assert first.calls == paid
    for calls in (0, 3, paid // 4, paid // 2, paid - 2):
        place = tmp_path / str(calls)
        place.mkdir()
        stopped(place, calls, method=method, threads=3)
        result = go_on(place / "run", LoggedLM(place / "log"), threads=5)
        assert end_of(place / "run") == end_of(tmp_path / "whole")
        assert result.usage == first.usage
        assert result.trials == first.trials
        assert result.candidate == first.candidate
        log = asked(place / "log")
        assert len(log) == len(set(log)) == paid


def test_a_run_may_stop_again_and_again(whole, tmp_path):
    stopped(tmp_path, 10)
    for calls in range(40, len(asked(whole / "log")), 40):
        with pytest.raises(UnavailableError):
            go_on(tmp_path / "run", LoggedLM(tmp_path / "log", most=calls))
        assert read_journal(tmp_path / "run/journal.jsonl")[-1]["event"] == "error"
    go_on(tmp_path / "run", LoggedLM(tmp_path / "log"))
    assert end_of(tmp_path / "run") == end_of(whole / "run")
    assert sorted(asked(tmp_path / "log")) == sorted(asked(whole / "log"))


def test_a_run_that_has_ended_returns_its_result_without_a_call(whole, tmp_path):
    result = begin(tmp_path / "run", LoggedLM(tmp_path / "log"))
    before, calls = unchanged(tmp_path / "run"), len(asked(tmp_path / "log"))
    again = go_on(tmp_path / "run", LoggedLM(tmp_path / "log"))
    assert replace(again, seconds=0.0) == replace(result, seconds=0.0)
    assert len(asked(tmp_path / "log")) == calls
    assert unchanged(tmp_path / "run") == before


def test_equal_requests_are_sent_once_with_and_without_a_directory(whole, tmp_path):
    events = []
    world = small("iris")
    mipro.optimize(
        world.program,
        world.train,
        world.metric,
        lm=LoggedLM(tmp_path / "log"),
        val=world.val,
        test=world.test,
        on_event=events.append,
        **SHORT,
    )
    assert sorted(asked(tmp_path / "log")) == sorted(asked(whole / "log"))
    assert len(set(asked(tmp_path / "log"))) == len(asked(tmp_path / "log"))
    kept = read_journal(whole / "run/journal.jsonl")
    assert [e["usage"] for e in events if "usage" in e] == [
        e["usage"] for e in kept if "usage" in e
    ]


def test_failed_calls_fail_in_the_same_way_again(tmp_path):
    simulated, calls = SimulatedLM(), itertools.count()
    alive = 1_000

    def reply(request):
        number = next(calls)
        if number >= alive:
            return UnavailableError("gone")
        return LMTimeoutError(f"slow {number}") if number % 7 == 3 else simulated(request).text

    whole = begin(tmp_path / "whole", CountingLM(reply), threads=1)
    paid = next(calls)
    assert whole.usage["task"]["failed"] > 5
    for alive in (40, paid - 6):  # early, and just before its end
        calls, place = itertools.count(), tmp_path / str(alive)
        with pytest.raises(UnavailableError):
            begin(place, CountingLM(reply), threads=1)
        made, alive = next(calls) - 1, 1_000
        calls = itertools.count(made)
        go_on(place, CountingLM(reply), threads=1)
        assert next(calls) == paid
        assert end_of(place) == end_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"trials": 9}, r"options\.trials was 8, is 9"),
        ({"seed": 1}, r"options\.seed was 0, is 1"),
        ({"method": "random_search"}, 'method was "mipro", is "random_search"'),
        ({"train": small("iris").train[1:]}, r"data\.train\.n was 40, is 39"),
        ({"val": small("iris").val[::-1]}, r"data\.val\.digest was"),
        ({"test": None}, r"data\.test was .*is not there any more"),
        ({"metric": mipro.metrics.f1("species")}, "metric was"),
        ({"metric": lambda example, prediction: True}, r"code\.test_resume is new"),
        ({"adapter": mipro.JSONAdapter()}, "adapter was"),
        ({"prices": {"logged": mipro.Price(1.0, 2.0)}}, r"prices\.logged is new"),
        ({"prompt_lm": SimulatedLM(3)}, "prompt_lm was"),
    ],
)
def test_what_has_changed_is_said_and_refused(other, said, tmp_path):
    stopped(tmp_path, 60)
    before, calls = unchanged(tmp_path / "run"), len(asked(tmp_path / "log"))
    with pytest.raises(ConfigError, match=f"was begun with something else: .*{said}"):
        go_on(tmp_path / "run", LoggedLM(tmp_path / "log"), **other)
    assert len(asked(tmp_path / "log")) == calls
    assert unchanged(tmp_path / "run") == before


def test_a_changed_program_is_seen_by_its_file_its_prompts_and_its_attributes(tmp_path):
    class Counting(QA):
        def __init__(self, instruction="Answer.", hops=2):
            super().__init__(instruction)
            self.hops = hops

    def attempt(function, *place, program, **more):
        return function(
            *place,
            program,
            examples(12),
            mipro.metrics.exact_match("answer"),
            lm=CountingLM(lambda request: UnavailableError("gone")),
            **more,
        )

    with pytest.raises(UnavailableError):
        attempt(mipro.optimize, program=Counting(), run_dir=tmp_path)
    start = read_journal(tmp_path / "journal.jsonl")[0]
    assert start["code"].keys() == {"doubles", "metrics", "test_resume"}
    for program, said in (
        (Counting(hops=3), "attributes.hops was 2, is 3"),
        (Counting("Think."), "prompts was"),
        (QA(), 'program was "Counting", is "QA".*code.test_resume was'),
    ):
        with pytest.raises(ConfigError, match=said):
            attempt(mipro.resume, tmp_path, program=program)


def test_going_on_although_it_changed_asks_nothing_twice_and_keeps_the_old_journal(whole, tmp_path):
    stopped(tmp_path, 120)
    before = (tmp_path / "run/journal.jsonl").read_bytes()
    result = go_on(tmp_path / "run", LoggedLM(tmp_path / "log"), trials=12, even_if_changed=True)
    assert any("options.trials was 8, is 12" in note for note in result.notes)
    log = asked(tmp_path / "log")
    assert len(log) == len(set(log)) >= result.calls > 120  # some of the old ones are of no use now
    assert (tmp_path / "run/journal-1.jsonl").read_bytes() == before
    again = go_on(tmp_path / "run", LoggedLM(tmp_path / "log"))  # it is a run of 12 trials now
    assert again.score == result.score
    assert asked(tmp_path / "log") == log


def test_a_program_that_draws_anew_each_time_is_stopped_at_the_line_that_differs(tmp_path):
    draws = itertools.count()

    def moody(example, prediction):
        return next(draws) % 5 / 5

    arguments = {"metric": moody, "threads": 1}
    stopped(tmp_path, 60, **arguments)
    with pytest.raises(RunError, match=r"journal\.jsonl, line 3: .*score.* was .*even_if_changed"):
        go_on(tmp_path / "run", LoggedLM(tmp_path / "log"), **arguments)
    result = go_on(tmp_path / "run", LoggedLM(tmp_path / "log"), even_if_changed=True, **arguments)
    assert not any("had changed" in note for note in result.notes)


def test_a_second_run_in_the_same_directory_is_refused_while_the_first_is_there(tmp_path):
    said = []

    def second(event):
        for attempt in (begin, go_on):
            with pytest.raises(ConfigError, match="is in use by another run"):
                attempt(tmp_path / "run", LoggedLM(tmp_path / "other"))
            said.append(attempt)

    begin(tmp_path / "run", LoggedLM(tmp_path / "log"), on_event=second)
    assert said
    assert not (tmp_path / "other").exists()


def test_where_there_is_no_run_none_is_gone_on_with(tmp_path):
    with pytest.raises(ConfigError, match="run holds no run: there is no"):
        go_on(tmp_path / "run", LoggedLM(tmp_path / "log"))
    assert not (tmp_path / "run").exists()


def test_a_run_killed_before_its_first_line_begins(whole, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/journal.jsonl").touch()
    go_on(tmp_path / "run", LoggedLM(tmp_path / "log"), **SHORT)
    assert end_of(tmp_path / "run") == end_of(whole / "run")


@pytest.mark.parametrize("name", ["journal.jsonl", "replies.jsonl"])
def test_damage_before_the_end_is_refused_with_its_line(name, tmp_path):
    stopped(tmp_path, 100)
    path = tmp_path / "run" / name
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:1], lines[1][:-2], *lines[2:]]))
    before = unchanged(tmp_path / "run")
    with pytest.raises(ConfigError, match=rf"{name}, line 2: "):
        go_on(tmp_path / "run", LoggedLM(tmp_path / "log"))
    assert unchanged(tmp_path / "run") == before


def test_an_interruption_does_not_wait_for_calls_that_hang(whole, tmp_path):
    release, simulated = threading.Event(), LoggedLM(tmp_path / "log")
    events = []

    class Hanging(LoggedLM):
        def __call__(self, request):
            if len(asked(self.log)) > 50 and threading.current_thread().name == "mipro-1":
                threading.Timer(0.2, interrupt).start()
                release.wait(60)
            return simulated(request)

    def interrupt():
        import signal

        if not events:
            events.append("interrupted")
            os.kill(os.getpid(), signal.SIGINT)

    import signal

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path / "run", Hanging(tmp_path / "log"), threads=3)
    finally:
        signal.signal(signal.SIGINT, before)
        release.set()
    assert read_journal(tmp_path / "run/journal.jsonl")[-1]["kind"] == "KeyboardInterrupt"
    go_on(tmp_path / "run", simulated)
    assert end_of(tmp_path / "run") == end_of(whole / "run")


@pytest.mark.parametrize("room", [0, 700, 3_000, 9_000, 30_000])
def test_a_full_disk_is_a_clear_error_and_the_run_goes_on_when_there_is_room(
    room, whole, tmp_path, monkeypatch
):
    real, left = os.write, room

    def full(number, data):
        nonlocal left
        if os.fstat(number).st_size and number > 2 and b"{" in bytes(data[:1]):
            if left <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data, left = data[:left], left - len(data)
        return real(number, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(MiproError, match=r"(?s)No space left on device.*resume"):
            begin(tmp_path / "run", LoggedLM(tmp_path / "log"), threads=4)
    read_journal(tmp_path / "run/journal.jsonl")
    unkept = len(asked(tmp_path / "log")) - len(
        (tmp_path / "run/replies.jsonl").read_bytes().splitlines()[1:]
    )
    go_on(tmp_path / "run", LoggedLM(tmp_path / "log"), **SHORT)
    assert end_of(tmp_path / "run") == end_of(whole / "run")
    log = asked(tmp_path / "log")
    assert len(log) - len(set(log)) == unkept <= 4  # what could not be kept, one a thread


def test_a_run_on_other_processes_is_gone_on_with_too(tmp_path, processes):
    for name, most in (("whole", None), ("run", None), ("stopped", 130)):
        lm = LoggedLM(tmp_path / f"{name}.log", most=most)
        if most is None:
            result = begin(tmp_path / name, lm, executor=processes)
            assert result.calls == len(asked(lm.log))
        else:
            with pytest.raises(UnavailableError):
                begin(tmp_path / name, lm, executor=processes)
    assert end_of(tmp_path / "run") == end_of(tmp_path / "whole")
    log = tmp_path / "stopped.log"
    kept = (tmp_path / "stopped/replies.jsonl").read_text()
    home = [digest for digest in asked(log) if digest in kept]
    assert len(home) > 100
    go_on(tmp_path / "stopped", LoggedLM(log), executor=processes)
    assert end_of(tmp_path / "stopped") == end_of(tmp_path / "whole")
    assert all(asked(log).count(digest) == 1 for digest in home)
    before = asked(log)
    result = go_on(tmp_path / "stopped", LoggedLM(log), executor=processes)
    assert asked(log) == before
    assert result.calls == len(asked(tmp_path / "whole.log"))


@pytest.mark.parametrize("threads", [1, 4])
def test_a_budget_is_that_of_all_sittings_together(threads, tmp_path):
    most = {"budget": Budget(calls=150), "threads": threads}
    whole = begin(tmp_path / "whole", LoggedLM(tmp_path / "whole.log"), **most)
    assert whole.stopped == "calls"
    stopped(tmp_path, 100, **most)
    with pytest.raises(ConfigError, match=r"budget was .*150.*, is null"):
        go_on(tmp_path / "run", LoggedLM(tmp_path / "log"))
    result = go_on(tmp_path / "run", LoggedLM(tmp_path / "log"), **most)
    assert result.stopped == "calls"
    log = asked(tmp_path / "log")
    assert len(log) == len(set(log)) == result.calls <= 150
    if threads == 1:  # which of the last calls is granted is the threads' luck
        assert end_of(tmp_path / "run") == end_of(tmp_path / "whole")


def test_data_that_cannot_be_used_is_refused_as_by_optimize(whole):
    with pytest.raises(DataError):
        go_on(whole / "run", LoggedLM(whole / "log"), train=[])
