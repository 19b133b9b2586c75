"""A ledger of what was asked of language models, by role, and the LM that keeps it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mipro.errors import ConfigError
from mipro.lm.base import LM, Completion, LMError, Request


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, as the user states them."""

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        if not (self.prompt >= 0 and self.completion >= 0):
            raise ConfigError(f"{self}: dollars per million tokens, from 0 up, are wanted")


@dataclass(frozen=True, slots=True)
class Entry:
    """Sums for one role. `calls` went to the LM and were answered; `cached` cost nothing.

    `cost` is in US dollars, and None where no call had a price.
    """

    calls: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    def __add__(self, other: Entry) -> Entry:
        return self._combined(other, 1)

    def __sub__(self, other: Entry) -> Entry:
        return self._combined(other, -1)

    def _combined(self, other: Entry, sign: int) -> Entry:
        mine, theirs = self.cost, other.cost
        cost = None if mine is None and theirs is None else (mine or 0.0) + sign * (theirs or 0.0)
        return Entry(
            self.calls + sign * other.calls,
            self.cached + sign * other.cached,
            self.failed + sign * other.failed,
            self.prompt_tokens + sign * other.prompt_tokens,
            self.completion_tokens + sign * other.completion_tokens,
            cost,
        )

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def to_json(self) -> dict[str, Any]:
        """The sums as a JSON object; `cost_usd` only where a price was given."""
        body: dict[str, Any] = {
            "calls": self.calls,
            "cached": self.cached,
            "failed": self.failed,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }
        if self.cost is not None:
            body["cost_usd"] = round(self.cost, 8)
        return body


class Ledger:
    """Thread-safe sums per role. A model without a price in `prices` adds no cost.

    Whole numbers are summed and costs derived from them, so that the order in which threads book
    their calls changes no digit. A ledger that travels to another process arrives empty and
    `detached`: what is booked there has to be brought home and merged (`evaluate` does). A detached
    one travels whole.
    """

    def __init__(
        self, prices: Mapping[str, Price] | None = None, *, detached: bool = False
    ) -> None:
        self.prices: dict[str, Price] = dict(prices or {})
        self._entries: dict[tuple[str, str], Entry] = {}
        self._lock = threading.Lock()
        self.detached = detached

    def completed(self, role: str, model: str, completion: Completion) -> None:
        """Book an answered call."""
        usage = completion.usage
        entry = Entry(1, 0, 0, usage.prompt_tokens, usage.completion_tokens)
        self._add(role, model, Entry(cached=1) if completion.cached else entry)

    def failed(self, role: str, model: str) -> None:
        """Book a call that gave no completion."""
        self._add(role, model, Entry(failed=1))

    def _add(self, role: str, model: str, entry: Entry) -> None:
        with self._lock:
            self._entries[role, model] = self._entries.get((role, model), Entry()) + entry

    def _priced(self, model: str, entry: Entry) -> Entry:
        price = self.prices.get(model)
        if price is None:
            return entry
        dollars = entry.prompt_tokens * price.prompt + entry.completion_tokens * price.completion
        return replace(entry, cost=dollars / 1e6)

    def __getitem__(self, role: str) -> Entry:
        return self.roles.get(role, Entry())

    @property
    def roles(self) -> dict[str, Entry]:
        """A copy of the sums: task, prompt and teacher first, other roles by name."""
        with self._lock:
            entries = sorted(self._entries.items())
        known = {role: i for i, role in enumerate(("task", "prompt", "teacher"))}
        sums: dict[str, Entry] = {}
        for (role, model), entry in sorted(entries, key=lambda item: known.get(item[0][0], 9)):
            sums[role] = sums.get(role, Entry()) + self._priced(model, entry)
        return sums

    @property
    def total(self) -> Entry:
        """All roles together."""
        return sum(self.roles.values(), Entry())

    def to_json(self) -> dict[str, Any]:
        """Role → sums."""
        return {role: entry.to_json() for role, entry in self.roles.items()}

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"prices": self.prices, "entries": dict(self._entries) if self.detached else {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.prices = state["prices"]
        self._entries = state["entries"]
        self._lock = threading.Lock()
        self.detached = True

    def merge(self, other: Ledger) -> None:
        """Add another ledger's sums to this one's."""
        with other._lock:
            entries = list(other._entries.items())
        for (role, model), entry in entries:
            self._add(role, model, entry)


@dataclass(frozen=True)
class Metered:
    """An LM that books every call of `lm` under `role`."""

    lm: LM
    ledger: Ledger
    role: str = "task"

    @property
    def model(self) -> str:
        """The wrapped LM's model."""
        return self.lm.model

    @property
    def identity(self) -> str:
        """The wrapped LM's identity: metering changes no reply."""
        return self.lm.identity

    def __call__(self, request: Request, /) -> Completion:
        """Answer as the wrapped LM does, and book it."""
        try:
            completion = self.lm(request)
        except LMError:
            self.ledger.failed(self.role, self.lm.model)
            raise
        self.ledger.completed(self.role, self.lm.model, completion)
        return completion
