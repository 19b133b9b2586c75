"""The HTTP clients that all `OpenAILM`s of a process share, and the one call they make.

What is different here from calling `client.chat.completions.create`:

- The client's own lower-level `post` is used, which keeps its authentication, retries, back-off
  and errors, and leaves out the transform of the request and the response models: measured on
  loopback, 0.6 ms of CPU a call instead of 1.1 (two messages) or 5 (a few-shot prompt). The reply
  is read by `wire.py`, strictly.
- A reply that came damaged (half a JSON body, no choices, wrong fields) under status 200 is
  retried as a broken connection is, within the same `max_retries`.

`openai` is imported at the first call.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import itertools
import os
import threading
from typing import TYPE_CHECKING, Any

from mipro.lm.address import is_local
from mipro.lm.wire import parse_reply

if TYPE_CHECKING:
    import openai

# A pool looks through all its connections for every request, so that a wide one is slow. Threads
# are dealt out over a few pools instead; each thread keeps to its own, and so to its connection.
_POOLS = 16
_BODY = "mipro.body"  # where a response carries its parsed body
_clients: dict[tuple[Any, ...], openai.OpenAI] = {}
_building = threading.Lock()
_turn = itertools.count()
_thread = threading.local()


class Key(str):
    """A key that does not show when a debugger, a log or a traceback prints a variable."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<key>"


def post_chat(
    base_url: str, key: Key, timeout: float, max_retries: int, body: dict[str, Any]
) -> dict[str, Any]:
    """The parsed reply to `body`. Raises `openai.OpenAIError` after the client's retries.

    One whose cause is a `damaged()` is a reply that is no chat completion. A body that can't be
    written as JSON is a `TypeError` or `ValueError`, before anything is sent.
    """
    client = _client(base_url, key, timeout, max_retries)
    response = client.post("/chat/completions", cast_to=_http().Response, body=body)
    read: dict[str, Any] = response.extensions[_BODY]
    return read


def close_clients() -> None:
    """Close every connection the LMs of this process hold. They open new ones when called again."""
    with _building:
        while _clients:
            _clients.popitem()[1].close()


def _client(base_url: str, key: Key, timeout: float, max_retries: int) -> openai.OpenAI:
    pool = getattr(_thread, "pool", None)
    if pool is None:
        pool = _thread.pool = next(_turn) % _POOLS
    # the process, since a forked child must not write to its parent's sockets
    address = (os.getpid(), pool, base_url, key, timeout, max_retries)
    client = _clients.get(address)
    if client is None:
        with _building:
            client = _clients.get(address)
            if client is None:
                client = _clients[address] = _built(base_url, key, timeout, max_retries)
    return client


def _built(base_url: str, key: Key, timeout: float, max_retries: int) -> openai.OpenAI:
    import openai

    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=1000, max_keepalive_connections=256, keepalive_expiry=30.0
    )
    atexit.unregister(close_clients)  # so that it is registered once
    atexit.register(close_clients)
    return openai.OpenAI(
        api_key=key,
        base_url=base_url,
        max_retries=max_retries,
        timeout=openai.Timeout(timeout, connect=min(timeout, 10.0)),
        http_client=openai.DefaultHttpxClient(
            limits=limits,
            verify=_tls(),
            event_hooks={"response": [_read]},
            trust_env=not is_local(base_url),  # no proxy lies between a machine and itself
        ),
    )


@functools.cache
def _http() -> Any:
    """The HTTP package under the client: httpx, or httpx2 from openai 3 on."""
    import openai

    return importlib.import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.split(".")[0])


@functools.cache
def _tls() -> Any:
    return _http().create_ssl_context()  # 60 ms: once, not for each pool


@functools.cache
def damaged() -> type[Exception]:
    """The error of a damaged reply, which the client retries as it does a broken connection."""
    return type("Damaged", (_http().RemoteProtocolError,), {})


def _read(response: Any) -> None:
    """Parse a reply's body as soon as it is there, while the client can still retry it."""
    if not response.is_success:
        return
    response.read()
    try:
        response.extensions[_BODY] = parse_reply(response.content)
    except (ValueError, RecursionError) as error:
        raise damaged()(str(error)) from error
