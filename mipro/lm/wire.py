"""OpenAI's chat completions as JSON, in both directions: the one place that knows its field names.

    client                            server
    Request ── write_request ──> body ── read_request ──> Request
    Completion <── read_reply ── body <── write_reply ── Completion

`seed` carries `Request.rollout`, and a JSON schema in `response_format` is `Request.schema`. Either
side reads strictly: the server refuses a bad request by the name of its field, and the client tells
a reply that came damaged (`parse_reply`) from one that came whole but holds no usable text
(`read_reply`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

from mipro import strict
from mipro.lm.base import MOST_TOKENS, Completion, Message, Request, Usage
from mipro.lm.status import Refused
from mipro.lm.tokens import estimate_tokens, note_estimate

Structured = Literal["json_schema", "json_object", "off"]
Limit = Literal["max_completion_tokens", "max_tokens"]  # OpenAI's newer name and the older
MOST_REPLIES = 128  # the largest `n`, as OpenAI has it
_ROLES = ("system", "user", "assistant")


class Unusable(Exception):
    """Why a reply that came whole, and was paid for, is no completion.

    `again`: might it be one if it were asked for again?
    """

    def __init__(self, reason: str, again: bool = True) -> None:
        super().__init__(reason)
        self.again, self.usage = again, Usage()


class Damaged(Unusable):
    """Why a reply under status 200 is no chat completion at all.

    `retries` went before it. What it was billed at is not known.
    """

    def __init__(self, reason: str, retries: int) -> None:
        super().__init__(reason)
        self.retries = retries


def _parsed(raw: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `raw`. Raises `ValueError` that says why `what` is none."""
    try:
        body = strict.loads(raw)
    except ValueError as error:
        raise ValueError(f"{what} is not JSON ({error})") from error
    if not isinstance(body, dict):
        raise ValueError(f"{what} is no JSON object")
    return body


# ---- the request --------------------------------------------------------------------------------


def write_request(
    request: Request,
    model: str,
    *,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    structured: Structured = "json_schema",
    limit: Limit = "max_tokens",
) -> dict[str, Any]:
    """The body that asks `model` for `request`; what nobody set is left out.

    `temperature` and `max_tokens` (sent as `limit`) are for a request that leaves them open. `seed`
    is what the rollout is added to; without one only a rollout > 0 is sent.
    """
    temperature = temperature if request.temperature is None else request.temperature
    max_tokens = max_tokens if request.max_tokens is None else request.max_tokens
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": role, "content": text} for role, text in request.messages],
    }
    if temperature is not None:
        body["temperature"] = temperature
    if max_tokens is not None:
        body[limit] = max_tokens
    if request.n != 1:
        body["n"] = request.n
    if seed is not None or request.rollout:
        body["seed"] = (0 if seed is None else seed) + request.rollout
    if request.schema is not None and structured != "off":
        body["response_format"] = _format(request.schema, structured)
    return body


def parse_request(raw: bytes) -> dict[str, Any]:
    """The JSON object in a request's body. Raises the refusal (400) of a body that is none."""
    try:
        return _parsed(raw, "The body")
    except ValueError as error:
        raise Refused(400, f"{error}.") from error


