"""The paper's tasks end to end on real rows, with a model that knows every prompt it may meet.

Bootstrapping, proposals and the search are the real ones. The model is right on half of the rows,
and on all of them under one of the instructions that it proposes itself: what is found, and what
that scores, is known beforehand.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from doubles import chat
from real_data import real_task
from task_scripts import BAD, GOOD, Asked, TaskLM

import mipro
from mipro.tasks import PaperTask

STEP = """\
You carry out one step of a larger program: from the input fields you produce the output fields.

Input fields:
{inputs}

Output fields:
{outputs}

Each field stands below a header of its own. Reply with these headers, in this order, each filled \
in, and with nothing else:

{layout}

[[ ## completed ## ]]

Instruction:
{instruction}"""
REASONED = """\
[[ ## reasoning ## ]]
(text)

[[ ## answer ## ]]
(text)"""
REASONING = "- `reasoning` (text): the steps that lead to the rest, in a sentence or two\n"

SCONE = STEP.format(
    inputs="- `context` (text)\n- `question` (text)",
    outputs=f"{REASONING}- `answer` (text): Yes or No",
    layout=REASONED,
    instruction="Given the context, answer the question.",
)
GSM8K = STEP.format(
    inputs="- `question` (text)",
    outputs=f"{REASONING}- `answer` (text): the number that is asked for, and nothing else",
    layout=REASONED,
    instruction="Solve the word problem.",
)
FLOWER = """\
- `petal_length` (a number): in centimetres
- `petal_width` (a number): in centimetres
- `sepal_length` (a number): in centimetres
- `sepal_width` (a number): in centimetres"""
IRIS = STEP.format(
    inputs=FLOWER,
    outputs="- `species` (one of: setosa | versicolor | virginica): the species of the iris",
    layout="[[ ## species ## ]]\n(one of: setosa | versicolor | virginica)",
    instruction="Given the lengths and widths of an iris's sepals and petals, name its species.",
)
IRIS_TYPO = STEP.format(
    inputs=FLOWER,
    outputs="- `species` (text): setosa, versicolour, or virginica",
    layout="[[ ## species ## ]]\n(text)",
    instruction="Given the lengths and widths of an iris's sepals and petals, name its species.",
)
PATIENT = """\
- `age` (a whole number): in years
- `sex` (text): female or male
- `cp` (text): chest pain: typical angina, atypical angina, non-anginal pain, asymptomatic
- `trestbps` (a whole number): blood pressure at rest on admission, in mm Hg
- `chol` (a whole number): serum cholesterol, in mg/dl
- `fbs` (text): is the fasting blood sugar above 120 mg/dl? true or false
- `restecg` (text): electrocardiogram at rest
- `thalach` (a whole number): the highest heart rate reached
- `exang` (text): does exercise bring on angina? yes or no
- `oldpeak` (a number): ST depression under exercise, relative to rest
- `slope` (text): of the ST segment at peak exercise: upsloping, flat, downsloping
- `ca` (text): major vessels coloured by fluoroscopy, 0 to 3
- `thal` (text): thallium scan: normal, fixed defect, reversible defect"""
SICK = f"{REASONING}- `answer` (text): does the patient have heart disease? yes or no"
OPINION = STEP.format(
    inputs=PATIENT,
    outputs=SICK,
    layout=REASONED,
    instruction="Given a patient's findings, say whether there is heart disease.",
)
VOTE = STEP.format(
    inputs=f"- `opinions` (a JSON array, each item text): what trainee doctors think\n{PATIENT}",
    outputs=SICK,
    layout=REASONED,
    instruction="Given a patient's findings and the opinions of trainee doctors, which may be "
    "wrong, say whether there is heart disease.",
)
LENGTHS = ("petal_length", "petal_width", "sepal_length", "sepal_width")
FINDINGS = re.findall("`(.*)`", PATIENT)
# three opinions as the script below words them, or none, in a labelled demonstration
HEARD = r"\A\[\[ ## opinions ## \]\]\n((\[[123]\] I think so\. So my answer is: (yes|no)\n){3}\n)?"
SETTINGS = {"trials": 12, "minibatch": 8, "full_every": 4, "instructions": 3, "demo_sets": 3}


def cut(name: str, train: int = 24, val: int = 16, test: int = 20) -> PaperTask:
    """A task's first rows; val from train, where the paper has none."""
    task = real_task(name)
    val_rows = task.val[:val] or task.train[train : train + val]
    return replace(task, train=task.train[:train], val=val_rows, test=task.test[:test])


def optimized(task: PaperTask, lm: mipro.LM, **settings) -> mipro.Result:
    """The run; traces have passed and failed, and given every module a demonstration."""
    events = []
    result = mipro.optimize(
        task.program,
        task.train,
        task.metric,
        lm=lm,
        val=task.val,
        test=task.test,
        threads=1,
        forecasts=False,
        on_event=events.append,
        **{**SETTINGS, **settings},
    )
    taught = next(event for event in events if event["event"] == "bootstrap")
    assert 0 < taught["passed"] < taught["attempted"]
    for sets in taught["demo_sets"].values():
        assert any(demo["bootstrapped"] for demos in sets for demo in demos)
    return result


def knows(call: Asked) -> bool:
    return call.instruction == GOOD or (call.easy and call.instruction != BAD)


def check_found(result: mipro.Result, lm: TaskLM, task: PaperTask, decisive: str) -> None:
    """The instruction that helps was found, and both test scores are what the script makes them."""
    assert result.candidate[decisive].instruction == GOOD
    easy = [call for call in lm.calls_of if call.example in task.test and call.instruction != GOOD]
    share = sum(call.easy for call in easy if call.module == decisive) / len(task.test)
    assert result.test.before == pytest.approx(share)
    assert 0 < share < 1
    assert result.test.after == 1.0
    # `TaskLM` has refused any demonstration but of a train row with its right label
    assert any(call.demos for call in lm.calls_of)


def test_scone_from_its_files_to_a_better_prompt() -> None:
    task = cut("scone")

    def reply(call: Asked) -> str:
        right = call.example.answer
        wrong = "No" if right == "Yes" else "Yes"
        return chat(reasoning="One follows.", answer=right if knows(call) else wrong)

    hidden = [example.question for example in task.test]
    known = {example.question for example in task.train + task.val}
    lm = TaskLM(
        {"answer": SCONE},
        ("context", "question"),
        "answer",
        task.train,
        task.val + task.test,
        reply,
        hidden=[text for text in hidden if text not in known],
    )
    check_found(optimized(task, lm), lm, task, "answer")


def test_gsm8k_from_its_files_to_a_better_prompt() -> None:
    """The number counts, however it is written."""
    task = cut("gsm8k")

    def reply(call: Asked) -> str:
        number = float(call.example.answer)
        written = f"${number:,.2f}" if knows(call) else f"{number + 1:g}"
        return chat(reasoning="Step by step.", answer=written)

    class Sums(TaskLM):
        def _right(self, said, example):
            # as the label has it, or as the script above writes it
            return said in (example.answer, f"${float(example.answer):,.2f}")

    hidden = [example.question for example in task.test]
    others = task.val + task.test
    lm = Sums({"solve": GSM8K}, ["question"], "answer", task.train, others, reply, hidden=hidden)
    check_found(optimized(task, lm), lm, task, "solve")


def test_iris_from_its_rows_to_a_better_prompt() -> None:
    task = cut("iris", train=40, val=35)
    species = ["setosa", "versicolor", "virginica"]

    def reply(call: Asked) -> str:
        right = call.example.species
        return chat(species=right if knows(call) else species[species.index(right) - 1])

    others = task.val + task.test
    lm = TaskLM({"classify": IRIS}, LENGTHS, "species", task.train, others, reply)
    check_found(optimized(task, lm), lm, task, "classify")


def test_iris_typo_is_lost_by_the_description_and_won_by_a_demonstration() -> None:
    """A model that knows its flowers, and spells as it is told; or as it is shown."""
    task = cut("iris_typo", train=40, val=35, test=75)

    def reply(call: Asked) -> str:
        told = call.demos == 0 and call.example.species == "versicolor"
        return chat(species="versicolour" if told else call.example.species)

    others = task.val + task.test
    lm = TaskLM({"classify": IRIS_TYPO}, LENGTHS, "species", task.train, others, reply)
    result = optimized(task, lm)
    versicolor = sum(example.species == "versicolor" for example in task.test)
    assert result.test.before == pytest.approx(1 - versicolor / 75)
    assert result.test.after == 1.0
    shown = [demo.values["species"] for demo in result.candidate["classify"].demos]
    assert shown
    assert "versicolour" not in shown


def test_heart_disease_asks_three_doctors_at_their_temperatures_and_votes() -> None:
    task = cut("heart", train=40, val=30)

    def reply(call: Asked) -> str:
        right = call.example.answer
        wrong = "no" if right == "yes" else "yes"
        if call.module == "opinion":
            return chat(reasoning="I think so.", answer=right if call.easy else wrong)
        return chat(reasoning="They may err.", answer=right if knows(call) else wrong)

    lm = TaskLM(
        {"opinion": OPINION, "vote": VOTE},
        FINDINGS,
        "answer",
        task.train,
        task.val + task.test,
        reply,
        parts={"vote": HEARD},
    )
    result = optimized(task, lm)
    check_found(result, lm, task, "vote")
    assert list(result.candidate) == ["opinions[0]", "opinions[1]", "opinions[2]", "vote"]
    lm.calls_of.clear()
    task.program(lm=lm, **task.test[0].inputs)
    assert [(call.module, call.temperature) for call in lm.calls_of] == [
        ("opinion", 0.7),
        ("opinion", 0.71),
        ("opinion", 0.72),
        ("vote", None),
    ]


def test_a_prompt_that_the_script_does_not_know_fails_the_test() -> None:
    """What the tests above stand on."""
    task = cut("gsm8k")
    rows = (task.train, task.val)
    lm = TaskLM({"solve": GSM8K}, ["question"], "answer", *rows, lambda call: chat(answer="1"))
    example = task.test[0]
    with pytest.raises(pytest.fail.Exception, match=r"was not expected(.|\n)*Janet"):
        task.program(lm=lm, question=example.question)
    candidate = {"solve": mipro.Prompt("Do as I say.")}
    with pytest.raises(pytest.fail.Exception, match="was not expected"):
        task.program(lm=lm, candidate=candidate, question=task.train[0].question)
    # a demonstration that holds another label than the row's
    wrong = mipro.Demo({**task.train[1], "answer": "-1", "reasoning": "So."})
    candidate = {"solve": mipro.Prompt("Solve the word problem.", (wrong,))}
    with pytest.raises(pytest.fail.Exception, match="was not expected"):
        task.program(lm=lm, candidate=candidate, question=task.train[0].question)
