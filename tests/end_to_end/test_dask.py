"""More than one machine: evaluation and runs on Dask's scheduler, with worker processes.

A real `LocalCluster`; a worker is killed in the middle. The ledger on the driver has what came
home, each outcome once; what a killed worker had been answered for an example it did not finish was
paid and is lost, and the example is run again elsewhere.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from doubles import QA, EchoLM, TwoStep, chat, echo, examples
from resuming import LoggedLM, asked
from small_runs import journal_of, of, run, small

import mipro
from mipro import Ledger, Metered
from mipro.errors import ConfigError
from mipro.lm.base import AuthError, Completion, Request, UnavailableError, Usage
from mipro.lm.budget import Budget, BudgetExceeded
from mipro.lm.spending import Budgeted, Spending

distributed = pytest.importorskip("distributed", reason="pip install 'mipro[distributed]'")

# the scheduler's own tornado leaves sockets to the garbage collector when a worker is killed
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("default::ResourceWarning", "default::DeprecationWarning"),
]
EXACT = mipro.metrics.exact_match("answer")
KEY = "MIPRO_TEST_KEY"


@contextmanager
def connected() -> Iterator[Any]:
    """Two worker processes of two threads, restarted by their nannies when killed."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A cluster for all tests that leave its workers alone."""
    with connected() as client:
        yield client


@pytest.fixture
def mortal() -> Iterator[Any]:
    """A cluster of a test's own, its workers to be killed."""
    with connected() as client:
        yield client


def kill_one(client: Any, among: Collection[int] = ()) -> int:
    """Kill a worker (one of `among`), as a machine that goes away would: its process id.

    Asking the workers themselves would take the longer the busier they are, and fails where one has
    just been killed.
    """
    pid = next(pid for pid in workers(client) if not among or pid in among)
    os.kill(pid, signal.SIGKILL)
    return pid


def workers(client: Any) -> list[int]:
    """The process ids of those that are up."""
    return [nanny.pid for nanny in client.cluster.workers.values() if nanny.pid is not None]


class Slow:
    """An `EchoLM` that takes its time and logs each call to a file, from whatever process."""

    model = identity = "slow"

    def __init__(self, log: Path, seconds: float) -> None:
        self.log, self.seconds = log, seconds

    def __call__(self, request: Request, /) -> Completion:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(self.seconds)
        return Completion((echo(request),), Usage(10, 1), self.model)


def test_an_evaluation_is_the_same_on_a_cluster(client):
    seen = []
    for executor in (None, client.get_executor()):
        lm = Metered(EchoLM(), Ledger())
        made = mipro.evaluate(TwoStep(), examples(30), EXACT, lm=lm, executor=executor)
        seen.append((made.scores, lm.ledger.to_json(), [len(o.trace) for o in made.outcomes]))
    assert seen[0] == seen[1]
    assert seen[1][1]["task"]["calls"] == 90


def test_a_worker_that_is_killed_loses_no_outcome_and_books_none_twice(mortal, tmp_path):
    log, killed = tmp_path / "log", []

    def killer() -> None:
        while not log.exists() or len(log.read_text().split()) < 40:
            time.sleep(0.01)
        killed.append(kill_one(mortal, among={int(pid) for pid in log.read_text().split()}))

    thread = threading.Thread(target=killer)
    thread.start()
    lm = Metered(Slow(log, 0.05), Ledger())
    made = mipro.evaluate(QA(), examples(150), EXACT, lm=lm, executor=mortal.get_executor())
    thread.join()
    assert made.scores == (1.0,) * 150
    assert lm.ledger.total.calls == 150
    assert lm.ledger.total.prompt_tokens == 1500
    processes = log.read_text().split()
    assert str(killed[0]) in processes
    assert len(processes) > 150  # what it was about, or had not yet delivered, was asked again


def test_what_a_killed_worker_had_delivered_is_not_asked_again(mortal, tmp_path):
    # the scheduler runs again what it lost, for as long as anybody here still holds its future
    log, lm, before = tmp_path / "log", Slow(tmp_path / "log", 0.0), 0
    gc.disable()  # nothing must wait for it
    try:
        made = mipro.evaluate(QA(), examples(40), EXACT, lm=lm, executor=mortal.get_executor())
        assert made.scores == (1.0,) * 40
        before = len(log.read_text().split())
        end = time.monotonic() + 20
        while mortal.cluster.scheduler.tasks and time.monotonic() < end:
            time.sleep(0.05)  # that they were let go is news on its way
        assert not mortal.cluster.scheduler.tasks
        killed = kill_one(mortal)
        while killed in workers(mortal) or len(mortal.scheduler_info()["workers"]) < 2:
            time.sleep(0.1)
        more = mipro.evaluate(QA(), examples(40), EXACT, lm=lm, executor=mortal.get_executor())
    finally:
        gc.enable()
    assert more.scores == made.scores
    assert before == 40
    assert len(log.read_text().split()) == 80


