"""`Once` and `Replies`: equal requests of a run are sent once, also across its sittings."""

from __future__ import annotations

import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from lm_doubles import EchoLM, ask

from mipro.errors import ConfigError
from mipro.lines import read_lines
from mipro.lm import base
from mipro.lm.cache import Cached
from mipro.lm.meter import Ledger, Metered
from mipro.lm.replies import Luggage, Once, Replies
from mipro.lm.reply_lines import RepliesError


def sitting(path, lm, resume=True):
    """The LM as a run has it, its ledger, and its replies in `path`."""
    replies, ledger = Replies(), Ledger()
    replies.keep(path, resume=resume)
    return Metered(Once(lm, replies), ledger), ledger, replies


def timeout(request):
    raise base.LMTimeoutError("late")


def told(lm, request):
    try:
        return lm(request)
    except base.LMError as error:
        return type(error).__name__, str(error)


def test_equal_requests_of_a_run_are_sent_once_in_flight_and_later():
    lm, ledger = EchoLM(lambda request: time.sleep(0.02)), Ledger()
    once = Metered(Once(lm, Replies()), ledger)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(once, [ask(str(i % 3)) for i in range(24)]))
    assert lm.calls == 3
    assert sum(reply.cached for reply in replies) == 21
    booked = ledger["task"]
    assert (booked.calls, booked.cached, booked.failed) == (3, 21, 0)


def test_a_failure_of_one_call_stays_what_it_was_and_a_systemic_one_does_not():
    lm, ledger = EchoLM(timeout), Ledger()
    once = Metered(Once(lm, Replies()), ledger)
    assert [told(once, ask()) for _ in range(3)] == [("LMTimeoutError", "late")] * 3
    assert lm.calls == 1
    assert (ledger["task"].failed, ledger["task"].cached) == (1, 2)

    def down(request):
        raise base.UnavailableError("down")

    lm.act = down
    assert told(once, ask("else"))[0] == "UnavailableError"
    lm.act = lambda request: None
    assert not once(ask("else")).cached


def test_a_later_sitting_is_answered_and_booked_as_the_first_was(tmp_path):
    def reply(request):
        if "bad" in request.messages[-1].content:
            raise base.ContextLengthError("too \ud800 long")

    requests = [ask("a", n=2), ask("b"), ask("bad"), ask("a", n=2), ask("bad")]
    first, second = EchoLM(reply), EchoLM(reply)
    told_then, books, kept = [], [], []
    for lm in (first, second):
        once, ledger, replies = sitting(tmp_path / "r", lm)
        told_then.append([told(once, request) for request in requests])
        replies.close()
        books.append(ledger.to_json())
        kept.append((tmp_path / "r").read_bytes())
    assert told_then[0] == told_then[1]
    assert books[0] == books[1]
    assert kept[0] == kept[1]
    assert (first.calls, second.calls) == (3, 0)
    assert (books[0]["task"]["calls"], books[0]["task"]["failed"]) == (2, 1)


def test_a_reply_is_on_disk_before_the_program_has_it(tmp_path):
    once, _, replies = sitting(tmp_path / "r", EchoLM())
    for i in range(5):
        once(ask(str(i)))
        assert len(read_lines(tmp_path / "r").objects) == 1 + i + 1
    replies.close()


def test_threads_share_a_sync_and_none_returns_before_its_own(tmp_path, monkeypatch):
    path, real, syncs = tmp_path / "r", os.fsync, []

    def slow(number):
        time.sleep(0.02)
        real(number)
        syncs.append(os.fstat(number).st_size)

    once, _, replies = sitting(path, EchoLM())
    monkeypatch.setattr(os, "fsync", slow)
    seen = []

    def call(i):
        digest = ask(str(i)).digest("echo v1")
        once(ask(str(i)))
        on_disk = path.read_bytes()[: syncs[-1]]
        seen.append(digest.encode() in on_disk)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(call, range(64)))
    replies.close()
    assert seen == [True] * 64
    assert len(syncs) < 32
    assert len(read_lines(path).objects) == 65


def test_prompts_and_keys_are_not_written(tmp_path):
    once, _, replies = sitting(tmp_path / "r", lambda_lm("fine"))
    once(ask("a very private question"))
    replies.close()
    assert "private" not in (tmp_path / "r").read_text()


def lambda_lm(text):
    def lm(request):
        return base.Completion((text,))

    lm.model = lm.identity = "plain"
    return lm


def test_a_reply_from_a_shared_cache_stays_one_and_a_paid_one_stays_paid(tmp_path):
    lm = EchoLM()
    Cached(lm, tmp_path / "cache.db")(ask("known"))
    for _ in range(2):
        cached = Cached(lm, tmp_path / "cache.db")
        once, ledger, replies = sitting(tmp_path / "r", cached)
        once(ask("known"))
        once(ask("new"))
        replies.close()
        cached.close()
        assert (ledger["task"].calls, ledger["task"].cached) == (1, 1)
    assert lm.calls == 2


