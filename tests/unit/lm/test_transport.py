"""The transport under the client: connections kept and dropped, odd replies, TLS, proxies."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from lm_doubles import KEY, ask, good

from mipro.lm import base, clients, transport
from mipro.lm.gate import PLACES
from mipro.lm.openai import OpenAILM, close_clients

BODY = json.dumps(good()).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
PLAIN = HEAD % len(BODY) + BODY
LONG_BODY = json.dumps(good("y" * 2_000_000)).encode()
LONG = HEAD % len(LONG_BODY) + LONG_BODY


class Raw:
    """A server that reads a request and sends back bytes, `replies[i]` on the ith connection."""

    def __init__(self, *replies: list[bytes], wrap: Callable = lambda connection: connection):
        self.replies, self.wrap, self.requests = replies, wrap, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        for replies in self.replies:
            with suppress(OSError):  # also the end of the listener
                connection = self.wrap(self.listener.accept()[0])
                with connection:
                    for reply in replies:
                        self.requests.append(self.read(connection))
                        connection.sendall(reply)

    @staticmethod
    def read(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data or not data.endswith(b"}"):
            data += connection.recv(2**16)
        return data

    def __enter__(self) -> Raw:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        close_clients()
        self.thread.join(10)


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    with ExitStack() as stack:
        yield lambda *replies, **more: stack.enter_context(Raw(*replies, **more))


def lm_at(end: Raw, **settings: object) -> OpenAILM:
    return OpenAILM("m", base_url=end.url, **{"max_retries": 0, "timeout": 5.0} | settings)


def test_a_connection_is_kept_and_used_again(raw):
    end = raw([PLAIN] * 3)
    lm = lm_at(end)
    assert [lm(ask()).text for _ in range(3)] == ["fine"] * 3
    assert b"POST /v1/chat/completions HTTP/1.1\r\n" in end.requests[2]


def test_one_that_the_server_has_closed_meanwhile_is_not_used(raw):
    end = raw([PLAIN], [PLAIN])  # without a retry
    lm = lm_at(end)
    assert lm(ask()).text == "fine"
    while next(iter(_transport()._idle)).is_alive():
        threading.Event().wait(0.01)
    assert lm(ask()).text == "fine"


def test_one_that_lay_idle_for_long_is_not_used(raw, monkeypatch):
    end = raw([PLAIN], [PLAIN])
    lm = lm_at(end)
    lm(ask())
    monkeypatch.setattr(transport, "_KEPT", -1.0)
    assert lm(ask()).text == "fine"


def test_one_that_the_server_means_to_close_is_not_kept(raw):
    closing = PLAIN.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
    lm = lm_at(raw([closing], [PLAIN]))
    assert [lm(ask()).text for _ in range(2)] == ["fine"] * 2


def test_as_many_connections_are_open_as_calls_were_in_flight(faulty):
    end = faulty((200, good()))
    lm = OpenAILM("m", base_url=end.base_url)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: lm(ask()), range(64)))
    assert len(_transport()._idle) <= 8


def _transport() -> transport.Transport:
    (client,) = clients._clients.values()
    return client.openai._client._transport


def chunked(body: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[:9], body[9:]))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        chunked(BODY),
        b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN,
        PLAIN.replace(b"OK\r\n", "OK\r\nX-Name: Zoë\r\n".encode("latin-1")),
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    ],
    ids=["chunked", "continue", "header", "to the end"],
)
def test_replies_in_other_dress_are_read(raw, reply):
    assert lm_at(raw([reply]))(ask()).text == "fine"


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 20", PLAIN[:-1], b"SSH-2.0-OpenSSH\r\n", chunked(BODY)[:-9]]
)
def test_what_is_no_whole_reply_is_retried_as_a_broken_connection(raw, reply):
    assert lm_at(raw([reply], [PLAIN]), max_retries=1)(ask()).retries == 1


def test_what_does_not_go_through_at_once_goes_in_pieces(raw):
    lm = lm_at(raw([LONG] * 2))
    long = ask("x" * 2_000_000)
    assert [lm(long).text for _ in range(2)] == ["y" * 2_000_000] * 2


def test_a_request_that_nobody_reads_is_given_up_in_time_and_keeps_nobody_waiting():
    """It waits on a kept connection, outside the gate."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as threads:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        lm = OpenAILM("m", base_url=url, max_retries=0, timeout=2.0)
        first = threads.submit(lm, ask())
        connection = listener.accept()[0]
        Raw.read(connection)
        connection.sendall(PLAIN)
        assert first.result(10).text == "fine"
        (client,) = clients._clients.values()
        with ExitStack() as others:
            for _ in range(PLACES - 1):
                others.enter_context(client.gate)
            unread = threads.submit(lm, ask("x" * 20_000_000))
            assert connection.recv(1)  # it is being sent
            assert client.gate._free.acquire(timeout=1.5)
            client.gate._free.release()
            assert not unread.done()
            assert isinstance(unread.exception(10), base.LMTimeoutError)
        connection.close()
        close_clients()


def test_a_redirect_is_followed(raw):
    end = raw([PLAIN])
    there = end.url.encode() + b"/chat/completions"
    moved = b"HTTP/1.1 307 Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % there
    assert lm_at(raw([moved, moved]))(ask()).text == "fine"
    assert end.requests[0].startswith(b"POST")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_certificates_are_checked(raw, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    end = raw([], [PLAIN, LONG], wrap=lambda connection: server.wrap_socket(connection, True))
    url = end.url.replace("http://127.0.0.1", "https://localhost")
    lm = OpenAILM("m", base_url=url, max_retries=0, timeout=5.0)
    transport.tls.cache_clear()
    with pytest.raises(base.UnavailableError, match=r"CERTIFICATE|certificate"):
        lm(ask())
    close_clients()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    transport.tls.cache_clear()
    long = ask("x" * 2_000_000)  # more than goes out, or comes in, at once
    assert [lm(request).text for request in (ask(), long)] == ["fine", "y" * 2_000_000]
    transport.tls.cache_clear()


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(raw, monkeypatch):
    proxy = raw([PLAIN])
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    lm = OpenAILM("m", base_url="http://lm.example/v1", api_key=KEY, max_retries=0, timeout=5.0)
    assert lm(ask()).text == "fine"
    assert proxy.requests[0].startswith(b"POST http://lm.example/v1/chat/completions ")
    close_clients()
    assert lm_at(raw([PLAIN]))(ask()).text == "fine"
    monkeypatch.setenv("no_proxy", "lm.example")
    assert not clients._is_proxied("http://lm.example/v1")
