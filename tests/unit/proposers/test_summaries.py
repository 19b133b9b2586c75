"""Texts about data, program and modules."""

from __future__ import annotations

import ast
import re

import pytest
from doubles import QA, TwoStep, asked, examples
from writing import Writer

import mipro
from mipro.lm.base import AuthError, LMTimeoutError
from mipro.proposers.source import source_of
from mipro.proposers.summaries import describe_module, describe_program, summarize_dataset


def numbered(request) -> str:
    return f"seen {asked(request, 'examples').count('inputs')}"


# --- of the data ---------------------------------------------------------------------------------


def test_the_data_are_looked_at_batch_by_batch():
    lm = Writer(observations=numbered, summary="The gist.")
    written = summarize_dataset(examples(25), lm, batch=10)
    assert (written.text, written.calls, written.error) == ("The gist.", 4, None)
    first, second, third = (asked(r, "examples") for r in lm.of("observations"))
    assert '"q0"' in first
    assert '"q10"' not in first
    assert '"q10"' in second
    assert '"q24"' in third
    assert lm.prompts("observations", "observations_so_far") == [
        "(none)",
        "seen 10",
        "seen 10 seen 10",
    ]
    assert lm.prompts("summary", "observations") == ["[1] seen 10\n[2] seen 10\n[3] seen 5"]


def test_it_stops_when_complete_was_said_often_enough():
    lm = Writer(
        observations=lambda r: "COMPLETE" if "new" in asked(r, "observations_so_far") else "new",
        summary="The gist.",
    )
    written = summarize_dataset(examples(200), lm, batch=10, enough=2)
    assert len(lm.of("observations")) == 3
    assert written.text == "The gist."
    assert lm.prompts("summary", "observations") == ["[1] new"]


@pytest.mark.parametrize("said", ["COMPLETE", "Complete.", " complete "])
def test_complete_is_understood_however_it_is_written(said: str):
    lm = Writer(observations=said)
    written = summarize_dataset(examples(90), lm, batch=10, enough=3)
    assert len(lm.of("observations")) == 3
    assert (written.text, lm.of("summary")) == ("", [])


def test_no_more_than_so_many_batches_are_paid_for():
    lm = Writer(observations=numbered, summary="The gist.")
    summarize_dataset(examples(500), lm, batch=5, max_batches=4)
    assert len(lm.of("observations")) == 4


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"observations": None}, "no field headers"),
        ({"observations": LMTimeoutError("slow")}, "slow"),
        ({"observations": "COMPLETE"}, "nothing was observed"),
        ({"observations": "x", "summary": None}, "summary.*no field headers"),
    ],
)
def test_a_summary_that_comes_to_nothing_says_why(texts, why: str):
    written = summarize_dataset(examples(20), Writer(**texts))
    assert written.text == ""
    assert written.error is not None
    assert "summary" in written.error
    assert re.search(why, written.error, re.DOTALL)


def test_one_unreadable_batch_does_not_cost_the_summary():
    replies = iter([None, "two", "three"])
    lm = Writer(observations=lambda r: next(replies), summary="The gist.")
    written = summarize_dataset(examples(30), lm)
    assert (written.text, written.error) == ("The gist.", None)
    assert lm.prompts("summary", "observations") == ["[1] two\n[2] three"]


def test_a_text_that_cannot_be_read_is_asked_for_again_warmer():
    replies = iter([None, "A program."])
    lm = Writer(program_description=lambda r: next(replies))
    written = describe_program(QA(), lm)
    assert (written.text, written.calls, written.error) == ("A program.", 2, None)
    first, second = lm.seen
    assert first.temperature == 0.0
    assert second.temperature > 0
    assert first.digest() != second.digest()


def test_it_is_given_up_after_three_attempts():
    lm = Writer(program_description=None)
    written = describe_program(QA(), lm)
    assert (written.text, written.calls, len(lm.seen)) == ("", 3, 3)
    assert "program_description" in written.error


def test_a_wrong_key_is_raised_at_once():
    lm = Writer(observations=AuthError("wrong key"))
    with pytest.raises(AuthError):
        summarize_dataset(examples(50), lm)
    assert len(lm.seen) == 1


# --- of the program ------------------------------------------------------------------------------


class Inner(mipro.Program):
    """The inner part."""

    def __init__(self) -> None:
        self.think = mipro.Predict("question -> answer")

    def forward(self, question):
        if question:
            return self.think(question=question)
        return {"answer": ""}


class Middle(mipro.Program):
    """The middle part."""

    def __init__(self) -> None:
        self.inner = Inner()

    def forward(self, question):
        return self.inner(question=question)


class Outer(mipro.Program):
    """The outer part."""

    def __init__(self) -> None:
        self.parts = {"one": [Middle()], "two": [Inner(), self]}

    def forward(self, question):
        return self.parts["one"][0](question=question)


def test_the_source_is_shown_as_it_is_written():
    source, note = source_of(TwoStep())
    assert note is None
    assert "            seen += [self.query(question=question, seen=seen).query]" in source
    ast.parse(source)  # indentation and all


def test_programs_within_lists_and_dicts_are_shown_once_each():
    source, _ = source_of(Outer())
    ast.parse(source)
    for name in ("Inner", "Middle", "Outer"):
        assert source.count(f"class {name}(") == 1


def test_a_class_defined_in_a_function_is_shown_without_its_margin():
    class Local(mipro.Program):
        def __init__(self) -> None:
            self.m = mipro.Predict("a -> b")

        def forward(self, a):
            return self.m(a=a)

    ast.parse(source_of(Local())[0])


def test_a_program_without_readable_source_is_described_by_its_modules_and_noted():
    scope: dict = {}
    code = (
        "import mipro\n"
        "class Typed(mipro.Program):\n"
        "    def __init__(self):\n"
        "        self.guess = mipro.Predict('size: float -> kind')\n"
        "    def forward(self, size):\n"
        "        return self.guess(size=size)\n"
    )
    exec(code, scope)
    lm = Writer(program_description="It guesses.")
    written = describe_program(scope["Typed"](), lm)
    assert written.text == "It guesses."
    assert "source of Typed cannot be read" in written.error
    assert lm.prompts("program_description", "program_code") == ["guess: size: float -> kind"]


def test_a_module_is_described_with_the_program_in_sight():
    lm = Writer(module_role="It asks.")
    written = describe_module(TwoStep(), "query", "A chain.", lm)
    assert written.text == "It asks."
    assert lm.prompts("module_role", "program_description") == ["A chain."]
    assert "class TwoStep" in lm.prompts("module_role", "program_code")[0]
    assert lm.prompts("module_role", "module")[0].startswith("query: question, seen: list[str] ->")
    assert lm.prompts("module_role", "position") == ["module 1 of 2; the others: answer"]
