"""A proxy that spoils replies on purpose, to rehearse a run on an endpoint that has bad days.

    with Server(lm) as server, FaultProxy(server.base_url, {"hang": 0.05, "reset": 0.05}) as proxy:
        optimize(program, train, metric, lm=OpenAILM(lm.model, base_url=proxy.base_url), …)

Which request meets which fault is drawn from a seed, the request's body and how often that body has
come before: the same at any concurrency, and another for a retry. At a rate of 1 the endpoint is
down. Plain HTTP on loopback only; it listens to no key and writes nothing down.
"""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from mipro.errors import ConfigError

FAULTS: Mapping[str, str] = {
    "rate_limit": "429 that says when to come back (Retry-After)",
    "rate_limit_bare": "429 that does not",
    "server_error": "500",
    "bad_gateway": "502, in HTML",
    "reset": "the connection is reset",
    "slow": "the first byte comes late",
    "hang": "no byte comes for minutes",
    "drip": "a byte comes now and then, for minutes",
    "cut_off": "the connection ends in the middle of the body",
    "half_json": "200 and half of the JSON, as if it were all",
    "wrong_fields": "200 and JSON that is no chat completion",
    "empty": "200 and no text",
    "length": "200 and half of the text, finish_reason length",
    "refusal": "200 and a content filter's refusal",
    "wrong_key": "401",
    "unknown_model": "404",
    "context_too_small": "400",
}

_STATUSES: Mapping[str, tuple[int, str, str | None]] = {
    "rate_limit": (429, "Rate limit reached.", "rate_limit_exceeded"),
    "rate_limit_bare": (429, "Too many requests.", None),
    "server_error": (500, "The server had an error.", None),
    "wrong_key": (401, "Incorrect API key provided.", "invalid_api_key"),
    "unknown_model": (404, "The model does not exist.", "model_not_found"),
    "context_too_small": (
        400,
        "This model's maximum context length is 512 tokens.",
        "context_length_exceeded",
    ),
}


class FaultProxy:
    """Passes requests on to `upstream` (a `base_url`), but for a share of `rates[fault]` each.

    `slow`, `hang` and `retry_after` are seconds. `counts` says how often each fault was given, and
    how often a request was "passed" on unspoilt. `rates` may be changed while it runs, as when an
    endpoint dies in the middle. Raises `ConfigError` for a fault that is not in `FAULTS`, or rates
    that are no probabilities.
    """

    def __init__(
        self,
        upstream: str,
        rates: Mapping[str, float],
        *,
        seed: int = 0,
        slow: float = 0.5,
        hang: float = 600.0,
        retry_after: float = 0.5,
    ) -> None:
        self.rates = checked(rates)
        self.seed, self.slow, self.hang, self.retry_after = seed, slow, hang, retry_after
        address = urlsplit(upstream)
        self.upstream, self.path = address.netloc, address.path
        self.counts: Counter[str] = Counter()
        self.closing = threading.Event()
        self._seen: Counter[bytes] = Counter()
        self._lock = threading.Lock()
        self._http = _Listener(("127.0.0.1", 0), _handler(self))
        self.base_url = f"http://127.0.0.1:{self._http.server_address[1]}{self.path}"

    def draw(self, body: bytes) -> str:
        """The fault that this request meets, or "passed"."""
        with self._lock:
            attempt = self._seen[body] = self._seen[body] + 1
            digest = hashlib.blake2b(b"%d/%d/%s" % (self.seed, attempt, body), digest_size=8)
            left = int.from_bytes(digest.digest(), "big") / 2**64  # uniform on [0, 1)
            fault = "passed"
            for name, rate in self.rates.items():
                left -= rate
                if left < 0:
                    fault = name
                    break
            self.counts[fault] += 1
        return fault

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()  # wakes what hangs
        self._http.shutdown()
        self._http.server_close()


