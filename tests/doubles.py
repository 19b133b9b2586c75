"""Language models, programs and metrics for tests, all of them picklable."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import mipro
from mipro.lm.base import Completion, Request, Usage

_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\]$", re.MULTILINE)


def chat(**fields: Any) -> str:
    """A reply as `ChatAdapter` wants it."""
    marked = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*marked, "[[ ## completed ## ]]"])


def shown(request: Request) -> str:
    return "\n".join(f"--- {m.role}\n{m.content}" for m in request.messages)


def asked(request: Request, field: str) -> str:
    """What stands below the header `field` in the user's last turn."""
    parts = _HEADER.split(request.messages[-1].content)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[field].strip()


class CountingLM:
    """Replies with `reply(request)`: a text, or an error to raise. Counts and keeps requests."""

    model = "counting"

    def __init__(self, reply: Callable[[Request], str | Exception], **details: Any) -> None:
        self.reply, self.details = reply, details
        self.seen: list[Request] = []
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        return self.model

    @property
    def calls(self) -> int:
        return len(self.seen)

    def __call__(self, request: Request, /) -> Completion:
        with self._lock:
            self.seen.append(request)
        text = self.reply(request)
        if isinstance(text, Exception):
            raise text
        usage = Usage(sum(len(m.content) for m in request.messages), len(text))
        return Completion((text,), usage, self.model, **self.details)

    def __getstate__(self) -> dict[str, Any]:
        return {"reply": self.reply, "details": self.details}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["reply"], **state["details"])  # type: ignore[misc]


class ScriptedLM(CountingLM):
    """`script` is text in the last message → reply. Any other prompt fails the test, and is shown.

    `pytest.fail` is no `Exception`: a program's run, which keeps those, does not swallow it.
    """

    model = "scripted"

    def __init__(self, script: Mapping[str, str | Exception], **details: Any) -> None:
        self.script = dict(script)
        super().__init__(self._read, **details)

    def _read(self, request: Request) -> str | Exception:
        for part, reply in self.script.items():
            if part in request.messages[-1].content:
                return reply
        return pytest.fail(f"no reply is scripted for this prompt:\n{shown(request)}")

    def __getstate__(self) -> dict[str, Any]:
        return {"script": self.script, "details": self.details}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["script"], **state["details"])  # type: ignore[misc]


def echo(request: Request) -> str:
    fields = _HEADER.split(request.messages[-1].content)
    wanted = [n for n in _HEADER.findall(request.messages[0].content) if n != "completed"]
    return chat(**dict.fromkeys(wanted, fields[2].strip()))


class EchoLM(CountingLM):
    """Fills every output field with the first input field's text."""

    model = "echo"

    def __init__(self) -> None:
        super().__init__(echo)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]


class QA(mipro.Program):
    """One module, `answer`."""

    def __init__(self, instruction: str = "Answer.") -> None:
        self.answer = mipro.Predict("question -> answer", instruction)

    def forward(self, question: str) -> mipro.Prediction:
        return self.answer(question=question)


class TwoStep(mipro.Program):
    """Two modules, three calls: `query` is called twice."""

    def __init__(self) -> None:
        self.query = mipro.Predict("question, seen: list[str] -> query")
        self.answer = mipro.Predict("question, seen: list[str] -> answer")

    def forward(self, question: str) -> mipro.Prediction:
        seen: list[str] = []
        for _ in range(2):
            # in place, as in the README: what was traced must not change with it
            seen += [self.query(question=question, seen=seen).query]
        return self.answer(question=question, seen=seen)


def examples(n: int, **more: Any) -> list[mipro.Example]:
    """Question `q<i>`, whose answer is `q<i>` too, so that an `EchoLM` is always right."""
    return [
        mipro.Example({"question": f"q{i}", "answer": f"q{i}", **more}, inputs=("question",))
        for i in range(n)
    ]


@mipro.metric(worst=-10.0)
def minus_length(example: mipro.Example, prediction: mipro.Prediction) -> float:
    """A metric below 0, declared as one."""
    return -float(len(prediction.answer))
