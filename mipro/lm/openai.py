"""`OpenAILM`: any endpoint that speaks OpenAI's chat completions, through the `openai` package.

This file knows the settings, the key, and the course of a call. `wire.py` has the JSON that is sent
and read, `clients.py` the connections and their retries, `failures.py` what a failure means.

What is tried again, and for how long, is `allowance.py`'s to say: no reply at all is a matter of
`max_retries` and `patience`, a reply of no use (damaged, empty, refused, cut off) one of
`max_reasks`. Of these one that was cut off at its length is handed on in the end.

Every failure is one of the errors of `base.py`, says what to do next, and never shows the key.

`openai` is imported at the first call.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mipro.errors import ConfigError
from mipro.lm import base, clients
from mipro.lm.address import OPENAI_URL, checked_url, is_local, is_loopback
from mipro.lm.allowance import Allowance, Call, Fault, OutOfTime, waited
from mipro.lm.base import Completion, LMError, Request
from mipro.lm.clients import Key, Reply, close_clients
from mipro.lm.failures import (
    NO_KEY,
    WORD,
    Failures,
    Tried,
    may_pass,
    redacted,
    why_no_request,
    without,
)
from mipro.lm.wire import Damaged, Structured, Unusable, read_reply, write_request

__all__ = ["OPENAI_URL", "OpenAILM", "Structured", "close_clients", "is_loopback"]

log = logging.getLogger(__name__)


class OpenAILM:
    """The LM `model` at `base_url`, and what it may still try there. Safe on any number of threads.

    - `base_url`: by default `OPENAI_BASE_URL` of the environment, else OpenAI's own.
    - `api_key`: by default what the variable `api_key_env` holds at the time of a call. An endpoint
      on loopback needs none.
    - `temperature`, `max_tokens`: for requests that leave them open; None leaves them to the
      endpoint.
    - `seed`: a request with rollout r is sent `seed + r`, so that repeated samples differ and can
      be had again. Without a seed only r > 0 is sent, as the seed r.
    - `timeout`: seconds for one try, to the last byte of its reply.
    - `max_retries`: further tries of a call to an endpoint that has not answered this LM yet, after
      the client's back-off (up to 8 s, or what Retry-After says); 0: nothing is ever tried again.
    - `patience`: seconds for which a call that gets no reply goes on trying where the endpoint has
      answered before. It is given up within `patience + timeout * (max_retries + 1)` and the
      back-off; one that found no answer, two tries later; either at the end of a budget's seconds
      at the latest, a try under way apart. 0: `max_retries` is all.
    - `max_reasks`: further tries of a call whose replies are of no use, all paid for; from the
      third on they are drawn on a credit of the whole LM (`allowance.py`). 0 for a model that would
      give the same again.
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
        max_reasks: int = 12,
        patience: float = 600.0,
        structured: Structured = "json_schema",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        _check(model, structured, timeout, max_retries, max_reasks)
        _check_patience(patience)
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
        self._where = f"{model!r} at {self.base_url}"
        self._allowance = Allowance(max_retries, max_reasks, float(patience))
        self._failures = Failures(self._where, self._timeout, self._allowance, self._post_word)
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

    def check_key(self) -> None:
        """Raise the `AuthError` that a call would where no key, or none that can be one, is set."""
        self._key()

    def _answered(self, request: Request, key: Key) -> Completion:
        """What one request comes to, after the retries."""
        body, call = self._body(request), Call()
        while True:
            tried = self._ask(request, body, key, self._allowance.tries(call))
            call.retries, call.usage = call.retries + tried.retries, call.usage + tried.usage
            pause = self._pause(tried, call, key)
            if pause is None or not waited(pause):
                break
            call.retries += 1
        if isinstance(tried.answer, Completion):
            if tried.fault is None:
                self._allowance.answered(call)
            return replace(tried.answer, usage=call.usage, retries=call.retries)
        problem = self._failures.error(tried, key, call)
        problem.usage, problem.retries = call.usage, call.retries
        if problem.systemic and not isinstance(problem, OutOfTime):
            self._allowance.given_up()
        del tried  # not where it was met, nor beside it: the client's own error holds the key
        raise problem

    def _ask(self, request: Request, body: dict[str, Any], key: Key, left: int) -> Tried:
        """A try, and as many as `left` more by the client where there is no reply."""
        import openai

        try:
            reply = clients.post_chat(self.base_url, key, self._timeout, left, body)
        except openai.OpenAIError as error:
            retries = clients.retries_of(getattr(error, "request", None))
            silent = retries == left and may_pass(error)  # else the client saw no use in more
            return Tried(error, Fault.SILENCE if silent else None, retries)
        except Damaged as error:
            return Tried(error, Fault.DAMAGED, error.retries)
        except OutOfTime as error:
            return Tried(error, retries=error.retries)
        except (TypeError, ValueError) as error:  # from encoding the request, or the client's own
            return Tried(why_no_request(error, body))
        try:
            completion = read_reply(reply.body, request, self.model)
        except Unusable as error:
            fault = Fault.USELESS if error.again else None
            return Tried(error, fault, reply.retries, error.usage)
        # an endpoint that repeats the key in its reply would have it kept in files
        safe = replace(
            completion,
            texts=tuple(without(key, text) for text in completion.texts),
            model=without(key, completion.model),
            finish_reason=without(key, completion.finish_reason),
        )
        fault = Fault.USELESS if completion.finish_reason == "length" else None
        return Tried(safe, fault, reply.retries, completion.usage)

    def _pause(self, tried: Tried, call: Call, key: Key) -> float | None:
        """Seconds before it is tried again; None: it is not."""
        if tried.fault is None:
            return None
        if tried.fault is not Fault.SILENCE:
            return self._allowance.after_useless(call, tried.fault)
        call.silent += tried.retries + 1
        pause = self._allowance.after_silence(call)
        if pause is not None and self._allowance.is_first_to_wait():
            log.warning(
                "%s gives no reply (%s). It has answered before: calls wait for it, each for %g s "
                "at most. An interrupted run can be resumed.",
                self._where,
                redacted(str(tried.answer), key, 200),
                self._allowance.patience,
            )
        if pause is not None and call.is_suspect():
            self._failures.ask_a_word(call, key)
            return None if call.answers else pause
        return pause

    def _key(self) -> Key:
        key = self._given_key or Key(os.environ.get(self._key_env, "").strip())
        if not key and is_local(self.base_url):
            key = Key(NO_KEY)
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

    def _post_word(self, key: Key, retries: int) -> Reply:
        """Ask as little as can be asked."""
        return clients.post_chat(self.base_url, key, self._timeout, retries, self._body(WORD))

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
            "max_retries": self._allowance.max_retries,
            "max_reasks": self._allowance.max_reasks,
            "patience": self._allowance.patience,
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


def _check_patience(patience: float) -> None:
    if isinstance(patience, bool) or not 0 <= patience <= 1e6:
        raise ConfigError(f"patience: seconds from 0 are required, not {patience!r}.")


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
