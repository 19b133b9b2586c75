"""HoVer's releases: the real one, small ones and broken ones; its split and its metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real_data import real_folder
from typer.testing import CliRunner

import mipro
from mipro.cli import app
from mipro.errors import DataError
from mipro.seeds import stream
from mipro.tasks import PaperTask, load_task
from mipro.tasks.hover import DEV, RELEASED, SIZES, TRAIN, Claim, claims, groups, parts

pytest.importorskip("bm25s", reason="retrieval stands on bm25s")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"title": "Ada", "text": "a mathematician"}\n', encoding="utf-8")
    return path


def row(i: int, question: int | None = None, hops: int = 3, **more: Any) -> dict[str, Any]:
    """A claim as the release has it."""
    return {
        "uid": f"u{i}",
        "claim": f"claim {i}",
        "supporting_facts": [[f"t{i} {hop}", 0] for hop in range(hops)],
        "label": "SUPPORTED",
        "num_hops": hops,
        "hpqa_id": f"q{i if question is None else question}",
        **more,
    }


def release(path: Path, body: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def each(task: PaperTask) -> list[tuple[mipro.Example, ...]]:
    return [task.train, task.val, task.test]


def test_the_real_release_has_1820_three_hop_claims_from_772_questions() -> None:
    found = claims(real_folder() / "hover" / DEV)
    assert len(found) == len({claim.example.claim for claim in found}) == 1820
    assert len({claim.question for claim in found}) == 772
    first = found[0].example
    assert first.inputs["claim"].startswith("The movie Animal House was produced by Ivan Reitman")
    assert first.labels == {"titles": ["Verna Bloom", "Animal House", "Jay Cocks"]}
    assert all(len(set(claim.example.titles)) == 3 for claim in found)
    # claims of one question rest on the same articles, and no other claims do
    pairs = {(claim.question, frozenset(claim.example.titles)) for claim in found}
    assert len(pairs) == len({titles for _, titles in pairs}) == 772


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_real_parts_have_their_sizes_and_share_no_article_set(seed, corpus) -> None:
    task = load_task("hover", real_folder(), seed, corpus)
    assert [len(part) for part in each(task)] == [500, 500, 820]
    assert len({claim.claim for part in each(task) for claim in part}) == 1820
    sets = [{frozenset(claim.titles) for claim in part} for part in each(task)]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]
    (note,) = task.notes
    assert "820 test claims, not the paper's 1,520" in note
    assert f"{real_folder() / 'hover'} has no {TRAIN}" in note


def test_a_seed_decides_the_split_and_another_one_makes_another(corpus) -> None:
    first, again, other = (load_task("hover", real_folder(), s, corpus) for s in (0, 0, 1))
    assert each(first) == each(again)
    assert first.train != other.train


def reworded(first: int, count: int, hops: int) -> list[dict[str, Any]]:
    """Claims up to three to a question, of the same articles; every fifth of two hops."""
    rows = []
    for i in range(first, first + count):
        several, question = hops if i % 5 else 2, i if i % 7 == 0 else -(i // 3)
        facts = [[f"t{question} {hop}", 0] for hop in range(several)]
        rows.append(row(i, question=question, hops=several, supporting_facts=facts))
    return rows


@pytest.mark.parametrize("seed", [0, 1])
def test_with_the_train_release_the_sizes_are_the_papers_and_no_parts_share_anything(
    seed, tmp_path, corpus
) -> None:
    dev = reworded(0, RELEASED[DEV], 3)
    train = reworded(RELEASED[DEV] - 60, RELEASED[TRAIN], 3)  # of 20 questions the dev has too
    # a claim with a dev claim's articles, one with its words, from other questions
    train[-1] = row(90_001, supporting_facts=dev[1]["supporting_facts"])
    train[-2] = row(90_002, claim=dev[2]["claim"])
    release(tmp_path / "hover" / DEV, dev)
    release(tmp_path / "hover" / TRAIN, train)
    task = load_task("hover", tmp_path, seed, corpus)
    assert [len(part) for part in each(task)] == list(SIZES) == [500, 500, 1520]
    assert task.notes == ()
    assert str(task) == "hover: 500 train, 500 val, 1,520 test"
    of_dev = {body["claim"] for body in dev}
    assert {claim.claim for claim in task.test} <= of_dev
    assert not {claim.claim for part in (task.train, task.val) for claim in part} & of_dev
    for name in ("claim", "titles"):
        held = [{str(claim[name]) for claim in part} for part in each(task)]
        assert sum(map(len, held)) == len(set().union(*held))
    again = load_task("hover", tmp_path, seed, corpus)
    assert each(task) == each(again)


def test_a_claim_of_the_train_release_with_too_few_articles_is_left_out_and_it_is_said(
    tmp_path, corpus
) -> None:
    train = reworded(RELEASED[DEV], RELEASED[TRAIN], 3)
    train[6] = row(7, supporting_facts=[["A", 0], ["A", 1], ["B", 0]])
    release(tmp_path / "hover" / DEV, reworded(0, RELEASED[DEV], 3))
    release(tmp_path / "hover" / TRAIN, train)
    task = load_task("hover", tmp_path, 0, corpus)
    (note,) = task.notes
    assert "1 claims are left out, the first claim 7" in note
    assert all(len(claim.titles) == 3 for part in each(task) for claim in part)


@pytest.mark.parametrize("there", [False, True])
def test_the_command_says_before_a_run_where_the_sizes_are_not_the_papers(
    there, tmp_path, corpus
) -> None:
    release(tmp_path / "hover" / DEV, reworded(0, RELEASED[DEV], 3))
    if there:
        release(tmp_path / "hover" / TRAIN, reworded(RELEASED[DEV], RELEASED[TRAIN], 3))
    config = tmp_path / "run.toml"
    config.write_text(
        '[task]\nname = "hover"\ndata = "."\ncorpus = "corpus.jsonl"\n'
        '[optimize]\ntrials = 1\n[lm]\nkind = "simulated"\n',
        encoding="utf-8",
    )
    ran = CliRunner().invoke(app, ["estimate", str(config)])
    assert ran.exit_code == 0
    said = " ".join(ran.output.split())
    assert ("not the paper's 1,520" in said) is not there


def test_one_release_put_in_the_others_place_is_refused(tmp_path, corpus) -> None:
    for name in (DEV, TRAIN):
        release(tmp_path / "hover" / name, reworded(0, RELEASED[DEV], 3))
    with pytest.raises(DataError, match=f"{TRAIN}: 4000 claims; the release has 18171"):
        load_task("hover", tmp_path, 0, corpus)


def test_claims_that_share_a_question_or_articles_or_words_are_one_group() -> None:
    def claim(text: str, titles: str, question: str) -> Claim:
        return Claim(
            mipro.Example({"claim": text, "titles": list(titles)}, inputs=("claim",)), question
        )

    found = [
        claim("a", "123", "p"),
        claim("b", "456", "q"),
        claim("c", "321", "r"),  # the first's articles
        claim("d", "789", "s"),
        claim("e", "456", "r"),  # joins the second to the third, and so to the first
        claim("d", "147", "t"),  # the fourth's words
    ]
    made = [{member.example.claim + member.question for member in group} for group in groups(found)]
    assert made == [{"ap", "bq", "cr", "er"}, {"ds", "dt"}]


def test_all_claims_of_a_question_go_to_one_part() -> None:
    found = [
        Claim(mipro.Example({"claim": f"{q} {i}", "titles": [f"{q}"]}, inputs=("claim",)), f"q{q}")
        for q in range(30)
        for i in range(q % 5 + 1)
    ]
    for seed in range(20):
        made = parts(found, (20, 20, 50), stream(seed, "split"))
        assert [len(part) for part in made] == [20, 20, 50]
        questions = [{claim.claim.split()[0] for claim in part} for part in made]
        assert sum(map(len, questions)) == len(set().union(*questions))
    with pytest.raises(DataError, match=r"90 claims make parts of \[90\]; \[91\] are wanted"):
        parts(found, (91,), stream(0, "split"))
    pairs = [claim for claim in found if claim.question in ("q1", "q6", "q11")]
    one = parts(pairs, (3,), stream(0, "split"))  # a pair, and one of the next
    assert [len(part) for part in one] == [3]
    made = parts(pairs, (3, 1), stream(0, "split"))
    questions = [{claim.claim.split()[0] for claim in part} for part in made]
    assert not questions[0] & questions[1]


def test_a_claim_that_is_there_twice_is_taken_once_and_other_hops_not_at_all(tmp_path) -> None:
    body = [row(1), row(2, hops=2), row(1, label="NOT_SUPPORTED"), row(3, hops=4), row(4)]
    body[4]["supporting_facts"] = [["A", 0], ["B", 2], ["A", 5], ["C", 1]]
    body[4]["claim"] = "  claim 4\n"
    found = claims(release(tmp_path / "dev.json", body))
    assert [dict(claim.example) for claim in found] == [
        {"claim": "claim 1", "titles": ["t1 0", "t1 1", "t1 2"]},
        {"claim": "claim 4", "titles": ["A", "B", "C"]},
    ]
    assert found[1].question == "q4"


BROKEN = [
    ([], "a JSON array of claims is wanted"),
    ({}, "a JSON array of claims is wanted"),
    ([row(1), 7], "claim 2: an object is wanted"),
    ([row(1), row(2, claim=" ")], "claim 2: 'claim' is empty"),
    ([row(1, claim=None)], "claim 1: 'claim' is None: str is wanted"),
    ([row(1, num_hops=True)], "claim 1: 'num_hops' is True: int is wanted"),
    ([row(1, num_hops=2)], "claim 1: 3 titles for 2 hops"),
    ([row(1, hpqa_id=5)], "claim 1: 'hpqa_id' is 5: str is wanted"),
    ([row(1, supporting_facts="x")], "claim 1: 'supporting_facts' is 'x': list is wanted"),
    ([row(1, supporting_facts=[["A"]])], "claim 1: a fact is [title, sentence], not ['A']"),
    ([row(1, supporting_facts=[[" ", 0]])], "claim 1: a fact is [title, sentence]"),
    ([row(1, supporting_facts=[])], "claim 1: 0 titles for 3 hops"),
]


@pytest.mark.parametrize(("body", "said"), BROKEN)
def test_a_release_of_another_form_is_refused_with_the_claim(body, said, tmp_path) -> None:
    with pytest.raises(DataError, match=r"dev\.json") as caught:
        claims(release(tmp_path / "dev.json", body))
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [None, b"[{", b"\xff", b'[{"a": 1, "a": 2}]', b"[" * 500])
def test_a_release_that_cannot_be_read_is_an_error(content, tmp_path) -> None:
    if content is not None:
        (tmp_path / "dev.json").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        claims(tmp_path / "dev.json")


@pytest.mark.parametrize("name", [DEV, TRAIN])
def test_another_number_of_claims_is_not_the_published_release(name, tmp_path) -> None:
    with pytest.raises(DataError, match=f"2 claims; the release has {RELEASED[name]}: fetch it"):
        claims(release(tmp_path / name, [row(1), row(2)]))
