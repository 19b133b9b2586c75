"""What a run reads back (candidate, journal, replies, cache, config.json), whatever is in it.

Damage is one clear error that names file and line, or a value that is right; never a traceback.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from doubles import QA
from hostile import RAW, Tried, altered, spoilt
from resuming import LoggedLM, begin, end_of, go_on
from small_runs import small

import mipro
from mipro.errors import CandidateError, ConfigError
from mipro.journal import Journal, read_journal
from mipro.lm.base import Completion, Request, Usage
from mipro.lm.cache import CacheError
from mipro.lm.replies import Replies
from mipro.optimizers.resume import found_origin
from mipro.optimizers.run_dir import recorded

SETTINGS = {"trials": 3, "minibatch": 3, "full_every": 2, "instructions": 2, "demo_sets": 2}
WORLD = small("iris", train=8, val=4, test=4)
REQUEST = Request((mipro.Message("user", "hello"),))


class Fixed:
    model = identity = "fixed"

    def __call__(self, request: Request, /) -> Completion:
        return Completion(("fine",), Usage(3, 2), "fixed")


# ---- candidates ---------------------------------------------------------------------------------


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    prompts = {"answer": mipro.Prompt("Go.", (mipro.Demo({"question": "q", "answer": "a"}, True),))}
    QA().save(tmp_path / "candidate.json", prompts)
    return tmp_path / "candidate.json"


def test_a_spoilt_candidate_is_read_or_refused(candidate):
    tried, text = Tried(), candidate.read_bytes()
    for what, data in spoilt(text):
        candidate.write_bytes(data)
        tried(what, lambda: QA().load(candidate), str(candidate), kind=CandidateError)
    assert tried.total > 150


def test_a_candidate_with_anything_in_any_place_is_read_right_or_refused(candidate):
    tried, body = Tried(), json.loads(candidate.read_bytes())
    for what, text in altered(body):
        candidate.write_text(text)
        read = tried(what, lambda: QA().load(candidate), str(candidate), kind=CandidateError)
        if read is not None:
            module = json.loads(text)["modules"]["answer"]
            (prompt,) = read.candidate.values()
            assert prompt.instruction == module["instruction"], what
            demos = module.get("demos", [])
            assert [dict(d.values) for d in prompt.demos] == [d["values"] for d in demos], what
            assert [d.bootstrapped for d in prompt.demos] == [
                d.get("bootstrapped", False) for d in demos
            ], what
            assert read(question="q", lm=mipro.SimulatedLM()).answer
    assert tried.total > 200
    assert tried.refused > 150


# ---- a run's directory --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole")
    begin(place / "run", LoggedLM(place / "log"), WORLD, **SETTINGS)
    return place / "run"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def resumed(run: Path) -> mipro.Result:
    return go_on(run, LoggedLM(run.parent / "log"), WORLD)


def restore(whole: Path, run: Path) -> None:
    shutil.rmtree(run)
    shutil.copytree(whole, run)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["journal.jsonl", "replies.jsonl"])
def test_a_spoilt_run_is_refused_by_file_or_comes_to_the_same_end(name, whole, run):
    tried, end, text = Tried(), end_of(whole), (whole / name).read_bytes()
    for what, data in islice(spoilt(text), 0, None, 3):
        restore(whole, run)
        (run / name).write_bytes(data)
        done = tried(what, lambda: resumed(run), name, "begun with something else", str(run))
        if done is not None and name == "journal.jsonl":
            assert end_of(run) == end, what
    assert tried.total > 50
    assert tried.refused > 20


@pytest.mark.faults
@pytest.mark.parametrize("line", [0, 3, -1])
def test_a_journal_with_anything_in_any_place_is_refused_or_goes_on(line, whole, run):
    lines = (whole / "journal.jsonl").read_text().splitlines()
    tried, cases = Tried(), list(altered(json.loads(lines[line])))
    for what, text in cases[:: max(1, len(cases) // 80)]:
        restore(whole, run)
        hostile = [*lines]
        hostile[line] = text
        (run / "journal.jsonl").write_text("\n".join(hostile) + "\n")
        tried(what, lambda: resumed(run))
    assert tried.total >= 60


@pytest.mark.faults
def test_readers_of_a_journal_refuse_what_is_none(run):
    tried, path = Tried(), run / "journal.jsonl"
    lines = path.read_text().splitlines()
    for what, text in altered(json.loads(lines[0])):
        path.write_text("\n".join([text, *lines[1:]]) + "\n")
        read = tried(what, lambda: read_journal(path), "line 1", kind=ConfigError)
        tried(what, lambda: recorded(run), "line 1", kind=ConfigError)
        for again in (True, False):
            tried(what, lambda: Journal(path, resume=again).close(), str(path), kind=ConfigError)  # noqa: B023
        if read is not None:
            assert read[0] == json.loads(text), what
    assert tried.total > 1000


@pytest.mark.parametrize("origin", ["config", "demo"])
def test_a_config_json_with_anything_in_any_place_is_an_origin_or_refused(origin, tmp_path):
    bodies = {
        "config": {"method": "mipro", "origin": {"config": "/there/run.toml"}},
        "demo": {"origin": {"demo": {"world": "iris", "method": "mipro", "trials": 3, "seed": 0}}},
    }
    tried, path = Tried(), tmp_path / "config.json"
    for what, text in altered(bodies[origin]):
        path.write_text(text)
        found = tried(what, lambda: found_origin(tmp_path), str(tmp_path), kind=ConfigError)
        if found is not None:
            assert set(found) == {origin}, what
    for what, data in spoilt(json.dumps(bodies[origin]).encode()):
        path.write_bytes(data)
        tried(what, lambda: found_origin(tmp_path), str(tmp_path), kind=ConfigError)
    assert tried.total > 250


def test_a_journal_passes_no_argument_on_but_method_and_settings(run):
    path = run / "journal.jsonl"
    lines = path.read_text().splitlines()
    start = json.loads(lines[0])
    for name, value in (("run_dir", "/elsewhere"), ("on_event", 1), ("prompt_lm", "x")):
        options = {**start["options"], name: value}
        path.write_text("\n".join([json.dumps({**start, "options": options}), *lines[1:]]) + "\n")
        with pytest.raises(ConfigError, match=f"line 1.*'{name}'"):
            resumed(run)


# ---- replies and cache --------------------------------------------------------------------------

DIGEST = REQUEST.digest("fixed")
REPLY = {
    **{"digest": DIGEST, "lm": "fixed", "of": [0, 1], "texts": ["fine"], "model": "fixed"},
    **{"finish_reason": "stop", "cached": False, "usage": [3, 2], "retries": 0},
}
FAILURE = {
    **{"digest": DIGEST, "lm": "fixed", "error": "LMTimeoutError", "text": "late"},
    **{"usage": [3, 2], "retries": 1},
}


@pytest.mark.parametrize("body", [REPLY, FAILURE])
def test_a_reply_with_anything_in_any_place_is_read_right_or_refused_by_its_line(body, tmp_path):
    tried, path = Tried(), tmp_path / "replies.jsonl"
    head = json.dumps({"replies": 1})

    def keep() -> Replies:
        replies = Replies()
        replies.keep(path, resume=True)
        replies.close()
        return replies

    for what, text in altered(body):
        path.write_text(f"{head}\n{text}\n")
        read = tried(what, keep, "line 2", kind=ConfigError)
        if read is not None:
            for _, usage in read.paid:
                assert [usage.prompt_tokens, usage.completion_tokens] == json.loads(text)["usage"]
    for what, text in altered({"replies": 1}):
        path.write_text(f"{text}\n{json.dumps(body)}\n")
        tried(what, keep, "line 1", kind=ConfigError)
    assert tried.total > 250


def test_a_cached_reply_with_anything_in_any_place_is_read_right_or_refused(tmp_path):
    path = tmp_path / "cache.sqlite"
    lm = mipro.Cached(Fixed(), path)
    lm(REQUEST)
    database = sqlite3.connect(path)
    ((stored,),) = database.execute("SELECT body FROM replies").fetchall()
    tried = Tried()
    rows: list[tuple[str, Any]] = [*altered(json.loads(stored))]
    rows += [("bytes", b"\xff\0"), ("number", 5), ("none", None)]
    for what, text in rows:
        with database:
            database.execute("UPDATE replies SET body = ?", (text,))
        read = tried(what, lambda: lm(REQUEST), str(path), kind=CacheError)
        if read is not None:
            assert list(read.texts) == json.loads(text)["texts"], what
            assert all(type(part) is str for part in (*read.texts, read.model)), what
    database.close()
    lm.close()
    assert tried.refused > 100


def test_a_spoilt_cache_is_refused_or_answers_right(tmp_path):
    path = tmp_path / "cache.sqlite"
    lm = mipro.Cached(Fixed(), path)
    lm(REQUEST)
    lm.close()
    tried, whole = Tried(), path.read_bytes()
    for i, (what, data) in enumerate(spoilt(whole)):
        other = tmp_path / f"{i}.sqlite"
        other.write_bytes(data)

        def answer() -> Completion:
            cached = mipro.Cached(Fixed(), other)  # noqa: B023
            try:
                return cached(REQUEST)
            finally:
                cached.close()

        read = tried(what, answer, str(other), kind=CacheError)
        assert read is None or read.text == "fine" or read.cached, what
    assert tried.total > 150


@pytest.mark.parametrize("name", [name for name in RAW if name != "large"])
def test_a_whole_line_of_a_journal_that_is_none_is_refused_by_its_number(name, run):
    path = run / "journal.jsonl"
    path.write_text(path.read_text() + RAW[name] + "\n")
    number = path.read_text().count("\n")
    with pytest.raises(ConfigError, match=f"line {number}"):
        read_journal(path)
