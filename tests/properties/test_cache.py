"""`Cached` against a model of it: a dictionary and a count.

Invariants, whatever is asked, cleared, reopened or pickled, in any order: a reply is the LM's own;
the LM is asked once for each request since it was last forgotten; a failure leaves no trace.
"""

from __future__ import annotations

import pickle
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mipro.lm.base import Completion, LMError, Message, Request, Usage
from mipro.lm.cache import Cached

# few distinct requests, so that they meet again; text of any kind, lone surrogates too
text = st.sampled_from(["", "a", "é\n", "日本", "\ud800", "\x00", '"; DROP TABLE replies; --'])
requests = st.builds(
    Request,
    messages=st.lists(st.builds(Message, st.just("user"), text), max_size=2).map(tuple),
    temperature=st.sampled_from([None, 0.0, 0.7]),
    n=st.integers(1, 2),
    rollout=st.integers(0, 1),
)


class Counting:
    """Replies with the prompt; counts; fails when told to."""

    model = identity = "counting"
    asked = 0
    failing = False

    def __call__(self, request: Request, /) -> Completion:
        if Counting.failing:
            raise LMError("told to")
        Counting.asked += 1
        reply = "".join(message.content for message in request.messages)
        return Completion((reply,) * request.n, Usage(len(reply), request.rollout), self.model)


class CachedMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        Counting.asked, Counting.failing = 0, False
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "cache.db"
        self.cached = Cached(Counting(), self.path)
        self.known: set[Request] = set()
        self.paid = 0

    @rule(request=requests)
    def ask(self, request: Request) -> None:
        hit = request in self.known
        completion = self.cached(request)
        expected = "".join(message.content for message in request.messages)
        assert completion.texts == (expected,) * request.n
        assert completion.usage == Usage(len(expected), request.rollout)
        assert completion.cached is hit
        self.known.add(request)
        self.paid += not hit

    @rule(request=requests)
    def ask_of_a_failing_lm(self, request: Request) -> None:
        Counting.failing = True
        if request in self.known:
            assert self.cached(request).cached
        else:
            with pytest.raises(LMError, match="told to"):
                self.cached(request)
        Counting.failing = False

    @rule()
    def clear(self) -> None:
        self.cached.clear()
        self.known.clear()

    @rule()
    def reopen(self) -> None:
        self.cached.close()
        self.cached = Cached(Counting(), self.path)

    @rule()
    def travel(self) -> None:
        old, self.cached = self.cached, pickle.loads(pickle.dumps(self.cached))
        old.close()

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.cached) == len(self.known)
        assert Counting.asked == self.paid

    def teardown(self) -> None:
        self.cached.close()
        self.folder.cleanup()


TestCached = CachedMachine.TestCase
TestCached.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@given(
    texts=st.lists(st.text(st.characters()), min_size=1, max_size=3).map(tuple),
    counts=st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)),
    model=st.text(),
    reason=st.text(),
)
@settings(max_examples=100, deadline=None)
def test_what_is_stored_comes_back_to_the_letter(texts, counts, model, reason):
    completion = Completion(texts, Usage(*counts), model, reason)

    def lm(request: Request) -> Completion:
        return completion

    lm.model = lm.identity = "any"
    cached = Cached(lm)
    request = Request((Message("user", "x"),))
    assert cached(request) == completion
    assert cached(request) == replace(completion, cached=True)
    cached.close()
