"""What a language model is here: a callable from a `Request` to a `Completion`.

Caching and metering are small LMs that wrap another; a user's own LM is any callable with this
signature and a `model` attribute. What can go wrong is typed:

    LMError
    ├── AuthError               the key is missing, wrong, or lacks the right (systemic)
    ├── ModelNotFoundError      the endpoint does not serve that model (systemic)
    ├── RateLimitError          refused for its rate or quota, after the client's retries (systemic)
    ├── UnavailableError        no connection, or 5xx, after the client's retries (systemic)
    ├── LMTimeoutError          no answer in time
    ├── ContextLengthError      the prompt is longer than the model's window
    └── MalformedResponseError  an answer that is no completion (no choices, not JSON, refused)

A *systemic* error would meet every other call as well: it ends a run at once, with the journal on
disk. The others cost the one example that met them; an LM whose endpoint answers nothing at all any
more marks them as systemic too (`OpenAILM` does).
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

from mipro.errors import MiproError

MOST_TOKENS = 10**12  # of one call: a count above that is no count, and would price past all sense


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or a sum of calls, as the endpoint counts them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    @property
    def total(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


class LMError(MiproError):
    """A call that gave no completion. `systemic`: would every other call meet it too?

    `retries` is how many further tries the call took, and `usage` what was paid for replies that
    were of no use. `cached` is an earlier failure told again, without a call.
    """

    systemic: bool = False
    cached: bool = False
    retries: int = 0
    usage: Usage = Usage()

    def copied(self) -> Self:
        """The same error, not raised yet, with attributes of its own.

        Not by `copy.copy`: where a library has registered a way to send errors elsewhere (tblib,
        which Dask imports) that gives an error whose attributes are those of the original.
        """
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        return twin

    def again(self) -> Self:
        """The same error told to somebody else: without a call, and at no cost."""
        twin = self.copied()
        twin.usage, twin.retries, twin.cached = Usage(), 0, True
        return twin


class AuthError(LMError):
    """The key is missing, wrong, or lacks the right to use this model."""

    systemic = True


class ModelNotFoundError(LMError):
    """The endpoint does not serve the model asked for."""

    systemic = True


class RateLimitError(LMError):
    """Refused for its rate or quota, and still refused after the client's retries."""

    systemic = True


class UnavailableError(LMError):
    """No connection, or a server error, and still so after the client's retries."""

    systemic = True


class LMTimeoutError(LMError):
    """No answer within the time-out."""


class ContextLengthError(LMError):
    """The prompt and the reply asked for do not fit the model's context window."""


class MalformedResponseError(LMError):
    """The endpoint answered, but not with a completion."""


class Message(NamedTuple):
    """One chat message. `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """All that decides a completion, but for the LM itself.

    `None` leaves a setting to the LM's default. `schema` asks for structured output by that JSON
    schema. `rollout` tells repeated samples of one prompt apart: equal requests may be answered
    from a cache, so a caller who wants another draw asks with another rollout number.
    """

    messages: tuple[Message, ...]
    temperature: float | None = None
    max_tokens: int | None = None
    n: int = 1
    rollout: int = 0
    schema: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.temperature is not None:  # 0 and 0.0 are one request
            object.__setattr__(self, "temperature", float(self.temperature))

    def digest(self, identity: str = "") -> str:
        """A 32-hex-digit content address of the request put to the LM called `identity`.

        Independent of the process and of PYTHONHASHSEED.
        """
        body = [
            identity,
            self.messages,
            self.temperature,
            self.max_tokens,
            self.n,
            self.rollout,
            self.schema,
        ]
        text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back: `texts` has the request's `n` replies, `usage` covers all that was paid.

    `retries` is how many further tries the call took, the first that was sent not counted.
    """

    texts: tuple[str, ...]
    usage: Usage = Usage()
    model: str = ""
    finish_reason: str = "stop"
    cached: bool = False
    retries: int = 0

    @property
    def text(self) -> str:
        """The first reply."""
        return self.texts[0]


@runtime_checkable
class LM(Protocol):
    """The one protocol. Implementations must be safe to call from many threads.

    `model` is the name shown and priced; `identity` tells two LMs apart whose replies may differ
    (endpoint, seed, default settings), and never holds a key.
    """

    @property
    def model(self) -> str:
        """The model's name, as priced and shown."""
        ...

    @property
    def identity(self) -> str:
        """What tells this LM's replies from another's; holds no key."""
        ...

    def __call__(self, request: Request, /) -> Completion:
        """Answer `request`. Raises `LMError` (only), of the kind that fits."""
        ...


@runtime_checkable
class Wrapper(LM, Protocol):
    """An LM that wraps another, and can do for a second one what it does for that.

    Metering, budgets, a run's replies and the cache are wrappers. A module that has an LM of its
    own has it asked through those of the run, so that nothing it is asked escapes them.
    """

    def over(self, own: LM, /) -> LM:
        """The same wrapping, the same books, around `own`."""
        ...


class OverLM(ABC):
    """An LM over another, `lm`, by whose name and identity it goes. A class of it is final."""

    lm: LM

    @property
    def model(self) -> str:
        """The other's model."""
        return self.lm.model

    @property
    def identity(self) -> str:
        """The other's identity."""
        return self.lm.identity

    @abstractmethod
    def __call__(self, request: Request, /) -> Completion:
        """Answer `request`. Raises as the other does."""


@runtime_checkable
class Keyed(LM, Protocol):
    """An LM that knows before a call whether it has a key to make it with."""

    def check_key(self) -> None:
        """Raise the `AuthError` that every call would."""
        ...


def through(run: LM, own: LM) -> LM:
    """`own`, asked through all that the LM of a run is asked through; as it is where that is bare.

    A user's own wrapper without `over` counts as bare: it is not put around `own`.
    """
    return run.over(own) if isinstance(run, Wrapper) else own
