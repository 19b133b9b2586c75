"""A planted key shows nowhere, whatever the endpoint does: no file, screen, object or error."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from doubles import chat
from small_runs import small

import mipro
from mipro.errors import ConfigError, MiproError
from mipro.lm import clients
from mipro.lm.base import LMError, Message, Request
from mipro.lm.faults import FAULTS, FaultProxy
from mipro.lm.simulated import SimulatedLM

KEY = "sk-planted-5up3rs3cr3t-0123456789abcdef"
SHORT = {"trials": 2, "minibatch": 3, "full_every": 2, "instructions": 2, "demo_sets": 2}
REQUEST = Request((Message("user", "hello"),))
ECHO = f"Incorrect API key provided: {KEY}. Header: Authorization: Bearer {KEY}"
RAW_ECHO = json.dumps({"echo": KEY}).encode()


def good(text: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
    return {"model": "m", "choices": [choice], **more}


def error(**more: Any) -> dict[str, Any]:
    return {"error": {"message": ECHO, "type": "error", "code": KEY, "param": KEY, **more}}


# what an endpoint that repeats the key says: status and body
ECHOES: dict[str, tuple[int, Any]] = {
    **{f"status {s}": (s, error()) for s in (400, 401, 403, 404, 408, 409)},
    **{f"status {s}": (s, error()) for s in (413, 422, 429, 500, 503)},
    "status 401, no JSON": (401, f"<html>{ECHO}</html>".encode()),
    "status 400, a text": (400, json.dumps(ECHO).encode()),
    "status 500, nested": (500, {"error": {"message": {"deep": ECHO}}}),
    "an error as a success": (200, error()),
    "not JSON": (200, f"{KEY} is the key".encode()),
    "no choices": (200, {"echo": KEY, "choices": []}),
    "wrong usage": (200, good("x", usage={"prompt_tokens": KEY})),
    "a refusal": (200, good("", choices=[{"message": {"refusal": ECHO}, "finish_reason": KEY}])),
    "no text": (200, good("", choices=[{"message": {"content": ""}, "finish_reason": KEY}])),
    "half": (200, json.dumps(good(ECHO)).encode()[:60]),
    "the reply itself": (200, good(ECHO, model=KEY)),
    "the reply's fields": (200, good(chat(answer=ECHO), model=KEY)),
}


class Echoing:
    """An endpoint that answers everything with one of `ECHOES`."""

    def __init__(self, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("X-Echo", KEY)
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def __enter__(self) -> Echoing:
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()


SPELLINGS = [
    KEY.encode(),
    KEY[::-1].encode(),
    *(base64.b64encode(b"x" * i + KEY.encode())[4:-4] for i in range(3)),
    KEY.encode("utf-16-le"),
]


def holds_key(data: bytes | str) -> bool:
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    return any(spelled in raw for spelled in SPELLINGS)


def files_with_key(*folders: Path) -> list[str]:
    paths = [path for folder in folders for path in folder.rglob("*")]
    named = [str(path) for path in paths if KEY in path.name]
    return named + [str(p) for p in paths if p.is_file() and holds_key(p.read_bytes())]


def shown(thing: BaseException) -> str:
    """All that an error shows: itself, its chain, tracebacks with local variables, attributes."""
    texts, waiting, seen = [], [thing], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        texts += [repr(one), str(one), repr(one.args), repr(vars(one))]
        waiting += [e for e in (one.__cause__, one.__context__) if e is not None]
        frames = traceback.TracebackException.from_exception(one, capture_locals=True)
        ours = [f for f in frames.stack if "/mipro/" in f.filename.replace("\\", "/")]
        texts += [f"{f.line} {f.locals}" for f in ours]
        texts += [str(frames), "".join(traceback.format_exception(one))]
    with suppress(ConfigError, TypeError, AttributeError):
        texts.append(repr(pickle.dumps(thing)))
    return "\n".join(texts)


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.002)
    yield
    clients.close_clients()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that any logger says, at the finest level."""
    text = io.StringIO()
    handler, root = logging.StreamHandler(text), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(before)


def lm_at(base_url: str, **settings: Any) -> mipro.OpenAILM:
    fast = {"max_retries": 1, "timeout": 0.4, "temperature": 0.0}
    return mipro.OpenAILM("simulated", base_url=base_url, **{**fast, **settings})


def objects(lm: mipro.OpenAILM) -> str:
    texts = [repr(lm), str(lm), lm.identity, lm.model, repr(vars(lm)), repr(clients._clients)]
    with suppress(ConfigError):  # a key that was given does not travel
        texts.append(repr(pickle.dumps(lm)))
    return "\n".join(texts)


@pytest.mark.parametrize("given", [True, False], ids=["as an argument", "in the environment"])
@pytest.mark.parametrize("name", ECHOES)
def test_a_call_to_an_endpoint_that_repeats_the_key_shows_it_nowhere(
    name, given, capfd, log, tmp_path
):
    with Echoing(*ECHOES[name]) as endpoint:
        lm = lm_at(endpoint.base_url, **({"api_key": KEY} if given else {}))
        cached = mipro.Cached(lm, tmp_path / "cache.sqlite")
        try:
            completion = cached(REQUEST)
        except LMError as caught:
            problem = shown(caught)
        else:
            problem = ""
            assert not holds_key(repr(completion) + repr(pickle.dumps(completion)))
        assert not holds_key(problem + objects(lm))
    cached.close()
    out, err = capfd.readouterr()
    assert not holds_key(out + err + log.getvalue())
    assert not files_with_key(tmp_path)


