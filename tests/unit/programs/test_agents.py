"""Programs that loop, branch, retry, give up early and call tools; and the agent among ours."""

from __future__ import annotations

import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from doubles import QA, CountingLM, EchoLM, asked, chat, echo, examples

import mipro
from mipro import Cached, Ledger, Metered, Predict, Prediction, Program
from mipro.errors import ConfigError, ParseError, RunError
from mipro.lm.base import LMTimeoutError, UnavailableError
from mipro.lm.replies import Once, Replies
from mipro.lm.simulated import SimulatedLM
from mipro.lm.spending import Spending, budgeted
from mipro.programs.react import FINISH, ReAct, Tool
from mipro.proposers.summaries import field_lines

EXACT = mipro.metrics.exact_match("answer")


# --- how often a module is called


class Counted(Program):
    """Calls `step` as often as the question says: 0 times too."""

    def __init__(self) -> None:
        self.step = Predict("question, number: int -> answer")
        self.spare = Predict("question -> answer")

    def forward(self, question):
        last = Prediction(answer="none")
        for number in range(int(question[1:])):
            last = self.step(question=question, number=number)
        return last


@pytest.mark.parametrize("times", [0, 1, 20])
def test_a_module_is_called_as_often_as_the_run_wants(times):
    made = Counted()(question=f"q{times}", lm=EchoLM())
    assert made.trace.counts == ({"step": times} if times else {})
    assert [call.inputs["number"] for call in made.trace.of("step")] == list(range(times))
    assert made.trace.of("spare") == ()


class Branching(Program):
    """Asks `hard` where `easy` does not know; returns early where there is nothing to ask."""

    def __init__(self) -> None:
        self.easy, self.hard = Predict("question -> answer"), Predict("question -> answer")

    def forward(self, question):
        if question == "q0":
            return Prediction(answer="q0")
        made = self.easy(question=question)
        return self.hard(question=question) if made.answer == "unknown" else made


def test_branches_and_early_returns_are_scored_like_any_run():
    def reply(request):
        first = sum(1 for other in lm.seen if other == request) == 1
        return (
            chat(answer="unknown")
            if first and asked(request, "question") == "q2"
            else echo(request)
        )

    lm = CountingLM(reply)
    evaluation = mipro.evaluate(Branching(), examples(4), EXACT, lm=lm)
    assert evaluation.scores == (1.0, 1.0, 1.0, 1.0)
    assert [o.trace.counts for o in evaluation.outcomes] == [
        {},
        {"easy": 1},
        {"easy": 1, "hard": 1},
        {"easy": 1},
    ]


class Countdown(Program):
    """Calls itself."""

    def __init__(self) -> None:
        self.step = Predict("question, left: int -> answer")

    def forward(self, question, left=3):
        made = self.step(question=question, left=left)
        return self(question=question, left=left - 1) if left else made


def test_a_program_may_call_itself():
    made = Countdown()(question="q", lm=EchoLM())
    assert [call.inputs["left"] for call in made.trace] == [3, 2, 1, 0]


def test_an_exception_of_a_tool_that_is_not_caught_fails_its_example_alone():
    class Looking(QA):
        def forward(self, question):
            if question == "q1":
                {}["nothing"]
            return self.answer(question=question)

    evaluation = mipro.evaluate(Looking(), examples(3), EXACT, lm=EchoLM())
    assert evaluation.scores == (1.0, 0.0, 1.0)
    assert evaluation.outcomes[1].error == "KeyError: 'nothing'"


# --- retries


class Retrying(Program):
    """Asks again, up to `times` times, where the reply cannot be read or comes too late."""

    def __init__(self, times=3) -> None:
        self.times, self.answer = times, Predict("question -> answer")

    def forward(self, question):
        for _ in range(self.times):
            try:
                return self.answer(question=question)
            except (ParseError, LMTimeoutError):
                continue
        return Prediction(answer="given up")


