"""A budget: how many calls, tokens, dollars and seconds a run may take, and the words of its end.

`spending.py` keeps to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mipro.errors import ConfigError
from mipro.lm.base import LMError
from mipro.lm.price import Price


class BudgetExceeded(LMError):
    """A call refused: the budget's `limit` ("calls", "tokens", "usd" or "seconds") is reached.

    Systemic, as any other call would be refused as well. `began`: it was made, in vain, and refused
    the time to be tried again; `usage` and `retries` are what it took.
    """

    systemic = True
    began = False

    def __init__(self, limit: str, most: float, spent: float, kept: float = 0) -> None:
        self.limit, self.most, self.spent, self.kept = limit, most, spent, kept
        back = f", {_shown(limit, kept)} of them kept back for what comes last" if kept else ""
        super().__init__(
            f"the budget is spent: {_shown(limit, spent)} of {_shown(limit, most)} {limit}{back}"
        )

    def __reduce__(self) -> tuple[type[BudgetExceeded], tuple[str, float, float, float]]:
        return BudgetExceeded, (self.limit, self.most, self.spent, self.kept)


class UnpricedError(LMError):
    """A call of a model without a price, in a run that may spend so many dollars (systemic).

    The LMs known before a run are looked at then; a program may call another with one of its own.
    """

    systemic = True


def _shown(limit: str, amount: float) -> str:
    return f"{amount:,.4f}" if limit == "usd" else f"{amount:,.0f}"


@dataclass(frozen=True, slots=True)
class Amount:
    """So much of each thing that a budget can limit."""

    calls: float = 0
    tokens: float = 0
    usd: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(*(getattr(self, n) + getattr(other, n) for n in LIMITS))

    def __sub__(self, other: Amount) -> Amount:
        return Amount(*(getattr(self, n) - getattr(other, n) for n in LIMITS))


LIMITS = tuple(f.name for f in fields(Amount))


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend at most; None is no limit, and one limit at least is wanted.

    `calls` and `tokens` (of prompts and replies together) count what went to a language model;
    `usd` is by the prices given; `seconds` are from the start of the run. At a limit the run ends
    in order, with the best it has. Raises `ConfigError` for what is no such amount.
    """

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name in LIMITS if (value := getattr(self, name)) is not None}
        if not given:
            raise ConfigError(f"a budget without a limit: give {', '.join(LIMITS)}, any of them")
        for name, value in given.items():
            kind = int if name in ("calls", "tokens") else (int, float)
            if isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < 1e18:
                what = "a whole number" if kind is int else "a number"
                raise ConfigError(f"budget {name}={value!r}: {what} above 0 is wanted")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Budget:
        """A budget from names and values. Raises `ConfigError` for a name there is not."""
        for name in settings:
            if name not in LIMITS:
                raise ConfigError(f"no budget is called '{name}': there are {', '.join(LIMITS)}")
        return cls(**settings)

    @property
    def limits(self) -> dict[str, float]:
        """The limits that were given."""
        return {name: value for name in LIMITS if (value := getattr(self, name)) is not None}

    def check_prices(self, models: Mapping[str, str], prices: Mapping[str, Price]) -> None:
        """Raise `ConfigError` where `usd` is limited and a model (role → model) has no price."""
        if self.usd is None:
            return
        for role, model in models.items():
            if model not in prices:
                raise ConfigError(
                    f"budget usd = {self.usd:g}: the model '{model}' ({role}) has no price, so "
                    f"that its cost cannot be known; give its dollars per million tokens (in a "
                    f"config as `price` in the LM's table, or in [prices]), or limit calls or "
                    f"tokens instead"
                )
