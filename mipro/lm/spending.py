"""What is spent of a budget, and the LM that keeps to it: a call is granted first, or refused.

`calls` is exact at any concurrency, for a call is counted when it is granted. What tokens, dollars
and time a call takes is known when it is over: these are looked at before each call, and overrun by
no more than what was in flight. A call in flight at the end of the seconds is not tried again, and
does not wait to be (`allowance.py`); that is for LMs of this library to keep to. Replies that come
from a cache cost nothing and are not refused.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, final

from mipro.lm.allowance import OutOfTime, trying_until
from mipro.lm.base import LM, Completion, LMError, OverLM, Request, Usage, through
from mipro.lm.budget import LIMITS, Amount, Budget, BudgetExceeded, UnpricedError
from mipro.lm.cache import Cached
from mipro.lm.price import Price


def _times(amount: Amount, by: int) -> Amount:
    return Amount(*(getattr(amount, name) * by for name in LIMITS))


class Spending:
    """What was spent of one budget, by all LMs that share it. Thread-safe.

    `kept` is held back: calls are refused as if the budget were smaller by it. So is what was
    promised to work in other processes, which gets its `share` with it: a pickle of the spending
    has none of its own, and `allowance` opens the share there.
    """

    def __init__(self, budget: Budget | None, prices: Mapping[str, Price] | None = None) -> None:
        self.prices: dict[str, Price] = dict(prices or {})
        self._limits = {} if budget is None else budget.limits
        self._spent = Amount()
        self._parted: dict[str, Amount] = {}
        self._kept = Amount()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._promised = Amount()
        self._detached = False
        self._sent = math.inf  # to another process, in seconds since the epoch
        self._refusals: list[BudgetExceeded] = []

    @property
    def limits(self) -> dict[str, float]:
        """The budget's limits."""
        return dict(self._limits)

    @property
    def spent(self) -> Amount:
        """Calls granted, and what those that are over have taken."""
        with self._lock:
            return self._now()

    @property
    def kept(self) -> Amount:
        """What is held back."""
        return self._kept

    def keep(self, **parts: Amount) -> None:
        """From now on hold these parts back, and nothing else."""
        self._parted = parts
        self._kept = sum(parts.values(), Amount())

    def let_go(self, part: str) -> None:
        """Hold a part back no longer: it is its turn."""
        self.keep(**{name: amount for name, amount in self._parted.items() if name != part})

    def had(self, replies: Iterable[tuple[str, Usage]]) -> None:
        """Count the calls (model, usage) that were paid for in an earlier sitting of the run."""
        for model, usage in replies:
            self._add(Amount(calls=1))
            self.book(model, usage)

    def reserve(self, model: str | None = None) -> None:
        """Grant one call (of `model`, where it is given), or raise `BudgetExceeded`.

        Raises `UnpricedError` where dollars are limited and the model has no price.
        """
        own = self._account()
        if model is not None and "usd" in own._limits and model not in self.prices:
            raise UnpricedError(
                f"the budget is limited in dollars, and the model '{model}' has no price: its cost "
                f"cannot be known. Give its dollars per million tokens"
            )
        with own._lock:
            spent = own._now()
            away = own._kept + own._promised
            for name, most in own._limits.items():
                used, kept = getattr(spent, name), getattr(away, name)
                ahead = 1 if name == "calls" else 0  # a call is known to take one call
                if used + kept + ahead > most or (not ahead and used + kept >= most):
                    raise own._refused(name, most, used, kept)
            own._spent = replace(own._spent, calls=own._spent.calls + 1)

    def _refused(self, name: str, most: float, used: float, kept: float) -> BudgetExceeded:
        self._refusals.append(BudgetExceeded(name, most, used, kept))
        return self._refusals[-1]

    @property
    def until(self) -> float:
        """When the seconds will be used up, by `time.monotonic`; never, where they are no limit."""
        own = self._account()
        with own._lock:
            left = own._left().get("seconds", math.inf)
        return time.monotonic() + left

    def overtaken(self, error: OutOfTime) -> BudgetExceeded:
        """The refusal of a granted call that was waiting to be tried again when they were."""
        own = self._account()
        with own._lock:
            kept, most = own._kept.seconds, own._limits.get("seconds", math.inf)
            refused = own._refused("seconds", most, own._now().seconds, kept)
        refused.usage, refused.retries, refused.began = error.usage, error.retries, True
        return refused

    def release(self) -> None:
        """Take a grant back: the reply came from a cache."""
        self._add(Amount(calls=-1))

    def book(self, model: str, usage: Usage) -> None:
        """Add what a granted call took."""
        price = self.prices.get(model)
        paid = price.of(usage.prompt_tokens, usage.completion_tokens) if price else 0.0
        self._add(Amount(0, usage.total, paid))

    def _add(self, amount: Amount) -> None:
        own = self._account()
        with own._lock:
            own._spent += amount

    def _now(self) -> Amount:
        return replace(self._spent, seconds=self._spent.seconds + time.monotonic() - self._started)

    # ---- in other processes -------------------------------------------------------------------

    def share(self, items: int, of: int) -> Amount:
        """What each of `items` may spend in another process: an `of`th part of what is left.

        It is promised to them until they have `came_home`.
        """
        with self._lock:
            part = {name: max(0.0, left) / max(1, of) for name, left in self._left().items()}
            part["calls"] = float(math.floor(part.get("calls", 0.0)))
            part["seconds"] = part.get("seconds", 0.0) * max(1, of)  # it passes for all alike
            share = Amount(**part)
            self._promised += _times(replace(share, seconds=0.0), items)
        return share

    @contextmanager
    def allowance(self, share: Amount) -> Iterator[Spending]:
        """In another process: a share opened for the example in hand, and what it spends.

        Its seconds pass from when it was sent, by the clocks of both machines, whichever worker it
        waited for.
        """
        own = Spending(None, self.prices)
        own._started -= max(0.0, time.time() - self._sent)
        own._limits = {name: getattr(share, name) for name in self._limits}
        token = _OPEN.set(own)
        try:
            yield own
        finally:
            _OPEN.reset(token)

    def came_home(self, share: Amount, spent: Amount | None = None, items: int = 1) -> None:
        """Add what was spent of a share elsewhere (time passed here as well), and close it."""
        with self._lock:
            self._spent += replace(spent or Amount(), seconds=0.0)
            self._promised -= _times(replace(share, seconds=0.0), items)

    def _left(self) -> dict[str, float]:
        """What is neither spent, nor held back, nor promised."""
        gone = self._now() + self._kept + self._promised
        return {name: most - getattr(gone, name) for name, most in self._limits.items()}

    @property
    def refused(self) -> tuple[BudgetExceeded, ...]:
        """The calls refused, in order."""
        return tuple(self._refusals)

    def _account(self) -> Spending:
        return (_OPEN.get() or self) if self._detached else self

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            left = {name: max(0.0, amount) for name, amount in self._left().items()}
        return {"prices": self.prices, "limits": left, "sent": time.time()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Spending.__init__(self, None, state["prices"])
        self._limits, self._sent = state["limits"], state["sent"]
        self._detached = True


_OPEN: ContextVar[Spending | None] = ContextVar("mipro_allowance", default=None)


@final
@dataclass(frozen=True)
class Budgeted(OverLM):
    """An LM that asks `spending` before every call of `lm`. Raises as `lm` does, and
    `BudgetExceeded`.
    """

    lm: LM
    spending: Spending

    def over(self, own: LM) -> LM:
        """`own` under the same budget."""
        return budgeted(through(self.lm, own), self.spending)

    def __call__(self, request: Request, /) -> Completion:
        """Answer as the wrapped LM does, if there is money for it."""
        self.spending.reserve(self.lm.model)
        try:
            with trying_until(self.spending.until):
                completion = self.lm(request)
        except LMError as error:  # it stays counted: the call was made
            self.spending.book(self.lm.model, error.usage)
            if isinstance(error, OutOfTime):
                raise self.spending.overtaken(error) from error
            raise
        if completion.cached:
            self.spending.release()
        else:
            self.spending.book(self.lm.model, completion.usage)
        return completion


def budgeted(lm: LM, spending: Spending) -> LM:
    """`lm` under a budget; where it is a `Cached`, within it, so that what is stored is free."""
    if isinstance(lm, Cached):
        return lm.around(lambda inner: budgeted(inner, spending))
    return Budgeted(lm, spending)
