"""HoVer's releases: the real one, small ones and broken ones; its split and its metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real_data import real_folder

import mipro
from mipro.errors import DataError
from mipro.seeds import stream
from mipro.tasks import PaperTask, hover, load_task
from mipro.tasks.hover import CLAIMS, DEV, TRAIN, Claim, claims, parts

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
    found = claims(real_folder() / "hover" / DEV, CLAIMS)
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


def test_a_seed_decides_the_split_and_another_one_makes_another(corpus) -> None:
    first, again, other = (load_task("hover", real_folder(), s, corpus) for s in (0, 0, 1))
    assert each(first) == each(again)
    assert first.train != other.train


def test_where_the_train_release_is_there_train_and_val_come_from_it(
    tmp_path, corpus, monkeypatch
) -> None:
    monkeypatch.setattr(hover, "SIZES", (3, 2, 4))
    monkeypatch.setattr(hover, "CLAIMS", 6)
    release(tmp_path / "hover" / DEV, [row(i) for i in range(6)])
    # question 0 is in the dev release as well: its claims are no training data
    rest = [row(10, question=0), *(row(i) for i in range(20, 26)), row(30, hops=2)]
    release(tmp_path / "hover" / TRAIN, rest)
    task = load_task("hover", tmp_path, 0, corpus)
    assert [len(part) for part in each(task)] == [3, 2, 4]
    numbers = [{int(claim.claim.split()[1]) for claim in part} for part in each(task)]
    assert numbers[0] | numbers[1] <= set(range(20, 26))
    assert not numbers[0] & numbers[1]
    assert numbers[2] <= set(range(6))


def test_all_claims_of_a_question_go_to_one_part() -> None:
    found = [
        Claim(mipro.Example({"claim": f"{q} {i}", "titles": ["t"]}, inputs=("claim",)), f"q{q}")
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


def test_another_number_of_claims_is_not_the_published_release(tmp_path) -> None:
    with pytest.raises(DataError, match="2 claims; the release has 3: fetch it again"):
        claims(release(tmp_path / "dev.json", [row(1), row(2)]), 3)
