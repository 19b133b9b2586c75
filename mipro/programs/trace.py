"""What a run leaves behind: predictions, and a record of every module call.

The run in flight travels in one context variable, so nothing is global: a program is safe on many
threads, and two runs never see each other.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mipro.errors import MissingFieldError
from mipro.lm.base import LM, LMError, Message, Usage

if TYPE_CHECKING:
    from mipro.programs.adapter import Adapter
    from mipro.programs.prompt import Candidate


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of one module. `outputs` is empty and `error` set where it failed.

    `inputs` and `outputs` are as they were then: what the program does to a list later is not seen.
    """

    module: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    messages: tuple[Message, ...]
    reply: str
    usage: Usage
    seconds: float
    cached: bool = False
    error: str | None = None
    model: str = ""  # of the LM that was asked


@dataclass(frozen=True, slots=True)
class Trace:
    """The module calls of one run, in the order they returned.

    Where the program calls modules in threads of its own, that order would be chance: then in the
    order of their names and inputs.
    """

    calls: tuple[ModuleCall, ...] = ()

    def of(self, module: str) -> tuple[ModuleCall, ...]:
        """The calls of one module."""
        return tuple(call for call in self.calls if call.module == module)

    @property
    def counts(self) -> dict[str, int]:
        """How often each module was called, failed calls counted; one never called is absent."""
        return dict(Counter(call.module for call in self.calls))

    @property
    def usage(self) -> Usage:
        """Tokens of all calls that were not answered from a cache."""
        return sum((call.usage for call in self.calls if not call.cached), Usage())

    def __len__(self) -> int:
        return len(self.calls)

    def __iter__(self) -> Iterator[ModuleCall]:
        return iter(self.calls)


class Prediction(Mapping[str, Any]):
    """Named values, read as attributes or items; `trace` has the calls that led to them."""

    __slots__ = ("_fields", "trace")

    def __init__(self, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self._fields: dict[str, Any] = {**(fields or {}), **more}
        self.trace = Trace()

    def __getitem__(self, name: str) -> Any:
        try:
            return self._fields[name]
        except KeyError:
            have = ", ".join(f"'{n}'" for n in self._fields) or "none"
            raise MissingFieldError(
                f"the prediction has no field '{name}'; it has {have}"
            ) from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "trace":
            raise AttributeError(name)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Prediction({', '.join(f'{k}={v!r}' for k, v in self._fields.items())})"

    def __getstate__(self) -> tuple[dict[str, Any], Trace]:
        return self._fields, self.trace

    def __setstate__(self, state: tuple[dict[str, Any], Trace]) -> None:
        self._fields, self.trace = state


@dataclass(frozen=True)
class Run:
    """One run of a program: its prediction, or the error that ended it, and the trace so far."""

    prediction: Prediction | None
    trace: Trace
    error: Exception | None = None


@dataclass(slots=True)
class RunContext:
    """A run in flight: what its modules need, and what they have done so far.

    `fatal` is a systemic failure that a module met: the run's end, whatever `forward` makes of it.
    `failed` counts the calls that gave no outputs, by the digest of their request. `home` is the
    thread that the run was begun in.
    """

    lm: LM
    candidate: Candidate
    adapter: Adapter
    names: Mapping[int, str]
    rollout: int = 0
    calls: list[ModuleCall] = field(default_factory=list)
    fatal: LMError | None = None
    failed: Counter[str] = field(default_factory=Counter)
    home: int = field(default_factory=threading.get_ident)
    threaded: bool = False  # was a module called in another thread?
    in_vain: int = 0  # calls since `fatal`

    @contextmanager
    def asking(self, lm: LM) -> Iterator[None]:
        """A part of the run that asks another LM; all else it shares with the rest."""
        part = replace(self, lm=lm)
        token = CURRENT.set(part)
        try:
            yield
        finally:
            CURRENT.reset(token)
            self.fatal = self.fatal or part.fatal
            self.threaded, self.in_vain = self.threaded or part.threaded, part.in_vain

    @property
    def trace(self) -> Trace:
        """The calls so far."""
        calls = list(self.calls)
        if self.threaded:
            calls.sort(key=_place)
        return Trace(tuple(calls))


def _place(call: ModuleCall) -> tuple[str, str, bool, str]:
    """Where a call stands among others of which none was first."""
    inputs = json.dumps(call.inputs, sort_keys=True, ensure_ascii=False)
    return call.module, inputs, call.error is None, call.reply


class Over(BaseException):
    """Ends a program that goes on calling modules after a systemic failure, whatever it catches."""


CURRENT: ContextVar[RunContext | None] = ContextVar("mipro_run", default=None)
