"""What a call costs, and how many a second there are: ours beside what others are built on.

    python experiments/throughput.py [--rounds 3] [--only ours aiohttp] [--profile]

With `pip install -e '.[peers]' aiohttp` DSPy and aiohttp are measured too; what is not installed is
left out. All arms take turns within each round against one endpoint in a process of its own
(`loopback.py`), so that a machine that is busy with other things is as busy for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import importlib.util
import json
import math
import os
import pstats
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

import openai
from loopback import ANSWER, endpoint, held

import mipro
from mipro.lm.meter import Ledger, Metered
from mipro.lm.transport import http

LATENCY = 0.05  # seconds
IN_FLIGHT = (8, 32, 64, 128)
INSTRUCTION = "Answer the question in a few words."
Arm = Callable[[int, int], None]  # (calls, in flight); makes them all


class QA(mipro.Program):
    def __init__(self) -> None:
        self.answer = mipro.Predict("question -> answer", INSTRUCTION)

    def forward(self, question: str) -> mipro.Prediction:
        return self.answer(question=question)


def question(i: int) -> str:
    return f"What is the capital of country number {i}?"


def body(i: int) -> dict:
    """The request that `QA` sends, made once."""
    context = mipro.ChatAdapter()
    signature = QA().answer.signature
    messages = context.render(signature, QA().answer.prompt, {"question": question(i)})
    return {"model": "m", "messages": [{"role": m.role, "content": m.content} for m in messages]}


def on_threads(one: Callable[[int], object]) -> Arm:
    """`one(i)` on as many threads as are to be in flight, each of which takes the next number.

    As the tasks of aiohttp do: an executor's queue and futures would be measured with the calls.
    """

    def arm(calls: int, in_flight: int) -> None:
        numbers = iter(range(calls))

        def work() -> None:
            for i in numbers:
                one(i)

        if in_flight == 1:
            work()
            return
        with ThreadPoolExecutor(in_flight) as threads:
            for done in [threads.submit(work) for _ in range(in_flight)]:
                done.result()

    return arm


def whole_module_call(url: str, stack: ExitStack) -> Arm:
    program, lm = QA(), Metered(mipro.OpenAILM("m", base_url=url), Ledger())
    return on_threads(lambda i: program(question=question(i), lm=lm).answer)


def our_lm_alone(url: str, stack: ExitStack) -> Arm:
    lm, sent = mipro.OpenAILM("m", base_url=url), body(0)["messages"]
    messages = tuple(mipro.lm.base.Message(m["role"], m["content"]) for m in sent)
    return on_threads(lambda i: lm(mipro.lm.base.Request(messages)).text)


def openai_as_usual(url: str, stack: ExitStack) -> Arm:
    client, sent = stack.enter_context(openai.OpenAI(base_url=url, api_key="none")), body(0)

    def one(i: int) -> object:
        return client.chat.completions.create(**sent).choices[0].message.content

    return on_threads(one)


def openai_post(url: str, stack: ExitStack) -> Arm:
    client, sent = stack.enter_context(openai.OpenAI(base_url=url, api_key="none")), body(0)
    return on_threads(
        lambda i: client.post("/chat/completions", cast_to=http.Response, body=sent).json()
    )


def bare_httpx(url: str, stack: ExitStack) -> Arm:
    limits = http.Limits(max_connections=None, max_keepalive_connections=None)
    client, sent = stack.enter_context(http.Client(limits=limits)), body(0)
    return on_threads(lambda i: client.post(f"{url}/chat/completions", json=sent).json())


def bare_sockets(url: str, stack: ExitStack) -> Arm:
    """No client at all: what threads can come to here."""
    address, idle = urlsplit(url), deque[socket.socket]()
    content = json.dumps(body(0)).encode()
    sent = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(content) + content

    def connected() -> socket.socket:
        made = socket.create_connection((address.hostname, address.port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stack.enter_context(made)

    def one(i: int) -> object:
        try:
            connection = idle.pop()
        except IndexError:
            connection = connected()
        connection.sendall(sent)
        left = len(ANSWER)
        while left:
            left -= len(connection.recv(2**16))
        idle.append(connection)
        return left

    return on_threads(one)


def bare_aiohttp(url: str, stack: ExitStack) -> Arm:
    import aiohttp

    sent = body(0)

    async def run(calls: int, in_flight: int) -> None:
        numbers = iter(range(calls))
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def work() -> None:
                for _ in numbers:
                    async with session.post(f"{url}/chat/completions", json=sent) as reply:
                        await reply.json()

            await asyncio.gather(*(work() for _ in range(in_flight)))

    return lambda calls, in_flight: asyncio.run(run(calls, in_flight))


def dspy_predict(url: str, stack: ExitStack) -> Arm:
    import dspy

    lm = dspy.LM("openai/m", api_base=url, api_key="none", cache=False)
    predict = dspy.Predict(dspy.Signature("question -> answer", INSTRUCTION))
    predict.set_lm(lm)
    return on_threads(lambda i: predict(question=question(i)).answer)


ARMS: dict[str, tuple[Callable[[str, ExitStack], Arm], str | None]] = {
    "ours: whole module call": (whole_module_call, None),
    "ours: `OpenAILM` alone": (our_lm_alone, None),
    "`openai`, `post`": (openai_post, None),
    "`openai`, `chat.completions.create`": (openai_as_usual, None),
    "bare httpx": (bare_httpx, None),
    "threads with a bare socket": (bare_sockets, None),
    "bare aiohttp": (bare_aiohttp, "aiohttp"),
    "DSPy's `Predict`": (dspy_predict, "dspy"),
}


def measured(arm: Arm, calls: int, in_flight: int) -> tuple[float, float]:
    """(milliseconds of CPU a call, calls a second)."""
    cpu, start = time.process_time(), time.perf_counter()
    arm(calls, in_flight)
    spent, seconds = time.process_time() - cpu, time.perf_counter() - start
    return 1e3 * spent / calls, calls / seconds


def compare(rounds: int, only: list[str]) -> None:
    """All arms in turns, or those with one of the words `only` in their name."""
    installed = {
        name: make
        for name, (make, package) in ARMS.items()
        if (package is None or importlib.util.find_spec(package))
        and (not only or any(word in name for word in only))
    }
    best: dict[tuple[str, int], tuple[float, float]] = {}
    took: dict[int, float] = {}  # milliseconds that the endpoint held a request
    with ExitStack() as stack:
        quick = stack.enter_context(endpoint(0.0))
        late = stack.enter_context(endpoint(LATENCY))
        arms = {name: (make(quick, stack), make(late, stack)) for name, make in installed.items()}
        for turn in range(rounds + 1):  # the first is to warm up
            for in_flight in (1, *IN_FLIGHT):
                for name, (at_once, after_latency) in arms.items():
                    arm = at_once if in_flight == 1 else after_latency
                    calls = 200 if in_flight == 1 else max(800, 20 * in_flight)
                    cpu, rate = measured(arm, 20 if turn == 0 else calls, in_flight)
                    if turn:
                        least, most = best.get((name, in_flight), (cpu, rate))
                        best[name, in_flight] = min(cpu, least), max(rate, most)
                if (held_for := held(late)) and turn:
                    took[in_flight] = min(took.get(in_flight, math.inf), held_for)
    show(installed, best)
    print("| (held by the endpoint) | |", " | ".join(f"{took[k]:.2f} ms" for k in IN_FLIGHT), "|")
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def show(names: object, best: dict[tuple[str, int], tuple[float, float]]) -> None:
    ideal = {k: k / LATENCY for k in IN_FLIGHT}
    print("| | CPU a call, one at a time | " + " | ".join(f"{k} in flight" for k in IN_FLIGHT), "|")
    print("|---|" + "---|" * (1 + len(IN_FLIGHT)))
    for name in names:  # type: ignore[attr-defined]
        cells = [f"{best[name, 1][0]:.2f} ms"]
        for k in IN_FLIGHT:
            cpu, rate = best[name, k]
            cells.append(f"{rate:.0f}/s, {100 * rate / ideal[k]:.0f}%, {cpu:.2f} ms")
        print(f"| {name} | " + " | ".join(cells), "|")


def profile() -> None:
    """Where the CPU of a whole module call goes, by package."""
    with ExitStack() as stack:
        arm = whole_module_call(stack.enter_context(endpoint(0.0)), stack)
        arm(50, 1)
        profiler = cProfile.Profile()
        profiler.runcall(arm, 1000, 1)
    spent: dict[str, float] = {}
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():
        spent[part_of(file, name)] = spent.get(part_of(file, name), 0.0) + own
    whole = sum(spent.values())
    for part, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        if seconds > 0.01 * whole:
            print(f"{part:<32} {100 * seconds / whole:3.0f}%")


def part_of(file: str, function: str) -> str:
    if any(word in function for word in ("recv", "send", "poll")):
        return "the socket"
    if f"{os.sep}mipro{os.sep}" in file:
        return "mipro: " + file.split(f"{os.sep}mipro{os.sep}")[-1].split(os.sep)[0]
    if "site-packages" in file:
        return file.split("site-packages" + os.sep)[1].split(os.sep)[0]
    return "built-in functions" if file == "~" else "the standard library"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="only these arms")
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    if chosen.profile:
        profile()
    else:
        compare(chosen.rounds, chosen.only)
