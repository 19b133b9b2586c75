"""The paper's tasks through the real client, against the embedded LM's server on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_data import real_task

import mipro
from mipro.lm.openai import close_clients

CONFIGS = Path(__file__).parents[2] / "experiments" / "tasks"
SHORT = {"trials": 4, "minibatch": 6, "full_every": 2, "instructions": 3, "demo_sets": 3}


@pytest.fixture
def server() -> Iterator[mipro.Server]:
    with mipro.Server(mipro.SimulatedLM(seed=0)) as running:
        yield running
    close_clients()


@pytest.mark.parametrize("name", ["scone", "iris", "iris_typo", "heart", "gsm8k"])
def test_a_run_on_real_rows_over_http_is_the_run_in_process(name, server) -> None:
    task = real_task(name)
    val = task.val[:8] or task.train[24:32]

    def run(lm: mipro.LM) -> mipro.Result:
        return mipro.optimize(
            task.program,
            task.train[:24],
            task.metric,
            lm=lm,
            val=val,
            test=task.test[:8],
            threads=4,
            forecasts=False,
            **SHORT,
        )

    near = run(server.lm)
    far = run(mipro.OpenAILM(server.lm.model, base_url=server.base_url))
    assert far.candidate == near.candidate
    assert [trial.scores for trial in far.trials] == [trial.scores for trial in near.trials]
    assert (far.test.before, far.test.after) == (near.test.before, near.test.after)
    assert far.usage == near.usage
    assert server.stats.requests == far.calls
    assert server.stats.errors == 0


def config_for(name: str, server: mipro.Server, place: Path, lm: str | None = None) -> Path:
    """The experiment's own config, its endpoint this server, its run a short one."""
    text = (CONFIGS / f"{name}.toml").read_text(encoding="utf-8")
    for key, value in {**SHORT, "base_url": server.base_url, "model": "simulated"}.items():
        text, found = re.subn(
            rf"^{key} = [^#\n]*", f"{key} = {json.dumps(value)} ", text, flags=re.MULTILINE
        )
        assert found == 1, f"{name}.toml: {key}"
    if lm is not None:
        text = text[: text.index("[lm]")] + lm
    (place / f"{name}.toml").write_text(text, encoding="utf-8")
    return place / f"{name}.toml"


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mipro.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "COLUMNS": "100",
            "MIPRO_TIKTOKEN": "0",
            "OPENAI_API_KEY": "none needed",
            "PYTHONWARNINGS": "error",
        },
    )


def test_an_experiments_config_runs_against_an_endpoint_and_is_gone_on_with(
    server, tmp_path
) -> None:
    real_task("iris")  # or skipped
    config = config_for("iris", server, tmp_path)
    forecast = command("estimate", config.name, cwd=tmp_path)
    assert forecast.returncode == 0, forecast.stderr
    assert "total" in forecast.stdout
    assert server.stats.requests == 0
    done = command("optimize", config.name, "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    paid = server.stats.requests
    assert paid > 0
    tuned = json.loads((tmp_path / "run/candidate.json").read_text())
    assert list(tuned["modules"]) == ["classify"]
    again = command("resume", "run", cwd=tmp_path)  # it has ended: shown again, without a call
    assert again.returncode == 0, again.stderr
    assert server.stats.requests == paid
    part = command(
        "eval", config.name, "--candidate", "run/candidate.json", "--on", "val", cwd=tmp_path
    )
    assert re.search(r"exact_match\(species\) on val: .*, n = 38,", part.stdout), part


def test_without_an_endpoint_one_line_makes_it_a_try_on_the_embedded_lm(server, tmp_path) -> None:
    real_task("iris_typo")  # or skipped
    config = config_for("iris_typo", server, tmp_path, lm='[lm]\nkind = "simulated"\n')
    done = command("optimize", config.name, "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "simulated" in done.stdout
    assert server.stats.requests == 0
    assert (tmp_path / "run/candidate.json").is_file()
