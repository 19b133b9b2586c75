"""The whole loop over real HTTP: the OpenAI client against the embedded LM's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mipro
from mipro.journal import read_journal, without_times
from mipro.lm.openai import close_clients
from mipro.worlds import World, load_world


@pytest.fixture
def _clients() -> Iterator[None]:
    yield
    close_clients()


def run(world: World, lm: mipro.LM, path, adapter=None) -> mipro.Result:
    return mipro.optimize(
        world.program,
        world.train[:40],
        world.metric,
        lm=lm,
        val=world.val[:20],
        test=world.test[:20],
        trials=6,
        minibatch=10,
        full_every=3,
        instructions=4,
        demo_sets=4,
        threads=4,
        adapter=adapter,
        run_dir=path,
    )


@pytest.mark.usefixtures("_clients")
@pytest.mark.parametrize("adapter", [mipro.ChatAdapter(), mipro.JSONAdapter()])
@pytest.mark.parametrize("name", ["twohop", "iris"])
def test_a_run_over_http_is_the_run_in_process(name, adapter, tmp_path) -> None:
    world = load_world(name, seed=3)
    near = run(world, world.lm, tmp_path / "near", adapter)
    with mipro.Server(world.lm) as server:
        lm = mipro.OpenAILM(server.lm.model, base_url=server.base_url)
        far = run(world, lm, tmp_path / "far", adapter)
        stats = server.stats
    assert far.candidate == near.candidate
    assert [t.scores for t in far.trials] == [t.scores for t in near.trials]
    assert far.usage == near.usage
    # everything but who answered is the same, event by event
    events = [
        [without_times(e) for e in read_journal(tmp_path / side / "journal.jsonl")]
        for side in ("near", "far")
    ]
    for one in events:
        for key in ("lm", "prompt_lm", "teacher_lm"):
            one[0].pop(key)
    assert events[0] == events[1]
    # fault 9: the ledger against an independent count, the server's
    assert stats.requests == far.calls
    assert stats.errors == 0
    tokens = sum(e["prompt_tokens"] + e["completion_tokens"] for e in far.usage.values())
    assert tokens == stats.prompt_tokens + stats.completion_tokens


@pytest.mark.usefixtures("_clients")
def test_a_cached_run_pays_nothing_the_second_time(tmp_path) -> None:
    world = load_world("iris", seed=0)
    with mipro.Server(world.lm) as server:
        lm = mipro.OpenAILM(server.lm.model, base_url=server.base_url)
        first = run(world, mipro.Cached(lm, tmp_path / "cache.sqlite"), tmp_path / "first")
        paid = server.stats.requests
        second = run(world, mipro.Cached(lm, tmp_path / "cache.sqlite"), tmp_path / "second")
        assert server.stats.requests == paid
    assert first.calls == paid
    assert second.calls == 0
    assert second.candidate == first.candidate


@pytest.mark.usefixtures("_clients")
def test_fault_03_a_dead_endpoint_is_no_score(tmp_path) -> None:
    world = load_world("iris", seed=0)
    with mipro.Server(world.lm) as server:
        url = server.base_url
    lm = mipro.OpenAILM("simulated", base_url=url, max_retries=0, timeout=2.0)
    with pytest.raises(mipro.LMError, match=r"127\.0\.0\.1"):
        run(world, lm, tmp_path / "run")
    last = read_journal(tmp_path / "run" / "journal.jsonl")[-1]
    assert last["event"] == "error"
    assert last["kind"] == "UnavailableError"
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.usefixtures("_clients")
def test_a_wrong_key_stops_the_run_at_once_and_is_written_nowhere(tmp_path, monkeypatch) -> None:
    world = load_world("iris", seed=0)
    monkeypatch.setenv("MIPRO_TEST_KEY", "sk-planted-0123456789")
    with mipro.Server(world.lm, api_key="another") as server:
        lm = mipro.OpenAILM(
            "simulated", base_url=server.base_url, api_key_env="MIPRO_TEST_KEY", max_retries=0
        )
        with pytest.raises(mipro.LMError) as caught:
            run(world, lm, tmp_path / "run")
        assert server.stats.completions == 0
    assert "sk-planted" not in str(caught.value)
    for file in (tmp_path / "run").iterdir():
        assert b"sk-planted" not in file.read_bytes()
