"""`OpenAILM`: any endpoint that speaks OpenAI's chat completions, through the `openai` package.

What is different here from calling `client.chat.completions.create`:

- The client's own lower-level `post` is used, which keeps its authentication, retries, back-off
  and errors, and leaves out the transform of the request and the response models: measured on
  loopback, 0.6 ms of CPU a call instead of 1.1 (two messages) or 5 (a few-shot prompt). The reply
  is read here, strictly.
- A reply that came damaged (half a JSON body, no choices, wrong fields) under status 200 is
  retried as a broken connection is, within the same `max_retries`. One that came whole but holds
  no usable text (refused, filtered, empty) is not: asking again would pay for the same again.
- Every failure is one of the errors of `base.py`, says what to do next, and never shows the key.

`openai` is imported at the first call.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import ipaddress
import itertools
import json
import os
import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from mipro.errors import ConfigError
from mipro.lm import base
from mipro.lm.base import Completion, LMError, Request, Usage
from mipro.lm.tokens import estimate_tokens, note_estimate

if TYPE_CHECKING:
    import openai

Structured = Literal["json_schema", "json_object", "off"]
OPENAI_URL = "https://api.openai.com/v1"
_NO_KEY = "no-key-needed"
_READ = "mipro.body"  # where a response carries its parsed body
_TOO_LONG = re.compile(r"context[ _](length|window|size)|maximum context", re.IGNORECASE)


class OpenAILM:
    """The LM `model` at `base_url`. It holds settings only, and is safe on any number of threads.

    - `base_url`: by default `OPENAI_BASE_URL` of the environment, else OpenAI's own.
    - `api_key`: by default what the variable `api_key_env` holds at the time of a call. An endpoint
      on loopback needs none.
    - `temperature`, `max_tokens`: for requests that leave them open; None leaves them to the
      endpoint.
    - `seed`: a request with rollout r is sent `seed + r`, so that repeated samples differ and can
      be had again. Without a seed only r > 0 is sent, as the seed r.
    - `timeout`: seconds without a byte before a try is given up; a call ends within
      `timeout * (max_retries + 1)` and the back-off between (up to 8 s, or what Retry-After says).
    - `structured`: how `Request.schema` is asked for: OpenAI's "json_schema", the older
      "json_object" (any object), or "off" (the prompt alone says it).
    - `extra_body`: laid over the JSON of every request.

    A pickle holds the settings and never a key, nor a client: the other side reads `api_key_env`
    anew. An LM that was given its key as an argument therefore refuses to be pickled.
    Raises `ConfigError` for settings that make no sense; a call raises `LMError`s only.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        timeout: float = 60.0,
        max_retries: int = 4,
        structured: Structured = "json_schema",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(model, str) or not model:
            raise ConfigError(f"model: a name is required, not {model!r}.")
        if structured not in ("json_schema", "json_object", "off"):
            raise ConfigError(f"structured: json_schema, json_object or off, not {structured!r}.")
        if not timeout > 0:
            raise ConfigError(
                f"timeout: a positive number of seconds is required, not {timeout!r}."
            )
        if type(max_retries) is not int or max_retries < 0:
            raise ConfigError(
                f"max_retries: a whole number from 0 is required, not {max_retries!r}."
            )
        self.model = model
        self.base_url = _checked(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self._given_key = _Key(api_key.strip()) if api_key else None
        self._key_env = api_key_env
        self._timeout, self._max_retries = float(timeout), max_retries
        self._decisive: dict[str, Any] = {
            "temperature": temperature,
            "max_tokens": max_tokens,
            "seed": seed,
            "structured": structured,
            "extra_body": dict(extra_body or {}),
        }
        self.identity = f"openai {model} at {self.base_url} " + _dumped(self._decisive)

    def __repr__(self) -> str:
        return f"OpenAILM({self.model!r}, base_url={self.base_url!r})"

    def __call__(self, request: Request, /) -> Completion:
        """Ask the endpoint. Raises the `LMError` that fits, after the client's retries."""
        import openai

        key = self._key()
        body = self._body(request)
        problem: LMError
        try:
            client = _client(self.base_url, key, self._timeout, self._max_retries)
            response = client.post("/chat/completions", cast_to=_http().Response, body=body)
            return _completion(response.extensions[_READ], request, self.model)
        except _Unusable as error:
            reason = _redacted(str(error), key)
            problem = base.MalformedResponseError(f"{self._where}: {reason}")
        except openai.OpenAIError as error:
            problem = self._problem(error, key)
        except (TypeError, ValueError) as error:  # from encoding the request, before it is sent
            problem = LMError(
                f"The request to {self._where} cannot be written as JSON "
                f"({_redacted(str(error), key)}). Look for text that is no Unicode, or NaN."
            )
        raise problem  # outside of `except`: the client's error holds the request, hence the key

    @property
    def _where(self) -> str:
        return f"{self.model!r} at {self.base_url}"

    def _key(self) -> _Key:
        key = self._given_key or _Key(os.environ.get(self._key_env, "").strip())
        if not key and is_loopback(urlsplit(self.base_url).hostname or ""):
            key = _Key(_NO_KEY)
        if not key:
            raise base.AuthError(
                f"No key for {self.base_url}: set the environment variable {self._key_env} "
                "(to any text if the endpoint asks for none), or pass api_key."
            )
        if not (key.isascii() and key.isprintable()):
            raise base.AuthError(
                f"The key for {self.base_url} holds characters that no key has. Look at "
                f"{self._key_env}, or at the api_key passed: something else was pasted there."
            )
        return key

    def _body(self, request: Request) -> dict[str, Any]:
        mine = self._decisive
        temperature = mine["temperature"] if request.temperature is None else request.temperature
        max_tokens = mine["max_tokens"] if request.max_tokens is None else request.max_tokens
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
        }
        if temperature is not None:
            body["temperature"] = temperature
        if max_tokens is not None:
            # OpenAI's newer models refuse the old name; other endpoints may not know the new one
            at_openai = self.base_url == OPENAI_URL
            body["max_completion_tokens" if at_openai else "max_tokens"] = max_tokens
        if request.n != 1:
            body["n"] = request.n
        if mine["seed"] is not None or request.rollout:
            body["seed"] = (0 if mine["seed"] is None else mine["seed"]) + request.rollout
        if request.schema is not None and mine["structured"] != "off":
            body["response_format"] = _format(request.schema, mine["structured"])
        return {**body, **mine["extra_body"]}

    def _problem(self, error: openai.OpenAIError, key: _Key) -> LMError:
        import openai

        if isinstance(error, openai.APIStatusError):
            kind, advice = _read_status(error)
            said = _redacted(_message(error), key)
            return kind(f"{self._where}: status {error.status_code}: {said}\n{advice}")
        cause = error.__cause__
        reason = _redacted(str(cause or error) or type(cause or error).__name__, key)
        if isinstance(cause, _damaged()):
            return base.MalformedResponseError(
                f"{self._where}: {reason}, and so after {self._max_retries} retries. "
                "Check that base_url is an OpenAI-compatible API, and the endpoint's own log."
            )
        if isinstance(error, openai.APITimeoutError) and "Connect" not in type(cause).__name__:
            return base.LMTimeoutError(
                f"{self._where}: no answer within {self._timeout:g} s, tried "
                f"{self._max_retries + 1} times. Raise timeout, or ask for less (max_tokens)."
            )
        return base.UnavailableError(
            f"{self._where}: no connection ({reason}), tried {self._max_retries + 1} times. "
            "Is the server running, and is base_url right?"
        )

    def __getstate__(self) -> dict[str, Any]:
        if self._given_key is not None:
            raise ConfigError(
                f"{self!r} was given its key as an argument, and keys do not travel. Set it in "
                f"the environment of every worker as {self._key_env} and leave api_key out."
            )
        return {
            "model": self.model,
            "base_url": self.base_url,
            "api_key_env": self._key_env,
            "timeout": self._timeout,
            "max_retries": self._max_retries,
            **self._decisive,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        OpenAILM.__init__(self, **state)


class _Key(str):
    """A key that does not show when a debugger, a log or a traceback prints a variable."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<key>"


def _redacted(text: str, key: _Key, most: int = 500) -> str:
    text = text.replace(key, "<key>") if key != _NO_KEY else text
    return text if len(text) <= most else text[:most] + "…"


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url: http(s)://host[:port]/v1 is required, not {base_url!r}.")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError("base_url: it must hold no user, password or query; pass api_key.")
    return base_url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine to itself only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _dumped(settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(settings, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra_body or another setting is not JSON: {error}.") from error


def _format(schema: Mapping[str, Any], structured: Structured) -> dict[str, Any]:
    if structured == "json_object":
        return {"type": "json_object"}
    described = {"name": "reply", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": described}


# ---- errors -------------------------------------------------------------------------------------


def _message(error: openai.APIStatusError) -> str:
    """What the endpoint said, without the client's frame around it."""
    body = error.body
    said = body.get("message") if isinstance(body, dict) else body
    return said.strip() if isinstance(said, str) and said.strip() else str(error)


def _read_status(error: openai.APIStatusError) -> tuple[type[LMError], str]:
    """The kind of error behind a status, and what to do about it."""
    status, code = error.status_code, error.code or ""
    if status in (401, 403):
        return base.AuthError, "Check the key, and that it may use this model."
    if status == 404:
        return base.ModelNotFoundError, "Check the model's name, and base_url (most end in /v1)."
    if status == 429:
        return base.RateLimitError, "Wait, send fewer at a time, or raise the account's quota."
    if status == 408:
        return base.LMTimeoutError, "Ask for less (max_tokens), or send fewer at a time."
    if status in (400, 413) and (_TOO_LONG.search(code) or _TOO_LONG.search(_message(error))):
        return base.ContextLengthError, "Use fewer or shorter demonstrations, or a longer window."
    if code in ("content_filter", "content_policy_violation", "malformed_response"):
        return base.MalformedResponseError, "Reword the prompt, or leave this example out."
    if status >= 500:
        return base.UnavailableError, "The endpoint is failing: see its own log or status page."
    return LMError, "The endpoint does not take this request: check the settings it names."


class _Unusable(Exception):
    """Why a reply that came whole is no completion."""


# ---- the reply ----------------------------------------------------------------------------------


def _damage(body: Any) -> str | None:
    """What makes a 200's body no chat completion at all, or None where it is one."""
    if not isinstance(body, dict):
        return "the reply is no JSON object"
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        error = body.get("error")  # some endpoints send their errors under status 200
        return f"the reply has no choices{f' but an error: {error}' if error else ''}"
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            return "a choice of the reply has no message"
        if not isinstance(message.get("content"), str | None):
            return "the content of a message is no text"
        if not isinstance(choice.get("finish_reason"), str | None):
            return "the finish_reason of a choice is no text"
        if not isinstance(choice.get("index", 0), int):
            return "the index of a choice is no number"
    usage = body.get("usage")
    if usage is not None and not (isinstance(usage, dict) and all(map(_is_count, _counts(usage)))):
        return f"the usage of the reply is no pair of counts: {usage}"
    return None


def _counts(usage: dict[str, Any]) -> tuple[Any, Any]:
    return usage.get("prompt_tokens"), usage.get("completion_tokens")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _completion(body: dict[str, Any], request: Request, model: str) -> Completion:
    """A sound body as a `Completion`. Raises `_Unusable` where a reply holds no text to use."""
    choices = sorted(body["choices"], key=lambda choice: choice.get("index", 0))
    if len(choices) < request.n:
        raise _Unusable(
            f"{request.n} replies were asked for and {len(choices)} came: the endpoint may not "
            "support n. Ask for one at a time, with different rollouts."
        )
    texts = tuple(_text(choice) for choice in choices[: request.n])
    reasons = [choice.get("finish_reason") or "stop" for choice in choices]
    return Completion(
        texts=texts,
        usage=_usage(body, request, texts),
        model=body["model"] if isinstance(body.get("model"), str) else model,
        finish_reason="length" if "length" in reasons else reasons[0],
    )


def _text(choice: dict[str, Any]) -> str:
    message, reason = choice["message"], choice.get("finish_reason")
    refusal = message.get("refusal")
    if reason == "content_filter" or refusal:
        raise _Unusable(
            f"the reply was refused ({refusal or 'content filter'}). Reword the prompt, or leave "
            "this example out."
        )
    if message["content"]:
        return str(message["content"])
    if reason == "length":
        raise _Unusable("the reply was cut off before any text. Raise max_tokens.")
    raise _Unusable(
        f"the reply has no text (finish_reason {reason!r}). Try another prompt or model."
    )


def _usage(body: dict[str, Any], request: Request, texts: tuple[str, ...]) -> Usage:
    if body.get("usage") is not None:
        return Usage(*_counts(body["usage"]))
    note_estimate("the endpoint reports no usage with its replies.")
    prompt = sum(estimate_tokens(message.content) for message in request.messages)
    return Usage(prompt, sum(map(estimate_tokens, texts)))


# ---- the shared clients -------------------------------------------------------------------------

# A pool looks through all its connections for every request, so that a wide one is slow. Threads
# are dealt out over a few pools instead; each thread keeps to its own, and so to its connection.
_POOLS = 16
_clients: dict[tuple[Any, ...], openai.OpenAI] = {}
_building = threading.Lock()
_turn = itertools.count()
_thread = threading.local()


def close_clients() -> None:
    """Close every connection the LMs of this process hold. They open new ones when called again."""
    with _building:
        while _clients:
            _clients.popitem()[1].close()


def _client(base_url: str, key: _Key, timeout: float, max_retries: int) -> openai.OpenAI:
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


def _built(base_url: str, key: _Key, timeout: float, max_retries: int) -> openai.OpenAI:
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
            # no proxy lies between a machine and itself
            trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
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
def _damaged() -> type[Exception]:
    """An error the client retries as it does a broken connection."""
    return type("Damaged", (_http().RemoteProtocolError,), {})


def _read(response: Any) -> None:
    """Parse a reply's body as soon as it is there, while the client can still retry it."""
    if not response.is_success:
        return
    response.read()
    try:
        body = json.loads(response.content)
        damage = _damage(body)
    except (ValueError, RecursionError) as error:
        damage = f"the reply is not JSON ({error})"
    if damage is not None:
        raise _damaged()(damage)
    response.extensions[_READ] = body
