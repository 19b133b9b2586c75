"""A key that is missing is said before anything is made: no run directory is left behind."""

from __future__ import annotations

import pytest
from small_runs import small

import mipro
from mipro.lm.base import AuthError, Completion, Message, Request
from mipro.lm.cache import Cached

FAR = "https://lm.example/v1"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("role", ["lm", "prompt_lm", "teacher"])
def test_a_run_without_a_key_leaves_no_directory(role, tmp_path):
    world, keyless = small("twohop", val=8, test=8), mipro.OpenAILM("m", base_url=FAR)
    given = {"lm": world.lm, role: keyless}
    if role == "teacher":
        given["teacher"] = mipro.Teacher(lm=keyless)
    events = []
    with pytest.raises(AuthError, match="set the environment variable OPENAI_API_KEY"):
        mipro.optimize(
            world.program,
            world.train,
            world.metric,
            val=world.val,
            run_dir=tmp_path / "run",
            on_event=events.append,
            **given,
        )
    assert not (tmp_path / "run").exists()
    assert events == []


def test_the_key_of_a_modules_own_lm_is_looked_for_as_well(tmp_path):
    world = small("twohop", val=8, test=8)
    program = type(world.program)(world.program.retrieve)
    program.answer.lm = mipro.OpenAILM("m", base_url=FAR, api_key_env="ANOTHER_KEY")
    with pytest.raises(AuthError, match="ANOTHER_KEY"):
        mipro.optimize(program, world.train, world.metric, lm=world.lm, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stored", [False, True])
def test_what_a_cache_may_hold_needs_no_key_beforehand(stored, tmp_path):
    # the run goes on to its first call that is not stored, which is where the key is missed
    world = small("twohop", val=8, test=8)
    lm = Cached(mipro.OpenAILM("m", base_url=FAR), tmp_path / "cache.db")
    if stored:
        lm.around(lambda real: Told(real.identity))(Request((Message("user", "hello"),)))
    with pytest.raises(AuthError):
        mipro.optimize(world.program, world.train, world.metric, lm=lm, run_dir=tmp_path / "run")
    lm.close()
    assert (tmp_path / "run").exists() == stored


class Told:
    model = "m"

    def __init__(self, identity: str) -> None:
        self.identity = identity

    def __call__(self, request: Request, /) -> Completion:
        return Completion(("a reply",))
