"""Requests to the embedded LM, rendered by the adapters as a program's own would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mipro.lm.base import Request
from mipro.lm.simulated import SimulatedLM
from mipro.programs.adapter import Adapter, ChatAdapter
from mipro.programs.prompt import Demo, Prompt
from mipro.programs.signature import Signature

FLOWER = Signature.of(
    "petal_length: float, petal_width: float, sepal_length: float, sepal_width: float"
    " -> species: Literal['setosa', 'versicolor', 'virginica']"
)
ANSWER = Signature.of("passage, question -> answer")
QUERY = Signature.of("context: list[str], question -> search_query")
CHAT = ChatAdapter()

LENGTHS = ("petal_length", "petal_width", "sepal_length", "sepal_width")
SETOSA, VERSICOLOR, VIRGINICA = (1.4, 0.2, 5.0, 3.4), (4.3, 1.3, 5.9, 2.8), (5.6, 2.0, 6.6, 3.0)

PASSAGE = "The Tove Festival was founded by Orla Quill. It takes place in Karsholm. It started on "
FESTIVAL = {
    "passage": PASSAGE + "3 May 1901. It draws 4000 visitors. Its anthem is called Silver Road.",
    "question": "Who founded the Tove Festival?",
}
BOOK = "Silver Road | Silver Road is a novel of 1900. Its author is Orla Quill."
HOP = {"context": [BOOK], "question": "Where did the author of Silver Road have studied?"}


def flower(lengths: Sequence[float]) -> dict[str, float]:
    return dict(zip(LENGTHS, lengths, strict=True))


def demo(inputs: Mapping[str, Any], **outputs: Any) -> Demo:
    return Demo({**inputs, **outputs})


def request(
    signature: Signature,
    inputs: Mapping[str, Any],
    instruction: str = "",
    demos: Sequence[Demo] = (),
    adapter: Adapter = CHAT,
    **settings: Any,
) -> Request:
    prompt = Prompt(instruction or signature.instruction, tuple(demos))
    messages = adapter.render(signature, prompt, inputs)
    return Request(messages, schema=adapter.schema(signature), **settings)


def chances(
    signature: Signature,
    inputs: Mapping[str, Any],
    instruction: str = "",
    demos: Sequence[Demo] = (),
    adapter: Adapter = CHAT,
    **settings: Any,
) -> dict[str, float]:
    """Value of the last output field → its probability, as the adapter reads the replies."""
    asked = request(signature, inputs, instruction, demos, adapter, **settings)
    found: dict[str, float] = {}
    for reply, p in SimulatedLM().distribution(asked).items():
        value = list(adapter.parse(signature, reply, "m").values())[-1]
        found[value] = found.get(value, 0.0) + p
    return found
