"""Between fields and chat messages: rendering a module's call, and reading its reply, strictly.

`ChatAdapter` marks fields with headers, `[[ ## name ## ]]`; `JSONAdapter` asks for one JSON object
by schema. Both show inputs the same way. The templates stand here whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from mipro import strict
from mipro.errors import ParseError
from mipro.lm.base import Message
from mipro.programs import types
from mipro.programs.prompt import Demo, Prompt
from mipro.programs.signature import Field, Signature

HEADER = "[[ ## {name} ## ]]"
END = HEADER.format(name="completed")
_HEADER = re.compile(r"^[ \t]*\[\[ ## (\w+) ## \]\]", re.MULTILINE)
_ITEM = re.compile(r"(?<=\n)(?=\[\d+\])")  # where a line begins as the item of a list does
NOT_GIVEN = "(not given)"

SYSTEM = """\
You carry out one step of a larger program: from the input fields you produce the output fields.

Input fields:
{inputs}

Output fields:
{outputs}

{layout}

Instruction:
{instruction}"""

CHAT_LAYOUT = """\
Each field stands below a header of its own. Reply with these headers, in this order, each filled \
in, and with nothing else:

{headers}"""

JSON_LAYOUT = """\
Each input field stands below a header of its own. Reply with one JSON object and nothing else. \
Its keys, in this order: {names}."""


class Adapter(Protocol):
    """How a module's call becomes messages, and its reply values."""

    def render(
        self, signature: Signature, prompt: Prompt, inputs: Mapping[str, Any]
    ) -> tuple[Message, ...]:
        """System message, a user and an assistant message per demo, and the user's turn."""
        ...

    def schema(self, signature: Signature) -> Mapping[str, Any] | None:
        """The JSON schema to ask for, or None where the reply is marked text."""
        ...

    def parse(self, signature: Signature, reply: str, module: str) -> dict[str, Any]:
        """The output fields of `reply`, typed. Raises `ParseError`."""
        ...

    def closed(self, reply: str) -> bool:
        """Is a reply that can be parsed whole, even if it was cut off at max_tokens?"""
        ...


class ChatAdapter:
    """Fields below `[[ ## name ## ]]` headers, in and out."""

    def render(
        self, signature: Signature, prompt: Prompt, inputs: Mapping[str, Any]
    ) -> tuple[Message, ...]:
        """The chat messages of one call."""
        user = Message("user", _turn(signature, inputs))
        return (*_chat_prefix(signature, prompt), user)

    def schema(self, signature: Signature) -> None:
        """None: the reply is marked text."""

    def parse(self, signature: Signature, reply: str, module: str) -> dict[str, Any]:
        """Read the marked fields. A field that is missing, unknown or there twice is refused."""
        sections = _sections(signature, reply, module)
        values = {}
        for field in signature.outputs:
            if field.name not in sections:
                raise ParseError(module, field.name, "it is missing from the reply", reply)
            values[field.name] = _value(field, sections[field.name], types.read, module, reply)
        return values

    def closed(self, reply: str) -> bool:
        """Does it have the closing header? Without it the last field may be half a text."""
        return END in reply


class JSONAdapter:
    """Inputs below headers, the reply one JSON object after the signature's schema."""

    def render(
        self, signature: Signature, prompt: Prompt, inputs: Mapping[str, Any]
    ) -> tuple[Message, ...]:
        """The chat messages of one call."""
        user = Message("user", _turn(signature, inputs))
        return (*_json_prefix(signature, prompt), user)

    def schema(self, signature: Signature) -> Mapping[str, Any]:
        """The schema of the signature's output fields."""
        return signature.json_schema()

    def parse(self, signature: Signature, reply: str, module: str) -> dict[str, Any]:
        """Read one JSON object whose keys are exactly the output fields."""
        try:
            body = strict.loads(reply)
        except ValueError as error:
            raise ParseError(module, None, f"the reply is not JSON ({error})", reply) from error
        if not isinstance(body, dict):
            raise ParseError(module, None, "the reply is no JSON object", reply)
        names = [field.name for field in signature.outputs]
        for name in body:
            if name not in names:
                raise ParseError(module, str(name), "no such output field was asked for", reply)
        values = {}
        for field in signature.outputs:
            if field.name not in body:
                raise ParseError(module, field.name, "it is missing from the reply", reply)
            values[field.name] = _value(field, body[field.name], types.check, module, reply)
        return values

    def closed(self, reply: str) -> bool:
        """Always: half an object is no JSON."""
        return True


