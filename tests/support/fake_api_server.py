"""A fake API server in this process with prepared answers, and a kubeconfig for it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

Answer = tuple[int, dict[str, Any] | str, dict[str, str]]


class FakeApiServer:
    """An API server; ``answers`` are given in turn, the last again and again, their bodies while it ``speaks``."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [(200, {"items": []}, {})]
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.speaks = threading.Event()
        self.speaks.set()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                api.asked.append((self.command, self.path, dict(self.headers), body))
                status, content, headers = api.answers.pop(0) if len(api.answers) > 1 else api.answers[0]
                if status == 0:
                    self.close_connection = True
                    return
                data = (content if isinstance(content, str) else json.dumps(content)).encode()
                self.send_response_only(status)
                usual = {"Content-Type": "application/json", "Content-Length": str(len(data))}
                for key, value in {**usual, **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                api.speaks.wait()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client may leave before it has heard everything."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def say(self, *answers: int | Answer) -> None:
        self.asked.clear()
        self.answers = [
            (answer, {"message": f"says {answer}", "items": []}, {}) if isinstance(answer, int) else answer for answer in answers
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def config(folder: Path, url: str, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    file = folder / "config"
    content = {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url, **cluster}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    file.write_text(yaml.safe_dump(content))
    return str(file)