def failing(fault, times):
    """An LM whose first replies to a prompt are faulty, as a real one's are now and then."""
    before: dict[str, int] = {}

    def reply(request):
        question = asked(request, "question")
        before[question] = before.get(question, 0) + 1
        return fault if before[question] <= times else echo(request)

    return CountingLM(reply)


@pytest.mark.parametrize("fault", ["no reply", LMTimeoutError("late")])
@pytest.mark.parametrize("kept", [lambda lm: lm, Cached, lambda lm: Once(lm, Replies())])
def test_a_retry_asks_again_though_replies_are_kept(fault, kept):
    lm = failing(fault, 2)
    made = Retrying()(question="q", lm=kept(lm))
    assert (made.answer, lm.calls) == ("q", 3)
    assert [call.error is None for call in made.trace] == [False, False, True]
    assert len({request.rollout for request in lm.seen}) == 3


def test_what_a_retry_came_to_is_kept_like_any_reply():
    lm, ledger = failing("no reply", 2), Ledger()
    once = Metered(Once(lm, Replies()), ledger)
    first, second = (Retrying()(question="q", lm=once) for _ in range(2))
    assert (first.answer, second.answer, lm.calls) == ("q", "q", 3)
    assert (ledger["task"].calls, ledger["task"].cached) == (3, 3)


def test_the_same_call_after_a_success_is_the_same_request():
    class Twice(QA):
        def forward(self, question):
            self.answer(question=question)
            return self.answer(question=question)

    lm = EchoLM()
    Twice()(question="q", lm=lm)
    assert lm.seen[0] == lm.seen[1]


def test_a_retry_at_another_lm_is_no_retry():
    class Falling(QA):
        def __init__(self, other):
            super().__init__()
            self.other = other

        def forward(self, question):
            try:
                return self.answer(question=question)
            except ParseError:
                return self(question=question, lm=self.other)

    other = EchoLM()
    lm = CountingLM(lambda request: "no reply")
    assert Falling(other)(question="q", lm=lm).answer == "q"
    assert other.seen == lm.seen


class Stubborn(Program):
    """Asks until it is answered, whatever is raised."""

    def __init__(self) -> None:
        self.answer = Predict("question -> answer")

    def forward(self, question):
        while True:
            try:
                return self.answer(question=question)
            except Exception:  # noqa: BLE001 - what is tested is that it catches too much
                continue


def test_a_program_that_asks_for_ever_is_ended_when_its_lm_is_gone():
    lm = CountingLM(lambda request: UnavailableError("gone"))
    with pytest.raises(UnavailableError, match="gone"):
        Stubborn()(question="q", lm=lm)
    assert lm.calls == 1  # a run that is lost asks nothing more


class StubbornWithin(Program):
    """Runs its part until that answers, whatever is raised."""

    def __init__(self, **given) -> None:
        self.part, self.given = QA(), given

    def forward(self, question):
        while True:
            try:
                return self.part(question=question, **self.given)
            except Exception:  # noqa: BLE001 - what is tested is that it catches too much
                continue


@pytest.mark.parametrize("given", [{}, {"rollout": 1}])
def test_so_is_one_that_runs_its_part_for_ever_with_an_lm_of_its_own(given):
    gone = CountingLM(lambda request: UnavailableError("gone"))
    with pytest.raises(UnavailableError, match="gone"):
        StubbornWithin(lm=gone, **given)(question="q", lm=EchoLM())
    assert gone.calls == 1


def test_a_program_that_asks_for_ever_is_ended_by_its_budget():
    lm = CountingLM(lambda request: "no reply")
    limited = budgeted(lm, Spending(mipro.Budget(calls=40)))
    with pytest.raises(mipro.BudgetExceeded):
        Stubborn()(question="q", lm=limited)
    assert lm.calls == 40


# --- threads of the program's own


