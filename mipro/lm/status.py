"""Every `LMError` as an HTTP status and code, and back: one table with two readers.

The server writes an error by `refusal`; the client reads a status by `read_status`. What the one
writes the other reads as the same kind of error. Reading is the wider of the two, since other
endpoints have other habits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from mipro.lm import base
from mipro.lm.base import LMError

_TOO_LONG = re.compile(r"context[ _](length|window|size)|maximum context", re.IGNORECASE)
_NOT_GIVEN = ("malformed_response", "content_filter", "content_policy_violation")


class Row(NamedTuple):
    """A kind of error: what is written for it, what is read as it, and what to do about it."""

    kind: type[LMError]
    status: int
    code: str
    type: str
    reads: Callable[[int, str, str], bool]  # (status, code, what the endpoint said)
    advice: str


# the first row that fits counts, in either direction
TABLE = (
    Row(
        base.AuthError,
        401,
        "invalid_api_key",
        "authentication_error",
        lambda status, code, said: status in (401, 403),
        "Check the key, and that it may use this model.",
    ),
    Row(
        base.ModelNotFoundError,
        404,
        "model_not_found",
        "invalid_request_error",
        lambda status, code, said: status == 404,
        "Check the model's name, and base_url (most end in /v1).",
    ),
    Row(
        base.RateLimitError,
        429,
        "rate_limit_exceeded",
        "rate_limit_error",
        lambda status, code, said: status == 429,
        "Wait, send fewer at a time, or raise the account's quota.",
    ),
    Row(
        base.LMTimeoutError,
        408,
        "timeout",
        "timeout_error",
        lambda status, code, said: status == 408,
        "Ask for less (max_tokens), or send fewer at a time.",
    ),
    Row(
        base.ContextLengthError,
        400,
        "context_length_exceeded",
        "invalid_request_error",
        lambda status, code, said: (
            status in (400, 413) and any(map(_TOO_LONG.search, (code, said)))
        ),
        "Use fewer or shorter demonstrations, or a longer window.",
    ),
    Row(
        base.MalformedResponseError,
        400,
        "malformed_response",
        "server_error",
        lambda status, code, said: code in _NOT_GIVEN,
        "Reword the prompt, or leave this example out.",
    ),
    Row(
        base.UnavailableError,
        503,
        "unavailable",
        "server_error",
        lambda status, code, said: status >= 500,
        "The endpoint is failing: see its own log or status page.",
    ),
)
_ELSE = "The endpoint does not take this request: check the settings it names."


def read_status(status: int, code: str, said: str) -> tuple[type[LMError], str]:
    """The kind of error behind a status that is no success, and what to do about it."""
    for row in TABLE:
        if row.reads(status, code, said):
            return row.kind, row.advice
    return LMError, _ELSE


class Refused(Exception):
    """A request that is answered with `status` and an error's `body`, in the form of OpenAI."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": None, "code": code}
        }


def refusal(error: LMError) -> Refused:
    """The refusal that `read_status` reads as an error of the same kind."""
    for row in TABLE:
        if isinstance(error, row.kind):
            return Refused(row.status, str(error), row.code, row.type)
    return Refused(500 if error.systemic else 400, str(error), "lm_error", "server_error")
