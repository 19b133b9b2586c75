"""The last metre of a call: one HTTP/1.1 exchange on a kept connection, within one deadline.

It stands under the `openai` client in place of the transport of its HTTP package, which leaves two
things to be wished for:

- *A bound.* There a time-out counts the seconds without a byte, so that a server that sends one
  every few seconds holds a call for ever. Here a try as a whole must end by its deadline.
- *Many threads.* There every request locks a pool and looks through all of its connections, and a
  thread hands over the interpreter several times a request. Here an idle connection is popped off
  a stack, the request leaves in one piece, the socket is asked for nothing but what is there, and
  the reply is read by the standard library: `experiments/throughput.md` has what that is worth.

`Client` does the same one step above: one address, one set of headers and no cookies need no
merging. Only what a call for a completion needs is here: no HTTP/2, no proxies, no streams
(`clients.py` keeps the package's own client where a proxy is set). Import it only where `openai` is
wanted.
"""

from __future__ import annotations

import functools
import importlib
import io
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any

import openai

from mipro.lm.gate import Gate

# httpx, or httpx2 from openai 3 on: whichever lies under this client
http: Any = importlib.import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.split(".")[0])

_KEPT = 30.0  # seconds that an idle connection is trusted; servers hang up on them before long


@functools.cache
def tls() -> ssl.SSLContext:
    """What certificates are checked against. 60 ms to make: once, not for each client."""
    made: ssl.SSLContext = http.create_ssl_context()
    return made


class Client(openai.DefaultHttpxClient):
    """The HTTP client under `openai`'s, for requests that are whole as they come from it.

    `gate` is left while a request is under way. A redirect is followed as the package does.
    """

    def __init__(self, gate: Gate) -> None:
        self._direct = Transport(gate)
        self._urls: dict[str, Any] = {}
        super().__init__(transport=self._direct, verify=tls(), trust_env=False)

    def build_request(self, method: str, url: Any, **parts: Any) -> Any:
        """The request, its URL parsed once and its headers as they are given."""
        if parts.get("params") or parts.get("files"):
            return super().build_request(method, url, **parts)
        if isinstance(url, str):  # as the client has it on httpx2
            url = self._urls.get(url) or self._urls.setdefault(url, http.URL(url))
        content = parts["content"]
        whole = [(b"Host", url.netloc), (b"Content-Length", b"%d" % len(content))]
        return http.Request(
            method,
            url,
            headers=http.Headers(parts["headers"]).raw + whole,
            stream=http.ByteStream(content),  # spares the package finding out what the content is
            extensions={"timeout": parts["timeout"].as_dict()},
        )

    def send(self, request: Any, **options: Any) -> Any:
        """The response, its body read."""
        response = self._direct.handle_request(request)
        if response.has_redirect_location:
            return super().send(request, **options)
        response.request = request
        return response


class Transport(http.BaseTransport):  # type: ignore[misc]
    """Sends requests, on as many connections as are in flight at once.

    A request's own time-outs are kept: "connect" to get a connection, and "read" for all of the
    exchange, from here to the last byte. Raises the HTTP package's own errors, by which the client
    knows what it may retry. `gate` is left as soon as all that remains is to wait.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._idle: deque[_Connection] = deque()  # appending and popping are atomic
        self._closed = False

    def handle_request(self, request: Any) -> Any:
        """The response to `request`, its body read."""
        limits = request.extensions["timeout"]
        deadline = time.monotonic() + limits["read"]
        sent = _head(request) + request.read()
        connection = self._connection(request.url, limits["connect"])
        try:
            connection.send(sent, deadline)
            self._gate.leave()
            response, body = connection.receive(request.method, deadline)
        except TimeoutError as error:
            connection.close()
            raise http.ReadTimeout(f"no whole reply within {limits['read']:g} s") from error
        except IncompleteRead as error:
            connection.close()
            raise http.RemoteProtocolError("the reply was cut off") from error
        except (OSError, HTTPException) as error:
            connection.close()
            raise http.ReadError(str(error) or type(error).__name__) from error
        except BaseException:  # interrupted half-way: nobody may go on with this connection
            connection.close()
            raise
        if response.will_close or self._closed:
            connection.close()
        else:
            self._idle.append(connection)
        # bytes, as they came: the package would take text for ASCII
        headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in response.getheaders()]
        return http.Response(response.status, headers=headers, content=body)

    def close(self) -> None:
        """Close every connection, those in use when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _connection(self, url: Any, timeout: float) -> _Connection:
        """The connection used last, whose server is the likeliest to have kept it; or a new one."""
        origin = (url.scheme, url.raw_host.decode("ascii"), url.port)
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if connection.origin == origin and connection.is_alive():
                return connection
            connection.close()
        self._gate.leave()
        try:
            return _Connection(origin, timeout, self._gate)
        except TimeoutError as error:
            raise http.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise http.ConnectError(str(error)) from error


