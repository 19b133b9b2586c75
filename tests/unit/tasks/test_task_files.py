"""Files that are not the published ones: refused, with file and line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mipro.data import Example
from mipro.errors import DataError
from mipro.tasks import gsm8k as maths
from mipro.tasks import heart as hearts
from mipro.tasks import scone as entailments
from mipro.tasks.gsm8k import final_number
from mipro.tasks.reading import distinct, lines, one_of, table
from mipro.tasks.scone import question

HEADER = "(age),(sex),(cp),(trestbps),(chol),(fbs),(restecg),(thalach),(exang),(oldpeak),(slope)"
HEADER += ",(ca),(thal),(num) (the predicted attribute)"
PATIENT = "63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0,0"
SCONE = ",sentence1,sentence2,gold_label,sentence1_edited,sentence2_edited,gold_label_edited"


@pytest.fixture
def hearts_of(tmp_path: Path, monkeypatch) -> Callable[[Sequence[str]], list[Example]]:
    """Loads a file of these lines as Heart Disease's three patients."""
    monkeypatch.setattr(hearts, "ROWS", 3)
    (tmp_path / "heart_disease").mkdir()

    def load(rows: Sequence[str]) -> list[Example]:
        (tmp_path / hearts.FILE).write_text("\n".join(rows) + "\n")
        return hearts.heart_rows(tmp_path)

    return load


def test_a_patient_is_read_into_words(hearts_of) -> None:
    missing = PATIENT.replace(",0.0,6.0,0", ",?,?,3")
    first, second, _ = hearts_of([HEADER, PATIENT, missing, PATIENT])
    assert (first.age, first.sex, first.oldpeak) == (63, "male", 2.3)
    assert (first.thal, first.answer) == ("fixed defect", "no")
    assert (second.ca, second.thal, second.answer) == ("unknown", "unknown", "yes")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("63.0,1.0", "63.5,1.0", r"column '\(age\)': '63.5' .*a whole number is wanted"),
        ("63.0,1.0", "old,1.0", r"column '\(age\)': 'old' is refused"),
        ("63.0,1.0", "nan,1.0", r"column '\(age\)': 'nan' is refused"),
        ("63.0,1.0", "?,1.0", r"column '\(age\)': '\?' is refused"),
        ("63.0,1.0", ",1.0", r"column '\(age\)': '' is refused"),
        ("63.0,1.0", "63.0,2.0", r"column '\(sex\)': '2.0' .*one of 0.0, 1.0 is wanted"),
        ("0.0,6.0,0", "0.0,5.0,0", r"column '\(thal\)': '5.0' .*one of 3.0, 6.0, 7.0"),
        ("0.0,6.0,0", "4.0,6.0,0", r"column '\(ca\)': '4.0'"),
        ("0.0,6.0,0", "0.0,6.0,5", r"column '\(num\).*': '5' .*0, for none, or 1 to 4"),
        ("0.0,6.0,0", "0.0,6.0,?", r"column '\(num\).*': '\?'"),
        ("0.0,6.0,0", "0.0,6.0", "13 values for 14 columns"),
        ("0.0,6.0,0", "0.0,6.0,0,0", "15 values for 14 columns"),
        ("0.0,2.3", "0.0,inf", r"column '\(oldpeak\)': 'inf'"),
    ],
)
def test_a_spoilt_patient_is_refused_by_line_and_column(hearts_of, old, new, said) -> None:
    assert old in PATIENT
    with pytest.raises(DataError, match=rf"processed\.cleveland\.data, line 3: .*{said}"):
        hearts_of([HEADER, PATIENT, PATIENT.replace(old, new), PATIENT])


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_file_cut_short_or_too_long_is_refused_with_its_last_line(hearts_of, rows) -> None:
    with pytest.raises(DataError, match=f"line {rows + 1}: .* after {rows} rows, .* after 3"):
        hearts_of([HEADER] + [PATIENT] * rows)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.replace("(thal)", "(thaal)"), r"line 1: .*a column '\(thal\)'"),
        (HEADER.replace("(thal)", "(ca)"), r"line 1: two columns are called '\(ca\)'"),
        (PATIENT, r"line 1: "),  # no header at all
    ],
)
def test_other_columns_are_refused(hearts_of, header, said) -> None:
    with pytest.raises(DataError, match=said):
        hearts_of([header, PATIENT, PATIENT, PATIENT])


# ---- ScoNe --------------------------------------------------------------------------------------


