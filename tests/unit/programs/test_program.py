"""Programs: where modules are found, what runs share (nothing), and what is never copied."""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from doubles import QA, CountingLM, EchoLM, ScriptedLM, chat

import mipro
from mipro import Demo, Predict, Prediction, Program, Prompt
from mipro.errors import CandidateError, RunError


def module():
    return Predict("question -> answer")


class Holder(Program):
    def __init__(self, **parts):
        vars(self).update(parts)

    def forward(self, question):
        return self.answer(question=question)


def names(**parts):
    return list(Holder(**parts).modules())


def test_modules_are_found_and_named_by_where_they_stand():
    assert names(a=module(), b=[module(), (module(),)], c={"x": module(), 2: {"y": module()}}) == [
        "a",
        "b[0]",
        "b[1][0]",
        "c['x']",
        "c[2]['y']",
    ]


def test_modules_of_nested_programs_are_found():
    assert names(sub=Holder(answer=module()), more=[Holder(deep=Holder(x=module()))]) == [
        "sub.answer",
        "more[0].deep.x",
    ]


def test_one_module_in_two_places_has_its_first_name():
    shared = module()
    assert names(first=shared, again=[shared]) == ["first"]


def test_cycles_end():
    program = Holder(answer=module(), parts=[])
    program.parts += [program, program.parts]
    program.me = program
    assert list(program.modules()) == ["answer"]


def test_a_program_without_modules_says_where_to_put_them():
    with pytest.raises(RunError, match="Holder has no modules: put a Predict"):
        Holder(x=1)(question="?", lm=EchoLM())


def test_a_program_needs_a_language_model_and_a_forward():
    with pytest.raises(RunError, match="call QA with lm="):
        QA()(question="?")
    with pytest.raises(RunError, match="call QA with lm=…, not 'gpt-4o'"):
        QA()(question="?", lm="gpt-4o")

    class Bare(Program):
        def __init__(self):
            self.answer = module()

    with pytest.raises(RunError, match="Bare has no `forward`"):
        Bare()(question="?", lm=EchoLM())


def test_forward_may_return_a_prediction_or_a_mapping_and_nothing_else():
    class Returns(Holder):
        def forward(self, question):
            return self.value

    assert Returns(a=module(), value={"x": 1})(question="?", lm=EchoLM()).x == 1
    with pytest.raises(RunError, match=r"Returns\.forward returned str"):
        Returns(a=module(), value="x")(question="?", lm=EchoLM())


def test_a_prediction_that_two_runs_return_has_each_run_s_own_trace():
    class Remembers(Holder):
        def forward(self, question):
            self.answer(question=question)
            return self.kept

    program = Remembers(answer=module(), kept=Prediction(answer="x"))
    first, second = (program(question=q, lm=EchoLM()) for q in ("1", "2"))
    assert [p.trace.calls[0].inputs["question"] for p in (first, second)] == ["1", "2"]
    assert len(program.kept.trace) == 0


# --- candidates

CANDIDATE = {"answer": Prompt("Say it.", (Demo({"question": "1", "answer": "one"}),))}


