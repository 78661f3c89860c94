"""A vision endpoint on this machine that answers as a test tells it and remembers what it was asked."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip_s: float | None = None  # seconds between single bytes of the body


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def parts(self) -> list[dict[str, Any]]:
        (message,) = self.body["messages"]
        assert message["role"] == "user"
        return list(message["content"])

    @property
    def jpeg(self) -> bytes:
        head, _, content = self.parts[1]["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        return base64.b64decode(content, validate=True)

    @property
    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.jpeg))


def said(content: object, usage: object = None, finish_reason: str = "stop", refusal: object = None) -> Reply:
    """Return the answer of a model that says ``content``."""
    choice = {"message": {"role": "assistant", "content": content, "refusal": refusal}, "finish_reason": finish_reason}
    return Reply(body=json.dumps({"choices": [choice], "usage": usage}).encode())


def lines(*texts: str, usage: object = None) -> Reply:
    return said(json.dumps({"lines": texts}), usage)


def refused(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps({"error": {"message": message}}).encode(), headers or {})


class Endpoint:
    """``replies`` are given one by one; when there are none left, ``answer`` says what to reply."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.replies: list[Reply] = []
        self.answer: Callable[[Request], Reply] = lambda request: lines("THE END")
        self.gone = threading.Event()
        self.url = ""
        self._lock = threading.Lock()

    def reply(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            if self.replies:
                return self.replies.pop(0)
        return self.answer(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    endpoint: Endpoint

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client hung up
            super().handle()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = self.endpoint.reply(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        try:
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            pieces = [reply.body] if reply.drip_s is None else [bytes([byte]) for byte in reply.body]
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if reply.drip_s is not None and self.endpoint.gone.wait(reply.drip_s):
                    break
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    handler = type("Handler", (_Handler,), {"endpoint": endpoint})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield endpoint
        finally:
            endpoint.gone.set()
            server.shutdown()
            thread.join()