class _Connection:
    """An open socket to one server, which never blocks: who waits for it leaves `gate` before."""

    def __init__(self, origin: tuple[str, str, int | None], timeout: float, gate: Gate) -> None:
        scheme, host, port = self.origin = origin
        address = (host, port or (443 if scheme == "https" else 80))
        self._socket = socket.create_connection(address, timeout)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if scheme == "https":
                self._socket = tls().wrap_socket(self._socket, server_hostname=host)
            self._socket.setblocking(False)
        except BaseException:  # nobody else can close it
            self._socket.close()
            raise
        self._gate = gate
        self._poll = select.poll()
        self._poll.register(self._socket)
        self._used = time.monotonic()

    def send(self, request: bytes, deadline: float) -> None:
        """Send a request. Raises `TimeoutError` past the deadline."""
        left = memoryview(request)
        while left:
            left = left[self._when_ready(self._socket.send, left, select.POLLOUT, deadline) :]

    def receive(self, method: str, deadline: float) -> tuple[HTTPResponse, bytes]:
        """The response to it, and its body. Raises `TimeoutError` past the deadline."""
        if self.origin[0] == "http":  # under TLS some of it may have been read before
            self._wait(select.POLLIN, deadline)
        source: Any = _Reading(self, deadline)
        response = HTTPResponse(source, method=method)
        try:
            response.begin()
            body = response.read()
        finally:
            response.close()
        self._used = time.monotonic()
        return response, body

    def read_into(self, buffer: Any, deadline: float) -> int:
        """How many bytes were put into `buffer`: what there is; 0 at the end."""
        return self._when_ready(self._socket.recv_into, buffer, select.POLLIN, deadline)

    def is_alive(self) -> bool:
        """Not left too long, nor hung up on: an idle connection has nothing to be read."""
        return time.monotonic() - self._used <= _KEPT and not self._is_ready(select.POLLIN, 0.0)

    def close(self) -> None:
        self._socket.close()

    def _when_ready(self, act: Callable[[Any], int], data: Any, event: int, deadline: float) -> int:
        """`act(data)`, as soon as the socket lets it. TLS may have to read in order to write."""
        while True:
            _left(deadline)
            try:
                return act(data)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline)
            except BlockingIOError:
                self._wait(event, deadline)

    def _wait(self, event: int, deadline: float) -> None:
        self._gate.leave()
        if not self._is_ready(event, _left(deadline)):
            raise TimeoutError("the deadline has passed")

    def _is_ready(self, event: int, seconds: float) -> bool:
        """Is it so within so many seconds? An end of the connection, or an error, is ready too."""
        self._poll.modify(self._socket, event)
        return bool(self._poll.poll(1e3 * seconds))


class _Reading(io.RawIOBase):
    """What arrives on a connection before the deadline, in the form that `HTTPResponse` reads."""

    def __init__(self, source: _Connection, deadline: float) -> None:
        self._source, self._deadline = source, deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, 2**16)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.read_into(buffer, self._deadline)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left


def _head(request: Any) -> bytes:
    """The request line and headers. No value can hold a line break: the client's are its own."""
    headers = request.headers.raw
    first = b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)
    head = b"\r\n".join([first, *map(b": ".join, headers), b"", b""])
    if head.count(b"\r") + head.count(b"\n") != 2 * (len(headers) + 2):
        raise http.LocalProtocolError("a header holds a line break")
    return head
