"""What a program's tools do, in the source that its summary is written from."""

from __future__ import annotations

import ast
import json
import math
import textwrap
from functools import lru_cache, partial

from doubles import asked
from writing import Writer

import mipro
from mipro.proposers.source import DOC, FUNCTIONS, source_of
from mipro.proposers.summaries import describe_module, describe_program


def look_up(query: str, k: int = 3) -> list[str]:
    """Passages of the staff handbook about the query,
    the best first.

    How it does so is nobody's business.
    """
    return [query] * k


@lru_cache
def rate(currency: str) -> float:
    """What a euro is worth today."""
    return float(len(currency))


def silent(value: Missing) -> None:  # noqa: F821 - a type that is not there
    return None


def told(value: Missing) -> None:  # noqa: F821
    """Told all the same."""


class Desk(mipro.Program):
    """Answer from the handbook."""

    def __init__(self) -> None:
        self.search = look_up
        self.tools = {"rate": rate, "silent": silent, "few": [partial(look_up, k=1)]}
        self.answer = mipro.Predict("context, question -> answer")

    def forward(self, question: str) -> mipro.Prediction:
        told(math.floor(2.5))
        shown = json.dumps([textwrap.dedent(p) for p in self.search(question)])
        return self.answer(context=shown, question=question)


class Caller(Desk):
    """Its tools are named in its code alone."""

    def __init__(self) -> None:
        self.answer = mipro.Predict("context, question -> answer")

    def forward(self, question: str) -> mipro.Prediction:
        found = [look_up(word) for word in question.split()]
        return self.answer(context=str(found), question=question)


def comments(program: mipro.Program) -> list[str]:
    source, note = source_of(program)
    assert note is None
    ast.parse(source)
    return [line for line in source.splitlines() if line.startswith("#")]


def test_a_tools_parameters_and_first_paragraph_are_told_once_with_the_name_it_goes_by() -> None:
    search = "look_up(query: str, k: int = 3) -> list[str]: Passages of the staff handbook about"
    assert comments(Desk()) == [
        "# functions it uses:",
        f"# self.search: {search} the query, the best first.",
        "# self.tools: rate(currency: str) -> float: What a euro is worth today.",
        "# told(value: 'Missing') -> 'None': Told all the same.",
    ]


def test_functions_that_its_methods_name_are_told_too() -> None:
    assert [line[:9] for line in comments(Caller())] == ["# functio", "# look_up"]


def test_functions_of_the_library_and_of_python_are_not() -> None:
    class Plain(mipro.Program):
        def __init__(self) -> None:
            self.check, self.write = mipro.evaluate, json.dumps
            self.m = mipro.Predict("a -> b")

        def forward(self, a: str) -> mipro.Prediction:
            return self.m(a=textwrap.dedent(a))

    assert comments(Plain()) == []


def test_it_stays_brief_however_many_there_are_and_however_long() -> None:
    def tool(number: int) -> object:
        def made() -> None: ...

        made.__doc__ = "word " * 200
        return made

    class Many(mipro.Program):
        def __init__(self) -> None:
            self.tools = [tool(i) for i in range(50)]
            self.m = mipro.Predict("a -> b")

        def forward(self, a: str) -> mipro.Prediction:
            return self.m(a=a)

    lines = comments(Many())
    assert len(lines) == 1 + FUNCTIONS
    assert max(map(len, lines)) <= DOC + 50


def test_the_prompt_lm_is_shown_it() -> None:
    lm = Writer()
    describe_program(Desk(), lm)
    describe_module(Desk(), "answer", "A desk.", lm)
    for request in lm.seen:
        assert "Passages of the staff handbook" in asked(request, "program_code")


def test_where_the_source_cannot_be_read_the_tools_are_told_all_the_same() -> None:
    scope = {"mipro": mipro, "look_up": look_up}
    exec(
        "class Typed(mipro.Program):\n"
        "    def __init__(self):\n"
        "        self.search = look_up\n"
        "        self.m = mipro.Predict('a -> b')\n",
        scope,
    )
    source, note = source_of(scope["Typed"]())
    assert "the source of Typed cannot be read" in str(note)
    assert "Passages of the staff handbook" in source
    assert "m: a -> b" in source
