"""Candidates on disk: readable, the same bytes for the same candidate, checked when read."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from doubles import QA, EchoLM, TwoStep

import mipro
from mipro import Demo, Prompt
from mipro.errors import CandidateError
from mipro.programs.prompt import candidate_digest

TUNED = {
    "answer": Prompt(
        "Answer in a word, naïvely.",
        (
            Demo({"question": "q", "seen": ["a", "b"], "answer": "x"}, bootstrapped=True),
            Demo({"answer": "half \ud800 a pair"}),
        ),
    )
}


def test_a_saved_candidate_is_readable_json_with_every_module(tmp_path):
    path = tmp_path / "best.json"
    TwoStep().save(path, {"answer": Prompt("Naïve.", (Demo({"answer": "x"}),))})
    assert (
        path.read_text(encoding="utf-8")
        == """\
{
  "format": "mipro-candidate",
  "version": 1,
  "modules": {
    "query": {
      "signature": "question, seen: list[str] -> query",
      "instruction": "Given `question`, `seen`, produce `query`.",
      "demos": []
    },
    "answer": {
      "signature": "question, seen: list[str] -> answer",
      "instruction": "Naïve.",
      "demos": [
        {
          "bootstrapped": false,
          "values": {
            "answer": "x"
          }
        }
      ]
    }
  }
}
"""
    )


def test_a_candidate_comes_back_whole_and_is_saved_to_the_same_bytes(tmp_path):
    program = TwoStep()
    program.save(tmp_path / "a.json", TUNED)
    bound = program.load(tmp_path / "a.json")
    assert dict(bound.candidate) == {**program.prompts(), **TUNED}
    assert [d.bootstrapped for d in bound.candidate["answer"].demos] == [True, False]
    program.save(tmp_path / "b.json", bound.candidate)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_loaded_program_runs_with_its_candidate(tmp_path):
    QA().save(tmp_path / "best.json", {"answer": Prompt("Tuned.")})
    lm = EchoLM()
    made = QA().load(tmp_path / "best.json")(question="?", lm=lm)
    assert made.answer == "?"
    assert "Tuned." in lm.seen[0].messages[0].content


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "best.json"
    QA().save(path, {})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert dict(QA().load(path).candidate) == QA().prompts()


def changed(**answer):
    """A candidate file for `QA`, its one module changed."""
    module = {"signature": "question -> answer", "instruction": "Go.", "demos": []} | answer
    return {"format": "mipro-candidate", "version": 1, "modules": {"answer": module}}


def demo(**values):
    return changed(demos=[{"bootstrapped": False, "values": values}])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "no candidate file"),
        ({"format": "other"}, "no candidate file"),
        ({"format": "mipro-candidate", "version": 2}, "version 2; this is read: 1"),
        ({"format": "mipro-candidate", "version": 1}, '"modules" must be an object'),
        (changed() | {"modules": {}}, "the module 'answer' of the program is missing"),
        (
            changed() | {"modules": {"other": {}}},
            "the program has no module 'other'; it has 'answer'",
        ),
        (changed() | {"modules": {"answer": "x"}}, "answer: an object is wanted"),
        (changed(instruction="  "), '"instruction" must be a text'),
        (changed(instruction=3), '"instruction" must be a text'),
        (
            changed(signature="question -> reply"),
            "tuned for 'question -> reply', the program now has 'question -> answer'",
        ),
        (changed(demos={}), '"demos" must be an array'),
        (changed(demos=["x"]), 'answer: demo 1: "values" must be an object'),
        (demo(question="x"), "demo 1: the output field 'answer' is missing"),
        (demo(answer="x", mood="y"), "'question -> answer' has no field 'mood'"),
        (demo(answer=["x"]), "field 'answer': text is wanted, not"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_path(tmp_path, body, said):
    path = tmp_path / "best.json"
    path.write_text(json.dumps(body))
    with pytest.raises(CandidateError) as caught:
        QA().load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_is_refused_with_its_path(tmp_path, data):
    path = tmp_path / "best.json"
    path.write_bytes(data)
    with pytest.raises(CandidateError, match=r"best\.json: is not JSON"):
        QA().load(path)


def test_a_file_that_is_not_there_is_refused_with_its_path(tmp_path):
    with pytest.raises(CandidateError, match=r"no\.json: cannot be read: No such file"):
        QA().load(tmp_path / "no.json")


def test_a_candidate_for_another_program_is_not_saved(tmp_path):
    with pytest.raises(CandidateError, match="QA has no module 'query'"):
        QA().save(tmp_path / "best.json", {"query": Prompt("x")})
    assert not (tmp_path / "best.json").exists()


def test_digests_are_of_the_content():
    one = Prompt("a", (Demo({"x": "1", "y": "2"}),))
    assert one == Prompt("a", (Demo({"y": "2", "x": "1"}, bootstrapped=True),))
    assert one != Prompt("a", (Demo({"x": "1", "y": 2}),))
    assert one != Prompt("a")
    assert candidate_digest({"m": one, "n": Prompt("b")}) == candidate_digest(
        {"n": Prompt("b"), "m": one}
    )
    assert len({one, Prompt("a"), Prompt("a")}) == 2


def test_digests_are_the_same_in_any_process():
    code = (
        "from mipro.programs.prompt import *; from mipro.lm.base import *;"
        "print(candidate_digest({'m': Prompt('é', (Demo({'x': ['1'], 'y': 2}),))}),"
        "Request((Message('user', 'hé'),), schema={'b': 1, 'a': 2}).digest('me'))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(seen) == 1
    assert len(seen.pop().split()[0]) == 24


def test_equal_requests_have_equal_digests():
    one, other = (mipro.Request((mipro.Message("user", "x"),), temperature=t) for t in (0, 0.0))
    assert one == other
    assert one.digest() == other.digest()
    assert one.digest("a") != one.digest("b")
