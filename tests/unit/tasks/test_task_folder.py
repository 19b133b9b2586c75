"""Where the real data are looked for, and what is said where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

import mipro
from mipro.errors import ConfigError
from mipro.tasks import TASKS, data_folder, load_task


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the data: nothing in the environment, nothing beside folder or package."""
    monkeypatch.delenv("MIPRO_DATA", raising=False)
    here = tmp_path / "a" / "project"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(mipro, "__file__", str(tmp_path / "b" / "site" / "mipro" / "__init__.py"))
    return tmp_path


def test_an_argument_goes_before_the_environment_and_that_before_the_neighbours(
    nowhere, monkeypatch
) -> None:
    named, given = nowhere / "named", nowhere / "given"
    beside, installed = nowhere / "a/shared/data", nowhere / "b/shared/data"
    for folder in (named, given, beside, installed):
        folder.mkdir(parents=True)
    assert data_folder() == beside
    beside.rmdir()
    assert data_folder() == installed
    monkeypatch.setenv("MIPRO_DATA", str(named))
    assert data_folder() == named
    assert data_folder(given) == data_folder(str(given)) == given


def test_without_data_it_is_said_where_was_looked_and_what_to_do(nowhere) -> None:
    with pytest.raises(ConfigError) as caught:
        data_folder()
    for part in ("MIPRO_DATA", str(nowhere / "a/shared"), str(nowhere / "b/shared"), "gsm8k/"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 5000])
def test_a_place_that_was_named_is_not_searched_past(nowhere, monkeypatch, name) -> None:
    (nowhere / "a/shared/data").mkdir(parents=True)
    with pytest.raises(ConfigError, match="the data folder given"):
        data_folder(name)
    if "\0" not in name:  # no environment can hold one
        monkeypatch.setenv("MIPRO_DATA", name)
        with pytest.raises(ConfigError, match="that MIPRO_DATA names"):
            data_folder()


def test_an_empty_variable_is_none(nowhere, monkeypatch) -> None:
    (nowhere / "a/shared/data").mkdir(parents=True)
    monkeypatch.setenv("MIPRO_DATA", "")
    assert data_folder() == nowhere / "a/shared/data"


@pytest.mark.parametrize("name", ["scone", "heart", "gsm8k"])
def test_a_folder_without_the_tasks_files_is_an_error_with_the_path(name, tmp_path) -> None:
    with pytest.raises(mipro.MiproError, match=f"{tmp_path}.*cannot be read"):
        load_task(name, data=tmp_path)


@pytest.mark.parametrize("name", ["", "SCONE", "iris_tyop", "x" * 300])
def test_a_task_there_is_not_is_refused_with_those_there_are(name) -> None:
    with pytest.raises(ConfigError, match=r"no task is called .*iris_typo") as caught:
        load_task(name)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["scone", "iris", "heart", "gsm8k"])
def test_a_corpus_for_a_task_that_searches_none_is_refused(name, tmp_path) -> None:
    with pytest.raises(ConfigError, match=f"the task '{name}' searches no corpus"):
        load_task(name, corpus=tmp_path / "corpus.jsonl")


def test_the_papers_tasks_are_all_there() -> None:
    paper = {"scone", "hotpotqa", "hotpotqa_conditional", "hover", "iris", "iris_typo", "heart"}
    assert set(TASKS) == paper | {"gsm8k"}
