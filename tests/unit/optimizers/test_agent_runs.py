"""Whole runs of an agent: a loop with a tool, retries, a branch, and a module with its own LM."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from doubles import asked, chat, echo, examples
from resuming import asked as sent
from resuming import end_of

import mipro
from mipro import Cached, Predict, Prediction, Program
from mipro.errors import ConfigError, ParseError
from mipro.lm.base import Completion, LMTimeoutError, UnavailableError, Usage
from mipro.lm.budget import Budget
from mipro.lm.meter import Price
from mipro.lm.simulated import SimulatedLM
from mipro.programs.react import ReAct

EXACT = mipro.metrics.exact_match("answer")
SETTINGS = {"trials": 8, "minibatch": 5, "full_every": 3, "instructions": 3, "demo_sets": 3}
PRICES = {"boss": Price(1.0, 2.0), "hand": Price(30.0, 60.0), SimulatedLM().model: Price(0.5, 0.5)}


def look(word: str) -> str:
    """The tool: nothing of it is known beyond ten letters."""
    if word.endswith("9"):
        raise LookupError(f"no {word}")
    return word.upper()


class Agent(Program):
    """`act` (its own LM) uses the tool until it finishes; `doubt` is asked where the tool failed;
    `answer` is asked again where its reply cannot be read.
    """

    def __init__(self, own=None) -> None:
        self.act = Predict(
            "question, steps: list[str] -> action: Literal['look', 'finish']", lm=own
        )
        self.doubt = Predict("question -> guess")
        self.answer = Predict("question, steps: list[str] -> answer")
        self.tool = look

    def forward(self, question):
        if question == "q3":
            return Prediction(answer="no call at all")
        steps = []
        while len(steps) < 4 and self.act(question=question, steps=steps).action == "look":
            try:
                steps.append(self.tool(question))
            except LookupError as error:
                steps.append(f"{error}: {self.doubt(question=question).guess}")
        for _ in range(3):
            try:
                return self.answer(question=question, steps=steps)
            except (ParseError, LMTimeoutError):
                continue
        return Prediction(answer="given up")


class Scripted:
    """Answers as an agent's model might, a function of the request alone, and logs each request.

    After `most` requests in all, whichever LM got them, the endpoint is down.
    """

    def __init__(self, model, log: Path, most=None, ending=UnavailableError) -> None:
        self.model = self.identity = model
        self.log, self.most, self.ending = log, most, ending

    def __call__(self, request, /):
        if self.most is not None and len(sent(self.log)) >= self.most:
            raise self.ending("the endpoint went away")
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, request.digest(self.identity).encode() + b"\n")
        os.close(file)
        draw = zlib.crc32(request.digest().encode()) % 12
        text, question = self._reply(request, draw), asked(request, "question")
        if draw == 0 and "`answer`" in request.messages[0].content and question != "q5":
            raise LMTimeoutError("late")
        tokens = sum(len(m.content) for m in request.messages) // 4
        return Completion((text,), Usage(tokens, len(text) // 4 + 1), self.model)

    def _reply(self, request, draw):
        system, question = request.messages[0].content, asked(request, "question")
        if "`action`" in system:
            done = len(asked(request, "steps").splitlines()) > int(question[1:]) % 4
            return chat(action="finish" if done else "look")
        if "`guess`" in system:
            return chat(guess=f"perhaps {draw}")
        if draw < 4:
            return "not readable"
        return chat(answer=question if draw < 9 else "wrong")


def called(function, log, most=None, ending=UnavailableError, *, own=None, wrap=None, **more):
    boss = Scripted("boss", log, most, ending)
    return function(
        Agent(own or Scripted("hand", log, most, ending)),
        examples(40)[20:],
        EXACT,
        lm=boss if wrap is None else wrap(boss),
        prompt_lm=SimulatedLM(),
        val=examples(12),
        test=examples(20)[12:],
        prices=PRICES,
        forecasts="budget" in more,
        **more,
    )


def begin(place, name="run", **more):
    return called(mipro.optimize, place / "log", run_dir=place / name, **{**SETTINGS, **more})


def go_on(place, name="run", **more):
    def resumed(*parts, **settings):
        return mipro.resume(place / name, *parts, **settings)

    return called(resumed, place / "log", **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    return place, begin(place, threads=1)


def test_a_run_of_an_agent_books_what_both_its_lms_were_asked(whole):
    place, result = whole
    log = sent(place / "log")
    usage = {role: entry["calls"] + entry["failed"] for role, entry in result.usage.items()}
    assert usage["task"] + usage["teacher"] == len(log) == len(set(log))
    assert result.usage["task"]["failed"] > 0  # time-outs, met and overcome
    assert result.signatures.keys() == {"act", "doubt", "answer"}
    assert len(result.candidate["act"].instruction) > 0


@pytest.mark.parametrize("ending", [UnavailableError, KeyboardInterrupt])
@pytest.mark.parametrize("in_flight", [1, 3])
def test_one_that_was_killed_comes_to_the_same_end(whole, tmp_path, ending, in_flight):
    reference, result = whole
    if in_flight > 1:
        reference = tmp_path / "whole"
        reference.mkdir()
        result = begin(reference, threads=4, trials_in_flight=in_flight)
    paid = len(sent(reference / "log"))
    for most in (paid // 3, paid - 3):
        place = tmp_path / str(most)
        place.mkdir()
        with pytest.raises(ending):
            begin(place, most=most, ending=ending, threads=3, trials_in_flight=in_flight)
        again = go_on(place, threads=5)
        assert end_of(place / "run") == end_of(reference / "run")
        assert again.usage == result.usage
        log = sent(place / "log")
        assert sorted(log) == sorted(sent(reference / "log"))


def test_other_processes_make_no_difference(whole, tmp_path, processes):
    reference, result = whole
    there = begin(tmp_path, executor=processes)
    assert end_of(tmp_path / "run") == end_of(reference / "run")
    assert there.usage == result.usage
    again = go_on(tmp_path, executor=processes)
    assert again.candidate == there.candidate


@pytest.mark.parametrize("kind", ["calls", "usd"])
def test_a_budget_counts_the_calls_of_both_and_is_kept_when_resumed(whole, tmp_path, kind):
    _, free = whole
    log = len(sent(whole[0] / "log"))
    cost = sum(entry.get("cost_usd", 0.0) for entry in free.usage.values())
    most = {"calls": log * 7 // 8} if kind == "calls" else {"usd": cost * 0.85}
    budget = Budget(**most)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = begin(tmp_path / "a", budget=budget, threads=1)
    assert first.stopped == kind
    spent = {
        "calls": sum(e["calls"] + e["failed"] for e in first.usage.values()),
        "usd": sum(e.get("cost_usd", 0.0) for e in first.usage.values()),
    }
    assert spent[kind] <= most[kind] * (1.0 if kind == "calls" else 1.01)
    paid = len(sent(tmp_path / "a/log"))
    with pytest.raises(UnavailableError):
        begin(tmp_path / "b", budget=budget, most=paid // 2, threads=1)
    go_on(tmp_path / "b", budget=budget, threads=1)
    assert end_of(tmp_path / "b/run") == end_of(tmp_path / "a/run")
    assert sorted(sent(tmp_path / "b/log")) == sorted(sent(tmp_path / "a/log"))


def test_a_cache_of_the_run_s_lm_keeps_the_replies_of_the_module_s_own(tmp_path):
    def cached(lm):
        return Cached(lm, tmp_path / "cache")

    first = begin(tmp_path, "one", wrap=cached, threads=1)
    paid = len(sent(tmp_path / "log"))
    second = begin(tmp_path, "two", wrap=cached, threads=1)
    failed = sum(entry["failed"] for entry in first.usage.values())  # errors are not cached
    assert len(sent(tmp_path / "log")) == paid + failed
    assert second.candidate == first.candidate
    assert second.score == first.score


def test_a_tool_whose_source_has_changed_is_seen_on_resuming(tmp_path):
    with pytest.raises(UnavailableError):
        begin(tmp_path, most=0)

    def elsewhere(*parts, **settings):
        program, *rest = parts
        program.tool = echo  # a function of another file
        return mipro.resume(tmp_path / "run", program, *rest, **settings)

    with pytest.raises(ConfigError, match=r"code\.doubles is new"):
        called(elsewhere, tmp_path / "log")


class Acting:
    """Uses the tool on every third question, on all once it is shown how; answers what it saw."""

    model = identity = "acting"

    def __call__(self, request, /):
        steps, question = asked(request, "steps"), asked(request, "question")
        shown = any("action ## ]]\nlook" in m.content for m in request.messages[1:])
        if "`action`" not in request.messages[0].content:
            text = chat(reasoning="seen", answer=steps.rsplit("observation: ", 1)[-1])
        elif steps == "(empty)" and (shown or int(question[1:]) % 3 == 0):
            text = chat(thought="unknown", action="look", arguments=f'{{"word": "{question}"}}')
        else:
            text = chat(thought="known", action="finish", arguments="{}")
        return Completion((text,), Usage(100, 20), self.model)


@pytest.mark.parametrize("method", ["mipro", "random_search"])
def test_the_agent_among_ours_learns_to_use_its_tool_from_its_own_runs(method):
    data = [
        mipro.Example({"question": f"q{i}", "answer": f"Q{i}"}, ("question",)) for i in range(40)
    ]
    result = mipro.optimize(
        ReAct("question -> answer", [look], lm=Acting()),
        data[20:],
        EXACT,
        lm=Acting(),
        prompt_lm=SimulatedLM(),
        val=data[:12],
        method=method,
        budget=Budget(calls=2_000),
        **{**SETTINGS, "threads": 1},
    )
    assert result.signatures.keys() == {"act", "answer"}
    assert result.baseline == pytest.approx(3 / 12)  # q0, q3, q6; of q9 the tool knows nothing
    assert result.score == pytest.approx(11 / 12)
    assert any(demo.values["action"] == "look" for demo in result.candidate["act"].demos)
    assert result.stopped is None
