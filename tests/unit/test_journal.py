"""The journal: on disk before the run goes on, never overwritten, read back or refused by line."""

from __future__ import annotations

import os

import pytest

from mipro.errors import ConfigError, RunError
from mipro.journal import SCHEMA, Journal, read_journal, without_times


def test_each_event_is_on_disk_before_the_next(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_size))
    with Journal(path) as journal:
        for i in range(3):
            journal({"event": "trial", "number": i})
            assert synced[i:] == [path.stat().st_size]
            on_disk = read_journal(path)
            assert [event["number"] for event in on_disk] == list(range(i + 1))
    assert all(isinstance(event["at"], float) for event in on_disk)


def test_a_line_is_one_event_whatever_its_text(tmp_path):
    path = tmp_path / "journal.jsonl"
    event = {
        "event": "note",
        "text": 'line\nbreak\u2028 "é" 日本 \ud800',
        "nested": {"a": [1, None]},
    }
    with Journal(path) as journal:
        journal(event)
    assert path.read_bytes().count(b"\n") == 1
    (read,) = read_journal(path)
    assert without_times(read) == event


def test_a_run_already_there_is_never_overwritten(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal({"event": "start"})
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"journal\.jsonl already holds a run: name another"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        Journal(tmp_path / "no" / "journal.jsonl")


def test_an_error_in_the_run_leaves_what_was_written(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)

    def run():
        with journal:
            journal({"event": "start"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(read_journal(path)) == 1
    journal.close()  # a second time is no error


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"event": "tr', "line 2: .*invalid json"),
        (b"[1]", "line 2: .*"),
        (b'{"event": "\xff"}', "line 2: .*utf-8"),
        (b"", "line 2: .*"),
        (b"\0\0\0", "line 2: .*"),
    ],
)
@pytest.mark.parametrize("after", [b"", b'{"event": "trial"}\n', b"torn"])
def test_a_whole_line_that_cannot_be_read_is_damage_and_named(tmp_path, line, said, after):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event": "start", "schema": 1}\n' + line + b"\n" + after)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=said):
        read_journal(path)
    with pytest.raises(ConfigError, match=said):
        Journal(path, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("torn", [b'{"event": "tr', b'{"event": "trial"}', b"\xff", b"\0\0\0"])
def test_what_follows_the_last_newline_is_torn_and_does_not_count(tmp_path, torn):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event": "start", "schema": 1}\n' + torn)
    assert [event["event"] for event in read_journal(path)] == ["start"]
    with Journal(path, resume=True) as journal:
        journal({"event": "start", "schema": 1})
        assert path.read_bytes().endswith(torn)  # until there is something to write
        journal({"event": "note"})
    assert [event["event"] for event in read_journal(path)] == ["start", "note"]
    assert path.read_bytes().count(b"\n") == 2


def begun(path, *events):
    with Journal(path) as journal:
        for event in ({"event": "start", "schema": SCHEMA}, *events):
            journal(event)
    return path.read_bytes()


def test_going_on_compares_and_then_appends(tmp_path):
    path = tmp_path / "journal.jsonl"
    trial = {"event": "trial", "number": 0, "seconds": 1.5, "scores": [0.1, 1 / 3], "c": {"a": 1}}
    before = begun(path, trial)
    with Journal(path, resume=True) as journal:
        assert journal.replaying
        journal({"event": "start", "schema": SCHEMA})
        journal({**trial, "seconds": 99.0, "scores": (0.1, 1 / 3)})
        assert path.read_bytes() == before
        assert not journal.replaying
        journal({"event": "end"})
    assert path.read_bytes().startswith(before)
    assert [event["event"] for event in read_journal(path)] == ["start", "trial", "end"]


def test_an_event_that_differs_is_refused_with_its_line_and_keys(tmp_path):
    path = tmp_path / "journal.jsonl"
    before = begun(path, {"event": "trial", "score": 0.5, "config": {"a": 1, "seconds": 2}})
    with Journal(path, resume=True) as journal:
        journal({"event": "start", "schema": SCHEMA})
        said = r"line 2: .*score was 0\.5, is 0\.6; config\.seconds was 2, is 3"
        with pytest.raises(RunError, match=said):
            journal({"event": "trial", "score": 0.6, "config": {"a": 1, "seconds": 3}})
        journal({"event": "error", "kind": "RunError", "text": "the above"})
    assert path.read_bytes() == before


def test_the_error_that_ended_a_run_makes_room_for_what_comes_after(tmp_path):
    path = tmp_path / "journal.jsonl"
    begun(path, {"event": "trial"}, {"event": "error", "kind": "UnavailableError"})
    with Journal(path, resume=True) as journal:
        journal({"event": "start", "schema": SCHEMA})
        journal({"event": "trial"})
        journal({"event": "error", "kind": "RateLimitError"})
    kinds = [(event["event"], event.get("kind")) for event in read_journal(path)]
    assert kinds == [("start", None), ("trial", None), ("error", "RateLimitError")]


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ({"event": "start", "schema": 99}, "line 1: its schema is 99, this version's is 1"),
        ({"event": "start"}, "line 1: this is no journal"),
        ({"event": "trial", "schema": 1}, "line 1: this is no journal"),
    ],
)
def test_another_schema_is_refused(tmp_path, first, said):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal(first)
    with pytest.raises(ConfigError, match=said):
        Journal(path, resume=True)


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path):
        for resume in (False, True):
            with pytest.raises(ConfigError, match=f"{tmp_path.name} is in use by another run"):
                Journal(path, resume=resume)
    Journal(path).close()


def test_an_error_after_paid_calls_is_a_run_that_is_not_replaced(tmp_path):
    path = tmp_path / "journal.jsonl"
    begun(path, {"event": "error", "usage": {"task": {"calls": 0, "failed": 1}}})
    begun(path, {"event": "error", "usage": {"task": {"calls": 3}}})
    with pytest.raises(ConfigError, match="already holds a run"):
        Journal(path)


def test_a_journal_set_aside_is_kept_beside_the_new_one(tmp_path):
    path = tmp_path / "journal.jsonl"
    before = begun(path, {"event": "note", "text": "\ud800 é"})
    for _ in range(2):
        with Journal(path, resume=True) as journal:
            journal.set_aside()
            assert not journal.replaying
            journal({"event": "start", "schema": SCHEMA})
    assert (tmp_path / "journal-1.jsonl").read_bytes() == before
    assert len(read_journal(tmp_path / "journal-2.jsonl")) == 1
    assert len(read_journal(path)) == 1


def test_a_journal_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_journal(tmp_path / "journal.jsonl")


def test_only_the_times_of_the_event_itself_are_left_out():
    # a field of the user's data, or a module, may be called "seconds" or "at" too
    deep = [{"seconds": 3, "x": [{"at": 4, "y": 5}]}]
    event = {"at": 1.5, "seconds": 2, "n": 1, "deep": deep}
    assert without_times(event) == {"n": 1, "deep": deep}
    assert event["at"] == 1.5
