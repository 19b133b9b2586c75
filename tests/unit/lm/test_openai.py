"""`OpenAILM` against an endpoint that fails in every way seen in the wild, over real HTTP."""

from __future__ import annotations

import logging
import pickle
import socket
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from lm_doubles import KEY, ask, good

from mipro.errors import ConfigError
from mipro.lm import base, clients, tokens
from mipro.lm.openai import OpenAILM


def lm_at(faulty, **settings):
    return OpenAILM("m", base_url=faulty.base_url, **{"max_retries": 0} | settings)


def shown(error: BaseException) -> str:
    """All that a traceback, a log or a pickle of the error would show."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(pickle.dumps(error))


def failure(lm, request=None, kind=base.LMError):
    with pytest.raises(kind) as caught:
        lm(request or ask())
    assert type(caught.value) is kind
    assert KEY not in shown(caught.value)
    return str(caught.value)


def test_importing_it_does_not_import_the_client():
    code = "import sys, mipro.lm.openai as m; m.OpenAILM('m'); assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_reply_becomes_a_completion(faulty):
    end = faulty((200, good("  as it came \n", model="m-2024", system_fingerprint="f")))
    completion = lm_at(end)(ask())
    assert completion == base.Completion(("  as it came \n",), base.Usage(3, 2), "m-2024")


def test_replies_come_in_the_order_of_their_index(faulty):
    choices = [
        {"index": i, "message": {"content": f"r{i}"}, "finish_reason": None} for i in (2, 0, 1)
    ]
    assert lm_at(faulty((200, good(choices=choices))))(ask(n=3)).texts == ("r0", "r1", "r2")


def test_a_reply_cut_at_its_length_is_passed_on(faulty):
    choices = [{"message": {"content": "half a sent"}, "finish_reason": "length"}]
    completion = lm_at(faulty((200, good(choices=choices))))(ask())
    assert (completion.text, completion.finish_reason) == ("half a sent", "length")


# ---- what is sent -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "request_", "sent"),
    [
        ({}, {}, {}),
        ({"temperature": 0.7}, {}, {"temperature": 0.7}),
        ({"temperature": 0.7}, {"temperature": 0.0}, {"temperature": 0.0}),
        ({"max_tokens": 9}, {"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 9}, {}, {"max_tokens": 9}),
        ({}, {"rollout": 3}, {"seed": 3}),
        ({"seed": 0}, {}, {"seed": 0}),
        ({"seed": 7}, {"rollout": 3}, {"seed": 10}),
        (
            {"extra_body": {"top_p": 0.5, "seed": None}},
            {"rollout": 3},
            {"top_p": 0.5, "seed": None},
        ),
        ({"structured": "off"}, {"schema": {"type": "object"}}, {}),
        (
            {"structured": "json_object"},
            {"schema": {"type": "object"}},
            {"response_format": {"type": "json_object"}},
        ),
    ],
)
def test_only_what_is_set_is_sent(faulty, settings, request_, sent):
    end = faulty((200, good()))
    lm_at(end, **settings)(ask(**request_))
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    assert end.seen == [{"model": "m", "messages": messages} | sent]


def test_a_schema_is_asked_for_strictly(faulty):
    end = faulty((200, good()))
    lm_at(end)(ask(schema={"type": "object"}))
    asked = end.seen[0]["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"] == {"name": "reply", "strict": True, "schema": {"type": "object"}}


def test_openai_itself_is_sent_its_newer_name_of_the_limit():
    body = OpenAILM("gpt-4o-mini", max_tokens=9)._body(ask())
    assert body["max_completion_tokens"] == 9
    assert "max_tokens" not in body


def test_no_proxy_lies_between_a_machine_and_itself(faulty, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert lm_at(faulty((200, good())))(ask()).text == "fine"


# ---- failures -----------------------------------------------------------------------------------


def said(message: str, code: object = None) -> dict:
    return {"error": {"message": message, "type": "t", "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "advice"),
    [
        (401, said(f"Incorrect API key provided: {KEY}."), base.AuthError, "Check the key"),
        (403, said("not yours"), base.AuthError, "may use this model"),
        (404, said("no such model", "model_not_found"), base.ModelNotFoundError, "model's name"),
        (404, b"<html>Not Found</html>", base.ModelNotFoundError, "/v1"),
        (429, said("slow down"), base.RateLimitError, "fewer at a time"),
        (400, said("x", "context_length_exceeded"), base.ContextLengthError, "demonstrations"),
        (400, said("maximum context length is 9"), base.ContextLengthError, "demonstrations"),
        (400, said("exceeds the available context size"), base.ContextLengthError, "shorter"),
        (400, said("filtered", "content_filter"), base.MalformedResponseError, "Reword"),
        (400, said("temperature: bad"), base.LMError, "settings"),
        (422, said("seed: unknown", 422), base.LMError, "settings"),
        (408, said("too slow"), base.LMTimeoutError, "Ask for less"),
        (500, said("oops"), base.UnavailableError, "failing"),
        (502, b"<html>bad gateway</html>", base.UnavailableError, "failing"),
        (503, b"", base.UnavailableError, "failing"),
    ],
)
def test_a_status_becomes_a_typed_error_that_says_what_to_do(faulty, status, body, kind, advice):
    end = faulty((status, body))
    message = failure(lm_at(end, api_key=KEY), kind=kind)
    assert f"'m' at {end.base_url}: status {status}" in message
    assert advice in message


DAMAGED = [
    (b'{"choices": [{"mess', "is not JSON"),
    (b"<html>", "is not JSON"),
    (b"[" * 100_000, "is not JSON"),
    (b"\xff\xfe\x00", "is not JSON"),
    (b"[]", "no JSON object"),
    ({}, "no choices"),
    (good(choices=[]), "no choices"),
    (said(f"overloaded, {KEY}"), "an error: {'message': 'overloaded"),
    (good(choices=["fine"]), "no message"),
    (good(choices=[{"text": "fine"}]), "no message"),
    (good(content=["fine"]), "content of a message is no text"),
    (good(usage={"prompt_tokens": "3", "completion_tokens": 2}), "usage"),
    (good(usage={"prompt_tokens": -3, "completion_tokens": 2}), "usage"),
]
UNUSABLE = [
    (good(content=None), "no text"),
    (good(content=""), "no text"),
    (good(choices=[{"message": {"role": "assistant"}}]), "no text"),
    (good(choices=[{"message": {"content": ""}, "finish_reason": "length"}]), "Raise max_tokens"),
    (good(choices=[{"message": {"content": None, "refusal": "I won't"}}]), r"refused (I won't)"),
    (
        good(choices=[{"message": {"content": "so"}, "finish_reason": "content_filter"}]),
        "content filter",
    ),
]


@pytest.mark.parametrize(("body", "reason"), DAMAGED + UNUSABLE)
def test_an_answer_that_is_no_completion_says_why(faulty, body, reason):
    end = faulty((200, body))
    assert reason in failure(lm_at(end, api_key=KEY), kind=base.MalformedResponseError)


def test_of_an_endpoint_that_knows_no_n_the_rest_is_asked_for_one_by_one(faulty):
    end = faulty(*((200, good(text)) for text in ("a", "b", "c")))
    completion = lm_at(end, seed=40)(ask(n=3))
    assert completion.texts == ("a", "b", "c")
    assert completion.usage == base.Usage(9, 6)
    assert completion.retries == 2
    assert [body.get("n", 1) for body in end.seen] == [3, 2, 1]
    assert [body["seed"] for body in end.seen] == [40, 41, 42]


def test_where_the_rest_fails_what_came_is_paid_all_the_same(faulty):
    end = faulty((200, good()), (400, {"error": {"message": "no"}}))
    with pytest.raises(base.LMError) as caught:
        lm_at(end)(ask(n=2))
    assert (caught.value.usage, caught.value.retries) == (base.Usage(3, 2), 1)


def test_what_cannot_be_sent_is_one_requests_fault(faulty):
    end = faulty((200, good()))
    assert "Unicode" in failure(lm_at(end), ask("\ud800"))
    assert "NaN" in failure(lm_at(end), ask(temperature=float("nan")))
    assert "set is not JSON" in failure(lm_at(end), ask(schema={"type": {"object"}}))
    assert end.seen == []


@pytest.mark.parametrize("kind", [TypeError, ValueError])
def test_a_client_that_fails_is_not_taken_for_a_request_that_is_no_json(faulty, monkeypatch, kind):
    """As one of another version might; every call would meet it, so it ends a run."""

    def broken(*_: object, **__: object) -> None:
        raise kind(f"no such option, {KEY}")

    monkeypatch.setattr("openai.OpenAI.post", broken)
    with pytest.raises(base.LMError) as caught:
        lm_at(faulty((200, good())), api_key=KEY)(ask())
    said = str(caught.value)
    assert "JSON" not in said
    assert f"the `openai` client failed ({kind.__name__}: no such option, <key>)" in said
    assert caught.value.systemic


@pytest.mark.parametrize(
    "fault",
    [
        (429, said("slow"), {"Retry-After": "0.05"}),
        (429, said("slow")),
        (500, said("oops")),
        (502, b"<html>"),
        (200, b'{"choices": [{"mess'),
        "drop",
        "cut",
    ],
    ids=str,
)
def test_a_passing_fault_is_retried(faulty, fault):
    end = faulty(fault, (200, good()))
    assert lm_at(end, max_retries=1)(ask()).text == "fine"
    assert len(end.seen) == 2
    assert end.seen[0] == end.seen[1]


def test_what_would_be_refused_the_same_again_is_not_retried(faulty):
    end = faulty((400, said("x", "m")))
    failure(lm_at(end, max_retries=4))
    assert len(end.seen) == 1


def cut_off(content: object = "half a sent") -> dict:
    return good(choices=[{"message": {"content": content}, "finish_reason": "length"}])


@pytest.mark.parametrize(
    ("settings", "tries"),
    [({}, 3), ({"max_reasks": 0}, 1), ({"max_retries": 0}, 1), ({"max_retries": 1}, 2)],
)
@pytest.mark.parametrize("body", [good(content=""), good(content=None), cut_off("")])
def test_a_reply_of_no_use_is_asked_for_again_within_both_bounds(faulty, settings, tries, body):
    end = faulty(*[(200, body)] * tries, (200, good()))
    with pytest.raises(base.MalformedResponseError) as caught:
        lm_at(end, **{"max_retries": 4} | settings)(ask())
    *asked, word = end.seen
    assert len(asked) == caught.value.retries == tries
    assert word["messages"] == [{"role": "user", "content": "Hello"}]
    paid = tries + 1  # all of them were, and so was the word
    assert caught.value.usage == base.Usage(3 * paid, 2 * paid)
    assert not caught.value.systemic


@pytest.mark.parametrize("body", [good(content=""), good(content=None)])
def test_an_endpoint_that_never_says_anything_is_at_fault_and_not_the_prompt(faulty, body):
    end = faulty((200, body))
    with pytest.raises(base.MalformedResponseError, match="A question of a word") as caught:
        lm_at(end, max_retries=4)(ask())
    assert caught.value.systemic
    assert caught.value.usage.total == 5 * len(end.seen) == 5 * (3 + 2)


def test_what_came_of_no_use_at_first_is_paid_for_as_well(faulty):
    end = faulty((200, good(content="")), (200, cut_off()), (200, good()))
    completion = lm_at(end, max_retries=4)(ask())
    assert completion == base.Completion(("fine",), base.Usage(9, 6), "m", retries=2)


def test_a_reply_that_is_cut_off_every_time_is_handed_on(faulty):
    end = faulty((200, cut_off()))
    completion = lm_at(end, max_retries=4)(ask())
    assert (completion.text, completion.finish_reason) == ("half a sent", "length")
    assert (completion.retries, completion.usage) == (2, base.Usage(9, 6))


def test_the_clients_own_retries_are_counted_with_the_others(faulty):
    end = faulty((500, said("x")), (200, good(content="")), "drop", (200, good()))
    completion = lm_at(end, max_retries=4)(ask())
    assert completion.retries == len(end.seen) - 1 == 3
    end = faulty((200, good(content="")), (500, said("x")))
    with pytest.raises(base.UnavailableError) as caught:
        lm_at(end, max_retries=2)(ask())
    assert caught.value.retries == len(end.seen) - 1 == 2
    with pytest.raises(base.UnavailableError, match="tried 3 times"):
        lm_at(faulty((200, good(content="")), "drop"), max_retries=2)(ask())


def test_damage_that_lasts_ends_within_the_retries(faulty):
    end = faulty((200, b"{"))
    message = failure(lm_at(end, max_retries=1), kind=base.MalformedResponseError)
    assert "after 1 retries" in message
    assert [len(body["messages"]) for body in end.seen] == [2, 2, 1, 1]  # then a word, retried too


def test_a_request_that_hangs_is_given_up_and_retried_in_bounded_time(faulty, timed):
    end = faulty("hang", (200, good()))
    assert lm_at(end, timeout=0.2, max_retries=1)(ask()).text == "fine"
    end = faulty("hang")
    message = failure(lm_at(end, timeout=0.2, max_retries=1), kind=base.LMTimeoutError)
    assert "within 0.2 s, tried 2 times" in message
    assert "timeout" in message
    assert timed() < 5


def test_a_server_that_drips_is_given_up_as_well(faulty, timed):
    end = faulty("drip")
    failure(lm_at(end, timeout=0.3), kind=base.LMTimeoutError)
    assert timed() < 3


@pytest.mark.parametrize("fault", ["hang", (200, b"{")], ids=str)
def test_without_an_answer_a_word_tells_the_prompts_fault_from_the_endpoints(faulty, fault):
    for steps, systemic in (
        ((fault, fault, (200, good())), False),
        ((fault, fault, fault, (400, said("too short"))), False),
        ((fault, fault, fault, fault), True),
        ((fault, fault, (500, said("oops"))), True),
        ((fault, fault, "drop"), True),
    ):
        end = faulty(*steps)
        with pytest.raises(base.LMError) as caught:
            lm_at(end, timeout=0.1, max_retries=1)(ask())
        assert caught.value.systemic is systemic
        assert ("the endpoint is failing" in str(caught.value)) is systemic
        assert end.seen[2]["messages"] == [{"role": "user", "content": "Hello"}]
        assert caught.value.retries == len(end.seen) - 1


def test_no_server_is_said_with_its_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        lm = OpenAILM("m", base_url=url, max_retries=0, api_key=KEY)
        message = failure(lm, kind=base.UnavailableError)
    assert url in message
    assert "Is the server running" in message


def test_no_usage_is_estimated_and_said_once(faulty, caplog, monkeypatch):
    monkeypatch.setattr(tokens, "_said", set())
    lm = lm_at(faulty((200, good("eight ch", usage=None))))
    with caplog.at_level(logging.WARNING, "mipro.tokens"):
        assert lm(ask()).usage == lm(ask()).usage == base.Usage(4, 2)
    assert len(caplog.records) == 1


# ---- keys ---------------------------------------------------------------------------------------


def test_without_a_key_nothing_is_sent_and_the_variable_is_named():
    message = failure(OpenAILM("m", api_key_env="MY_KEY"), kind=base.AuthError)
    assert "set the environment variable MY_KEY" in message


def test_a_key_that_is_none_is_refused_unseen(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nexport X=1")
    failure(OpenAILM("m"), kind=base.AuthError)


def test_the_key_is_sent_and_loopback_needs_none(faulty, monkeypatch):
    end = faulty((200, good()))
    lm_at(end)(ask())
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    lm_at(end)(ask())
    lm_at(end, api_key="other")(ask())
    assert [h["authorization"] for h in end.headers][1:] == [f"Bearer {KEY}", "Bearer other"]


def test_the_key_shows_nowhere(faulty):
    lm = lm_at(faulty((200, good())), api_key=KEY)
    lm(ask())
    assert KEY not in repr(lm) + lm.identity + repr(vars(lm)) + repr(clients._clients)


def test_a_pickle_holds_no_key_and_reads_it_anew(faulty, monkeypatch):
    end = faulty((200, good()))
    monkeypatch.setenv("MY_KEY", KEY)
    lm = lm_at(end, api_key_env="MY_KEY", seed=0, temperature=0.5)
    lm(ask())
    pickled = pickle.dumps(lm)
    assert KEY.encode() not in pickled
    monkeypatch.setenv("MY_KEY", "the worker's")
    again = pickle.loads(pickled)
    again(ask())
    assert again.identity == lm.identity
    assert end.seen[0] == end.seen[1]
    assert end.headers[1]["authorization"] == "Bearer the worker's"


def test_a_key_given_as_an_argument_does_not_travel():
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        pickle.dumps(OpenAILM("m", api_key=KEY))
    assert KEY not in shown(caught.value)


# ---- settings and clients -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": ""}, "model"),
        ({"base_url": "127.0.0.1:8000/v1"}, "base_url"),
        ({"base_url": f"https://me:{KEY}@host/v1"}, "base_url"),
        ({"timeout": 0}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_reasks": None}, "max_reasks"),
        ({"structured": "yes"}, "structured"),
        ({"extra_body": {"x": object()}}, "extra_body"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named) as caught:
        OpenAILM(**{"model": "m"} | settings)
    assert KEY not in shown(caught.value)


def test_identity_tells_apart_what_replies_differently(monkeypatch):
    lms = [OpenAILM("m"), OpenAILM("n"), OpenAILM("m", seed=0), OpenAILM("m", temperature=0)]
    lms += [OpenAILM("m", base_url="http://localhost:1/v1"), OpenAILM("m", extra_body={"a": 1})]
    assert len({lm.identity for lm in lms}) == len(lms)
    assert OpenAILM("m", timeout=1, max_retries=0).identity == lms[0].identity
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1/")
    assert OpenAILM("m").identity == lms[4].identity


def test_threads_and_instances_share_one_client(faulty):
    end = faulty((200, good()))
    with ThreadPoolExecutor(64) as threads:
        list(threads.map(lambda _: lm_at(end)(ask()), range(200)))
    assert len(end.seen) == 200
    assert len(clients._clients) == 1
