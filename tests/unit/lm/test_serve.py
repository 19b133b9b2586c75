"""The server over real HTTP, spoken to without our own client."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from lm_doubles import KEY, EchoLM

from mipro.errors import ConfigError
from mipro.lm import base
from mipro.lm.serve import LARGEST_BODY, Server, ServerStats

MESSAGES = [{"role": "user", "content": "hi"}]


def talk(server, method="POST", path="/v1/chat/completions", body=None, key=None):
    """Status and JSON of one request; `body` is sent as JSON unless it is bytes."""
    host = urlsplit(server.base_url).netloc
    connection = http.client.HTTPConnection(host, timeout=10)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method, path, data, {"Authorization": f"Bearer {key}"} if key else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture
def server():
    with Server(EchoLM()) as server:
        yield server


def test_a_completion_in_the_form_of_openai(server):
    status, reply = talk(server, body={"model": "echo", "messages": MESSAGES, "n": 2})
    assert status == 200
    assert reply["object"] == "chat.completion"
    assert [choice["index"] for choice in reply["choices"]] == [0, 1]
    assert {choice["message"]["role"] for choice in reply["choices"]} == {"assistant"}
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, [None, None, 0, None]),
        ({"temperature": 0, "max_tokens": 5, "seed": 4}, [0, 5, 4, None]),
        ({"max_completion_tokens": 6, "temperature": None}, [None, 6, 0, None]),
        ({"response_format": {"type": "text"}}, [None, None, 0, None]),
        ({"response_format": {"type": "json_object"}}, [None, None, 0, {"type": "object"}]),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}},
            [None, None, 0, {"a": 1}],
        ),
        ({"top_p": 0.5, "stream": False}, [None, None, 0, None]),
    ],
)
def test_settings_reach_the_lm(server, settings, asked):
    _, reply = talk(server, body={"messages": MESSAGES} | settings)
    assert json.loads(reply["choices"][0]["message"]["content"])[1:5] == asked


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        ([], "no JSON object"),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [*MESSAGES, {"role": "user"}]}, "messages[1].content"),
        ({"messages": MESSAGES, "temperature": "hot"}, "temperature"),
        ({"messages": MESSAGES, "temperature": 3}, "temperature"),
        (b'{"messages": [{"role": "user", "content": ""}], "temperature": NaN}', "NaN"),
        ({"messages": MESSAGES, "max_tokens": 0}, "max_tokens"),
        ({"messages": MESSAGES, "n": True}, "n:"),
        ({"messages": MESSAGES, "n": 10**6}, "n:"),
        ({"messages": MESSAGES, "seed": 1.5}, "seed"),
        ({"messages": MESSAGES, "response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": MESSAGES, "response_format": "json"}, "response_format"),
        ({"messages": MESSAGES, "stream": True}, "streaming is not supported"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_by_name(server, body, named):
    status, reply = talk(server, body=body)
    assert status == 400
    assert named in reply["error"]["message"]
    assert set(reply["error"]) == {"message", "type", "param", "code"}
    assert server.stats == ServerStats(requests=1, errors=1)
    assert server.lm.calls == 0


def test_another_model_is_not_found(server):
    status, reply = talk(server, body={"model": "gpt-9", "messages": MESSAGES})
    assert (status, reply["error"]["code"]) == (404, "model_not_found")


def test_the_other_routes(server):
    assert talk(server, "GET", "/health") == (200, {"status": "ok"})
    assert talk(server, "GET", "/v1/models")[1]["data"][0]["id"] == "echo"
    assert talk(server, "GET", "/stats")[1]["requests"] == 0
    for method, path in (("GET", "/"), ("GET", "/v1/../etc/passwd"), ("POST", "/v1/completions")):
        assert talk(server, method, path)[0] == 404
    assert talk(server, "DELETE", "/v1/models")[0] == 501


def test_a_body_too_large_or_of_no_length_is_refused(server):
    assert talk(server, body=b" " * (LARGEST_BODY + 1))[0] == 413
    address = ("127.0.0.1", urlsplit(server.base_url).port)
    with socket.create_connection(address, timeout=10) as line:
        line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n")
        assert b" 411 " in line.recv(4096)


def test_the_key_is_asked_for():
    with Server(EchoLM(), api_key=KEY) as server:
        for key in (None, "wrong", KEY[:-1]):
            status, reply = talk(server, body={"messages": MESSAGES}, key=key)
            assert (status, reply["error"]["code"]) == (401, "invalid_api_key")
            assert KEY not in json.dumps(reply)
        assert talk(server, "GET", "/stats")[0] == 401
        assert talk(server, "GET", "/health")[0] == 200
        assert talk(server, body={"messages": MESSAGES}, key=KEY)[0] == 200
        assert KEY not in repr(server)


def test_one_connection_serves_many_requests_and_survives_a_refusal(server):
    line = http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=10)
    statuses = []
    for body in (b"{", json.dumps({"messages": MESSAGES}).encode()) * 3:
        line.request("POST", "/v1/chat/completions", body)
        response = line.getresponse()
        response.read()
        statuses.append(response.status)
    line.close()
    assert statuses == [400, 200] * 3
    assert server.stats == ServerStats(6, 3, 6, server.stats.completion_tokens, 3)


def test_the_count_is_exact_at_any_concurrency(server):
    with ThreadPoolExecutor(32) as threads:
        bodies = [{"messages": [{"role": "user", "content": "x" * k}]} for k in range(100)]
        replies = list(threads.map(lambda body: talk(server, body=body)[1], bodies))
    assert server.stats.requests == server.stats.completions == server.lm.calls == 100
    assert server.stats.prompt_tokens == sum(range(100))
    assert server.stats.completion_tokens == sum(r["usage"]["completion_tokens"] for r in replies)


def test_a_bug_in_the_lm_is_answered():
    def bug(request):
        raise RuntimeError("oops")

    with Server(EchoLM(bug)) as server:
        status, reply = talk(server, body={"messages": MESSAGES})
    assert status == 500
    assert "RuntimeError: oops" in reply["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (base.AuthError, 401),
        (base.ModelNotFoundError, 404),
        (base.RateLimitError, 429),
        (base.UnavailableError, 503),
        (base.LMTimeoutError, 408),
        (base.ContextLengthError, 400),
        (base.MalformedResponseError, 400),
        (base.LMError, 400),
    ],
)
def test_errors_of_the_lm_have_their_status(error, status):
    def fail(request):
        raise error("because")

    with Server(EchoLM(fail)) as server:
        got, reply = talk(server, body={"messages": MESSAGES})
    assert (got, reply["error"]["message"]) == (status, "because")


def test_the_latency_is_waited_for(timed):
    with Server(EchoLM(), latency=0.1) as server:
        talk(server, body={"messages": MESSAGES})
    assert timed() > 0.1


def test_only_loopback_unless_told_otherwise():
    for host in ("0.0.0.0", "192.168.1.7", "example.com"):
        with pytest.raises(ConfigError, match="allow_remote"):
            Server(EchoLM(), host=host)
    Server(EchoLM(), host="0.0.0.0", allow_remote=True).close()


def test_a_port_in_use_is_said(server):
    port = urlsplit(server.base_url).port
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
        Server(EchoLM(), port=port)


def test_closing_hangs_up_on_idle_clients():
    with Server(EchoLM()) as server:
        line = http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=10)
        line.request("GET", "/health")
        line.getresponse().read()
    line.sock.settimeout(5)
    assert line.sock.recv(1) == b""
    line.close()


def test_serve_forever_ends_when_closed():
    server = Server(EchoLM())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert talk(server, "GET", "/health")[0] == 200
    server.close()
    thread.join(5)
    assert not thread.is_alive()
