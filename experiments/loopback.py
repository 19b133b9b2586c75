"""The cheapest endpoint there can be, for `throughput.py`: one reply, late, on one thread.

    python experiments/loopback.py 0.05        # seconds of latency; prints its port

A process of its own, so that what is measured is the client. It does not even parse JSON.

asyncio rounds its time-outs on Linux up to whole milliseconds, for which every client would have to
wait: here they are exact (`Exact`). What the endpoint is late by all the same, as timers and a busy
machine have it, it measures itself: a GET is answered with the milliseconds for which it held the
requests since the last GET (their median).
"""

from __future__ import annotations

import asyncio
import json
import select
import selectors
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

REPLY = "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"
BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": REPLY},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 12, "total_tokens": 112},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def answer(body: bytes) -> bytes:
    return HEAD % len(body) + body


ANSWER = answer(BODY)


class Endpoint(asyncio.Protocol):
    """Answers each request on a connection `latency` seconds after its last byte."""

    held: ClassVar[list[float]] = []  # seconds

    def __init__(self, latency: float) -> None:
        self.latency, self.received = latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, blank, rest = self.received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(rest) >= int(length or 0):
            self.received = b""
            if head.startswith(b"GET"):
                self.transport.write(answer(self.report()))
            else:
                loop = asyncio.get_running_loop()
                loop.call_later(self.latency, self.reply, time.perf_counter())

    def reply(self, since: float) -> None:
        self.held.append(time.perf_counter() - since)
        self.transport.write(ANSWER)

    def report(self) -> bytes:
        median = 1e3 * statistics.median(self.held or [0.0])
        self.held.clear()
        return b"%.3f" % median


class Exact(selectors.DefaultSelector):
    """Waits for as long as it is told to, in microseconds where `epoll` takes milliseconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        select.select([self], [], [], timeout)  # of an epoll, too, it says when there is something
        return super().select(0)


async def serve(latency: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Endpoint(latency), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def held(url: str) -> float:
    """Milliseconds (the median) that the endpoint held the requests since this was last asked."""
    with urllib.request.urlopen(url) as reply:
        return float(reply.read())


@contextmanager
def endpoint(latency: float) -> Iterator[str]:
    """Its `base_url`, while it runs in a process of its own."""
    command = [sys.executable, str(Path(__file__)), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Exact())) as runner:
        runner.run(serve(float(sys.argv[1])))
