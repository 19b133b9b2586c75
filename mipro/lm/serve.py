"""Any `LM` behind the OpenAI protocol over HTTP: `mipro serve`, and what the client is tested on.

`POST /v1/chat/completions`, `GET /v1/models`, `GET /health` and `GET /stats`, on the standard
library's server, a thread per connection. `OpenAILM` against it answers as the LM itself would: the
two share `wire.py` for requests and replies, and `status.py` for errors. Settings of the protocol
that a `Request` does not know (`top_p`, `stop`, …) are ignored, but for `stream`.

A request is data only: nothing in it is executed or opened. The server listens on loopback unless
it is told otherwise.
"""

from __future__ import annotations

import hmac
import json
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from mipro.errors import ConfigError
from mipro.lm.address import is_loopback
from mipro.lm.base import LM, AuthError, Completion, LMError, ModelNotFoundError
from mipro.lm.status import Refused, refusal
from mipro.lm.wire import MOST_REPLIES, parse_request, read_request, write_reply

__all__ = ["LARGEST_BODY", "MOST_REPLIES", "Server", "ServerStats", "read_request"]

LARGEST_BODY = 16 * 2**20  # bytes; a longer one is refused with 413


@dataclass(frozen=True, slots=True)
class ServerStats:
    """The server's own count. `requests` for a completion = `completions` answered + `errors`."""

    requests: int = 0
    completions: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    errors: int = 0


class Server:
    """Serves `lm` at `base_url`; a context manager that runs it on a daemon thread.

    `port=0` takes a free port. `latency` (seconds) is slept before each completion. With `api_key`
    the `/v1` routes and `/stats` ask for it. A host that is not loopback needs `allow_remote=True`.
    Raises `ConfigError` for a host or port that cannot be had.
    """

    def __init__(
        self,
        lm: LM,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        api_key: str | None = None,
        *,
        allow_remote: bool = False,
    ) -> None:
        if not allow_remote and not is_loopback(host):
            raise ConfigError(
                f"host {host!r} is not loopback: others could reach the server. Use 127.0.0.1, "
                "or say so with allow_remote=True (and set an api_key)."
            )
        self.lm, self.latency, self._key = lm, latency, api_key
        self._stats, self._lock = ServerStats(), threading.Lock()
        self._serving = self._closed = False
        try:
            self._http = _HTTPServer((host, port), self)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot listen on {host}:{port} ({error}). Choose another port, or 0 for any."
            ) from error
        shown = f"[{host}]" if ":" in host else host
        self.base_url = f"http://{shown}:{self._http.server_address[1]}/v1"

    @property
    def stats(self) -> ServerStats:
        """The counts up to now."""
        with self._lock:
            return self._stats

    def serve_forever(self) -> None:
        """Serve on this thread until interrupted or closed from another."""
        with self._lock:
            if self._closed:
                return
            self._serving = True
        self._http.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Stop listening and hang up on every client."""
        with self._lock:
            self._closed, serving = True, self._serving
        if serving:  # else there is no loop to end, and this would wait for one
            self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, name="mipro-serve", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Server({self.lm.model!r} at {self.base_url})"

    def authorize(self, header: str | None) -> None:
        """Refuse a request whose Authorization header is not the server's key."""
        if self._key is None:
            return
        given = (header or "").removeprefix("Bearer ").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._key.encode()):
            raise refusal(AuthError("Incorrect API key."))

    def complete(self, raw: bytes) -> dict[str, Any]:
        """The reply to a chat request's body, counted. Raises what is answered as an error."""
        try:
            completion = self._completion(raw)
        except Refused:
            self._count(ServerStats(requests=1, errors=1))
            raise
        usage = completion.usage
        self._count(ServerStats(1, 1, usage.prompt_tokens, usage.completion_tokens))
        return write_reply(completion, completion.model or self.lm.model)

    def _completion(self, raw: bytes) -> Completion:
        body = parse_request(raw)
        request = read_request(body)
        model = body.get("model", self.lm.model)
        if model != self.lm.model:
            message = f"The model {model!r} does not exist here; this server has {self.lm.model!r}."
            raise refusal(ModelNotFoundError(message))
        if self.latency:
            time.sleep(self.latency)
        try:
            return self.lm(request)
        except LMError as error:
            raise refusal(error) from error
        except Exception as error:  # a bug in the LM is answered too, not a dropped line
            message = f"The LM failed with {type(error).__name__}: {error}"
            raise Refused(500, message, "internal_error", "server_error") from error

    def _count(self, more: ServerStats) -> None:
        with self._lock:
            sums = {name: getattr(self._stats, name) + k for name, k in asdict(more).items()}
            self._stats = replace(self._stats, **sums)


class _HTTPServer(ThreadingHTTPServer):
    """Keeps its connections, so that closing hangs up on clients that keep theirs alive."""

    daemon_threads = True
    request_queue_size = 1024  # hundreds of clients may connect at the same moment

    def __init__(self, address: tuple[str, int], owner: Server) -> None:
        self.owner = owner
        self._connections: set[Any] = set()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Wake the threads that wait on an open connection; each closes its own."""
        for connection in tuple(self._connections):
            with suppress(OSError):  # it may have closed in this very moment
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is shown as usual."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "mipro", ""
    disable_nagle_algorithm = True
    wbufsize = 2**16  # head and body leave in one packet
    timeout = 300.0  # seconds an idle connection is kept
    server: _HTTPServer

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, route: Any) -> None:
        try:
            self._send(200, route())
        except Refused as refused:
            self._send(refused.status, refused.body)

    def _get(self) -> dict[str, Any]:
        owner = self.server.owner
        if self.path == "/health":
            return {"status": "ok"}
        owner.authorize(self.headers["Authorization"])
        if self.path == "/stats":
            return asdict(owner.stats)
        if self.path == "/v1/models":
            model = {"id": owner.lm.model, "object": "model", "created": 0, "owned_by": "mipro"}
            return {"object": "list", "data": [model]}
        raise _unknown(self.command, self.path)

    def _post(self) -> dict[str, Any]:
        body = self._body()  # read first: what is left unread would be taken for the next request
        self.server.owner.authorize(self.headers["Authorization"])
        if self.path != "/v1/chat/completions":
            raise _unknown(self.command, self.path)
        return self.server.owner.complete(body)

    def _body(self) -> bytes:
        length = self.headers["Content-Length"] or ""
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise Refused(411, "A Content-Length is required.")
        if len(length) > 18 or int(length) > LARGEST_BODY:  # of 5000 digits, none can be read
            self.close_connection = True
            self._drain(
                4 * LARGEST_BODY if len(length) > 18 else min(int(length), 4 * LARGEST_BODY)
            )
            size = f"{length[:18]}{'…' if len(length) > 18 else ''}"
            raise Refused(413, f"The body has {size} bytes; at most {LARGEST_BODY} are taken.")
        return self.rfile.read(int(length))

    def _drain(self, length: int) -> None:
        """Read what the client is still sending, so that it gets to read the refusal."""
        while length > 0 and (chunk := self.rfile.read(min(length, 2**20))):
            length -= len(chunk)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses itself (method, request line), in our form."""
        self.close_connection = True
        text = message or explain or "The request cannot be read."
        self._send(code, Refused(code, text).body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the stats count, and a request's text belongs in no log."""


def _unknown(method: str, path: str) -> Refused:
    return Refused(404, f"There is no {method} {path} here.", "unknown_url")
