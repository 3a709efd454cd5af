"""A web server on 127.0.0.1 that behaves well or badly on request, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Page:
    """What a path answers. `cuts`: how many replies break off after `cut_at` more bytes."""

    body: bytes = b""
    ranges: bool = True
    etag: bool = True
    length: bool = True
    cuts: int = 0
    cut_at: int = 1000
    failures: list[int] = field(default_factory=list)  # statuses to answer first
    redirect: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    chunk: int = 1 << 16
    delay: float = 0.0  # seconds between chunks
    wait: float = 0.0  # seconds before the first byte
    wrong_range: bool = False


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]


class Web:
    """Pages by path, and every request so far."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        self.url = ""

    def add(self, path: str, body: bytes = b"", **options: Any) -> str:
        self.pages[path] = Page(body, **options)
        return self.url + path

    def add_json(self, path: str, value: object, **options: Any) -> str:
        return self.add(path, json.dumps(value).encode(), **options)

    def gets(self, path: str) -> list[Asked]:
        return [one for one in self.asked if one.path == path and one.method == "GET"]


class Handler(BaseHTTPRequestHandler):
    """Answers from the `web` of its server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.reply(send_body=False)

    def do_GET(self) -> None:
        self.reply(send_body=True)

    def reply(self, send_body: bool) -> None:
        web: Web = self.server.web  # type: ignore[attr-defined]
        web.asked.append(Asked(self.command, self.path, dict(self.headers)))
        page = web.pages.get(self.path)
        if page is None:
            self.simple(404)
        elif page.failures:
            self.simple(page.failures.pop(0), {"Retry-After": "0"})
        elif page.redirect:
            self.simple(302, {"Location": page.redirect, **page.headers})
        else:
            self.file(page, send_body)

    def simple(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def file(self, page: Page, send_body: bool) -> None:
        tag = '"' + hashlib.sha256(page.body).hexdigest()[:16] + '"'
        start, total = 0, len(page.body)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, tag)
        if wanted and page.ranges and same:
            start = int(wanted[1])
            if start >= total:
                return self.simple(416, {"Content-Range": f"bytes */{total}"})
            self.send_response(206)
            shift = 1 if page.wrong_range else 0
            self.send_header("Content-Range", f"bytes {start + shift}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if page.etag:
            self.send_header("ETag", tag)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if page.length:
            self.send_header("Content-Length", str(total - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if send_body:
            self.body(page, start)
        return None

    def body(self, page: Page, start: int) -> None:
        end = len(page.body)
        if page.cuts:
            page.cuts -= 1
            end = min(end, start + page.cut_at)
            self.close_connection = True
        time.sleep(page.wait)
        try:
            for at in range(start, end, page.chunk):
                self.wfile.write(page.body[at : min(end, at + page.chunk)])
                self.wfile.flush()
                time.sleep(page.delay)
        except OSError:
            self.close_connection = True  # the client has gone


@contextmanager
def serve(setup: Callable[[Web], None] | None = None) -> Iterator[Web]:
    """A server that lives for the block."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.web = web  # type: ignore[attr-defined]
    web.url = f"http://127.0.0.1:{server.server_port}"
    if setup:
        setup(web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
