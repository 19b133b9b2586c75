"""Language models that a proposer asks, and what they were asked."""

from __future__ import annotations

from collections.abc import Callable

from doubles import CountingLM, asked, chat

from mipro.lm.base import LMError, Request
from mipro.lm.simulated import SimulatedLM

OUTPUTS = ("observations", "summary", "program_description", "module_role", "proposed_instruction")


def wanted(request: Request) -> str:
    """The output field that a request asks for."""
    system = request.messages[0].content.partition("\nOutput fields:\n")[2]
    return next(name for name in OUTPUTS if system.startswith(f"- `{name}`"))


class Writer(CountingLM):
    """Writes what `texts` has for the field asked for (text, error, or function of the request).

    For a field that is not there, what the embedded LM writes. None is a reply without its field.
    """

    def __init__(self, **texts: str | LMError | Callable[[Request], str] | None) -> None:
        self.texts, self.simulated = texts, SimulatedLM()
        super().__init__(self._write)

    def _write(self, request: Request) -> str | Exception:
        field = wanted(request)
        text = self.texts.get(field, "")
        if callable(text):
            text = text(request)
        if text is None:
            return "I would rather not."
        if isinstance(text, Exception):
            return text
        return chat(**{field: text}) if text else self.simulated(request).text

    def of(self, field: str) -> list[Request]:
        """The requests for one field."""
        return [request for request in self.seen if wanted(request) == field]

    def prompts(self, field: str, shown: str) -> list[str]:
        """What stood in the section `shown` of the requests for one field."""
        return [asked(request, shown) for request in self.of(field)]
