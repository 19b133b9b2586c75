"""What holds for every LM: a plain one, those that wrap another, and the client over HTTP.

`build` gives, for an LM of ours, the LM under test that stands on it. Whatever the way there, the
same request meets the same reply.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from mipro.lm import base
from mipro.lm.base import LM, Completion, Message, Request, Usage
from mipro.lm.cache import Cached
from mipro.lm.meter import Ledger, Metered
from mipro.lm.openai import OpenAILM, close_clients
from mipro.lm.serve import Server

KEY = "sk-planted-5up3rs3cr3t"


class Shown:
    """Its reply is the request, shown; asked for an error by name, it raises it."""

    model = "shown"
    identity = "shown v1"

    def __call__(self, request: Request, /) -> Completion:
        asked = request.messages[-1].content
        if asked.startswith("raise "):
            raise getattr(base, asked.removeprefix("raise "))(f"as asked for: {asked}")
        text = request.digest()
        usage = Usage(len(asked), len(text) * request.n)
        reason = "length" if request.max_tokens == 1 else "stop"
        return Completion(tuple(f"{text} {i}" for i in range(request.n)), usage, self.model, reason)


def plain(stack: ExitStack, lm: LM) -> LM:
    return lm


def cached(stack: ExitStack, lm: LM) -> LM:
    wrapped = Cached(lm)
    stack.callback(wrapped.close)
    return wrapped


def metered(stack: ExitStack, lm: LM) -> LM:
    return Metered(lm, Ledger())


def over_http(stack: ExitStack, lm: LM) -> LM:
    stack.callback(close_clients)
    server = stack.enter_context(Server(lm, api_key=KEY))
    return OpenAILM(lm.model, base_url=server.base_url, api_key=KEY, max_retries=0)


def all_of_them(stack: ExitStack, lm: LM) -> LM:
    return metered(stack, cached(stack, over_http(stack, metered(stack, lm))))


@pytest.fixture(params=[plain, cached, metered, over_http, all_of_them], ids=lambda f: f.__name__)
def lm(request: pytest.FixtureRequest) -> Iterator[LM]:
    build: Callable[[ExitStack, LM], LM] = request.param
    with ExitStack() as stack:
        yield build(stack, Shown())


def ask(text: str = "hello", **settings: object) -> Request:
    return Request((Message("system", "be brief"), Message("user", text)), **settings)


REQUESTS = [
    ask(),
    ask(""),
    ask('äöü 日本 🙂\n\t"quoted" \\ </s> \x00'),
    ask("long " * 20_000),
    Request(tuple(Message(role, role) for role in ("system", "user", "assistant", "user"))),
    ask(temperature=0.0),
    ask(temperature=0),
    ask(temperature=0.1 + 0.2),
    ask(max_tokens=1),
    ask(n=5),
    ask(rollout=3),
    ask(schema={"type": "object", "properties": {"b": {"type": "string"}, "a": {}}}),
    ask(temperature=1.0, max_tokens=7, n=2, rollout=2**40, schema={}),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: json.dumps(r.messages[-1])[:30])
def test_every_way_there_the_same_request_meets_the_same_reply(lm, request_):
    direct = Shown()(request_)
    completion = lm(request_)
    assert replace(completion, cached=False) == direct
    assert len(completion.texts) == request_.n


def test_it_is_an_lm_with_a_name_and_an_identity_without_a_key(lm):
    assert isinstance(lm, LM)
    assert lm.model == "shown"
    assert lm.identity
    assert KEY not in lm.identity + repr(lm)


def test_equal_lms_have_equal_identities_and_they_do_not_change(lm):
    before = lm.identity
    lm(ask())
    assert lm.identity == before


def test_rollouts_are_separate_draws_that_can_be_had_again(lm):
    texts = [lm(ask(rollout=k)).text for k in range(5)]
    assert len(set(texts)) == 5
    assert [lm(ask(rollout=k)).text for k in range(5)] == texts


def test_many_threads_get_each_their_own_reply(lm):
    requests = [ask(f"question {k % 40}") for k in range(200)]
    with ThreadPoolExecutor(32) as threads:
        completions = list(threads.map(lm, requests))
    assert [c.texts for c in completions] == [Shown()(r).texts for r in requests]


ERRORS = [
    base.AuthError,
    base.ModelNotFoundError,
    base.RateLimitError,
    base.UnavailableError,
    base.LMTimeoutError,
    base.ContextLengthError,
    base.MalformedResponseError,
    base.LMError,
]


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_keeps_its_kind_and_what_it_says(lm, kind):
    with pytest.raises(base.LMError, match=f"as asked for: raise {kind.__name__}") as caught:
        lm(ask(f"raise {kind.__name__}"))
    assert type(caught.value) is kind
    assert KEY not in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (kind, str(caught.value))


def test_after_an_error_the_next_call_is_answered(lm):
    with pytest.raises(base.LMError):
        lm(ask("raise LMError"))
    assert lm(ask()).text
