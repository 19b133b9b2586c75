"""`OpenAILM`: any endpoint that speaks OpenAI's chat completions, through the `openai` package.

This file knows the settings, the key, and what each failure of a call means. `wire.py` has the JSON
that is sent and read, `status.py` the kind of error behind a status, `clients.py` the connections
and their retries.

- A reply that came whole but holds no usable text (refused, filtered, empty) is not retried: asking
  again would pay for the same again. One that came damaged is (`clients.py`).
- Every failure is one of the errors of `base.py`, says what to do next, and never shows the key.

`openai` is imported at the first call.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mipro.errors import ConfigError
from mipro.lm import base, clients
from mipro.lm.address import OPENAI_URL, checked_url, is_local, is_loopback
from mipro.lm.base import Completion, LMError, Request
from mipro.lm.clients import Key, close_clients
from mipro.lm.status import read_status
from mipro.lm.wire import Structured, Unusable, read_reply, write_request

if TYPE_CHECKING:
    import openai

__all__ = ["OPENAI_URL", "OpenAILM", "Structured", "close_clients", "is_loopback"]

_NO_KEY = "no-key-needed"


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
        _check(model, structured, timeout, max_retries)
        if not api_key_env.isidentifier():  # not shown: it may be the key itself
            raise ConfigError("api_key_env: the name of a variable is required, not the key.")
        self.model = model
        self.base_url = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self._given_key = Key(api_key.strip()) if api_key else None
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
            reply = clients.post_chat(self.base_url, key, self._timeout, self._max_retries, body)
            return read_reply(reply, request, self.model)
        except Unusable as error:
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

    def _key(self) -> Key:
        key = self._given_key or Key(os.environ.get(self._key_env, "").strip())
        if not key and is_local(self.base_url):
            key = Key(_NO_KEY)
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
        settings = dict(self._decisive)
        extra: dict[str, Any] = settings.pop("extra_body")
        # OpenAI's newer models refuse the old name; other endpoints may not know the new one
        settings["limit"] = "max_completion_tokens" if self.base_url == OPENAI_URL else "max_tokens"
        return write_request(request, self.model, **settings) | extra

    def _problem(self, error: openai.OpenAIError, key: Key) -> LMError:
        import openai

        if isinstance(error, openai.APIStatusError):
            said = _message(error)
            kind, advice = read_status(error.status_code, str(error.code or ""), said)
            shown = _redacted(said, key)
            return kind(f"{self._where}: status {error.status_code}: {shown}\n{advice}")
        cause = error.__cause__
        reason = _redacted(str(cause or error) or type(cause or error).__name__, key)
        if isinstance(cause, clients.damaged()):
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


def _check(model: str, structured: Structured, timeout: float, max_retries: int) -> None:
    if not isinstance(model, str) or not model:
        raise ConfigError(f"model: a name is required, not {model!r}.")
    if structured not in ("json_schema", "json_object", "off"):
        raise ConfigError(f"structured: json_schema, json_object or off, not {structured!r}.")
    if not timeout > 0:
        raise ConfigError(f"timeout: a positive number of seconds is required, not {timeout!r}.")
    if type(max_retries) is not int or max_retries < 0:
        raise ConfigError(f"max_retries: a whole number from 0 is required, not {max_retries!r}.")


def _dumped(settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(settings, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra_body or another setting is not JSON: {error}.") from error


def _redacted(text: str, key: Key, most: int = 500) -> str:
    # a "key" of a few letters is no secret, and would be found in every word
    text = text.replace(key, "<key>") if key != _NO_KEY and len(key) >= 8 else text
    return text if len(text) <= most else text[:most] + "…"


def _message(error: openai.APIStatusError) -> str:
    """What the endpoint said, without the client's frame around it."""
    body = error.body
    said = body.get("message") if isinstance(body, dict) else body
    return said.strip() if isinstance(said, str) and said.strip() else str(error)
