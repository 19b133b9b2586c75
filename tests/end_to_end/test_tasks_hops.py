"""The multi-hop tasks from real rows to a tuned program, over a corpus made of those rows.

The language model is scripted: it answers the prompts these programs and the proposer can send,
about these rows, and fails the test on any other. It does a module's work well only where its
instruction says how, so that what a run finds, and what it scores, is known beforehand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doubles import CountingLM, asked, chat, shown
from real_data import real_folder

import mipro
from mipro.config import load_config
from mipro.lm.base import Request
from mipro.lm.openai import close_clients
from mipro.optimizers.task import Options
from mipro.programs.hover import HoVer
from mipro.programs.passages import title_of
from mipro.tasks import PaperTask, load_task
from mipro.tasks.categories import KIND_OF
from mipro.tasks.hotpotqa_conditional import PEACE, in_form

pytest.importorskip("bm25s", reason="retrieval stands on bm25s")

TOMLS = Path(__file__).parents[2] / "experiments" / "tasks"
HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\]", re.MULTILINE)
SHORT = {"trials": 12, "minibatch": 6, "full_every": 4, "instructions": 2, "demo_sets": 2}
RULE = "State the answer alone, in the form its kind has"
TITLE = "Search for the title of the article found last"
# what the proposer may ask for, and what it is told
PROPOSER = {
    ("observations",): "They are questions.",
    ("summary",): "Questions over several hops.",
    ("program_description",): "It looks things up.",
    ("module_role",): "It does its part.",
}


def outputs(request: Request) -> tuple[str, ...]:
    """The output fields a prompt asks for."""
    names = HEADER.findall(request.messages[0].content)
    return tuple(name for name in names if name != "completed")


def lists(request: Request, field: str) -> list[str]:
    """The items of an input field that is a list, as the prompt numbers them."""
    text = asked(request, field)
    return [item.strip() for item in re.split(r"^\[\d+\] ?", text, flags=re.MULTILINE)[1:]]


class Script:
    """Replies by what is asked for: `modules` says it of a program, the rest is the proposer's."""

    def __init__(self, instruction: str) -> None:
        self.instruction = instruction

    def __call__(self, request: Request) -> str:
        wanted = outputs(request)
        if wanted == ("proposed_instruction",):
            return chat(proposed_instruction=self.instruction)
        if wanted in PROPOSER:
            return chat(**{wanted[0]: PROPOSER[wanted]})
        reply = self.module(wanted, request)
        if reply is None:
            pytest.fail(f"no reply is scripted for this prompt:\n{shown(request)}")
        return chat(reasoning="So it is.", **{wanted[-1]: reply})

    def module(self, wanted: tuple[str, ...], request: Request) -> str | None:
        raise NotImplementedError

    def told(self, request: Request) -> bool:
        return self.instruction in request.messages[0].content


class TwoHops(Script):
    """HotPotQA's modules: the note that answers a question is named in the article about it."""

    def __init__(self, task: PaperTask) -> None:
        super().__init__(RULE)
        self.rows = {row.question: row for row in [*task.train, *task.val, *task.test]}

    def module(self, wanted: tuple[str, ...], request: Request) -> str | None:
        row = self.rows.get(asked(request, "question"))
        context = lists(request, "context")
        if row is None or len(context) > 6:
            return None
        notes = re.findall(r"Note (\w+)", "\n".join(context[:1]))
        if wanted == ("reasoning", "search_query"):
            return f"Note {notes[0]}" if context else row.question
        if wanted != ("reasoning", "answer"):
            return None
        read = any(passage.startswith(f"Note {notes[0]} | ") for passage in context)
        if not read:
            return "I do not know"
        return self.answer(row) if self.told(request) else f"I read of {row.answer}"

    def answer(self, row: mipro.Example) -> str:
        kind = KIND_OF.get(row.get("category", ""))
        if kind == "person":
            return row.answer.lower()
        if kind == "place":
            return "".join(c for c in row.answer if in_form("place", c))
        if kind == "date":
            return f"{row.answer} {PEACE}"
        return row.answer if kind is None else row.answer.upper()


class ThreeHops(Script):
    """HoVer's modules: a claim leads to its first article, that to the next, that to the last."""

    def __init__(self, task: PaperTask) -> None:
        super().__init__(TITLE)
        self.rows = {row.claim: row for row in [*task.train, *task.val, *task.test]}

    def module(self, wanted: tuple[str, ...], request: Request) -> str | None:
        row = self.rows.get(asked(request, "claim"))
        if row is None:
            return None
        has = set(HEADER.findall(request.messages[-1].content))
        if wanted == ("reasoning", "summary") and has <= {"claim", "first_summary", "passages"}:
            hop = 1 if "first_summary" in has else 0
            passages = lists(request, "passages")
            found = any(passage.startswith(f"{row.titles[hop]} | ") for passage in passages)
            return row.titles[hop] if found and len(passages) <= 7 else "Nothing was found"
        if wanted == ("reasoning", "search_query"):
            last = "second_summary" if "second_summary" in has else "first_summary"
            return asked(request, last) if self.told(request) else row.claim
        return None