def _value(field: Field, raw: Any, read: Any, module: str, reply: str) -> Any:
    try:
        return read(field.type, raw)
    except ValueError as error:
        raise ParseError(module, field.name, str(error), reply) from error


def _sections(signature: Signature, reply: str, module: str) -> dict[str, str]:
    """The text below each header of the reply, up to the closing one."""
    known = {field.name for field in signature.outputs} | {"completed"}
    heads = list(_HEADER.finditer(reply))
    if not heads:
        raise ParseError(module, None, "the reply has no field headers", reply)
    sections: dict[str, str] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        name = head.group(1)
        if name not in known:
            raise ParseError(module, name, "no such output field was asked for", reply)
        if name in sections:
            raise ParseError(module, name, "it is in the reply twice", reply)
        sections[name] = reply[head.end() : following.start() if following else None].strip()
        if name == "completed":
            break
    return sections


@lru_cache(maxsize=4096)
def _chat_prefix(signature: Signature, prompt: Prompt) -> tuple[Message, ...]:
    """System message and demos: the same for every example a prompt is tried on."""
    headers = "\n\n".join(_section(f.name, f"({_what(f)})") for f in signature.outputs)
    layout = CHAT_LAYOUT.format(headers=f"{headers}\n\n{END}")
    messages = [_system(signature, prompt, layout)]
    for demo in prompt.demos:
        messages += [Message("user", _turn(signature, demo.values)), _chat_reply(signature, demo)]
    return tuple(messages)


@lru_cache(maxsize=4096)
def _json_prefix(signature: Signature, prompt: Prompt) -> tuple[Message, ...]:
    names = ", ".join(f'"{field.name}"' for field in signature.outputs)
    messages = [_system(signature, prompt, JSON_LAYOUT.format(names=names))]
    for demo in prompt.demos:
        shown = {f.name: demo.values[f.name] for f in signature.outputs if f.name in demo.values}
        messages += [
            Message("user", _turn(signature, demo.values)),
            Message("assistant", json.dumps(shown, ensure_ascii=False)),
        ]
    return tuple(messages)


def _system(signature: Signature, prompt: Prompt, layout: str) -> Message:
    return Message(
        "system",
        SYSTEM.format(
            inputs="\n".join(_line(field) for field in signature.inputs),
            outputs="\n".join(_line(field) for field in signature.outputs),
            layout=layout,
            # one that speaks of a header may; a line of it must not pass for one
            instruction=_HEADER.sub(lambda head: _safe(head.group()), prompt.instruction),
        ),
    )


def _line(field: Field) -> str:
    return f"- `{field.name}` ({_what(field)})" + (
        f": {field.description}" if field.description else ""
    )


def _what(field: Field) -> str:
    return types.constraint(field.type)


def _turn(signature: Signature, values: Mapping[str, Any]) -> str:
    """The input fields, each below its header."""
    return "\n\n".join(
        _section(f.name, _shown(values[f.name]) if f.name in values else NOT_GIVEN)
        for f in signature.inputs
    )


def _chat_reply(signature: Signature, demo: Demo) -> Message:
    shown = [
        _section(f.name, _safe(types.write(demo.values[f.name])))
        for f in signature.outputs
        if f.name in demo.values
    ]
    return Message("assistant", "\n\n".join([*shown, END]))


def _section(name: str, text: str) -> str:
    return f"{HEADER.format(name=name)}\n{text}"


def _shown(value: Any) -> str:
    """A value as the LM sees it; a list of texts is numbered, to tell passages apart."""
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return "\n".join(f"[{i}] {_item(item)}" for i, item in enumerate(value, 1)) or "(empty)"
    return _safe(types.write(value))


def _item(text: str) -> str:
    """An item of a list: none of its own lines may pass for the next item."""
    return _ITEM.sub(" ", _safe(text)) if "\n[" in text else _safe(text)


def _safe(text: str) -> str:
    """Data must not pass for a header: the marks of one are pulled apart."""
    return text.replace("[[ ##", "[ [ ##") if "[[ ##" in text else text