def read_request(body: dict[str, Any]) -> Request:
    """A chat-completions body as a `Request`. Raises the refusal (400) of one that is none."""
    if body.get("stream"):
        _bad("stream: streaming is not supported here; leave `stream` out.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        _bad("messages: a non-empty list of {role, content} is required.")
    limit: Limit = (
        "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    )
    temperature = body.get("temperature")
    if temperature is not None and (
        type(temperature) not in (int, float) or not 0 <= temperature <= 2
    ):
        _bad(f"temperature: a number from 0 to 2 is required, not {temperature!r}.")
    return Request(
        messages=tuple(_message(i, message) for i, message in enumerate(messages)),
        temperature=temperature,
        max_tokens=_whole(body, limit, None, least=1),
        n=_whole(body, "n", 1, least=1, most=MOST_REPLIES) or 1,
        rollout=_whole(body, "seed", 0) or 0,
        schema=_schema(body.get("response_format")),
    )


def _format(schema: Mapping[str, Any], structured: Structured) -> dict[str, Any]:
    if structured == "json_object":
        return {"type": "json_object"}
    described = {"name": "reply", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": described}


def _schema(form: Any) -> dict[str, Any] | None:
    """The schema that `_format` described; any object, for one that describes none."""
    kind = form.get("type") if isinstance(form, dict) else form
    if kind is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    described = form.get("json_schema") if kind == "json_schema" else None
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        _bad("response_format: text, json_object, or json_schema with its schema is required.")
    return schema


def _message(index: int, message: Any) -> Message:
    role = message.get("role") if isinstance(message, dict) else None
    if role not in _ROLES:
        _bad(f"messages[{index}].role: one of {', '.join(_ROLES)} is required, not {role!r}.")
    if not isinstance(message.get("content"), str):
        _bad(f"messages[{index}].content: text is required.")
    return Message(role, message["content"])


def _whole(
    body: dict[str, Any],
    name: str,
    default: int | None,
    least: int = -(2**63),
    most: int = 2**63 - 1,
) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or not least <= value <= most:
        _bad(f"{name}: a whole number from {least} to {most} is required, not {value!r}.")
    return value


def _bad(message: str) -> NoReturn:
    raise Refused(400, message)


# ---- the reply ----------------------------------------------------------------------------------


def write_reply(completion: Completion, model: str) -> dict[str, Any]:
    """The body that answers with `completion`, made by `model`."""
    usage = completion.usage
    return {
        "id": "chatcmpl-mipro",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text},
                "finish_reason": completion.finish_reason,
            }
            for index, text in enumerate(completion.texts)
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total,
        },
    }


def parse_reply(raw: bytes) -> dict[str, Any]:
    """The body of a 200. Raises `ValueError` that says why it is no chat completion at all."""
    body = _parsed(raw, "the reply")
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        error = body.get("error")  # some endpoints send their errors under status 200
        raise ValueError(f"the reply has no choices{f' but an error: {error}' if error else ''}")
    for choice in choices:
        _check_choice(choice)
    usage = body.get("usage")
    if usage is not None and not (isinstance(usage, dict) and all(map(_is_count, _counts(usage)))):
        raise ValueError(f"the usage of the reply is no pair of counts: {usage}")
    return body


def _check_choice(choice: Any) -> None:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise ValueError("a choice of the reply has no message")
    if not isinstance(message.get("content"), str | None):
        raise ValueError("the content of a message is no text")
    if not isinstance(choice.get("finish_reason"), str | None):
        raise ValueError("the finish_reason of a choice is no text")
    if not isinstance(choice.get("index", 0), int):
        raise ValueError("the index of a choice is no number")


def _counts(usage: dict[str, Any]) -> tuple[Any, Any]:
    return usage.get("prompt_tokens"), usage.get("completion_tokens")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_TOKENS


def read_reply(body: dict[str, Any], request: Request, model: str) -> Completion:
    """A parsed reply as a `Completion`, of fewer texts where the endpoint knows no `n`.

    Raises `Unusable` where a text is of no use.
    """
    choices = sorted(body["choices"], key=lambda choice: choice.get("index", 0))
    usage = _usage(body, request)
    try:
        texts = tuple(_text(choice) for choice in choices[: request.n])
    except Unusable as unusable:
        unusable.usage = usage
        raise
    reasons = [choice.get("finish_reason") or "stop" for choice in choices]
    return Completion(
        texts=texts,
        usage=usage,
        model=body["model"] if isinstance(body.get("model"), str) else model,
        finish_reason="length" if "length" in reasons else reasons[0],
    )


def _text(choice: dict[str, Any]) -> str:
    message, reason = choice["message"], choice.get("finish_reason")
    refusal = message.get("refusal")
    if reason == "content_filter" or refusal:
        raise Unusable(
            f"the reply was refused ({refusal or 'content filter'}). Reword the prompt, or leave "
            "this example out."
        )
    if message.get("content"):
        return str(message["content"])
    if reason == "length":
        raise Unusable("the reply was cut off before any text. Raise max_tokens.")
    raise Unusable(
        f"the reply has no text (finish_reason {reason!r}). Try another prompt or model."
    )


def _usage(body: dict[str, Any], request: Request) -> Usage:
    if body.get("usage") is not None:
        return Usage(*_counts(body["usage"]))
    note_estimate("the endpoint reports no usage with its replies.")
    prompt = sum(estimate_tokens(message.content) for message in request.messages)
    texts = [choice["message"].get("content") or "" for choice in body["choices"]]
    return Usage(prompt, sum(map(estimate_tokens, texts)))
