"""What the failures of a call mean: which may pass, and the error that says what to do next.

`OpenAILM` tries as long as `allowance.py` lets it; what is left then comes here. A call that found
no readable answer in all its tries is followed by a question of a word: where that finds none
either, the endpoint is gone and not the prompt at fault, and the error is marked as systemic, so
that a run ends instead of scoring the silence. No error shows the key.

`openai` is imported at the first failure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mipro.lm import base, clients
from mipro.lm.allowance import Allowance, Call, Fault, OutOfTime, is_late
from mipro.lm.base import Completion, LMError, Message, Request, Usage
from mipro.lm.clients import Key, Reply
from mipro.lm.status import read_status
from mipro.lm.wire import Damaged, Unusable, read_reply

if TYPE_CHECKING:
    import openai

WORD = Request((Message("user", "Hello"),), max_tokens=16)  # is anybody there?
NO_KEY = "no-key-needed"
_GONE = " A question of a word ended so too: the endpoint is failing."
_OUT_OF_MONEY = "insufficient_quota"  # a 429 that no waiting helps


class Unwritable(Exception):
    """Why the body of a request is no JSON."""


def why_no_request(error: Exception, body: Mapping[str, Any]) -> Exception:
    """What a client that stumbled over `body` met: an `Unwritable`, or `error` where it is JSON."""
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as reason:
        return Unwritable(str(reason))
    return error


class Tried(NamedTuple):
    """What came of a try and the client's own retries: a completion, or what went wrong."""

    answer: Completion | Exception
    fault: Fault | None = None  # None: good, or hopeless
    retries: int = 0
    usage: Usage = Usage()

    def __repr__(self) -> str:
        return f"<{self.fault}>"  # an endpoint may repeat the key in what it says