def test_a_kill_between_the_runs_own_file_and_the_cache_costs_no_second_call(tmp_path, monkeypatch):
    lm, cached = EchoLM(), Cached(EchoLM(), tmp_path / "cache.db")
    cached.lm = lm

    def die(*_):
        raise SystemExit

    once, _, replies = sitting(tmp_path / "r", cached)
    with monkeypatch.context() as patched:
        patched.setattr(cached, "_put", die)
        with pytest.raises(SystemExit):
            once(ask())
    replies.close()
    once, ledger, replies = sitting(tmp_path / "r", cached)
    assert not once(ask()).cached
    replies.close()
    cached.close()
    assert (lm.calls, ledger["task"].calls) == (1, 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{}\n", r"line 3: no reply \(KeyError"),
        (b'{"digest":"d","texts":["x"],"usage":[1]}\n', "line 3: no reply"),
        (b"torn in the middle\n", "line 3: .*invalid json"),
    ],
)
def test_damage_is_refused_by_line_and_nothing_is_changed(tmp_path, line, said):
    path = tmp_path / "r"
    once, _, replies = sitting(path, EchoLM())
    once(ask())
    replies.close()
    path.write_bytes(path.read_bytes() + line)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=said):
        Replies().keep(path, resume=True)
    assert path.read_bytes() == before


def test_a_torn_last_line_is_asked_again(tmp_path):
    path, lm = tmp_path / "r", EchoLM()
    once, _, replies = sitting(path, lm)
    once(ask("a"))
    once(ask("b"))
    replies.close()
    path.write_bytes(path.read_bytes()[:-5])
    once, _, replies = sitting(path, lm)
    once(ask("a"))
    assert lm.calls == 2
    once(ask("b"))
    replies.close()
    assert lm.calls == 3
    assert len(read_lines(path).objects) == 3


def test_other_files_and_schemas_are_refused(tmp_path):
    (tmp_path / "r").write_text('{"replies":99}\n')
    with pytest.raises(ConfigError, match="line 1: these are no replies of schema 1"):
        Replies().keep(tmp_path / "r", resume=True)


def test_when_a_reply_cannot_be_kept_the_run_ends_for_all_its_threads(tmp_path, monkeypatch):
    once, _, replies = sitting(tmp_path / "r", EchoLM())
    once(ask("before"))

    def full(number, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with ThreadPoolExecutor(4) as threads:
        errors = list(threads.map(lambda i: told(once, ask(str(i))), range(8)))
    assert {name for name, _ in errors} == {"RepliesError"}
    assert all("No space left on device" in text for _, text in errors)
    assert RepliesError.systemic
    replies.close()
    assert len(read_lines(tmp_path / "r").objects) == 2


def test_a_reply_that_comes_after_the_end_is_refused_and_not_written(tmp_path):
    release = threading.Event()
    once, _, replies = sitting(tmp_path / "r", EchoLM(lambda request: release.wait(5)))
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(told, once, ask())
        time.sleep(0.05)
        replies.close()
        release.set()
        assert late.result()[0] == "RepliesError"
    assert len(read_lines(tmp_path / "r").objects) == 1


def test_what_an_earlier_sitting_paid_for_is_known_to_a_budget(tmp_path):
    once, _, replies = sitting(tmp_path / "r", EchoLM())
    usage = [once(ask(text)).usage for text in ("a", "b", "a")]
    replies.close()
    again = Replies()
    again.keep(tmp_path / "r", resume=True)
    again.close()
    assert again.paid == [("echo", usage[0]), ("echo", usage[1])]


def test_luggage_takes_along_what_an_example_had_and_brings_home_what_is_new(tmp_path):
    lm = EchoLM()
    replies = Replies()
    replies.keep(tmp_path / "r")
    for evaluation, calls in ((0, 1), (1, 1)):
        number, packed = replies.packed(["key"])
        assert number == evaluation
        away = Replies(pickle.loads(pickle.dumps(packed[0])))
        reply = Once(lm, away)(ask())
        assert reply.cached == (evaluation == 1)
        home = pickle.loads(pickle.dumps(away.luggage()))
        replies.unpacked({(number, 0): home}, "echo")
        replies.learnt("key", home)
        assert lm.calls == calls
    replies.close()
    again = Replies()
    again.keep(tmp_path / "r", resume=True)
    _, packed = again.packed(["key"])
    assert not Once(lm, Replies(packed[0]))(ask()).cached  # as it was in the first sitting
    again.close()
    assert lm.calls == 1
    assert Replies(Luggage()).luggage() == Luggage()