def checked(rates: Mapping[str, float]) -> dict[str, float]:
    """The rates as they are, if they are probabilities of known faults; else `ConfigError`."""
    for name, rate in rates.items():
        if name not in FAULTS:
            raise ConfigError(f"no fault is called '{name}': there are {', '.join(FAULTS)}.")
        if not 0 <= rate <= 1:
            raise ConfigError(f"{name}: a share from 0 to 1 is required, not {rate!r}.")
    if sum(rates.values()) > 1 + 1e-9:
        raise ConfigError(f"the rates add up to {sum(rates.values()):g}, which is more than 1.")
    return dict(rates)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # an orderly end would go before a reset

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients that give up on what hangs are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    """One connection. A request is passed on, spoilt, or answered with an error."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 2**16
    proxy: FaultProxy

    def setup(self) -> None:
        super().setup()
        self.onward = HTTPConnection(self.proxy.upstream, timeout=60)

    def finish(self) -> None:
        self.onward.close()
        with suppress(OSError):  # what the client did not wait for
            super().finish()

    def do_GET(self) -> None:
        self._pass_on(b"", lambda body: body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        fault = self.proxy.draw(body)
        if fault in _STATUSES:
            self._refuse(*_STATUSES[fault], hint=fault == "rate_limit")
        elif fault == "bad_gateway":
            self._send(502, b"<html><h1>502 Bad Gateway</h1></html>", "text/html")
        elif fault == "reset":
            self._reset()
        elif fault in ("hang", "drip"):
            self._hang(drip=fault == "drip")
        else:
            if fault == "slow":
                self.proxy.closing.wait(self.proxy.slow)
            self._pass_on(body, _SPOILED.get(fault, lambda reply: reply), cut=fault == "cut_off")

    def _pass_on(self, body: bytes, spoil: Callable[[bytes], bytes], cut: bool = False) -> None:
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        try:
            self.onward.request(self.command, self.path, body, headers)
            reply = self.onward.getresponse()
            data = reply.read()
        except (OSError, HTTPException):
            self.onward.close()
            self._refuse(502, "The endpoint behind the proxy does not answer.", None)
            return
        if reply.status == 200:
            data = spoil(data)
        self._send(reply.status, data, reply.getheader("Content-Type", ""), cut=cut)

    def _refuse(self, status: int, message: str, code: str | None, hint: bool = False) -> None:
        error = {"message": message, "type": "error", "param": None, "code": code}
        extra = {"Retry-After": f"{self.proxy.retry_after:g}"} if hint else {}
        self._send(status, json.dumps({"error": error}).encode(), "application/json", extra)

    def _send(
        self,
        status: int,
        data: bytes,
        kind: str,
        extra: Mapping[str, str] | None = None,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def _reset(self) -> None:
        # to linger for no time makes closing a reset (RST) instead of an orderly end
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def _hang(self, drip: bool) -> None:
        self.close_connection = True
        if not drip:
            self.proxy.closing.wait(self.proxy.hang)
            return
        self.send_response(200)
        self.flush_headers()
        pause = self.proxy.hang / 1000
        for _ in range(1000):
            self.wfile.write(b"X-Drip: 0\r\n")
            self.wfile.flush()
            if self.proxy.closing.wait(pause):
                return

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a request's text belongs in no log."""


def _handler(owner: FaultProxy) -> type[_Handler]:
    return type("Handler", (_Handler,), {"proxy": owner})


def _changed(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def spoil(data: bytes) -> bytes:
        body = json.loads(data)
        for choice in body["choices"]:
            change(choice)
        return json.dumps(body).encode()

    return spoil


def _halve(choice: dict[str, Any]) -> None:
    text = choice["message"]["content"]
    choice["message"]["content"] = text[: len(text) // 2]
    choice["finish_reason"] = "length"


def _empty(choice: dict[str, Any]) -> None:
    choice["message"]["content"] = ""
    choice["finish_reason"] = "stop"


def _refusal(choice: dict[str, Any]) -> None:
    choice["message"] = {"role": "assistant", "content": None}
    choice["finish_reason"] = "content_filter"


_SPOILED: Mapping[str, Callable[[bytes], bytes]] = {
    "half_json": lambda data: data[: len(data) // 2],
    "wrong_fields": _changed(lambda choice: choice.update(text=choice.pop("message")["content"])),
    "empty": _changed(_empty),
    "length": _changed(_halve),
    "refusal": _changed(_refusal),
}