@pytest.fixture
def scones_of(tmp_path: Path, monkeypatch) -> Callable[[Sequence[str]], list[Example]]:
    """Loads these lines as the first of ScoNe's six test files, the others being in order."""
    monkeypatch.setattr(entailments, "ROWS", {"train": 2, "test": 2})
    (tmp_path / "test").mkdir()
    good = [SCONE, *(f"{i},a,b.,neutral,C{i}.,D.,entailment" for i in range(2))]
    for kind in entailments.COLUMNS:
        (tmp_path / f"test/{kind}.csv").write_text("\n".join(good))

    def load(rows: Sequence[str]) -> list[Example]:
        (tmp_path / "test/no_negation.csv").write_text("\n".join(rows))
        return entailments.scone_rows(tmp_path, "test")

    return load


def test_all_files_but_one_use_the_edited_columns(scones_of) -> None:
    every = scones_of([SCONE, "0,a,b,entailment,E,F,neutral", "1,a,b,entailment,E,F,neutral"])
    ask = "Can we logically conclude for sure that {}?"
    assert dict(every[0]) == {"context": "E", "question": ask.format("f"), "answer": "No"}
    unedited = every[2 * list(entailments.COLUMNS).index("one_scoped")]
    assert dict(unedited) == {"context": "a", "question": ask.format("b"), "answer": "No"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,a,b,neutral,C,D,contradiction", "'gold_label_edited': 'contradiction' .*entailment"),
        ("1,a,b,neutral,C,D,Entailment", "'gold_label_edited': 'Entailment'"),
        ("1,a,b,neutral,C,D,", "'gold_label_edited': ''"),
        ("1,a,b,neutral,,D,neutral", "'sentence1_edited' is missing or empty"),
        ("2,a,b,neutral,C,D,neutral", "column '': '2' .*row 1 is wanted here"),
        ("0,a,b,neutral,C,D,neutral", "column '': '0' .*row 1 is wanted here"),
        ('1,"a,b,neutral,C,D,neutral', "unexpected end"),
        ("1,a,b,neutral,C,D", "6 values for 7 columns"),
    ],
)
def test_a_spoilt_pair_is_refused_by_line_and_column(scones_of, row, said) -> None:
    with pytest.raises(DataError, match=rf"no_negation\.csv, line 3: .*{said}"):
        scones_of([SCONE, "0,a,b,neutral,C,D,neutral", row])


@pytest.mark.parametrize("column", ["sentence1_edited", "gold_label_edited", ""])
def test_a_pairs_file_without_a_column_is_refused(scones_of, column) -> None:
    header = f",{SCONE}".replace(f",{column}", ",other", 1).removeprefix(",") if column else SCONE
    header = header.replace(",", "row,", 1) if not column else header
    with pytest.raises(DataError, match=rf"no_negation\.csv, line 1: .*a column '{column}'"):
        scones_of([header, "0,a,b,neutral,C,D,neutral", "1,a,b,neutral,C,D,neutral"])


def test_two_columns_without_a_name_are_refused_where_one_is_read(scones_of) -> None:
    with pytest.raises(DataError, match=r"no_negation\.csv, line 1: two columns are called ''"):
        scones_of([f",{SCONE}", "0,0,a,b,neutral,C,D,neutral", "1,1,a,b,neutral,C,D,neutral"])


@given(st.text(min_size=1).filter(lambda t: t.strip(" .")))
def test_a_question_keeps_every_letter_of_the_hypothesis(hypothesis) -> None:
    clause = question(hypothesis).removeprefix("Can we logically conclude for sure that ")
    plain = hypothesis.strip().removesuffix(".")
    assert clause == plain[:1].lower() + plain[1:] + "?"


# ---- GSM8K --------------------------------------------------------------------------------------


def problem(answer: object = "One and one.\n#### 2", **more: object) -> str:
    return json.dumps({"question": "What is 1 + 1?", "answer": answer, **more})


@pytest.fixture
def problems_of(tmp_path: Path, monkeypatch) -> Callable[[Sequence[str]], list[Example]]:
    monkeypatch.setattr(maths, "ROWS", {"train": 2, "test": 2})

    def load(rows: Sequence[str]) -> list[Example]:
        (tmp_path / "test.jsonl").write_text("\n".join(rows))
        return maths.gsm8k_rows(tmp_path, "test")

    return load


