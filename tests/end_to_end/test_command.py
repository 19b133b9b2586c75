"""The `mipro` command as a person runs it: in a folder, as a process."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from resuming import end_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TOPICS = {
    "billing": ["invoice", "charged", "refund", "card", "payment", "price"],
    "delivery": ["parcel", "courier", "arrived", "address", "tracking", "box"],
    "technical": ["crash", "login", "error", "update", "screen", "password"],
}


def mipro(*arguments: str, cwd: Path, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mipro.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "100", "PYTHONWARNINGS": "error"},
        **more,
    )


def interruptible() -> None:
    """In the child: hear Ctrl-C even where these tests run in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The README's files in an empty folder, with a data set of the reader's own."""
    for name, text in re.findall(r"```\w+\n# ([\w.]+)\n(.*?)```", README, re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    rng = random.Random(0)
    with (tmp_path / "messages.jsonl").open("w", encoding="utf-8") as file:
        for i in range(90):
            team = list(TOPICS)[i % 3]
            a, b = rng.sample(TOPICS[team], 2)
            message = rng.choice(["The {} and the {} are wrong.", "Help, my {}! Also the {}."])
            file.write(json.dumps({"message": message.format(a, b), "team": team}) + "\n")
    return tmp_path


def test_the_readmes_own_program_runs_and_improves(folder: Path) -> None:
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "runs/first/result.json").read_text(encoding="utf-8"))
    assert result["test"]["after"] > result["test"]["before"]
    assert "simulated" in done.stdout
    for shown in ("original", "tuned", "p = ", "calls", "route"):
        assert shown in done.stdout
    scored = mipro("eval", "run.toml", "--candidate", "runs/first/candidate.json", cwd=folder)
    assert scored.returncode == 0, scored.stderr
    assert f"{result['test']['after']:.3f}" in scored.stdout


def test_the_readmes_script_runs(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "run.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    before, after, _ = map(float, done.stdout.splitlines()[0].split())
    assert after > before
    assert done.stdout.splitlines()[1] in TOPICS


@pytest.mark.parametrize("own", ["EachSet", "learned"])
def test_the_readmes_own_optimizer_tip_and_setting_plug_in(folder: Path, own: str) -> None:
    path = folder / "run.toml"
    text = path.read_text(encoding="utf-8").replace('"mipro"', f'"mine.py:{own}"')
    path.write_text(text.replace("trials = 30", "trials = 6"), encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "runs/first/result.json").read_text(encoding="utf-8"))
    name = {"EachSet": "mine.EachSet", "learned": "mipro.optimizers.plus_plus.MiproPlusPlus"}
    assert result["method"] == name[own]
    if own == "learned":
        assert "glossary" in json.dumps(result["settings_importances"])
        journal = (folder / "runs/first/journal.jsonl").read_text(encoding="utf-8")
        drawn = [json.loads(line).get("settings", {}) for line in journal.splitlines()]
        assert len({settings["glossary"] for settings in drawn if "glossary" in settings}) > 1
    again = mipro("resume", "runs/first", cwd=folder)
    assert again.returncode == 0, again.stderr
    mine = folder / "mine.py"
    mine.write_text(mine.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    changed = mipro("resume", "runs/first", cwd=folder)
    assert changed.returncode == 1
    assert "code" in changed.stderr
    assert "mine" in changed.stderr


def test_a_method_that_is_no_strategy_is_refused_by_what_it_lacks(folder: Path) -> None:
    path = folder / "run.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"mipro"', '"triage.py:Support"'), encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 1
    assert "has no `initialize`" in " ".join(done.stderr.split())


def test_a_second_run_in_the_same_directory_is_refused_and_loses_nothing(folder: Path) -> None:
    assert mipro("optimize", "run.toml", cwd=folder).returncode == 0
    kept = {p: p.read_bytes() for p in (folder / "runs/first").iterdir()}
    again = mipro("optimize", "run.toml", cwd=folder)
    assert again.returncode == 1
    assert "already holds a run" in again.stderr
    assert {p: p.read_bytes() for p in (folder / "runs/first").iterdir()} == kept


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ('inputs = ["message"]', 'inputs = ["massage"]', "messages.jsonl, line 1: .*'massage'"),
        ("[metric]", "[metrics]", r"no table is called \[metrics\]"),
        ("trials = 30", "trails = 30", "no setting is called 'trails'"),
        ("trials = 30", "trials = 0", r"\[optimize\] trials = 0: at least 1"),
        (
            'method = "mipro"',
            'method = "miprov2"',
            r"\[optimize\] method = 'miprov2': there are .*mipro_tree",
        ),
        ("triage.py:Support", "triage.py:Suport", "has no 'Suport'"),
        ("triage.py:Support", "tirage.py:Support", "there is no file"),
        ('kind = "simulated"', 'kind = "simulated"\napi_key = "sk-1"', "keys do not belong"),
        ("messages.jsonl", "mesages.jsonl", "cannot be read"),
        ("minibatch = 15", "minibatch = ", "is not TOML"),
        ("split = {", "split = 0.5 # {", r"\[data\] split = 0.5: a table"),
        ("test = 0.3 }", "tset = 0.3 }", "no part is called 'tset'"),
        ("train = 0.4", 'train = "a"', "a count or a share is wanted"),
        ('"messages.jsonl"', "3", r"\[data\] file = 3: a path is wanted"),
        ('run_dir = "runs/first"', "run_dir = 3", r"\[optimize\] run_dir = 3: a path"),
        (
            'kind = "simulated"',
            'kind = "simulated"\ntemprature = 1',
            "is called 'temprature': there are .*temper",
        ),
        (
            'kind = "simulated"',
            'kind = "openai"\nmodel = "m"\nprice = { prompt = "x", completion = 1 }',
            "price.prompt = 'x': a number of dollars",
        ),
    ],
)
def test_bad_configuration_is_refused_by_name(
    folder: Path, wrong: str, right: str, said: str
) -> None:
    path = folder / "run.toml"
    text = path.read_text(encoding="utf-8")
    assert wrong in text
    path.write_text(text.replace(wrong, right), encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 1
    assert re.search(said, " ".join(done.stderr.split())), done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "runs/first/result.json").exists()


def test_a_metric_that_returns_none_is_refused_before_any_call(folder: Path) -> None:
    path = folder / "triage.py"
    text = path.read_text(encoding="utf-8").replace("return prediction.team", "prediction.team")
    path.write_text(text, encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 1
    assert "right_team returned None" in done.stderr
    assert not (folder / "runs/first").exists()


@pytest.mark.parametrize(
    ("added", "said"),
    [("from mipro import Programm", "line 1: ImportError"), ("def f(:", "line 1: SyntaxError")],
)
def test_a_program_file_that_does_not_load_is_an_error_with_its_line(
    folder: Path, added: str, said: str
) -> None:
    path = folder / "triage.py"
    path.write_text(f"{added}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_program_of_two_files_is_loaded_from_any_working_directory(folder: Path) -> None:
    path = folder / "triage.py"
    text = path.read_text(encoding="utf-8")
    cut = text.index("def right_team")
    (folder / "scoring.py").write_text(text[cut:], encoding="utf-8")
    path.write_text(f"from scoring import right_team  # noqa\n{text[:cut]}", encoding="utf-8")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    done = mipro("optimize", str(folder / "run.toml"), cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs/first/result.json").is_file()


def test_a_run_that_failed_before_its_first_trial_does_not_stand_in_the_way(folder: Path) -> None:
    path = folder / "run.toml"
    text = path.read_text(encoding="utf-8")
    remote = 'kind = "openai"\nmodel = "m"\nbase_url = "http://example.invalid/v1"'
    keyless = text.replace('kind = "simulated"', f'{remote}\napi_key_env = "MIPRO_NO_SUCH_KEY"')
    path.write_text(keyless, encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 1
    assert "MIPRO_NO_SUCH_KEY" in done.stderr
    path.write_text(text, encoding="utf-8")
    assert mipro("optimize", "run.toml", cwd=folder).returncode == 0


def test_a_test_that_fails_does_not_cost_the_candidate(folder: Path) -> None:
    path = folder / "triage.py"
    text = path.read_text(encoding="utf-8").replace(
        "return prediction.team == example.team",
        "return None if 'only in the test' in example.message else prediction.team == example.team",
    )
    path.write_text(text, encoding="utf-8")
    lines = (folder / "messages.jsonl").read_text(encoding="utf-8").splitlines()
    for name, part in (("train", lines[:40]), ("val", lines[40:60]), ("test", lines[60:])):
        (folder / f"{name}.jsonl").write_text("\n".join(part), encoding="utf-8")
    with (folder / "test.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"message": "this is only in the test", "team": "billing"}')
    config = folder / "run.toml"
    parts = 'train = "train.jsonl"\nval = "val.jsonl"\ntest = "test.jsonl"'
    kept = config.read_text(encoding="utf-8").replace('file = "messages.jsonl"', parts)
    config.write_text(re.sub("split = .*", "", kept), encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 1
    assert "returned None" in done.stderr
    assert "runs/first" in done.stderr
    scored = mipro(
        "eval", "run.toml", "--candidate", "runs/first/candidate.json", "--on", "val", cwd=folder
    )
    assert scored.returncode == 0, scored.stderr


def test_version_is_told(tmp_path: Path) -> None:
    assert mipro("--version", cwd=tmp_path).stdout.startswith("mipro ")


def test_demo_improves_a_program_and_says_that_it_is_simulated(tmp_path: Path) -> None:
    done = mipro("demo", "--world", "iris", "--trials", "12", "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "simulated" in done.stdout
    result = json.loads((tmp_path / "run/iris/result.json").read_text(encoding="utf-8"))
    assert result["test"]["p_value"] < 0.05
    for name in ("config.json", "journal.jsonl", "candidate.json"):
        assert (tmp_path / "run/iris" / name).is_file()


def test_serve_answers_until_interrupted() -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "mipro.cli", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.search(r"http://\S+/v1", line)
        assert url, line
        with urllib.request.urlopen(f"{url.group()}/models", timeout=10) as reply:
            assert json.load(reply)["data"][0]["id"] == "simulated"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert "served" in out, err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_a_run_exits_with_130_and_it_is_gone_on_with(
    folder: Path, stop: signal.Signals
) -> None:
    whole = folder / "whole"
    assert mipro("optimize", "run.toml", "--run-dir", str(whole), cwd=folder).returncode == 0
    path = folder / "run.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"simulated"', '"simulated"\nlatency = 0.05'), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "mipro.cli", "optimize", "run.toml"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    try:
        journal = folder / "runs/first/journal.jsonl"
        deadline = time.monotonic() + 60
        while not journal.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(stop)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    said = " ".join(err.split())
    assert "the run up to here is kept in" in said
    assert said.endswith(f"mipro resume {folder / 'runs/first'}")
    assert json.loads(journal.read_text(encoding="utf-8").splitlines()[0])["event"] == "start"
    path.write_text(text, encoding="utf-8")
    done = mipro("resume", "runs/first", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert end_of(folder / "runs/first") == end_of(whole)
    again = mipro("resume", "runs/first", cwd=folder)  # an ended run shows its result again
    assert again.returncode == 0, again.stderr
    assert "tuned" in again.stdout
    assert end_of(folder / "runs/first") == end_of(whole)


def test_an_interrupt_within_code_run_from_a_text_exits_with_130_too(folder: Path) -> None:
    """As scipy has such code where it is imported; the interpreter would end by the signal."""
    path = folder / "triage.py"
    stop = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    path.write_text(f'exec("{stop}")\n{path.read_text(encoding="utf-8")}', encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder, preexec_fn=interruptible)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("room", [10_000, 40_000])
def test_a_full_disk_is_one_clear_error_and_the_run_is_gone_on_with(
    folder: Path, room: int
) -> None:
    def limited() -> None:  # no file of the child's may grow beyond it
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    whole = mipro("optimize", "run.toml", "--run-dir", "whole", cwd=folder)
    assert whole.returncode == 0
    done = mipro("optimize", "run.toml", cwd=folder, preexec_fn=limited)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "cannot be written: File too large" in said
    assert f"mipro resume {folder / 'runs/first'}" in said
    assert "Traceback" not in said
    done = mipro("resume", "runs/first", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert end_of(folder / "runs/first") == end_of(folder / "whole")


def test_an_endpoint_that_hangs_does_not_hold_ctrl_c_up(folder: Path) -> None:
    path = folder / "run.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"simulated"', '"simulated"\nlatency = 60'), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "mipro.cli", "optimize", "run.toml"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    try:
        journal = folder / "runs/first/journal.jsonl"
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130, err
    assert time.monotonic() - started < 15


def test_a_run_whose_code_has_changed_is_refused_with_what_it_is(folder: Path) -> None:
    assert mipro("optimize", "run.toml", cwd=folder).returncode == 0
    path, journal = folder / "triage.py", folder / "runs/first/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("def right_team", "X = 1\n\n\ndef right_team"), encoding="utf-8")
    config = folder / "run.toml"
    changed = config.read_text(encoding="utf-8").replace("trials = 30", "trials = 31")
    config.write_text(changed, encoding="utf-8")
    done = mipro("resume", "runs/first", cwd=folder)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "options.trials was 30, is 31" in said
    assert "code.triage was" in said
    done = mipro("resume", "runs/first", "--even-if-changed", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs/first/journal-1.jsonl").is_file()
    assert "code.triage" in " ".join(done.stdout.split())


def test_a_demo_is_gone_on_with_world_by_world(tmp_path: Path) -> None:
    arguments = ("demo", "--world", "iris,conditional", "--trials", "5")
    whole = mipro(*arguments, "--run-dir", "whole", cwd=tmp_path)
    assert mipro(*arguments, "--run-dir", "run", cwd=tmp_path).returncode == whole.returncode
    for path in (tmp_path / "run/conditional").iterdir():
        path.unlink()
    (tmp_path / "run/conditional").rmdir()
    journal = tmp_path / "run/iris/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:3_000])
    for run in ("run", "run/iris"):
        done = mipro("resume", run, cwd=tmp_path)
        assert done.returncode == whole.returncode, done.stderr
        for world in ("iris", "conditional"):
            assert end_of(tmp_path / "run" / world) == end_of(tmp_path / "whole" / world)


def test_what_cannot_be_gone_on_with_is_said(folder: Path) -> None:
    for wrong, said in (
        ("nowhere", "nowhere is not there"),
        (".", "holds no run"),
    ):
        done = mipro("resume", wrong, cwd=folder)
        assert done.returncode == 1
        assert said in " ".join(done.stderr.split())
    code = "import run, mipro; mipro.optimize(run.program, run.train, run.right_team, lm=run.lm, "
    code += "val=run.val, trials=2, minibatch=5, run_dir='script')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    done = mipro("resume", "script", cwd=folder)
    assert done.returncode == 1
    assert "mipro.resume('script', program, train, metric, lm=…)" in " ".join(done.stderr.split())


def test_a_second_process_in_the_same_directory_is_refused(folder: Path) -> None:
    path = folder / "run.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"simulated"', '"simulated"\nlatency = 0.2'), encoding="utf-8")
    first = subprocess.Popen(
        [sys.executable, "-m", "mipro.cli", "optimize", "run.toml"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        journal = folder / "runs/first/journal.jsonl"
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        for command in (("optimize", "run.toml"), ("resume", "runs/first")):
            second = mipro(*command, cwd=folder)
            assert second.returncode == 1
            assert "is in use by another run" in " ".join(second.stderr.split())
    finally:
        first.kill()
        first.communicate()


def test_usage_errors_exit_with_2(tmp_path: Path) -> None:
    assert mipro("optimise", cwd=tmp_path).returncode == 2
    assert mipro("serve", "--host", "0.0.0.0", cwd=tmp_path).returncode == 1


def test_an_estimate_calls_nothing_and_a_budget_too_small_is_refused(folder: Path) -> None:
    """With prices in a table of their own, by model."""
    config = folder / "run.toml"
    text = config.read_text(encoding="utf-8")
    prices = "\n[prices]\nsimulated = { prompt = 0.5, completion = 2.0 }\n"
    config.write_text(f"{text}{prices}\n[budget]\ncalls = 10\n", encoding="utf-8")
    asked = mipro("estimate", "run.toml", cwd=folder)
    assert "nothing probed" in asked.stdout
    assert all(phase in asked.stdout for phase in ("bootstrap", "proposals", "minibatches", "US$"))
    refused = mipro("optimize", "run.toml", cwd=folder)
    for done in (asked, refused):
        assert done.returncode == 1
        assert "calls = 10 is too small" in " ".join(done.stderr.split())
        assert not (folder / "runs").exists()
    config.write_text(f"{text}{prices}\n[budget]\ncalls = 100000\nusd = 50\n", encoding="utf-8")
    assert mipro("estimate", "run.toml", cwd=folder).returncode == 0
    config.write_text(f"{text}\n[budget]\nusd = 50\n", encoding="utf-8")
    unpriced = mipro("optimize", "run.toml", cwd=folder)
    assert unpriced.returncode == 1
    assert "'simulated' (task) has no price" in " ".join(unpriced.stderr.split())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("class Half(Strategy):\n    def initialize(self, task): ...", "has no `propose`"),
        ("Half = partial(MiproPlusPlus, tipz={})", "cannot be made.*tipz"),
        ("Half = partial(MiproPlusPlus, tips={'mine': 3})", "tip 'mine': a line of text"),
    ],
)
def test_a_method_of_ones_own_that_cannot_work_is_refused_before_a_run(
    folder: Path, code: str, said: str
) -> None:
    mine = (folder / "mine.py").read_text(encoding="utf-8")
    (folder / "half.py").write_text(f"{mine}\n\n{code}\n", encoding="utf-8")
    path = folder / "run.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"mipro"', '"half.py:Half"'), encoding="utf-8")
    done = mipro("optimize", "run.toml", cwd=folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(said, " ".join(done.stderr.split())), done.stderr
    assert not (folder / "runs").exists()
