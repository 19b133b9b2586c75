"""The real rows: how many, which, how labelled, and that no part of a split holds another's."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from real_data import real_folder, real_task

from mipro.tasks import PaperTask, load_task
from mipro.tasks.gsm8k import gsm8k_rows
from mipro.tasks.heart import heart_rows
from mipro.tasks.scone import COLUMNS, scone_rows

# task → train, val, test; the paper's, but for GSM8K, which it does not use
SIZES = {
    "scone": (500, 500, 1200),
    "iris": (75, 0, 75),
    "iris_typo": (75, 0, 75),
    "heart": (120, 0, 183),
    "gsm8k": (500, 500, 1319),
}
LABEL = {"iris": "species", "iris_typo": "species"}


def sizes(task: PaperTask) -> tuple[int, int, int]:
    return len(task.train), len(task.val), len(task.test)


def labels(examples, field: str = "answer") -> Counter[str]:
    return Counter(example[field] for example in examples)


@pytest.mark.parametrize("name", SIZES)
def test_the_parts_have_the_papers_sizes(name) -> None:
    assert sizes(real_task(name)) == SIZES[name]


@pytest.mark.parametrize("name", SIZES)
def test_a_seed_decides_the_split_and_another_one_makes_another(name) -> None:
    first, again, other = real_task(name), load_task(name), real_task(name, seed=1)
    assert (first.train, first.val, first.test) == (again.train, again.val, again.test)
    assert first.train != other.train
    assert sizes(other) == SIZES[name]


@pytest.mark.parametrize("name", ["scone", "heart", "gsm8k"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_part_asks_what_another_asks(name, seed) -> None:
    task = real_task(name, seed)
    asked = [
        [tuple(example.inputs.values()) for example in part]
        for part in (task.train, task.val, task.test)
    ]
    for i, part in enumerate(asked):
        assert len(set(part)) == len(part)
        for other in asked[i + 1 :]:
            assert not set(part) & set(other)


@pytest.mark.parametrize("name", ["iris", "iris_typo"])
def test_iris_parts_share_at_most_the_flower_that_is_in_the_rows_twice(name) -> None:
    shared = set()
    for seed in range(8):
        task = real_task(name, seed)
        every = [tuple(example.values()) for example in task.train + task.test]
        assert Counter(labels(task.train, "species") + labels(task.test, "species")) == {
            "setosa": 50,
            "versicolor": 50,
            "virginica": 50,
        }
        assert [row for row, n in Counter(every).items() if n > 1] == [
            (5.8, 2.7, 5.1, 1.9, "virginica")
        ]
        shared |= set(every[:75]) & set(every[75:])
    assert shared == {(5.8, 2.7, 5.1, 1.9, "virginica")}  # it happens, and is all that happens


@pytest.mark.parametrize("name", SIZES)
def test_the_program_takes_every_input_and_the_metric_finds_its_label(name) -> None:
    task = real_task(name)
    required, optional, others = task.program.input_names()
    for example in (*task.train, *task.val, *task.test):
        assert others or set(example.inputs) == {*required, *optional}
        assert set(example.labels) == {LABEL.get(name, "answer")}


# ---- ScoNe --------------------------------------------------------------------------------------


def test_scone_is_balanced_in_every_file_and_part() -> None:
    folder = real_folder() / "scone"
    for part, rows in (("train", 1002), ("test", 200)):
        every = scone_rows(folder, part)
        assert len(every) == 6 * rows
        for i in range(6):
            half = rows // 2
            assert labels(every[i * rows : (i + 1) * rows]) == {"Yes": half, "No": half}
    assert labels(real_task("scone").test) == {"Yes": 600, "No": 600}


def test_scones_train_files_repeat_32_pairs_which_are_left_out() -> None:
    every = scone_rows(real_folder() / "scone", "train")
    pairs = {tuple(example.inputs.values()): example.answer for example in every}
    assert (len(every), len(pairs)) == (6012, 5980)
    assert all(pairs[tuple(e.inputs.values())] == e.answer for e in every)  # none contradicts


# the first test row of each file, by hand from the published ones
FIRST = {
    "no_negation": ("the man owns a dog", "the man owns a mammal", "Yes"),
    "one_not_scoped": (
        "the man owns a dog and he does not drink coffee.",
        "the man owns a mammal and he does not drink coffee",
        "Yes",
    ),
    "one_scoped": ("the man does not own a dog", "the man does not own a mammal", "No"),
    "one_scoped_one_not_scoped": (
        "the man does not own a dog and does not own a cat.",
        "the man does not own a mammal and does not own a cat",
        "No",
    ),
    "two_not_scoped": (
        "the man, who is not very kind, owns a dog, but not a cat.",
        "the man, who is not very kind, owns a mammal, but not a cat",
        "Yes",
    ),
    "two_scoped": (
        "The statement that the man does not own a dog is false.",
        "the statement that the man does not own a mammal is false",
        "Yes",
    ),
}


def test_scones_first_rows_are_the_published_ones_in_the_papers_form() -> None:
    every = scone_rows(real_folder() / "scone", "test")
    for i, kind in enumerate(COLUMNS):
        context, clause, answer = FIRST[kind]
        assert dict(every[200 * i]) == {
            "context": context,
            "question": f"Can we logically conclude for sure that {clause}?",
            "answer": answer,
        }


def test_scone_agrees_with_a_second_reading_of_the_files() -> None:
    folder = real_folder() / "scone" / "test"
    found = iter(scone_rows(folder.parent, "test"))
    for kind in COLUMNS:
        edited = "" if kind == "one_scoped" else "_edited"
        with (folder / f"{kind}.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                example = next(found)
                assert example.context == row[f"sentence1{edited}"].strip()
                said = example.question.removeprefix("Can we logically conclude for sure that ")
                wanted = row[f"sentence2{edited}"].strip().rstrip(".")
                assert said[:-1].lower() == wanted.lower()
                entails = row[f"gold_label{edited}"] == "entailment"
                assert example.answer == ("Yes" if entails else "No")
    assert next(found, None) is None


# ---- Heart Disease ------------------------------------------------------------------------------


def test_heart_disease_has_the_published_patients() -> None:
    every = heart_rows(real_folder())
    assert len(every) == 303
    assert labels(every) == {"no": 164, "yes": 139}
    assert dict(every[0]) == {
        "age": 63,
        "sex": "male",
        "cp": "typical angina",
        "trestbps": 145,
        "chol": 233,
        "fbs": "true",
        "restecg": "left ventricular hypertrophy",
        "thalach": 150,
        "exang": "no",
        "oldpeak": 2.3,
        "slope": "downsloping",
        "ca": "0",
        "thal": "fixed defect",
        "answer": "no",
    }
    assert dict(every[-1])["ca"] == "unknown"
    assert {example.answer for example in every[1:3]} == {"yes"}  # coded 2 and 1


def test_every_missing_value_is_kept_as_unknown() -> None:
    every = heart_rows(real_folder())
    missing = Counter(
        name for example in every for name, value in example.items() if value == "unknown"
    )
    assert missing == {"ca": 4, "thal": 2}
    assert not any(value == "?" for example in every for value in example.values())


# ---- GSM8K --------------------------------------------------------------------------------------


def test_gsm8k_has_the_published_problems_and_their_last_numbers() -> None:
    folder = real_folder() / "gsm8k"
    train, test = gsm8k_rows(folder, "train"), gsm8k_rows(folder, "test")
    assert (len(train), len(test)) == (7473, 1319)
    assert [example.answer for example in test[:3]] == ["18", "3", "70000"]
    assert test[1].question.startswith("A robe takes 2 bolts of blue fiber")
    assert train[0].answer == "72"
    assert train[0].question.endswith("altogether in April and May?")


def test_gsm8ks_93_numbers_with_separators_lose_them_and_nothing_else() -> None:
    folder, separated = real_folder() / "gsm8k", 0
    for part in ("train", "test"):
        for example, line in zip(gsm8k_rows(folder, part), _lines(folder, part), strict=True):
            number = json.loads(line)["answer"].rsplit("#### ", 1)[1]
            assert float(example.answer) == float(number.replace(",", ""))
            separated += "," in number
            assert "," not in example.answer
    assert separated == 79 + 14


def _lines(folder: Path, part: str) -> list[str]:
    return (folder / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
