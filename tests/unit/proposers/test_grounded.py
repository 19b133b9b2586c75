"""The grounded proposer: what it is shown, how often it asks, and what becomes of a bad reply."""

from __future__ import annotations

from typing import Literal

import pytest
from doubles import QA, TwoStep, examples, shown
from writing import Writer

import mipro
from mipro.lm.base import AuthError, ContextLengthError, LMError, UnavailableError
from mipro.lm.simulated import SimulatedLM
from mipro.programs.prompt import Demo
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.history import Tried
from mipro.proposers.settings import Settings
from mipro.proposers.tips import TIPS
from mipro.worlds import load_world

BARE = Settings(dataset_summary=False, program_summary=False)
TRAIN = examples(12)
DEMOS = ((), (Demo({"question": "q9", "answer": "shown answer"}),))


def proposer(lm, program: mipro.Program | None = None, **more) -> GroundedProposer:
    return GroundedProposer(program or QA(), TRAIN, lm, **more)


def propose(lm, settings: Settings = BARE, module: str = "answer", **more):
    return proposer(lm).propose(module, settings, current="Answer.", **more)


# --- what it is shown ----------------------------------------------------------------------------


def test_a_bare_proposal_is_one_call_that_shows_the_module_alone():
    lm = Writer(proposed_instruction="Do it.")
    made = propose(lm)
    assert (made.instruction, made.evidence, made.missing, made.error) == ("Do it.", (), (), None)
    assert len(lm.seen) == 1
    assert lm.prompts("proposed_instruction", "current_instruction") == ["Answer."]
    assert lm.prompts("proposed_instruction", "module") == ["answer: question -> answer"]


@pytest.mark.parametrize(
    ("settings", "evidence"),
    [
        (Settings(), ("dataset_summary", "program_description", "module_role")),
        (Settings(dataset_summary=False), ("program_description", "module_role")),
        (Settings(program_summary=False), ("dataset_summary",)),
        (Settings(False, False, demo_set=1), ("demos",)),
        (Settings(False, False, history=True), ("history",)),
        (Settings(False, False, tip="persona"), ("tip",)),
    ],
)
def test_the_settings_decide_what_is_shown(settings: Settings, evidence: tuple[str, ...]):
    texts = dict.fromkeys(("observations", "summary", "module_role"), "TEXT")
    lm = Writer(program_description="TEXT", proposed_instruction="Do it.", **texts)
    made = proposer(lm, demo_sets={"answer": DEMOS}).propose(
        "answer", settings, current="Answer.", history=[Tried("Try.", 0.5, 9)]
    )
    assert made.evidence == evidence
    assert made.settings == settings
    prompt = lm.of("proposed_instruction")[0].messages[-1].content
    for name in ("dataset_summary", "program_description", "module_role", "demos", "history"):
        assert (f"## {name} ##" in prompt) == (name in evidence)
    assert ("shown answer" in prompt) == ("demos" in evidence)
    assert (TIPS["persona"] in prompt) == ("tip" in evidence)


def test_the_temperature_and_the_rollout_are_the_proposals_own():
    lm = Writer(proposed_instruction="Do it.")
    propose(lm, Settings(False, False, temperature=1.0), rollout=7)
    assert (lm.seen[0].temperature, lm.seen[0].rollout) == (1.0, 7)


def test_what_was_asked_for_and_cannot_be_had_is_named():
    lm = Writer(proposed_instruction="Do it.")
    made = propose(lm, Settings(False, False, demo_set=3, history=True))
    assert made.missing == ("demos", "history")
    assert made.evidence == ()


def test_the_values_of_a_literal_reach_the_proposer():
    class Sorter(mipro.Program):
        def __init__(self) -> None:
            self.sort = mipro.Predict("text, size: int -> label: Literal['red', 'deep blue']")

        def forward(self, text, size):
            return self.sort(text=text, size=size)

    lm = Writer(proposed_instruction="Do it.")
    proposer(lm, Sorter()).propose("sort", BARE, current="Sort.")
    module = lm.prompts("proposed_instruction", "module")[0]
    assert "'red'" in module
    assert "'deep blue'" in module
    assert "size: int" in module


def test_modules_with_the_same_fields_are_told_apart():
    class Opinions(mipro.Program):
        def __init__(self) -> None:
            self.first = [mipro.Predict("text -> opinion") for _ in range(2)]
            self.last = mipro.Predict("text -> opinion")

        def forward(self, text):
            return self.last(text=text)

    lm = Writer(proposed_instruction="Do it.", module_role=lambda r: "ROLE" + shown(r)[-200:])
    made = proposer(lm, Opinions())
    for module in ("first[0]", "first[1]", "last"):
        made.propose(module, Settings(dataset_summary=False), current="Think.")
    prompts = [r.messages[-1].content for r in lm.of("proposed_instruction")]
    assert len(set(prompts)) == 3
    assert len(set(lm.prompts("module_role", "module"))) == 3
    assert lm.prompts("proposed_instruction", "position") == [
        "module 1 of 3; the others: first[1], last",
        "module 2 of 3; the others: first[0], last",
        "module 3 of 3; the others: first[0], first[1]",
    ]