def test_the_number_is_the_answer(problems_of) -> None:
    first, second = problems_of([problem(), "", problem("So.\n#### -1,234.5")])
    assert dict(first) == {"question": "What is 1 + 1?", "answer": "2"}
    assert second.answer == "-1234.5"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (problem("two"), "'answer' has 0 times ####"),
        (problem("#### 1 #### 2"), "'answer' has 2 times ####"),
        (problem("#### two"), "no number behind ####: 'two'"),
        (problem("#### 1,23"), "no number behind ####: '1,23'"),
        (problem("####"), "no number behind ####: ''"),
        (problem("#### 5 apples"), "no number"),
        (problem("#### ٥"), "no number"),
        (problem(2), "'answer' is no text: 2"),
        (problem(None), "'answer' is missing or empty"),
        (problem(question=""), "'question' is missing or empty"),
        (problem(question=["x"]), "'question' is no text"),
        ('{"question": "x"', "line contains invalid json"),
        ("[1]", "a JSON object is wanted"),
    ],
)
def test_a_spoilt_problem_is_refused_by_its_line_blank_ones_counted(problems_of, row, said) -> None:
    with pytest.raises(DataError, match=rf"test\.jsonl, line 4: .*{said}"):
        problems_of([problem(), "", "", row])


@pytest.mark.parametrize("rows", [1, 3])
def test_another_number_of_problems_is_refused(problems_of, rows) -> None:
    with pytest.raises(DataError, match=rf"test\.jsonl, line {rows}: .*after {rows} rows"):
        problems_of([problem()] * rows)


@given(st.integers(-(10**12), 10**12), st.booleans(), st.text())
def test_any_whole_number_behind_the_mark_is_found(number, separated, before) -> None:
    written = f"{number:,}" if separated else str(number)
    before = before.replace("####", "")
    if before.endswith("#"):
        before += " "
    assert final_number(f"{before}#### {written}\n") == str(number)


@given(st.text(max_size=20))
def test_any_text_behind_the_mark_is_a_number_or_refused(text) -> None:
    try:
        assert str(float(final_number(f"#### {text}")))
    except ValueError as error:
        assert "'answer' has" in str(error)  # noqa: PT017 - it may or may not be raised


# ---- cut off anywhere ---------------------------------------------------------------------------


def cuts_are_refused(file: Path, load: Callable[[], list[Example]]) -> None:
    """Of a file cut at any byte, every row is read (its last newline was cut) or none."""
    text, every = file.read_bytes(), load()
    whole = 0
    for end in range(len(text)):
        file.write_bytes(text[:end])
        try:
            assert load() == every
            whole += 1
        except DataError as error:
            assert str(file) in str(error)  # noqa: PT017 - it may or may not be raised
    assert whole <= 1


def test_a_file_of_patients_cut_anywhere_is_refused(hearts_of, tmp_path) -> None:
    hearts_of([HEADER, PATIENT, PATIENT, PATIENT])
    cuts_are_refused(tmp_path / hearts.FILE, lambda: hearts.heart_rows(tmp_path))


def test_a_file_of_pairs_cut_anywhere_is_refused(scones_of, tmp_path) -> None:
    scones_of([SCONE, "0,a,b,neutral,C,D,neutral", '1,a,b,neutral,"C, so",D,entailment', ""])
    file = tmp_path / "test/no_negation.csv"
    cuts_are_refused(file, lambda: entailments.scone_rows(tmp_path, "test"))


def test_a_file_of_problems_cut_anywhere_is_refused(problems_of, tmp_path) -> None:
    problems_of([problem(), problem("So.\n#### 1,234"), ""])
    cuts_are_refused(tmp_path / "test.jsonl", lambda: maths.gsm8k_rows(tmp_path, "test"))


# ---- what they are made of ----------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=12))
def test_distinct_keeps_the_first_of_equal_inputs(pairs) -> None:
    every = [Example({"x": x, "n": n}, inputs=("x",)) for x, n in pairs]
    kept = distinct(every)
    assert [e.x for e in kept] == list(dict.fromkeys(x for x, _ in pairs))
    assert all(e.n == next(n for x, n in pairs if x == e.x) for e in kept)


def test_distinct_tells_a_number_from_its_text() -> None:
    every = [Example({"x": x}, inputs=("x",)) for x in (1, "1", 1.0)]
    assert len(distinct(every)) == 3


def test_one_of_takes_its_values_only() -> None:
    assert one_of("a", "b")("a") == "a"
    with pytest.raises(ValueError, match="one of a, b is wanted"):
        one_of("a", "b")("c")


@pytest.mark.parametrize(
    "read", [lambda p: table(p, {"x": str}, 1), lambda p: lines(p, ("x",), dict, 1)]
)
def test_an_empty_file_is_refused(read, tmp_path) -> None:
    (tmp_path / "rows.csv").touch()
    with pytest.raises(DataError, match=r"rows\.csv"):
        read(tmp_path / "rows.csv")
