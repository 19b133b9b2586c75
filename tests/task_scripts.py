"""A model that plays a task's modules and its proposer, and knows every prompt it may meet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import pytest
from doubles import CountingLM, asked, chat, shown

from mipro.data import Example
from mipro.lm.base import Request

GOOD, BAD = "Read everything twice, then answer as the data do.", "Make a quick guess."
# what the proposer's prompts ask for → what is written
TEXTS = {
    "observations": "The rows are alike.",
    "summary": "Rows of one kind.",
    "program_description": "It answers.",
    "module_role": "It gives the answer.",
}
NOT_GIVEN = "(not given)"
_INSTRUCTION = "\n\nInstruction:\n"


@dataclass(frozen=True)
class Asked:
    """A call of a module, as its prompt tells it."""

    module: str
    example: Example
    instruction: str
    demos: int
    temperature: float | None

    @property
    def easy(self) -> bool:
        """Half of all rows, the same ones at every run."""
        return crc32(repr(sorted(self.example.inputs.items())).encode()) % 2 == 0


def turn(example: Example, fields: Sequence[str]) -> str:
    """The user's turn for a row."""
    return "\n\n".join(f"[[ ## {name} ## ]]\n{example[name]}" for name in fields)


class TaskLM(CountingLM):
    """Task model and proposer in one. Any prompt but these fails the test, and is shown:

    - of a module: a head of `heads` to the letter, an instruction that stands there or was
      proposed, demonstrations that are rows of `train` and hold their label, the turn of a row
      that is known
    - of the proposer: one that asks for a field of `TEXTS` or for an instruction, and holds none
      of `hidden`

    `heads` is a module's whole system message, `parts` what may stand before a row's own fields in
    its turn (a pattern), `reply` what it says, `label` the field that a demonstration must have.
    """

    model = "task"

    def __init__(
        self,
        heads: Mapping[str, str],
        fields: Sequence[str],
        label: str,
        train: Sequence[Example],
        others: Sequence[Example],
        reply: Callable[[Asked], str],
        *,
        parts: Mapping[str, str] | None = None,
        hidden: Sequence[str] = (),
    ) -> None:
        super().__init__(self._answer)
        self.modules = {text.partition(_INSTRUCTION)[0]: name for name, text in heads.items()}
        self.instructions = {
            name: {text.partition(_INSTRUCTION)[2], GOOD, BAD} for name, text in heads.items()
        }
        self.train = {turn(example, fields): example for example in train}
        self.rows = {**self.train, **{turn(example, fields): example for example in others}}
        self.label, self.said, self.parts, self.hidden = label, reply, parts or {}, hidden
        self.calls_of: list[Asked] = []
        self.proposals: Counter[str] = Counter()

    def _answer(self, request: Request) -> str:
        head, _, instruction = request.messages[0].content.partition(_INSTRUCTION)
        if head not in self.modules:
            return self._written(request)
        name = self.modules[head]
        *demos, last = request.messages[1:]
        known = instruction in self.instructions[name] and last.role == "user"
        example = self.rows.get(self._row(name, last.content))
        for user, assistant in zip(demos[::2], demos[1::2], strict=True):
            known = known and self._is_demo(name, user.content, assistant.content)
        if example is None or not known:
            return self._unexpected(request)
        call = Asked(name, example, instruction, len(demos) // 2, request.temperature)
        self.calls_of.append(call)
        return self.said(call)

    def _row(self, name: str, text: str) -> str:
        """A turn without what may stand before the row's own fields."""
        return re.sub(self.parts[name], "", text, count=1) if name in self.parts else text

    def _is_demo(self, name: str, user: str, assistant: str) -> bool:
        example = self.train.get(self._row(name, user).replace(f"{NOT_GIVEN}\n\n", ""))
        if example is None or not assistant.endswith("\n\n[[ ## completed ## ]]"):
            return False
        said = assistant.removesuffix("\n\n[[ ## completed ## ]]")
        return self._right(said.rpartition(f"[[ ## {self.label} ## ]]\n")[2], example)

    def _right(self, said: str, example: Example) -> bool:
        return said == str(example[self.label])

    def _written(self, request: Request) -> str:
        text = shown(request)
        wanted = re.findall(r"^- `(\w+)`", text.partition("\nOutput fields:\n")[2], re.MULTILINE)
        if any(part in text for part in self.hidden):
            return self._unexpected(request)
        if wanted[:1] == ["proposed_instruction"]:
            module = asked(request, "module")
            self.proposals[module] += 1
            text = BAD if self.proposals[module] % 2 else GOOD
            return chat(proposed_instruction=text)
        if wanted and wanted[0] in TEXTS:
            return chat(**{wanted[0]: TEXTS[wanted[0]]})
        return self._unexpected(request)

    def _unexpected(self, request: Request) -> str:
        # `pytest.fail` is no `Exception`: what keeps those does not swallow it
        return pytest.fail(f"this prompt was not expected:\n{shown(request)}")