@pytest.mark.parametrize("k", [1, 3])
def test_a_run_in_which_a_worker_is_killed_is_the_same_run(k, mortal, tmp_path):
    world, journals, results = small(), [], []
    for name in ("whole", "killed"):

        def listener(event: Any, name: str = name) -> None:
            if name == "killed" and event["event"] == "trial" and event["number"] in (1, 4):
                kill_one(mortal)

        lm = LoggedLM(tmp_path / f"{name}.log")
        results.append(
            run(
                world,
                lm=lm,
                executor=mortal.get_executor(),
                run_dir=tmp_path / name,
                on_event=listener,
                trials_in_flight=k,
                seed=4,
            )
        )
        journals.append(journal_of(tmp_path / name))
    assert journals[0] == journals[1]
    whole, killed = results
    assert whole.usage == killed.usage
    assert whole.calls == len(asked(tmp_path / "whole.log"))
    assert killed.calls <= len(asked(tmp_path / "killed.log"))  # what was lost with it is not known
    assert len(of(journals[0], "trial")) > 6


def test_a_run_on_a_cluster_is_gone_on_with(client, tmp_path):
    world, more = small(), {"trials_in_flight": 3, "seed": 4}
    executor = client.get_executor()
    run(world, lm=LoggedLM(tmp_path / "w.log"), executor=executor, run_dir=tmp_path / "w", **more)
    lm = LoggedLM(tmp_path / "log", most=150)
    with pytest.raises(UnavailableError):
        run(world, lm=lm, executor=executor, run_dir=tmp_path / "r", **more)
    kept = (tmp_path / "r/replies.jsonl").read_text()
    home = {digest for digest in asked(tmp_path / "log") if digest in kept}
    assert len(home) > 80
    before = len(asked(tmp_path / "log"))
    data = {"lm": LoggedLM(tmp_path / "log"), "val": world.val, "test": world.test}
    args = (world.program, world.train, world.metric)
    mipro.resume(tmp_path / "r", *args, executor=executor, **data)
    assert journal_of(tmp_path / "r") == journal_of(tmp_path / "w")
    assert not home & set(asked(tmp_path / "log")[before:])


@pytest.mark.parametrize("calls", [20, 40])
def test_a_budget_is_kept_on_a_cluster(calls, client):
    spending = Spending(Budget(calls=calls))
    lm = Metered(Budgeted(EchoLM(), spending), Ledger(spending=spending))
    with pytest.raises(BudgetExceeded):
        mipro.evaluate(TwoStep(), examples(20), EXACT, lm=lm, executor=client.get_executor())
    assert spending.spent.calls == lm.ledger.total.calls <= calls
    spending = Spending(Budget(calls=60))
    lm = Metered(Budgeted(EchoLM(), spending), Ledger(spending=spending))
    mipro.evaluate(TwoStep(), examples(20), EXACT, lm=lm, executor=client.get_executor())
    assert spending.spent.calls == lm.ledger.total.calls == 60


def test_a_run_with_a_budget_keeps_to_it_on_a_cluster(client, tmp_path):
    lm = LoggedLM(tmp_path / "log")
    more = {"trials": 20, "budget": Budget(calls=450), "trials_in_flight": 3}
    result = run(small(), lm=lm, executor=client.get_executor(), **more)
    assert result.stopped == "calls"
    assert result.calls == len(asked(tmp_path / "log")) <= 450


# --- what travels --------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[str]]]:
    """An endpoint that answers everything with "q", and the keys it was shown."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            keys.append(self.headers["Authorization"].removeprefix("Bearer "))
            message = {"role": "assistant", "content": chat(answer="q")}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            body = json.dumps({"choices": [choice], "usage": usage, "model": "m"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", keys
        finally:
            server.shutdown()
            thread.join()


def set_key(value: str) -> None:
    os.environ[KEY] = value


def test_a_client_is_rebuilt_on_the_worker_with_the_key_of_its_environment(
    client, endpoint, monkeypatch
):
    url, keys = endpoint
    monkeypatch.delenv(KEY, raising=False)
    lm = mipro.OpenAILM("m", base_url=url, api_key_env=KEY)
    client.run(set_key, "worker-secret")
    made = mipro.evaluate(QA(), examples(8), EXACT, lm=lm, executor=client.get_executor())
    assert made.n == 8
    assert set(keys) == {"worker-secret"}
    assert KEY not in os.environ


def test_a_key_given_as_an_argument_does_not_travel(client, endpoint):
    url, keys = endpoint
    lm = mipro.OpenAILM("m", base_url=url, api_key="in-the-script")
    with pytest.raises(ConfigError, match="keys do not travel"):
        mipro.evaluate(QA(), examples(2), EXACT, lm=lm, executor=client.get_executor())
    assert keys == []


def test_a_systemic_error_comes_home_from_a_cluster(client):
    with pytest.raises(AuthError, match="no such key"):
        mipro.evaluate(QA(), examples(20), EXACT, lm=Refused(), executor=client.get_executor())


class Refused:
    model = identity = "refused"

    def __call__(self, request: Request, /) -> Completion:
        raise AuthError("no such key")
