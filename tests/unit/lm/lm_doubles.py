"""A scripted endpoint that fails on demand, and an LM whose reply shows what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mipro.lm.base import Completion, Message, Request, Usage

KEY = "sk-planted-5up3rs3cr3t"


class EchoLM:
    """Replies with the request in JSON; `calls` counts, `act` may raise or wait first."""

    model = "echo"
    identity = "echo v1"

    def __init__(self, act: Callable[[Request], None] = lambda request: None) -> None:
        self.calls, self.act, self._lock = 0, act, threading.Lock()

    def __call__(self, request: Request, /) -> Completion:
        with self._lock:
            self.calls += 1
        self.act(request)
        schema = None if request.schema is None else dict(request.schema)
        asked = [request.messages, request.temperature, request.max_tokens, request.rollout, schema]
        texts = tuple(json.dumps([*asked, i]) for i in range(request.n))
        usage = Usage(sum(len(m.content) for m in request.messages), sum(map(len, texts)))
        return Completion(texts, usage, self.model)


def ask(text: str = "hello", **settings: object) -> Request:
    return Request((Message("system", "be kind"), Message("user", text)), **settings)


def good(content: object = "fine", **changes: object) -> dict:
    choice = {"index": 0, "message": {"content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    return {"model": "m", "choices": [choice], "usage": usage} | changes


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False  # joined at the end, so that no socket is left open


class Faulty:
    """Answers its requests with `steps` in turn, the last one for ever.

    A step is (status, body) or (status, body, headers); "hang", "drip" (a byte at a time), "drop"
    (the connection), or "cut" (the body). `seen` holds each request's JSON and headers.
    """

    def __init__(self, *steps: object) -> None:
        self.steps, self.seen, self.headers = list(steps), [], []
        self.done = threading.Event()
        self.http = _Server(("127.0.0.1", 0), self._handler())
        self.base_url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                faulty.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                faulty.headers.append({k.lower(): v for k, v in self.headers.items()})
                step = faulty.steps[min(len(faulty.seen), len(faulty.steps)) - 1]
                if step == "hang":
                    faulty.done.wait(20)
                elif step == "drip":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
                    while not faulty.done.wait(0.05):
                        self.wfile.write(b"x")
                elif step == "drop":
                    return
                else:
                    faulty.reply(self, step)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    @staticmethod
    def reply(handler: BaseHTTPRequestHandler, step: object) -> None:
        status, body, headers = ((200, good(), {}) if step == "cut" else (*step, {}))[:3]
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:20] if step == "cut" else data)

    def __enter__(self) -> Faulty:
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
