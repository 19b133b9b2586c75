"""Wherever the files of a run are cut off, it goes on to the same end."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from resuming import LoggedLM, asked, begin, end_of, go_on
from small_runs import small

SETTINGS = {"trials": 4, "minibatch": 4, "full_every": 2, "instructions": 3, "demo_sets": 3}
WORLD = small("iris", train=12, val=6, test=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], int]:
    """An uninterrupted run: where, how it ended, how many calls."""
    place = tmp_path_factory.mktemp("whole")
    begin(place / "run", LoggedLM(place / "log"), WORLD, **SETTINGS)
    return place / "run", end_of(place / "run"), len(asked(place / "log"))


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])


@settings(max_examples=15)
@given(journal=st.floats(0, 1), replies=st.floats(0, 1), ended=st.booleans())
@example(journal=0.0, replies=0.0, ended=False)
@example(journal=1.0, replies=0.0, ended=True)  # the replies lost: asked again, to the same end
@example(journal=0.0, replies=1.0, ended=False)
@example(journal=1.0, replies=1.0, ended=True)
def test_a_cut_at_any_byte_changes_no_end(
    whole: tuple[Path, list[Any], int], journal: float, replies: float, ended: bool
) -> None:
    run, end, calls = whole
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copytree(run, place / "run")
        cut(place / "run/journal.jsonl", journal)
        cut(place / "run/replies.jsonl", replies)
        kept = (place / "run/replies.jsonl").read_bytes().count(b"\n")
        if not ended:
            (place / "run/result.json").unlink()
        go_on(place / "run", LoggedLM(place / "log"), WORLD)
        assert end_of(place / "run") == end
        assert len(asked(place / "log")) == calls - max(0, kept - 1)
        # all of it is whole again, so that the next sitting asks nothing
        before = {p.name: p.read_bytes() for p in (place / "run").iterdir()}
        go_on(place / "run", LoggedLM(place / "log"), WORLD)
        assert len(asked(place / "log")) == calls - max(0, kept - 1)
        assert {p.name: p.read_bytes() for p in (place / "run").iterdir()} == before