def test_the_candidate_s_prompt_is_the_one_shown_and_the_program_keeps_its_own():
    program, lm = QA("Old."), ScriptedLM({"?": chat(answer="x")})
    before = program.prompts()
    program(question="?", lm=lm, candidate=CANDIDATE)
    program(question="?", lm=lm)
    tuned, plain = lm.seen
    assert tuned.messages[0].content.endswith("Instruction:\nSay it.")
    assert [m.role for m in tuned.messages] == ["system", "user", "assistant", "user"]
    assert plain.messages[0].content.endswith("Instruction:\nOld.")
    assert len(plain.messages) == 2
    assert program.prompts() == before == {"answer": Prompt("Old.")}


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ({"anwser": Prompt("x")}, "QA has no module 'anwser'; it has answer"),
        ({"answer": "Be brief."}, "answer: a mipro.Prompt is wanted, not 'Be brief.'"),
        ({"answer": Prompt("x", ({"answer": "y"},))}, "demo 1: a mipro.Demo is wanted"),
        ({"answer": Prompt("x", (Demo({"anwser": "y"}),))}, "demo 1: .* has no field 'anwser'"),
        ({"answer": Prompt("x", (Demo({"question": "y"}),))}, "field 'answer' is missing"),
        ({"answer": Prompt("x", (Demo({"answer": 3}),))}, "field 'answer': text is wanted"),
        ({"answer": Prompt("x", (Demo({"answer": object()}),))}, "demo 1: .*not JSON"),
    ],
)
def test_a_candidate_that_does_not_fit_is_refused_before_a_call(candidate, said):
    lm = EchoLM()
    with pytest.raises(CandidateError, match=said):
        QA()(question="?", lm=lm, candidate=candidate)
    with pytest.raises(CandidateError, match=said):
        mipro.evaluate(
            QA(),
            [mipro.Example({"question": "1", "answer": "1"}, ("question",))],
            mipro.metrics.exact_match("answer"),
            lm=lm,
            candidate=candidate,
        )
    assert lm.calls == 0


def test_two_threads_with_different_candidates_never_see_each_other():
    barrier = threading.Barrier(8)

    def reply(request):
        barrier.wait(10)  # all eight are in flight at once
        return chat(answer=request.messages[0].content.rpartition("\n")[2])

    program, lm = QA(), CountingLM(reply)

    def one(i):
        made = program(question=f"q{i}", lm=lm, candidate={"answer": Prompt(f"I am {i}")})
        return made.answer, len(made.trace), made.trace.calls[0].inputs["question"]

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(one, range(8))) == [(f"I am {i}", 1, f"q{i}") for i in range(8)]


def test_after_a_run_that_failed_no_run_is_in_flight():
    QA().run({"question": "?"}, lm=CountingLM(lambda request: "no reply"))
    with pytest.raises(RunError, match="outside a run"):
        module()(question="?")


# --- programs in programs


class Outer(Program):
    def __init__(self, inner, **settings):
        self.inner, self.settings = inner, settings

    def forward(self, question):
        return self.inner(question=question, **self.settings)


def test_a_nested_program_runs_as_a_part_of_the_outer_one():
    lm = ScriptedLM({"?": chat(answer="x")})
    made = Outer(QA())(question="?", lm=lm, candidate={"inner.answer": Prompt("Nested.")})
    assert made.answer == "x"
    assert [call.module for call in made.trace] == ["inner.answer"]
    assert "Nested." in lm.seen[0].messages[0].content


def test_a_nested_program_with_an_lm_of_its_own_is_a_run_of_its_own():
    outer, inner = EchoLM(), EchoLM()
    made = Outer(QA(), lm=inner, candidate=CANDIDATE)(question="?", lm=outer)
    assert (outer.calls, inner.calls, len(made.trace)) == (0, 1, 0)
    assert "Say it." in inner.seen[0].messages[0].content


@pytest.mark.parametrize(
    "settings", [{"candidate": CANDIDATE}, {"adapter": mipro.JSONAdapter()}, {"rollout": 1}]
)
def test_settings_of_a_part_that_could_not_hold_are_refused(settings):
    with pytest.raises(RunError, match="as a part of another program"):
        Outer(QA(), **settings)(question="?", lm=EchoLM())


def test_a_thread_of_forward_s_own_needs_a_copy_of_the_context():
    class Threaded(Holder):
        def forward(self, question):
            context = contextvars.copy_context()
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(context.run, lambda: self.answer(question=question)).result()

    made = Threaded(answer=module())(question="?", lm=EchoLM())
    assert (made.answer, len(made.trace)) == ("?", 1)


# --- what `forward` takes


def test_input_names_tell_required_from_optional():
    class Takes(Holder):
        def forward(self, a, b=1, *, c, **others):
            return {}

    assert Takes().input_names() == (["a", "c"], ["b"], True)
    assert QA().input_names() == (["question"], [], False)
