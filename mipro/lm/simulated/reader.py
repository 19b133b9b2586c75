"""How the embedded LM reads a prompt: messages in, fields, instruction and demonstrations out.

Nothing reaches it on the side: what it knows of a call is what any LM would be sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mipro import strict
from mipro.lm.base import Message

_HEADER = re.compile(r"^[ \t]*\[\[ ## (\w+) ## \]\][ \t]*\n?", re.MULTILINE)
_FIELD = re.compile(r"^- `(\w+)` \((.*?)\)(?:: .*)?$", re.MULTILINE)
_ITEM = re.compile(r"^\[\d+\] (.*(?:\n(?!\[\d+\] ).*)*)", re.MULTILINE)
_INSTRUCTION = "\nInstruction:\n"
_CHOICES = "one of: "


@dataclass(frozen=True)
class Asked:
    """An output field: its name, what the prompt says it may hold, its choices if named."""

    name: str
    what: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shot:
    """A demonstration in the prompt: the fields of a user turn and of the reply to it."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Task:
    """All of a prompt but its last turn. Compared by identity: one prompt is read once."""

    inputs: tuple[str, ...]
    outputs: tuple[Asked, ...]
    instruction: str
    shots: tuple[Shot, ...]
    as_json: bool


@lru_cache(maxsize=2048)
def read_task(prefix: tuple[Message, ...]) -> Task | None:
    """Read system message and demonstrations; None where they follow no layout it knows."""
    if not prefix or prefix[0].role != "system":
        return None
    system = prefix[0].content
    head, found, instruction = system.partition(_INSTRUCTION)
    before, _, after = head.partition("\nOutput fields:\n")
    outputs = tuple(_asked(name, what) for name, what in _FIELD.findall(after))
    if not found or not outputs:
        return None
    pairs = zip(prefix[1::2], prefix[2::2], strict=False)
    shots = tuple(Shot(sections(u.content), _reply(a.content)) for u, a in pairs)
    names = tuple(name for name, _ in _FIELD.findall(before))
    return Task(names, outputs, instruction.strip(), shots, "one JSON object" in head)


def _asked(name: str, what: str) -> Asked:
    if what in ("true or false",):
        return Asked(name, what, ("true", "false"))
    if what.startswith(_CHOICES):
        return Asked(name, what, tuple(what[len(_CHOICES) :].split(" | ")))
    return Asked(name, what)


def sections(text: str) -> dict[str, str]:
    """The text below each header."""
    heads = list(_HEADER.finditer(text))
    ends = [*(head.start() for head in heads[1:]), len(text)][: len(heads)]
    return {
        head.group(1): text[head.end() : end].strip()
        for head, end in zip(heads, ends, strict=True)
        if head.group(1) != "completed"
    }


def _reply(text: str) -> dict[str, str]:
    if text.lstrip().startswith("{"):
        try:
            body = strict.loads(text)
        except ValueError:
            return {}
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
    return sections(text)


def items(text: str) -> list[str]:
    """The items of a numbered list, as the prompt shows lists of texts."""
    found: list[str] = _ITEM.findall(text)
    return [item.strip() for item in found]
