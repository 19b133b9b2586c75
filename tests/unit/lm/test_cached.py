"""`Cached`: paid for once, whoever asks."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from lm_doubles import KEY, EchoLM, ask, good

from mipro.lm import base
from mipro.lm.cache import Cached, CacheError
from mipro.lm.openai import OpenAILM


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "cache.db"


def test_the_same_request_is_asked_once_across_runs(path):
    lm = EchoLM()
    first = Cached(lm, path)(ask(n=2, temperature=0.5))
    again = Cached(lm, path)(ask(n=2, temperature=0.5))
    assert lm.calls == 1
    assert not first.cached
    assert again == replace(first, cached=True)


@pytest.mark.parametrize(
    "other",
    [
        {"text": "hello!"},
        {"temperature": 0.0},
        {"temperature": 1.0},
        {"max_tokens": 5},
        {"n": 2},
        {"rollout": 1},
        {"schema": {"type": "object"}},
    ],
)
def test_another_request_is_asked(other):
    lm = EchoLM()
    cached = Cached(lm)
    cached(ask())
    assert not cached(ask(**other)).cached
    assert (lm.calls, len(cached)) == (2, 2)


def test_another_lm_has_its_own_replies(path):
    one, two = EchoLM(), EchoLM()
    two.identity = "echo v2"
    Cached(one, path)(ask())
    assert not Cached(two, path)(ask()).cached


def test_errors_are_not_stored_and_cut_replies_are():
    def fail(request):
        raise base.LMTimeoutError("late")

    lm = EchoLM(fail)
    cached = Cached(lm)
    for _ in range(2):
        with pytest.raises(base.LMTimeoutError, match="late"):
            cached(ask())
    assert (lm.calls, len(cached)) == (2, 0)

    def cut(request):
        return base.Completion(("half",), finish_reason="length")

    cut.model = cut.identity = "cut"
    cached = Cached(cut)
    cached(ask())
    assert cached(ask()) == base.Completion(("half",), finish_reason="length", cached=True)


def at_once(cached, count):
    """The completion or the error of `count` equal calls made at the same moment."""
    start = threading.Barrier(count)

    def call(_):
        start.wait()
        try:
            return cached(ask())
        except base.LMError as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))


def test_equal_requests_in_flight_are_sent_once():
    lm = EchoLM(lambda request: time.sleep(0.1))
    completions = at_once(Cached(lm), 16)
    assert lm.calls == 1
    assert sum(completion.cached for completion in completions) == 15
    assert len({completion.texts for completion in completions}) == 1


def test_if_the_leader_fails_all_get_its_error_and_none_is_stuck():
    def fail(request):
        time.sleep(0.1)
        raise base.RateLimitError("slow down")

    lm = EchoLM(fail)
    cached = Cached(lm)
    errors = at_once(cached, 16)
    assert {(type(error), str(error)) for error in errors} == {(base.RateLimitError, "slow down")}
    assert len({id(error) for error in errors}) == 16
    assert lm.calls == 1
    lm.act = lambda request: None
    assert not cached(ask()).cached


def test_if_the_leader_is_interrupted_another_takes_over():
    entered = threading.Event()

    def once(request):
        if not entered.is_set():
            entered.set()
            time.sleep(0.1)
            raise KeyboardInterrupt

    lm = EchoLM(once)
    cached = Cached(lm)
    with ThreadPoolExecutor(2) as threads:
        leader = threads.submit(cached, ask())
        entered.wait()
        assert not threads.submit(cached, ask()).result(5).cached
        with pytest.raises(KeyboardInterrupt):
            leader.result(5)
    assert lm.calls == 2


def test_clear_and_length_and_truth(path):
    cached = Cached(EchoLM(), path)
    assert (len(cached), bool(cached)) == (0, True)
    cached(ask())
    assert len(cached) == 1
    cached.clear()
    assert len(cached) == 0
    assert not cached(ask()).cached


def test_a_pickle_takes_the_path_along(path):
    cached = Cached(OpenAILM("m"), path)
    again = pickle.loads(pickle.dumps(cached))
    assert (again.path, again.identity) == (cached.path, cached.identity)
    assert pickle.loads(pickle.dumps(Cached(OpenAILM("m")))).path is None


def fill(path, go):
    go.wait()
    cached = Cached(EchoLM(), path)
    for k in range(50):
        assert cached(ask(f"question {k}")).texts
    cached.close()


# forked processes start within the moment in which SQLite's lock used to be refused: one round in
# five met it
@pytest.mark.parametrize(
    ("method", "number"),
    [("spawn", 0)] + [("fork", i) for i in range(15) if hasattr(os, "fork")],
)
def test_processes_share_a_file_from_its_first_moment(path, method, number):
    context = multiprocessing.get_context(method)
    go = context.Event()
    processes = [context.Process(target=fill, args=(path, go)) for _ in range(3)]
    for process in processes:
        process.start()
    go.set()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0] * 3
    assert len(Cached(EchoLM(), path)) == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_an_open_cache_survives_a_fork(path):
    cached = Cached(EchoLM(), path)
    cached(ask("parent"))

    def child():
        assert cached(ask("parent")).cached
        assert not cached(ask("child")).cached

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert cached(ask("child")).cached


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("not a database, but long enough to be looked at" * 50),
        foreign,
        lambda path: path.mkdir(),
    ],
    ids=["text", "foreign", "folder"],
)
def test_a_file_that_is_no_cache_is_refused_and_left_as_it_was(tmp_path, make):
    path = tmp_path / "x.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(CacheError, match=r"x\.db") as caught:
        Cached(EchoLM(), path)
    assert caught.value.systemic
    assert before is None or path.read_bytes() == before


def test_damage_is_a_clear_error(path):
    cached = Cached(EchoLM(), path)
    cached(ask())
    cached._connection.execute("UPDATE replies SET body = '{}'")
    with pytest.raises(CacheError, match="cannot be read"):
        cached(ask())
    for k in range(200):
        cached(ask(f"question {k}"))
    cached.close()
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\x00" * (len(raw) - 4096)
    path.write_bytes(raw)
    damaged = Cached(EchoLM(), path)
    with pytest.raises(CacheError, match=r"cache\.db"):
        damaged(ask("question 7"))


def test_no_key_reaches_the_disk(path, faulty, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    cached = Cached(OpenAILM("m", base_url=faulty((200, good())).base_url), path)
    cached(ask("a secret question"))
    on_disk = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"fine" in on_disk
    assert KEY.encode() not in on_disk
    assert b"secret question" not in on_disk
    assert KEY.encode() not in pickle.dumps(cached)
    assert KEY not in repr(cached)
