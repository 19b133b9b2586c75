"""`Turn`: what several trials under way asked is paid for by the first, whoever asked first."""

from __future__ import annotations

import copy
import copyreg
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from lm_doubles import EchoLM, ask

from mipro.lm import base, flights
from mipro.lm.base import OverLM
from mipro.lm.meter import Entry, Ledger, Metered
from mipro.lm.replies import Once, Replies, Turn

WAIT = 10.0  # seconds, for what comes at once


def at_once(request):
    pass


def late(request):
    raise base.LMTimeoutError("late")


def booked(turns):
    """Of each turn: calls answered, failed, and had from another."""
    totals = [turn.ledger.total for turn in turns]
    return [(total.calls, total.failed, total.cached) for total in totals]


def told(lm, request):
    try:
        return lm(request).text
    except base.LMError as error:
        return str(error)


def taken(lm, replies, count=2):
    """Trials under way, in their order: the LM of each, and its turn."""
    turns = [Turn(Ledger(), "task") for _ in range(count)]
    return [Metered(Once(lm, replies, turn), turn.ledger) for turn in turns], turns


@pytest.fixture(params=["plain", "registered"])
def copies(request, monkeypatch):
    """How errors are copied in this process. A library that sends errors elsewhere (tblib, which
    Dask imports) registers a way of its own, and the copies that `copy` makes by it share the
    attributes of the original.
    """
    table = dict(copyreg.dispatch_table)
    table.pop(base.LMTimeoutError, None)
    if request.param == "registered":
        table[base.LMTimeoutError] = lambda error: (sharing, (error,))
    monkeypatch.setattr(copyreg, "dispatch_table", table)
    monkeypatch.setattr(copy, "dispatch_table", table)


def sharing(error):
    twin = type(error)(*error.args)
    twin.__dict__ = error.__dict__
    return twin


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
@pytest.mark.parametrize("act", [at_once, late])
def test_whoever_asks_first_the_first_of_them_pays(tmp_path, act, order, resumed):
    lm = EchoLM(act)
    if resumed:
        earlier = Replies()
        earlier.keep(tmp_path / "r")
        told(Once(lm, earlier), ask())
        earlier.close()
    replies = Replies()
    replies.keep(tmp_path / "r", resume=resumed)
    lms, turns = taken(lm, replies, len(order))
    answers = {told(lms[i], ask()) for i in order}
    for turn in turns:
        replies.settle(turn)
    replies.close()
    assert len(answers) == lm.calls == 1
    paid = (1, 0, 0) if act is at_once else (0, 1, 0)
    assert booked(turns) == [paid, (0, 0, 1), (0, 0, 1)]
    assert turns[1].ledger.total == Entry(cached=1)  # nor a token of it


class Held(OverLM):
    """Has its reply, or failure, and does not go on to book it until it is released."""

    def __init__(self, lm):
        self.lm = lm
        self.there, self.released = threading.Event(), threading.Event()

    def __call__(self, request, /):
        try:
            return self.lm(request)
        finally:
            self.there.set()
            assert self.released.wait(WAIT)


@pytest.mark.usefixtures("copies")
@pytest.mark.parametrize("act", [at_once, late])
def test_the_first_pays_for_what_it_waited_for_while_the_second_has_not_booked_it(monkeypatch, act):
    asked, waiting = threading.Event(), threading.Event()
    real = flights._awaited

    def seen(reply):
        waiting.set()
        return real(reply)

    def slow(request):
        asked.set()
        assert waiting.wait(WAIT)
        act(request)

    monkeypatch.setattr(flights, "_awaited", seen)
    replies = Replies()
    (first, second), turns = taken(EchoLM(slow), replies)
    held = Held(second.lm)
    second = Metered(held, second.ledger)
    with ThreadPoolExecutor(2) as threads:
        behind = threads.submit(told, second, ask())
        assert asked.wait(WAIT)
        threads.submit(told, first, ask()).result(WAIT)
        assert held.there.wait(WAIT)
        replies.settle(turns[0])
        paid = (1, 0, 0) if act is at_once else (0, 1, 0)
        assert booked(turns[:1]) == [paid]
        held.released.set()
        behind.result(WAIT)
    replies.settle(turns[1])
    assert booked(turns) == [paid, (0, 0, 1)]