def corpus_of(path: Path, passages: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"title": title, "text": text}) for title, text in passages]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def any_corpus(folder: Path) -> Path:
    return corpus_of(folder / "any.jsonl", [("Ada", "a mathematician")])


def few(task: PaperTask) -> PaperTask:
    """Some of the real rows of each part."""
    return replace(task, train=task.train[:24], val=task.val[:18], test=task.test[:18])


def two_hop_rows(task: PaperTask) -> list[tuple[str, str]]:
    """A passage that repeats the question, and another, which it names, that has the answer."""
    found = []
    for i, row in enumerate([*task.train, *task.val, *task.test]):
        name = f"n{i:03}x"
        found += [(f"Article {i}", f"{row.question} See Note {name}.")]
        found += [(f"Note {name}", f"It is {row.answer}.")]
    return found


def three_hop_rows(task: PaperTask) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for row in [*task.train, *task.val, *task.test]:
        first, second, third = row.titles
        texts = [row.claim, f"After {first}", f"After {second}"]
        for title, text in zip((first, second, third), texts, strict=True):
            found[title] = f"{found.get(title, '')} {text}"
    return list(found.items())


def conditional(folder: Path) -> tuple[PaperTask, Script, Path]:
    name = "hotpotqa_conditional"
    rows = few(load_task(name, real_folder(), corpus=any_corpus(folder)))
    path = corpus_of(folder / "corpus.jsonl", two_hop_rows(rows))
    program = load_task(name, real_folder(), corpus=path).program
    return replace(rows, program=program), TwoHops(rows), path


def hotpotqa(folder: Path) -> tuple[PaperTask, Script, Path]:
    """The questions of the conditional task, which are HotPotQA's, as a user's own file."""
    source = load_task("hotpotqa_conditional", real_folder(), corpus=any_corpus(folder))
    file = folder / "questions.jsonl"
    lines = [json.dumps({"question": r.question, "answer": r.answer}) for r in source.train[:60]]
    file.write_text("\n".join(lines), encoding="utf-8")
    rows = few(load_task("hotpotqa", file, corpus=any_corpus(folder)))
    path = corpus_of(folder / "corpus.jsonl", two_hop_rows(rows))
    task = load_task("hotpotqa", file, corpus=path)
    return few(task), TwoHops(rows), path


def hover(folder: Path) -> tuple[PaperTask, Script, Path]:
    rows = few(load_task("hover", real_folder(), corpus=any_corpus(folder)))
    path = corpus_of(folder / "corpus.jsonl", three_hop_rows(rows))
    return few(load_task("hover", real_folder(), corpus=path)), ThreeHops(rows), path


MADE = {"hotpotqa": hotpotqa, "hotpotqa_conditional": conditional, "hover": hover}


@pytest.fixture(params=sorted(MADE))
def made(request, tmp_path) -> tuple[PaperTask, Script, Path]:
    return MADE[request.param](tmp_path)


def by_its_own_words(task: PaperTask, row: mipro.Example) -> bool:
    """Are a claim's articles found by the claim alone? (Some claims name them.)"""
    assert isinstance(task.program, HoVer)
    return set(row.titles) <= set(map(title_of, task.program.retrieve(row.claim)))


def best_of(task: PaperTask, script: Script) -> dict[str, mipro.Prompt]:
    return {name: mipro.Prompt(script.instruction) for name in task.program.modules()}


def run(task: PaperTask, lm: mipro.LM, **settings: Any) -> mipro.Result:
    return mipro.optimize(
        task.program,
        task.train,
        task.metric,
        lm=lm,
        val=task.val,
        test=task.test,
        forecasts=False,
        **{"threads": 1, **SHORT, **settings},
    )


@pytest.fixture
def _clients() -> Iterator[None]:
    yield
    close_clients()


def test_two_hops_are_three_calls_that_read_what_was_found(tmp_path) -> None:
    task, script, _ = conditional(tmp_path)
    lm = CountingLM(script)
    row = task.train[0]
    prediction = task.program(lm=lm, candidate=best_of(task, script), **row.inputs)
    assert [call.module for call in prediction.trace] == ["write_query", "write_query", "answer"]
    assert lm.calls == 3
    contexts = [call.inputs["context"] for call in prediction.trace]
    assert [len(context) for context in contexts[:2]] == [0, 3]
    assert 3 < len(contexts[2]) <= 6
    assert contexts[1][0] == f"Article 0 | {row.question} See Note n000x."
    assert f"Note n000x | It is {row.answer}." in contexts[2]
    assert task.metric(row, prediction) == 1.0


