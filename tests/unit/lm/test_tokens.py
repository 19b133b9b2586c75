"""Counting tokens, with tiktoken's tables, without them, and with tables that never come."""

from __future__ import annotations

import logging
import threading

import pytest

from mipro.lm import tokens
from mipro.lm.tokens import count_tokens, estimate_tokens

tiktoken = pytest.importorskip("tiktoken")


class Words:
    """A stand-in for an encoding: a token a word."""

    def encode_ordinary(self, text):
        return text.split()


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As at the start of a process."""
    monkeypatch.setattr(tokens, "_encodings", {})
    monkeypatch.setattr(tokens, "_no_tables", threading.Event())
    monkeypatch.setattr(tokens, "_said", set())
    monkeypatch.delenv("MIPRO_TIKTOKEN", raising=False)


def loading(monkeypatch, load):
    calls = []
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: (calls.append(name), load(name))[1])
    return calls


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("日本", 2), ("\ud800", 1)]
)
def test_the_estimate_is_a_token_for_four_bytes(text, count):
    assert estimate_tokens(text) == count


def test_tables_that_load_are_used_and_loaded_once(monkeypatch, caplog):
    calls = loading(monkeypatch, lambda name: Words())
    assert count_tokens("three little words") == 3
    assert count_tokens("two words", "gpt-4o-mini") == 2
    assert count_tokens("old words", "gpt-4") == 2
    assert calls == ["o200k_base", "cl100k_base"]
    assert not caplog.records


def unreachable(name):
    raise ConnectionError("no network")


def test_tables_that_do_not_load_are_said_once_and_not_tried_again(monkeypatch, caplog):
    calls = loading(monkeypatch, unreachable)
    with caplog.at_level(logging.WARNING):
        assert count_tokens("eight ch") == count_tokens("eight ch", "gpt-4") == 2
    assert len(calls) == 1
    assert ["estimates" in record.message for record in caplog.records] == [True]


def test_tables_that_never_come_hold_nothing_up(monkeypatch, caplog, timed):
    release = threading.Event()
    loading(monkeypatch, lambda name: release.wait(10))
    monkeypatch.setattr(tokens, "PATIENCE", 0.1)
    assert count_tokens("eight ch") == count_tokens("eight ch") == 2
    assert timed() < 2
    assert "no answer in 0.1 s" in caplog.text
    release.set()


def test_it_can_be_told_not_to_try(monkeypatch, caplog):
    monkeypatch.setenv("MIPRO_TIKTOKEN", "0")
    calls = loading(monkeypatch, lambda name: Words())
    assert count_tokens("three little words") == estimate_tokens("three little words")
    assert not calls
    assert not caplog.records


def test_a_model_tiktoken_does_not_know_is_estimated_quietly(monkeypatch, caplog):
    calls = loading(monkeypatch, lambda name: Words())
    assert count_tokens("eight ch", "simulated") == 2
    assert not calls
    assert not caplog.records
