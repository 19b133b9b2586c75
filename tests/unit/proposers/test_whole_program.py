"""A proposal of a whole program: one reply, one field for each module, whatever its name."""

from __future__ import annotations

import json

import pytest
from doubles import CountingLM, asked, chat

import mipro
from mipro.lm.base import UnavailableError
from mipro.lm.simulated import SimulatedLM
from mipro.lm.tokens import estimate_tokens
from mipro.programs.prompt import Demo
from mipro.proposers.grounded import GroundedProposer
from mipro.proposers.history import Tried, TriedProgram, best_last, best_programs_last
from mipro.proposers.settings import Settings
from mipro.proposers.whole_program import WholeProgramProposer

NAMES = ("opinions[0]", "opinions[1]", "by_kind['a-b']", "vote")
CURRENT = dict.fromkeys(NAMES, "Do it.")
BARE = Settings(dataset_summary=False, program_summary=False)


class Panel(mipro.Program):
    """Opinions, and a vote on them."""

    def __init__(self) -> None:
        self.opinions = [mipro.Predict("case -> opinion") for _ in range(2)]
        self.by_kind = {"a-b": mipro.Predict("case -> opinion")}
        self.vote = mipro.Predict("opinions: list[str] -> answer")

    def forward(self, case: str) -> mipro.Prediction:
        said = [module(case=case).opinion for module in (*self.opinions, self.by_kind["a-b"])]
        return self.vote(opinions=said)


def proposer(lm, **more) -> WholeProgramProposer:
    rows = [mipro.Example({"case": f"c{i}", "answer": "yes"}, inputs=("case",)) for i in range(20)]
    return WholeProgramProposer(GroundedProposer(Panel(), rows, lm, **more))


def numbered(*texts: str) -> str:
    return chat(**{f"instruction_{i}": text for i, text in enumerate(texts, 1)})


def test_modules_of_any_name_have_a_field_of_their_own():
    lm = CountingLM(lambda r: numbered("Label: a.", "b", "c", "d"))
    proposals = proposer(lm).propose(BARE, current=CURRENT)
    assert [(p.module, p.instruction) for p in proposals] == list(
        zip(NAMES, ("Label: a.", "b", "c", "d"), strict=True)
    )
    assert lm.calls == 1
    system = lm.seen[0].messages[0].content
    for i, name in enumerate(NAMES, 1):
        assert f"- `instruction_{i}` (text): the instruction of module {i}, {name}, and" in system
        assert f"[{i}] {name}: " in asked(lm.seen[0], "modules")


@pytest.mark.parametrize("reply", ["No.", numbered("a", "b", "c"), numbered(*"abcde")])
def test_a_reply_that_lacks_one_or_has_one_too_many_is_a_proposal_for_none(reply: str):
    proposals = proposer(CountingLM(lambda r: reply)).propose(BARE, current=CURRENT)
    assert [p.instruction for p in proposals] == [None] * 4
    assert all(str(p.error).startswith("ParseError") for p in proposals)


def test_an_error_that_every_call_would_meet_is_raised():
    lm = CountingLM(lambda r: UnavailableError("down"))
    with pytest.raises(UnavailableError):
        proposer(lm).propose(BARE, current=CURRENT)


def test_evidence_is_of_all_modules_and_what_cannot_be_had_is_said():
    demo = Demo({"case": "c7", "opinion": "ill"})
    sets = dict.fromkeys(NAMES[:3], ((), (demo,))) | {"vote": ((),)}
    simulated = SimulatedLM()
    lm = CountingLM(lambda request: simulated(request).text)
    made = proposer(lm, demo_sets=sets)
    first, *_ = made.propose(Settings(demo_set=1, history=True), current=CURRENT)
    assert first.evidence == ("program_description", "module_roles", "demos")
    assert first.missing == ("dataset_summary", "history")  # nothing to be seen in the data
    assert first.error is None
    shown = asked(lm.seen[-1], "demos")
    assert [line.split(" · ")[0] for line in shown.splitlines()] == [
        f"[{i}] {name}" for i, name in enumerate(NAMES[:3], 1)
    ]
    assert '"opinion": "ill"' in shown
    assert len(asked(lm.seen[-1], "module_roles").splitlines()) == 4


def test_another_rollout_is_another_draw():
    simulated = SimulatedLM()
    lm = CountingLM(lambda request: simulated(request).text)
    texts = {
        tuple(p.instruction for p in proposer(lm).propose(BARE, current=CURRENT, rollout=i))
        for i in range(6)
    }
    assert len(texts) > 3


# --- the history ---------------------------------------------------------------------------------


def test_the_best_stand_last_with_score_and_n():
    history = [Tried(f"i{k}", score, 10 * k) for k, score in enumerate((0.5, 0.9, 0.1, 0.7), 1)]
    shown = [json.loads(line) for line in best_last(history, 3)]
    assert [(e["instruction"], e["score"], e["n"]) for e in shown] == [
        ("i1", 0.5, 10),
        ("i4", 0.7, 40),
        ("i2", 0.9, 20),
    ]


def test_of_too_long_a_history_of_programs_the_best_is_kept():
    def program(score: float, words: int) -> TriedProgram:
        return TriedProgram(dict.fromkeys(NAMES, "word " * words), score, 35)

    many = [program(k / 10, 40) for k in range(5)]
    whole = best_programs_last(many, 10_000)
    assert [json.loads(line)["score"] for line in whole] == [0.0, 0.1, 0.2, 0.3, 0.4]
    fewer = best_programs_last(many, 600)
    assert 1 <= len(fewer) < 5
    assert fewer == whole[-len(fewer) :]
    (one,) = best_programs_last([program(0.4, 4000)], 600)
    assert json.loads(one)["score"] == 0.4  # cut within its texts, and still to be read
    assert json.loads(one)["instructions"].keys() == set(NAMES)
    assert estimate_tokens(one) < 900
