"""A ledger of what was asked of language models, by role and phase, and the LM that keeps it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

from mipro.lm.base import LM, Completion, LMError, OverLM, Request, through
from mipro.lm.budget import BudgetExceeded
from mipro.lm.price import Price
from mipro.lm.spending import Spending

__all__ = ["Entry", "Ledger", "Metered", "Price", "entry_of"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Sums of calls. `calls` went to the LM and were answered; `cached` cost nothing.

    `failed` were made and gave no completion; `retries` are the further tries that both kinds
    took. Tokens are all that was paid for; `cost` is in US dollars, and None where no call had a
    price.
    """

    calls: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    retries: int = 0

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
            self.retries + sign * other.retries,
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
            "retries": self.retries,
        }
        if self.cost is not None:
            body["cost_usd"] = round(self.cost, 8)
        return body


def entry_of(reply: Completion | LMError) -> Entry:
    """What a reply, or a failure, is booked as."""
    if reply.cached:
        return Entry(cached=1)
    calls, failed = (0, 1) if isinstance(reply, LMError) else (1, 0)
    tokens = (reply.usage.prompt_tokens, reply.usage.completion_tokens)
    return Entry(calls, 0, failed, *tokens, retries=reply.retries)


class Ledger:
    """Thread-safe sums by role and phase. A model without a price in `prices` adds no cost.

    Whole numbers are summed and costs derived from them, so that the order in which threads book
    their calls changes no digit. A ledger that travels to another process arrives empty and
    `detached`: what is booked there has to be brought home and merged (`evaluate` does). A detached
    one travels whole. `spending` is what the LMs booked here share of a budget, if there is one;
    `refusals` are the calls it did not grant to them.
    """

    def __init__(
        self,
        prices: Mapping[str, Price] | None = None,
        *,
        spending: Spending | None = None,
        detached: bool = False,
    ) -> None:
        self.prices: dict[str, Price] = dict(prices or {})
        self.spending = spending
        self._entries: dict[tuple[str, str, str], Entry] = {}  # phase, role, model
        self._phase = ""
        self._lock = threading.Lock()
        self.detached = detached
        self.refusals: list[BudgetExceeded] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What is booked in it belongs to the phase `name`: one at a time, whatever the thread."""
        before, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = before

    def completed(self, role: str, model: str, completion: Completion) -> None:
        """Book an answered call."""
        self._add(role, model, entry_of(completion))

    def failed(self, role: str, model: str, error: LMError | None = None) -> None:
        """Book a call that gave no completion, with what it cost all the same."""
        self._add(role, model, Entry(failed=1) if error is None else entry_of(error))

    def corrected(self, role: str, model: str, entry: Entry) -> None:
        """Add an entry, which may be negative: the call turned out to be another ledger's."""
        self._add(role, model, entry)

    def _add(self, role: str, model: str, entry: Entry, phase: str = "") -> None:
        with self._lock:
            key = (phase or self._phase, role, model)
            self._entries[key] = self._entries.get(key, Entry()) + entry

    def _priced(self, model: str, entry: Entry) -> Entry:
        price = self.prices.get(model)
        if price is None:
            return entry
        return replace(entry, cost=price.of(entry.prompt_tokens, entry.completion_tokens))

    def __getitem__(self, role: str) -> Entry:
        return self.roles.get(role, Entry())

    @property
    def roles(self) -> dict[str, Entry]:
        """A copy of the sums by role: task, prompt and teacher first, others by name."""
        known = {role: i for i, role in enumerate(("task", "prompt", "teacher"))}
        return self._sums(1, lambda role: (known.get(role, 9), role))

    @property
    def phases(self) -> dict[str, Entry]:
        """A copy of the sums by phase, in the order of their first bookings ("" is none)."""
        return self._sums(0, lambda phase: 0)  # a stable sort: as they came

    def _sums(self, part: int, rank: Callable[[str], Any]) -> dict[str, Entry]:
        with self._lock:
            entries = list(self._entries.items())
        sums = dict.fromkeys((key[part] for key, _ in entries), Entry())
        # a cost is a sum of floats: added up in one order, whichever thread booked first
        entries.sort(key=lambda item: item[0])
        for key, entry in entries:
            sums[key[part]] += self._priced(key[2], entry)
        return dict(sorted(sums.items(), key=lambda item: rank(item[0])))

    @property
    def models(self) -> dict[str, Entry]:
        """A copy of the sums by model, by name: modules may have LMs of their own."""
        return self._sums(2, lambda model: model)

    @property
    def total(self) -> Entry:
        """All roles together."""
        return sum(self.roles.values(), Entry())

    def to_json(self) -> dict[str, Any]:
        """Role → sums."""
        return {role: entry.to_json() for role, entry in self.roles.items()}

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            entries = dict(self._entries) if self.detached else {}
        return {"prices": self.prices, "spending": self.spending, "entries": entries}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Ledger.__init__(self, state["prices"], spending=state["spending"], detached=True)
        self._entries = state["entries"]

    def merge(self, other: Ledger) -> None:
        """Add another ledger's sums to this one's; what has no phase belongs to the one here."""
        with other._lock:
            entries = list(other._entries.items())
        for (phase, role, model), entry in entries:
            self._add(role, model, entry, phase)


@final
@dataclass(frozen=True)
class Metered(OverLM):
    """An LM that books every call of `lm` under `role`."""

    lm: LM
    ledger: Ledger
    role: str = "task"

    def over(self, own: LM) -> Metered:
        """`own`, booked under the same role in the same ledger, with its own model."""
        return replace(self, lm=through(self.lm, own))

    def __call__(self, request: Request, /) -> Completion:
        """Answer as the wrapped LM does, and book it."""
        try:
            completion = self.lm(request)
        except BudgetExceeded as error:
            self.ledger.refusals.append(error)
            if error.began:
                self.ledger.failed(self.role, self.lm.model, error)
            raise
        except LMError as error:
            self.ledger.failed(self.role, self.lm.model, error)
            raise
        self.ledger.completed(self.role, self.lm.model, completion)
        return completion