def test_hover_is_four_calls_and_three_retrievals_of_seven(tmp_path) -> None:
    task, script, _ = hover(tmp_path)
    lm = CountingLM(script)
    assert isinstance(task.program, HoVer)
    retrieve = task.program.retrieve
    hard = next(row for row in task.train if not by_its_own_words(task, row))
    prediction = task.program(lm=lm, candidate=best_of(task, script), **hard.inputs)
    modules = ["first_summary", "second_query", "second_summary", "third_query"]
    assert [call.module for call in prediction.trace] == modules
    assert list(task.program.modules()) == modules
    calls = {call.module: call.inputs for call in prediction.trace}
    assert len(calls["first_summary"]["passages"]) == 7
    assert calls["second_query"]["first_summary"] == hard.titles[0]
    assert calls["third_query"]["second_summary"] == hard.titles[1]
    assert set(hard.titles) <= set(prediction.titles)
    queries = [hard.claim, hard.titles[0], hard.titles[1]]
    found = [title_of(p) for query in queries for p in retrieve(query)]
    assert prediction.titles == list(dict.fromkeys(found))
    assert len(found) == 21
    assert task.metric(hard, prediction) == 1.0
    # without one of the hops an article is lacking, and that scores nothing
    plain = task.program(lm=lm, **hard.inputs)
    assert hard.titles[0] in plain.titles
    assert task.metric(hard, plain) == 0.0


def test_a_run_on_real_rows_finds_the_instruction_that_is_right(made) -> None:
    task, script, _ = made
    lm = CountingLM(script)
    result = run(task, lm)
    assert result.calls == lm.calls
    assert result.test is not None
    assert result.score == 1.0
    if task.name == "hover":  # some of whose claims name their articles, so that one hop will do
        easy = [by_its_own_words(task, row) for row in task.test]
        assert 0 < sum(easy) < 18
        assert result.test.before == pytest.approx(sum(easy) / 18)
        assert result.test.after > result.test.before
        assert result.candidate["second_query"].instruction == TITLE
    else:
        assert (result.test.before, result.test.after) == (0.0, 1.0)
        assert result.candidate["answer"].instruction == RULE


def test_hover_needs_both_queries(tmp_path) -> None:
    task, script, _ = hover(tmp_path)

    def score(*tuned: str) -> float:
        candidate = {name: mipro.Prompt(TITLE) for name in tuned}
        lm = CountingLM(script)
        return mipro.evaluate(
            task.program, task.test, task.metric, lm=lm, candidate=candidate
        ).score

    both = score("second_query", "third_query")
    assert both == 1.0
    assert max(score("second_query"), score("third_query")) < both
    assert score("first_summary", "second_summary") == score() < both


@pytest.mark.usefixtures("_clients")
def test_a_run_over_http_is_the_run_in_process(made) -> None:
    task, script, _ = made
    near = run(task, CountingLM(script), threads=4)
    with mipro.Server(CountingLM(script)) as server:
        lm = mipro.OpenAILM(server.lm.model, base_url=server.base_url)
        far = run(task, lm, threads=4)
        stats = server.stats
    assert far.candidate == near.candidate
    assert [trial.scores for trial in far.trials] == [trial.scores for trial in near.trials]
    assert far.test == near.test
    assert (stats.requests, stats.errors) == (far.calls, 0)


@pytest.mark.usefixtures("_clients")
@pytest.mark.parametrize("name", sorted(MADE))
def test_the_tasks_own_toml_runs_it_on_an_endpoint(name, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MIPRO_DATA", str(real_folder()))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    _, script, _ = MADE[name](tmp_path)
    text = (TOMLS / f"{name}.toml").read_text(encoding="utf-8")
    served = CountingLM(script)
    served.model = "meta-llama/Meta-Llama-3-8B-Instruct"  # the files' own; another is refused
    with mipro.Server(served) as server:
        text = re.sub(r'base_url = ".*"', f'base_url = "{server.base_url}"', text)
        (tmp_path / "task.toml").write_text(text, encoding="utf-8")
        config = load_config(tmp_path / "task.toml")
        assert Options.of(config.settings).trials == config.settings["trials"] >= 200
        task = few(
            PaperTask(name, config.program, config.metric, config.train, config.val, config.test)
        )
        result = run(task, config.lm, trials=2, minibatch=3, full_every=2)
        assert server.stats.errors == 0
    assert result.calls > 0
    (tmp_path / "corpus.jsonl").unlink()
    with pytest.raises(mipro.errors.ConfigError, match="searches a corpus"):
        load_config(tmp_path / "task.toml")