class Parallel(Program):
    """Asks about every part at once; which thread is done first is chance."""

    def __init__(self) -> None:
        self.look = Predict("part: int -> answer")

    def forward(self, question):
        context = [copy_context() for _ in range(8)]
        with ThreadPoolExecutor(8) as pool:
            jobs = [
                pool.submit(c.run, lambda i=i: self.look(part=i)) for i, c in enumerate(context)
            ]
        return Prediction(answer=question, parts=[job.result().answer for job in jobs])


def test_the_trace_of_a_program_with_threads_has_an_order_that_is_no_chance():
    def run(first):
        """A run in which the part `first` is answered before all others."""
        done = threading.Event()

        def reply(request):
            if asked(request, "part") != str(first):
                done.wait(5)
            return echo(request)

        class Telling(CountingLM):
            def __call__(self, request, /):
                completion = super().__call__(request)
                if asked(request, "part") == str(first):
                    threading.Timer(0.05, done.set).start()
                return completion

        return Parallel()(question="q", lm=Telling(reply))

    one, other = run(0), run(5)
    assert one.parts == other.parts == [str(i) for i in range(8)]
    assert [call.inputs["part"] for call in one.trace] == list(range(8))
    assert [call.inputs for call in one.trace] == [call.inputs for call in other.trace]


# --- the agent


def search(query: str, most: int = 3) -> list[str]:
    """Passages about the query,
    the best first.
    """
    return [f"{query} {i}" for i in range(most)]


def divide(a: float, b: float) -> float:
    """One number by the other."""
    return a / b


def acting(*actions):
    """An LM that takes these actions in turn, then answers with what it observed last."""
    left = list(actions)

    def reply(request):
        if "`thought`" in request.messages[0].content:
            return left.pop(0)
        steps = asked(request, "steps")
        return chat(reasoning="so it is", answer=steps.rsplit("observation: ", 1)[-1])

    return CountingLM(reply)


def act(action, arguments="{}"):
    return chat(thought="hm", action=action, arguments=arguments)


def agent(**more):
    return ReAct("question -> answer", [search, divide], **more)


def test_the_agent_acts_until_it_finishes_and_answers_from_what_it_saw():
    lm = acting(
        act("search", '{"query": "x", "most": 1}'), act("divide", '{"a": 1, "b": 4}'), act(FINISH)
    )
    made = agent()(question="q", lm=lm)
    assert made.answer == "0.25"
    assert made.trace.counts == {"act": 3, "answer": 1}
    assert made.steps == [
        'thought: hm\naction: search {"query": "x", "most": 1}\nobservation: ["x 0"]',
        'thought: hm\naction: divide {"a": 1, "b": 4}\nobservation: 0.25',
    ]


def test_the_prompt_shows_the_tools_whatever_the_instruction_says():
    lm = acting(act(FINISH))
    agent()(question="q", lm=lm, candidate={"act": mipro.Prompt("Tuned.")})
    system = lm.seen[0].messages[0].content
    assert (
        "search(query: str, most: int (optional)): Passages about the query, the best first."
        in system
    )
    assert "divide(a: float, b: float): One number by the other." in system
    assert "one of: search | divide | finish" in system


@pytest.mark.parametrize(
    ("reply", "observed"),
    [
        ("just text", "that was no action (the reply has no field headers)"),
        (act("shout"), "that was no action (one of search, divide, finish is wanted, not 'shout')"),
        (act("divide", '{"a": 1, "b": 0}'), "ZeroDivisionError: float division by zero"),
        (act("divide", '{"a": "1", "b": 2}'), "ValueError: a number is wanted, not '1'"),
        (act("divide", '{"a": 1}'), "ValueError: the argument 'b' is missing"),
        (act("divide", '{"a": 1, "b": 2, "c": 3}'), "ValueError: the argument 'c' is unknown"),
        (act("divide", "[1, 2]"), "ValueError: a JSON object of arguments is wanted"),
        (
            act("divide", "__import__('os').getcwd()"),
            "a JSON object of arguments is wanted (Expect",
        ),
        (act("search", '{"query": "x", "most": 9999}'), "… (cut)"),
    ],
)
def test_what_goes_wrong_is_observed_and_the_agent_goes_on(reply, observed):
    lm = acting(reply, act("divide", '{"a": 1, "b": 2}'), act(FINISH))
    made = agent()(question="q", lm=lm)
    assert observed in made.steps[0]
    assert len(made.steps[0]) < 2_200
    assert made.answer == "0.5"


