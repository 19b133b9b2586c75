"""The `openai` clients that all `OpenAILM`s of a process share, and the one call they make.

What is different here from calling `client.chat.completions.create`:

- The client's own lower-level `post` is used, which keeps its authentication, retries, back-off
  and errors, and leaves out the transform of the request and the response models. The reply is
  read by `wire.py`, strictly.
- Under it lies our own transport (`transport.py`): each try has a deadline, and any number of
  threads share a client, a few of which prepare a request at a time (`gate.py`). Where a proxy is
  set in the environment the HTTP package's own is kept, whose time-out counts the seconds without a
  byte.
- What gives no reply is retried here, with the client's back-off. A reply that came, of whatever
  use, is the caller's to ask for again: it may have been paid for.

`openai` is imported at the first call.
"""

from __future__ import annotations

import atexit
import os
import threading
import urllib.request
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from mipro.lm.address import is_local
from mipro.lm.gate import Gate
from mipro.lm.wire import Damaged, parse_reply

if TYPE_CHECKING:
    import openai

_RETRIES = "x-stainless-retry-count"  # the header in which the client numbers its tries
_clients: dict[tuple[Any, ...], _Client] = {}
_building = threading.Lock()


class Key(str):
    """A key that does not show when a debugger, a log or a traceback prints a variable."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<key>"


class _Client(NamedTuple):
    """A client, and what a thread passes before it makes a call."""

    openai: openai.OpenAI
    gate: AbstractContextManager[None]


class Reply(NamedTuple):
    """A parsed reply, and the retries that the client needed for it."""

    body: dict[str, Any]
    retries: int


def post_chat(
    base_url: str, key: Key, timeout: float, max_retries: int, body: dict[str, Any]
) -> Reply:
    """The reply to `body`, `timeout` in seconds a try. Raises `openai.OpenAIError` after retries.

    A reply that is no chat completion is `Damaged`. A body that can't be written as JSON is a
    `TypeError` or `ValueError`, before anything is sent. Where the caller's time is up before it
    can be tried again, it is `OutOfTime`.
    """
    from mipro.lm.transport import http

    client = _client(base_url, key, timeout)
    with client.gate:
        response = client.openai.post(
            f"{base_url}/chat/completions",  # whole, which spares the client joining it each time
            cast_to=http.Response,
            body=body,
            options={
                "max_retries": max_retries,
                # the rest as it is by default, which the client would make anew for each call (the
                # idempotency key, sent to nobody, of the system's random numbers)
                "headers": {},
                "timeout": client.openai.timeout,
                "idempotency_key": "unused",
            },
        )
    retries = retries_of(response.request)
    try:
        return Reply(parse_reply(response.content), retries)
    except (ValueError, RecursionError) as error:
        raise Damaged(str(error), retries) from error


def retries_of(request: Any) -> int:
    """How many tries went before the one that `request` was."""
    count = request.headers.get(_RETRIES, "0") if request is not None else "0"
    return int(count)


def close_clients() -> None:
    """Close every connection the LMs of this process hold. They open new ones when called again."""
    with _building:
        while _clients:
            _clients.popitem()[1].openai.close()


def _client(base_url: str, key: Key, timeout: float) -> _Client:
    # the process, since a forked child must not write to its parent's sockets
    address = (os.getpid(), base_url, key, timeout)
    client = _clients.get(address)
    if client is None:
        with _building:
            client = _clients.get(address)
            if client is None:
                client = _clients[address] = _built(base_url, key, timeout)
    return client


def _built(base_url: str, key: Key, timeout: float) -> _Client:
    import openai

    from mipro.lm.transport import Client, tls
    from mipro.lm.waits import OpenAI

    atexit.unregister(close_clients)  # so that it is registered once
    atexit.register(close_clients)
    gate = Gate()
    direct = not _is_proxied(base_url)
    client = OpenAI(
        api_key=key,
        base_url=base_url,
        timeout=openai.Timeout(timeout, connect=min(timeout, 10.0)),
        http_client=Client(gate) if direct else openai.DefaultHttpxClient(verify=tls()),
    )
    return _Client(client, gate if direct else nullcontext())


def _is_proxied(base_url: str) -> bool:
    """Does the environment put a proxy before this address? None lies before this machine."""
    address, proxies = urlsplit(base_url), urllib.request.getproxies()
    if is_local(base_url) or not (proxies.get(address.scheme) or proxies.get("all")):
        return False
    return not urllib.request.proxy_bypass(address.hostname or "")