@pytest.fixture(scope="module")
def server() -> Iterator[mipro.Server]:
    with mipro.Server(SimulatedLM(), api_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def world():
    return small("iris", train=8, val=4, test=4)


def run(world, lm, place: Path, **more: Any) -> mipro.Result:
    return mipro.optimize(
        world.program,
        world.train,
        world.metric,
        lm=mipro.Cached(lm, place / "cache.sqlite"),
        run_dir=place / "run",
        val=world.val,
        test=world.test,
        prices={"simulated": mipro.Price(1.0, 1.0)},
        **{**SHORT, "threads": 2, **more},
    )


@pytest.mark.parametrize("fault", ["none", "refused connection", "not found", *FAULTS])
def test_a_run_keeps_no_key_whatever_the_endpoint_does(
    fault, server, world, tmp_path, monkeypatch, capfd, log
):
    monkeypatch.chdir(tmp_path)
    rates = {fault: 1.0} if fault in FAULTS else {}
    base_url = {"refused connection": "http://127.0.0.1:9/v1", "not found": server.base_url + "/no"}
    settings = {"slow": 0.01, "hang": 3.0, "retry_after": 0.01}
    with FaultProxy(server.base_url, rates, **settings) as proxy:
        lm = lm_at(base_url.get(fault, proxy.base_url), timeout=0.2)
        try:
            result = run(world, lm, tmp_path)
        except MiproError as caught:
            ended, problem = "early", shown(caught)
        else:
            ended, problem = "well", ""
            assert not holds_key(repr(result) + repr(result.to_json()) + repr(vars(result)))
            if fault == "none":  # a resumed run as well
                again = mipro.resume(
                    *(tmp_path / "run", world.program, world.train, world.metric),
                    lm=mipro.Cached(lm, tmp_path / "cache.sqlite"),
                    val=world.val,
                    test=world.test,
                    prices={"simulated": mipro.Price(1.0, 1.0)},
                )
                assert again.score == result.score
                assert {p.name for p in (tmp_path / "run").iterdir()} >= {"result.json"}
        assert not holds_key(problem + objects(lm))
        assert ended == "well" or fault not in ("none", "slow")
    assert (tmp_path / "run/journal.jsonl").is_file()
    out, err = capfd.readouterr()
    assert not holds_key(out + err + log.getvalue())
    assert not files_with_key(tmp_path)


@pytest.mark.parametrize("name", ECHOES)
def test_a_run_on_an_endpoint_that_repeats_the_key_keeps_none(name, world, tmp_path, capfd):
    with Echoing(*ECHOES[name]) as endpoint, suppress(MiproError):
        run(world, lm_at(endpoint.base_url, api_key=KEY), tmp_path)
    out, err = capfd.readouterr()
    assert not holds_key(out + err)
    assert not files_with_key(tmp_path)


CONFIG = """
[program]
path = "asking.py:Ask"
[data]
file = "data.jsonl"
inputs = ["question"]
[metric]
name = "exact_match"
field = "answer"
[optimize]
run_dir = "runs/first"
trials = 2
minibatch = 3
instructions = 2
demo_sets = 2
[lm]
model = "simulated"
base_url = "{base_url}"
max_retries = 0
timeout = 5
cache = "cache.sqlite"
price = {{ prompt = 1.0, completion = 1.0 }}
"""
PROGRAM = """
import mipro

class Ask(mipro.Program):
    def __init__(self):
        self.step = mipro.Predict("question -> answer")

    def forward(self, question):
        return self.step(question=question)
"""


@pytest.mark.parametrize("name", ["success", "refused connection", "status 401", "status 500"])
def test_the_command_shows_and_keeps_no_key(name, server, tmp_path):
    (tmp_path / "asking.py").write_text(PROGRAM)
    rows = [{"question": f"Which is number {i}?", "answer": "one"} for i in range(12)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Echoing(*ECHOES.get(name, ECHOES["status 401"])) as endpoint:
        places = {"success": server.base_url, "refused connection": "http://127.0.0.1:9/v1"}
        text = CONFIG.format(base_url=places.get(name, endpoint.base_url))
        (tmp_path / "run.toml").write_text(text)
        commands = [["optimize", "run.toml"], ["resume", "runs/first"], ["eval", "run.toml"]]
        for arguments in commands:
            done = subprocess.run(
                [sys.executable, "-m", "mipro.cli", *arguments],
                cwd=tmp_path,
                capture_output=True,
                timeout=100,
                env={**os.environ, "OPENAI_API_KEY": KEY, "COLUMNS": "200"},
            )
            assert done.returncode == (0 if name == "success" else 1), done.stderr.decode()
            assert not holds_key(done.stdout + done.stderr)
            assert b"Traceback" not in done.stderr
    assert (tmp_path / "runs/first/journal.jsonl").is_file()
    assert not files_with_key(tmp_path)