@dataclass(frozen=True)
class Failures:
    """The errors of the endpoint at `where`, for calls of `timeout` seconds a try.

    `post_word(key, retries)` is a question of a word, with at most so many retries.
    """

    where: str
    timeout: float
    allowance: Allowance
    post_word: Callable[[Key, int], Reply]

    def error(self, tried: Tried, key: Key, call: Call) -> LMError:
        """What a call met that came to nothing; where its caller's time was up first, that."""
        problem = self._met(tried, key, call)
        if isinstance(tried.answer, OutOfTime) or (tried.fault is not None and is_late()):
            return OutOfTime(f"{self.where}: the time was up before the call could be tried again")
        return problem

    def _met(self, tried: Tried, key: Key, call: Call) -> LMError:
        import openai

        error = tried.answer
        if isinstance(error, openai.APIStatusError):
            return self._refusal(error, tried, key, call)
        if isinstance(error, openai.OpenAIError | Damaged):
            return self._silence(error, tried, key, call)
        reason = redacted(str(error), key)
        if isinstance(error, Unusable):
            # whether or not it has answered before: that may have been in another process, or in an
            # earlier sitting of the run
            if tried.fault is not None:
                self.ask_a_word(call, key)
            ended = _GONE if call.answers is False else ""
            useless = base.MalformedResponseError(f"{self.where}: {reason}{ended}")
            useless.systemic = bool(ended)
            return useless
        if isinstance(error, Unwritable):
            return LMError(
                f"The request to {self.where} cannot be written as JSON ({reason}). Look for text "
                "that is no Unicode, or NaN."
            )
        problem = LMError(
            f"{self.where}: the `openai` client failed ({type(error).__name__}: {reason}). See "
            "whether its version is one that this library is tested with."
        )
        problem.systemic = True  # nothing in the request is at fault
        return problem

    def _refusal(self, error: openai.APIStatusError, tried: Tried, key: Key, call: Call) -> LMError:
        """A status that is no success."""
        said = _message(error)
        kind, advice = read_status(error.status_code, str(error.code or ""), said)
        what = f"status {error.status_code}: {redacted(said, key)}"
        if kind is base.UnavailableError and self._only_here(tried, call, key):
            return self._prompt_at_fault(what, call)
        problem = kind(f"{self.where}: {what}\n{advice}")
        if tried.fault is Fault.SILENCE and not problem.systemic:  # 408: so does everything?
            self.ask_a_word(call, key)
            problem.systemic = not call.answers
        return problem

    def _silence(
        self, error: openai.OpenAIError | Damaged, tried: Tried, key: Key, call: Call
    ) -> LMError:
        """No connection, no reply in time, or none that could be read."""
        import openai

        cause = error.__cause__
        late = isinstance(error, openai.APITimeoutError) and "Connect" not in type(cause).__name__
        if isinstance(error, Damaged):
            cause = error
        reason = redacted(str(cause or error) or type(cause or error).__name__, key)
        if not late and not isinstance(error, Damaged):
            if self._only_here(tried, call, key):
                return self._prompt_at_fault(f"no reply ({reason})", call)
            return base.UnavailableError(
                f"{self.where}: no connection ({reason}), tried {call.retries + 1} times. "
                "Is the server running, and is base_url right?"
            )
        tries = call.retries + 1
        self.ask_a_word(call, key)
        ended = "" if call.answers else _GONE
        problem: LMError
        if late:
            problem = base.LMTimeoutError(
                f"{self.where}: no answer within {self.timeout:g} s, tried {tries} times."
                f"{ended} Raise timeout, or ask for less (max_tokens)."
            )
        else:
            problem = base.MalformedResponseError(
                f"{self.where}: {reason}, and so after {tries - 1} retries.{ended} "
                "Check that base_url is an OpenAI-compatible API, and the endpoint's own log."
            )
        problem.systemic = not call.answers
        return problem

    def _only_here(self, tried: Tried, call: Call, key: Key) -> bool:
        """Does an endpoint that was waited for answer others, a question of a word?"""
        if tried.fault is Fault.SILENCE and call.silent > self.allowance.max_retries + 1:
            self.ask_a_word(call, key)
        return bool(call.answers)

    def _prompt_at_fault(self, what: str, call: Call) -> LMError:
        return base.MalformedResponseError(
            f"{self.where}: {what}, {call.silent} times running, while a question of a word was "
            "answered: it is this prompt that fails. See the endpoint's own log; a shorter prompt "
            "may do."
        )

    def ask_a_word(self, call: Call, key: Key) -> None:
        """Note in `call` whether the endpoint answers anything at all, asked twice at most."""
        import openai

        if call.answers or is_late():
            return  # it was asked a moment ago, or nobody waits for what comes of it
        asked = 0
        most = min(2, self.allowance.max_retries + 1)
        answers = False
        while asked < most and not answers:
            left = most - asked - 1
            try:
                reply = self.post_word(key, left)
            except openai.APIStatusError as error:  # a refusal is an answer, for what it is worth
                asked += clients.retries_of(error.request) + 1
                answers = not may_pass(error)
                break
            except openai.APIConnectionError as error:
                asked += clients.retries_of(error.request) + 1
                break
            except Damaged as error:
                asked += error.retries + 1
            except OutOfTime as error:
                asked += error.retries + 1
                break
            else:
                asked += reply.retries + 1
                answers, usage = _read_word(reply.body)
                call.usage += usage
        call.retries, call.answers = call.retries + asked, answers


def redacted(text: str, key: Key, most: int = 500) -> str:
    """`text` without the key in it, at most `most` characters of it."""
    text = without(key, text)
    return text if len(text) <= most else text[:most] + "…"


def without(key: Key, text: str) -> str:
    """`text` without the key. One of a few letters is no secret, and is found in every word."""
    return text.replace(key, "<key>") if key != NO_KEY and len(key) >= 8 else text


def _read_word(body: dict[str, Any]) -> tuple[bool, Usage]:
    """Is a reply to a word one, and what it cost.

    Of a model that thinks first, 16 tokens may show nothing.
    """
    try:
        completion = read_reply(body, WORD, "")
    except Unusable as error:
        cut = any(choice.get("finish_reason") == "length" for choice in body["choices"])
        return cut, error.usage
    return bool(completion.texts), completion.usage


def may_pass(error: openai.OpenAIError) -> bool:
    """Might the same request be answered later? As the client has it, but for an empty account."""
    import openai

    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        return (status in (408, 409, 429) or status >= 500) and error.code != _OUT_OF_MONEY
    return isinstance(error, openai.APIConnectionError)


def _message(error: openai.APIStatusError) -> str:
    """What the endpoint said, without the client's frame around it."""
    body = error.body
    said = body.get("message") if isinstance(body, dict) else body
    return said.strip() if isinstance(said, str) and said.strip() else str(error)