# --- how often it asks ---------------------------------------------------------------------------


def test_shared_texts_are_written_once_for_any_number_of_proposals():
    lm = Writer()
    made = proposer(lm, TwoStep())
    for rollout in range(5):
        for module in ("query", "answer"):
            assert made.propose(module, Settings(), current="x", rollout=rollout).instruction
    assert len(lm.of("proposed_instruction")) == 10
    assert len(lm.of("program_description")) == 1
    assert len(lm.of("module_role")) == 2
    assert len(lm.of("summary")) <= 1


def test_a_summary_that_failed_is_not_asked_for_again_and_again():
    notes = []
    lm = Writer(observations=None, proposed_instruction="Do it.")
    made = proposer(lm, note=lambda kind, written: notes.append((kind, written)))
    for rollout in range(3):
        settings = Settings(program_summary=False)
        answered = made.propose("answer", settings, current="x", rollout=rollout)
        assert answered.missing == ("dataset_summary",)
    assert len(lm.of("observations")) == 2  # its two batches, once
    assert [(kind, written.text) for kind, written in notes] == [("dataset_summary", "")]
    assert "no field headers" in notes[0][1].error


# --- bad replies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error"),
    [(None, "ParseError"), (ContextLengthError("too long"), "ContextLengthError: too long")],
)
def test_a_bad_reply_costs_that_proposal_and_says_why(reply, error: str):
    made = propose(Writer(proposed_instruction=reply))
    assert made.instruction is None
    assert made.error
    assert made.error.startswith(error)


@pytest.mark.parametrize("error", [AuthError("no key"), UnavailableError("gone")])
def test_an_error_that_every_call_would_meet_is_raised(error):
    with pytest.raises(type(error), match=str(error)):
        propose(Writer(proposed_instruction=error))
    with pytest.raises(type(error)):
        propose(Writer(observations=error), Settings())


def test_an_error_that_is_no_lms_is_every_calls_and_says_what_it_was():
    def broken(request):
        raise ZeroDivisionError("a fault of the LM's own")

    with pytest.raises(LMError, match="ZeroDivisionError: a fault of the LM's own") as caught:
        propose(Writer(proposed_instruction=broken))
    assert caught.value.systemic
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    "text",
    [
        "Label: say yes or no.",
        "Instruction: reply with Answer: and then the answer.",
        '"Quoted from beginning to end."',
        "1. Read.\n2. Think.\n\n\n3. Reply: a word.",
        "Proposed Instruction: x",
        "Use the form [[answer]].",
    ],
)
def test_an_instruction_is_kept_to_the_letter(text: str):
    assert propose(Writer(proposed_instruction=text)).instruction == text


def test_half_of_the_embedded_lms_replies_may_be_broken():
    made = proposer(SimulatedLM(malformed=0.5))
    proposals = [made.propose("answer", BARE, current="x", rollout=i) for i in range(40)]
    assert {p.instruction is None for p in proposals} == {True, False}
    assert all((p.error is None) == (p.instruction is not None) for p in proposals)


# --- against the embedded LM, on a real program --------------------------------------------------


def test_on_the_two_hop_program_each_module_gets_advice_of_its_own():
    world = load_world("twohop")
    made = GroundedProposer(world.program, world.train, world.lm)

    def texts(module: str) -> list[str]:
        settings = Settings(temperature=0.3)
        proposals = [made.propose(module, settings, current="x", rollout=i) for i in range(10)]
        return [proposal.instruction for proposal in proposals]

    assert sum("intermediate" in text for text in texts("write_query")) > 5
    assert sum("from the passages" in text for text in texts("answer")) > 5
    assert not any("intermediate" in text for text in texts("answer"))


def test_a_class_with_typed_fields_is_shown_with_them():
    class Sick:
        """Is this patient sick?"""

        age: int = mipro.Input("in years")
        sick: Literal["yes", "no"] = mipro.Output()

    class Doctor(mipro.Program):
        def __init__(self) -> None:
            self.see = mipro.Predict(Sick)

        def forward(self, age):
            return self.see(age=age)

    lm = Writer(proposed_instruction="Do it.")
    proposer(lm, Doctor()).propose("see", BARE, current="x")
    expected = ["see: age: int -> sick: Literal['yes', 'no']"]
    assert lm.prompts("proposed_instruction", "module") == expected
