"""The journal: on disk before the run goes on, never overwritten, read back or refused by line."""

from __future__ import annotations

import os

import pytest

from mipro.errors import ConfigError
from mipro.journal import Journal, read_journal, without_times


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
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, line, said):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event": "start"}\n' + line)
    with pytest.raises(ConfigError, match=said):
        read_journal(path)


def test_a_journal_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_journal(tmp_path / "journal.jsonl")


def test_times_are_left_out_at_any_depth():
    event = {"at": 1.5, "seconds": 2, "n": 1, "deep": [{"seconds": 3, "x": [{"at": 4, "y": 5}]}]}
    assert without_times(event) == {"n": 1, "deep": [{"x": [{"y": 5}]}]}
    assert event["at"] == 1.5