def test_the_proposer_is_shown_the_tools():
    lines = field_lines(agent(), "act")
    assert any("Passages about the query, the best first." in line for line in lines)


def test_the_agent_acts_through_json_too():
    left = [
        {"thought": "hm", "action": "divide", "arguments": '{"a": 3, "b": 4}'},
        {"thought": "hm", "action": FINISH, "arguments": "{}"},
        {"reasoning": "so", "answer": "0.75"},
    ]
    lm = CountingLM(lambda request: json.dumps(left.pop(0)))
    made = agent()(question="q", lm=lm, adapter=mipro.JSONAdapter())
    assert made.steps[0].endswith("observation: 0.75")
    assert lm.seen[0].schema["properties"]["action"]["enum"] == ["search", "divide", FINISH]


def test_the_embedded_lm_acts_in_vain_and_breaks_nothing():
    made = agent()(question="What is 3 divided by 4?", lm=SimulatedLM())
    assert made.trace.counts == {"act": 6, "answer": 1}
    assert all("a JSON object of arguments is wanted" in step for step in made.steps)


def test_the_steps_are_limited():
    lm = acting(*[act("divide", f'{{"a": {i}, "b": 1}}') for i in range(9)])
    made = agent(max_steps=4)(question="q", lm=lm)
    assert made.trace.counts == {"act": 4, "answer": 1}
    assert made.answer == "3.0"


def test_a_tool_may_be_a_program_s_own_part_but_not_use_it_wrongly():
    inner = QA()

    def consult(question: str) -> str:
        """Ask somebody else."""
        return inner(question=question).answer

    lm = acting(act("consult", '{"question": "x"}'))
    with pytest.raises(RunError, match="not found in an attribute"):
        ReAct("question -> answer", [consult])(question="q", lm=lm)


def test_a_tool_s_lm_that_is_gone_ends_the_run():
    def consult(question: str) -> str:
        """Ask somebody else."""
        raise UnavailableError("their endpoint is down")

    with pytest.raises(UnavailableError, match="endpoint is down"):
        ReAct("question -> answer", [consult])(
            question="q", lm=acting(act("consult", '{"question": "x"}'))
        )


def untyped(query):
    """Says nothing of its argument."""


def finish() -> str:
    """The name that ends a run."""


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ([], "not none"),
        ([search, search], "not search, search"),
        ([untyped], "tool 'untyped': every parameter needs a type"),
        ([finish], "a name of its own, a function's, not 'finish'"),
        ([lambda: "x"], "not '<lambda>'"),
        ([lambda *many: "x"], "not '<lambda>'"),
    ],
)
def test_tools_that_cannot_be_used_are_refused(tools, said):
    with pytest.raises(ConfigError, match=said):
        ReAct("question -> answer", tools)


def test_a_tool_reads_its_arguments_strictly():
    tool = Tool.of(search)
    assert tool('{"query": "x", "most": 2}') == '["x 0", "x 1"]'
    for bad in ('{"query": "x", "query": "y"}', '{"query": 1}', '{"most": true}', "", "NaN"):
        with pytest.raises(ValueError, match=" "):
            tool(bad)


def test_an_agent_travels_to_other_processes_and_takes_an_lm_for_its_actions():
    own = EchoLM()
    made = pickle.loads(pickle.dumps(agent(lm=own)))
    assert made.own_lms().keys() == {"act"}
    assert made.signatures() == agent().signatures()
    assert made.input_names() == (["question"], [], False)
