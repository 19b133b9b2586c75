"""`OpenAILM`: any endpoint that speaks OpenAI's chat completions, through the `openai` package.

This file knows the settings, the key, and what each failure of a call means. `wire.py` has the JSON
that is sent and read, `status.py` the kind of error behind a status, `clients.py` the connections
and their retries.

What is tried again, all within `max_retries`:

- no answer, or one that came damaged (`clients.py`): after a back-off, as the client has it;
- a reply that came whole but is of no use (empty, refused, cut off at its length): at once, but
  `max_reasks` times at most, since each is paid for. Of these one that was cut off is handed on.

Every failure is one of the errors of `base.py`, says what to do next, and never shows the key. A
call that found no readable answer in all its tries is followed by a question of a word: where that
finds none either, the endpoint is gone and not the prompt at fault, and the error is marked as
systemic, so that a run ends instead of scoring the silence.

`openai` is imported at the first call.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mipro.errors import ConfigError
from mipro.lm import base, clients
from mipro.lm.address import OPENAI_URL, checked_url, is_local, is_loopback
from mipro.lm.base import Completion, LMError, Message, Request, Usage
from mipro.lm.clients import Key, close_clients
from mipro.lm.status import read_status
from mipro.lm.wire import Structured, Unusable, read_reply, write_request

if TYPE_CHECKING:
    import openai

__all__ = ["OPENAI_URL", "OpenAILM", "Structured", "close_clients", "is_loopback"]

_NO_KEY = "no-key-needed"
_WORD = Request((Message("user", "Hello"),), max_tokens=16)  # is anybody there?


class OpenAILM:
    """The LM `model` at `base_url`. It holds settings only, and is safe on any number of threads.

    - `base_url`: by default `OPENAI_BASE_URL` of the environment, else OpenAI's own.
    - `api_key`: by default what the variable `api_key_env` holds at the time of a call. An endpoint
      on loopback needs none.
    - `temperature`, `max_tokens`: for requests that leave them open; None leaves them to the
      endpoint.
    - `seed`: a request with rollout r is sent `seed + r`, so that repeated samples differ and can
      be had again. Without a seed only r > 0 is sent, as the seed r.
    - `timeout`: seconds for one try, to the last byte of its reply; a call ends within
      `timeout * (max_retries + 1)` and the back-off between (up to 8 s, or what Retry-After says);
      one that found no answer, two tries later.
    - `max_reasks`: how many of the retries may go to replies that came whole but are of no use; 0
      for a model that would give the same again.
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
        max_reasks: int = 2,
        structured: Structured = "json_schema",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        _check(model, structured, timeout, max_retries, max_reasks)
        _check_numbers(temperature=temperature, max_tokens=max_tokens, seed=seed)
        if (
            not isinstance(api_key_env, str) or not api_key_env.isidentifier()
        ):  # not shown: it may be the key itself
            raise ConfigError("api_key_env: the name of a variable is required, not the key.")
        self.model = model
        self.base_url = checked_url(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
        self._given_key = Key(api_key.strip()) if api_key else None
        self._key_env = api_key_env
        self._timeout = float(timeout)
        self._max_retries, self._max_reasks = max_retries, max_reasks
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
        """Ask the endpoint. Raises the `LMError` that fits, after the retries.

        Of one that gives fewer texts than `request.n` the rest is asked for in further requests, as
        further rollouts; each counts among the completion's `retries`.
        """
        key = self._key()
        completion = self._answered(request, key)
        while (had := len(completion.texts)) < request.n:
            rest = replace(request, n=request.n - had, rollout=request.rollout + had)
            try:
                completion = _joined(completion, self._answered(rest, key))
            except LMError as error:
                error.usage += completion.usage
                error.retries += completion.retries + 1
                raise
        return completion

    def _answered(self, request: Request, key: Key) -> Completion:
        """What one request comes to, after the retries."""
        body = self._body(request)
        retries, paid = 0, Usage()
        for reasks in range(self._max_reasks + 1):
            answer, again = self._ask(request, body, key, retries)
            retries, paid = retries + answer.retries, paid + answer.usage
            if not again or reasks == self._max_reasks or retries == self._max_retries:
                break
            retries += 1
        if isinstance(answer, Completion):
            return replace(answer, usage=paid, retries=retries)
        answer.usage, answer.retries = paid, retries
        raise answer  # not where it was met: the client's own error holds the key

    def _ask(
        self, request: Request, body: dict[str, Any], key: Key, before: int
    ) -> tuple[Completion | LMError, bool]:
        """The answer after the retries left (`before` are used), and whether to ask for another."""
        import openai

        left = self._max_retries - before
        try:
            reply = clients.post_chat(self.base_url, key, self._timeout, left, body)
        except openai.OpenAIError as error:
            return self._problem(error, key, before), False
        except (TypeError, ValueError) as error:  # from encoding the request, before it is sent
            return LMError(
                f"The request to {self._where} cannot be written as JSON "
                f"({_redacted(str(error), key)}). Look for text that is no Unicode, or NaN."
            ), False
        try:
            completion = read_reply(reply.body, request, self.model)
            again = completion.finish_reason == "length"
            # an endpoint that repeats the key in its reply would have it kept in files
            safe = replace(
                completion,
                texts=tuple(_without(key, text) for text in completion.texts),
                model=_without(key, completion.model),
                finish_reason=_without(key, completion.finish_reason),
                retries=reply.retries,
            )
            return safe, again
        except Unusable as error:
            reason = _redacted(str(error), key)
            problem = base.MalformedResponseError(f"{self._where}: {reason}")
            problem.usage, problem.retries = error.usage, reply.retries
            return problem, error.again

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

    def _problem(self, error: openai.OpenAIError, key: Key, before: int) -> LMError:
        """What a call met that got no reply, after the client's retries."""
        import openai

        retries = clients.retries_of(getattr(error, "request", None))
        if isinstance(error, openai.APIStatusError):
            said = _message(error)
            kind, advice = read_status(error.status_code, str(error.code or ""), said)
            shown = _redacted(said, key)
            problem = kind(f"{self._where}: status {error.status_code}: {shown}\n{advice}")
        else:
            problem = self._silence(error, key, before + retries)
        problem.retries += retries
        return problem

    def _silence(self, error: openai.OpenAIError, key: Key, retries: int) -> LMError:
        """No connection, no reply in time, or none that could be read."""
        import openai

        from mipro.lm.transport import Damaged

        cause = error.__cause__
        reason = _redacted(str(cause or error) or type(cause or error).__name__, key)
        late = isinstance(error, openai.APITimeoutError) and "Connect" not in type(cause).__name__
        if not late and not isinstance(cause, Damaged):
            return base.UnavailableError(
                f"{self._where}: no connection ({reason}), tried {retries + 1} times. "
                "Is the server running, and is base_url right?"
            )
        answers, asked = self._answers(key)
        ended = "" if answers else " A question of a word ended so too: the endpoint is failing."
        problem: LMError
        if late:
            problem = base.LMTimeoutError(
                f"{self._where}: no answer within {self._timeout:g} s, tried {retries + 1} times."
                f"{ended} Raise timeout, or ask for less (max_tokens)."
            )
        else:
            problem = base.MalformedResponseError(
                f"{self._where}: {reason}, and so after {retries} retries.{ended} "
                "Check that base_url is an OpenAI-compatible API, and the endpoint's own log."
            )
        problem.systemic, problem.retries = not answers, asked
        return problem

    def _answers(self, key: Key) -> tuple[bool, int]:
        """Does the endpoint answer anything at all; and how many requests it took to know."""
        import openai

        body, retries = self._body(_WORD), min(1, self._max_retries)
        try:
            reply = clients.post_chat(self.base_url, key, self._timeout, retries, body)
        except openai.APIStatusError as error:  # a refusal is an answer, for what it is worth
            return error.status_code < 500, clients.retries_of(error.request) + 1
        except openai.APIConnectionError as error:
            return False, clients.retries_of(error.request) + 1
        return True, reply.retries + 1

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
            "max_reasks": self._max_reasks,
            **self._decisive,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        OpenAILM.__init__(self, **state)


def _joined(first: Completion, rest: Completion) -> Completion:
    cut = "length" in (first.finish_reason, rest.finish_reason)
    return replace(
        first,
        texts=first.texts + rest.texts,
        usage=first.usage + rest.usage,
        finish_reason="length" if cut else first.finish_reason,
        retries=first.retries + rest.retries + 1,
    )


def _check(
    model: str, structured: Structured, timeout: float, max_retries: int, max_reasks: int
) -> None:
    if not isinstance(model, str) or not model:
        raise ConfigError(f"model: a name is required, not {model!r}.")
    if structured not in ("json_schema", "json_object", "off"):
        raise ConfigError(f"structured: json_schema, json_object or off, not {structured!r}.")
    if isinstance(timeout, bool) or not 0 < timeout <= 1e6:
        raise ConfigError(f"timeout: a positive number of seconds is required, not {timeout!r}.")
    for name, count in (("max_retries", max_retries), ("max_reasks", max_reasks)):
        if type(count) is not int or count < 0:
            raise ConfigError(f"{name}: a whole number from 0 is required, not {count!r}.")


def _check_numbers(**settings: float | None) -> None:
    for name, value in settings.items():
        kind = (int, float) if name == "temperature" else int
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kind) or not abs(value) < 2**63:
            what = "a number" if name == "temperature" else "a whole number"
            raise ConfigError(f"{name}: {what} is required, not {value!r}.")


def _dumped(settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"extra_body or another setting is not JSON: {error}.") from error


def _redacted(text: str, key: Key, most: int = 500) -> str:
    text = _without(key, text)
    return text if len(text) <= most else text[:most] + "…"


def _without(key: Key, text: str) -> str:
    # a "key" of a few letters is no secret, and would be found in every word
    return text.replace(key, "<key>") if key != _NO_KEY and len(key) >= 8 else text


def _message(error: openai.APIStatusError) -> str:
    """What the endpoint said, without the client's frame around it."""
    body = error.body
    said = body.get("message") if isinstance(body, dict) else body
    return said.strip() if isinstance(said, str) and said.strip() else str(error)
