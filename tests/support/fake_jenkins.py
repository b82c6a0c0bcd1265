"""A fake Jenkins with one job, for what a real server does too seldom: forgetting queue items, failing, answering late.

Its behaviour was observed on a real server. It answers behind ``responses``, with a clock that the test moves, or on a socket.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import responses

URL = "https://ci.example.com"
JOB = "shop-deploy"
Reply = tuple[int, dict[str, str], bytes]


class FakeClock:
    """A clock that moves only while :meth:`wait` is called; what is planned for that time happens then."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._due: list[tuple[float, Callable[[], object]]] = []

    def now(self) -> float:
        return self.seconds

    def at(self, moment: float, happens: Callable[[], object]) -> None:
        self._due.append((moment, happens))
        self._due.sort(key=lambda due: due[0])

    def wait(self, seconds: float) -> None:
        until = self.seconds + seconds
        while self._due and self._due[0][0] <= until:
            moment, happens = self._due.pop(0)
            self.seconds = max(self.seconds, moment)
            happens()
        self.seconds = max(self.seconds, until)


@dataclass
class Item:
    id: int
    given: dict[str, str]
    why: str | None = "In the quiet period. Expires in 4.9 sec"
    cancelled: bool = False
    number: int | None = None


@dataclass
class Run:
    number: int
    given: dict[str, str]
    queue_id: int
    log: bytes = b""
    building: bool = True
    result: str | None = None
    listed_without_parameters: int = 0
    """How often it is still listed without its parameters."""

    def say(self, text: str) -> None:
        self.log += text.encode()

    def end(self, result: str | None = "SUCCESS") -> None:
        self.building, self.result = False, result


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that arrived."""

    at: float
    method: str
    path: str
    form: dict[str, str]


@dataclass
class Fault:
    """An answer, or a broken connection, for a number of requests that match; ``received`` ones are carried out all the same."""

    pattern: str
    effect: Reply | Exception
    times: int = 1
    received: bool = False


@dataclass
class FakeJenkins:
    """The server; a test moves its builds.

    Attributes:
        hudson: Behave as Hudson, which has no queue IDs.
        on_item: Called with each new queue item.
    """

    now: Callable[[], float]
    hudson: bool = False
    parameters: tuple[str, ...] = ("VERSION", "NAMESPACE", "OP_ID")
    buildable: bool = True
    there: bool = True
    location: bool = True
    on_item: Callable[[Item], object] = lambda item: None
    on_stop: Callable[[Run], object] = lambda run: run.end("ABORTED")
    received: list[ReceivedRequest] = field(default_factory=list)
    items: dict[int, Item] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def start(self, item: Item) -> Run:
        """Make a build of an item."""
        item.number, item.why = max(self.runs, default=0) + 1, None
        self.runs[item.number] = Run(item.number, item.given, item.id)
        return self.runs[item.number]

    def forget(self, item: Item) -> None:
        """Forget an item that has left the queue."""
        del self.items[item.id]

    def put(self, given: Mapping[str, str]) -> Item:
        """Put a request into the queue; one like another that waits is folded into that."""
        same = [item for item in self._waiting() if item.given == dict(given)]
        item = same[0] if same else Item(100 + len(self.items), dict(given))
        self.items[item.id] = item
        self.on_item(item)
        return item

    def inject(self, pattern: str, effect: Reply | Exception, times: int = 1, *, received: bool = False) -> None:
        """Answer the next requests that match with an effect; a request that is received still changes the state."""
        self.faults.append(Fault(pattern, effect, times, received))

    @property
    def triggers(self) -> list[ReceivedRequest]:
        """The requests to run the job."""
        return [one for one in self.received if one.method == "POST" and "/build" in one.path]

    def answer(self, method: str, url: str, body: bytes | str | None) -> Reply | Exception:
        """Answer a request."""
        parts = urlsplit(url)
        form = dict(parse_qsl(body.decode() if isinstance(body, bytes) else body or "", keep_blank_values=True))
        self.received.append(ReceivedRequest(self.now(), method, parts.path, form))
        for fault in self.faults:
            if fault.times and re.search(fault.pattern, f"{method} {parts.path}"):
                fault.times -= 1
                if fault.received:
                    self._usual(method, parts.path, dict(parse_qsl(parts.query)), form)
                return fault.effect
        return self._usual(method, parts.path, dict(parse_qsl(parts.query)), form)

    def _usual(self, method: str, path: str, query: dict[str, str], form: dict[str, str]) -> Reply:
        if path in ("/", "") and self.hudson:
            return 200, {"X-Hudson": "3.3.2"}, b""
        for pattern, route in (
            (r"GET /api/json", self._root),
            (rf"GET /job/{JOB}/api/json", self._job),
            (r"GET /queue/api/json", self._queue),
            (r"GET /queue/item/(\d+)/api/json", self._item),
            (rf"GET /job/{JOB}/(\d+)/api/json", self._run),
            (rf"GET /job/{JOB}/(\d+)/logText/progressiveText", self._log),
            (rf"POST /job/{JOB}/build(?:WithParameters)?", self._trigger),
            (rf"POST /job/{JOB}/(\d+)/stop", self._stop),
            (r"POST /queue/item/(\d+)/cancelQueue", self._cancel),
            (r"POST /queue/cancelItem", self._cancel),
        ):
            match = re.fullmatch(pattern, f"{method} {path}")
            if match and (self.there or f"/job/{JOB}" not in path):
                return route({**query, "n": match[1] if match.groups() else query.get("id", "0")}, form)
        return 404, {"Content-Type": "text/html"}, b"<html>not found</html>"

    def _json(self, content: Any) -> Reply:
        more = {} if self.hudson else {"X-Jenkins": "2.500"}
        return 200, {"Content-Type": "application/json", **more}, json.dumps(content).encode()

    def _root(self, _query: dict[str, str], _form: dict[str, str]) -> Reply:
        return self._json({"nodeName": ""})

    def _job(self, query: dict[str, str], _form: dict[str, str]) -> Reply:
        if query["tree"].startswith("builds"):
            return self._json({"builds": [self._build_json(run) for run in reversed(self.runs.values())]})
        declared = [{"parameterDefinitions": [{"name": name} for name in self.parameters]}]
        return self._json({"buildable": self.buildable, "property": declared if self.parameters else []})

    def _build_json(self, run: Run) -> dict[str, Any]:
        actions = [] if run.listed_without_parameters else [_given(run.given)]
        run.listed_without_parameters = max(0, run.listed_without_parameters - 1)
        build = {"number": run.number, "building": run.building, "result": run.result, "actions": actions}
        return build if self.hudson else {**build, "queueId": run.queue_id}

    def _waiting(self) -> list[Item]:
        return [item for item in self.items.values() if item.number is None and not item.cancelled]

    def _queue(self, _query: dict[str, str], _form: dict[str, str]) -> Reply:
        return self._json({"items": [self._item_json(item) for item in self._waiting()]})

    def _item_json(self, item: Item) -> dict[str, Any]:
        entry = {"id": item.id, "why": item.why, "task": {"name": JOB, "url": f"{URL}/job/{JOB}/"}, "actions": [_given(item.given)]}
        began = {} if item.number is None else {"executable": {"number": item.number}}
        return {**entry, "cancelled": item.cancelled, **began}

    def _item(self, query: dict[str, str], _form: dict[str, str]) -> Reply:
        item = self.items.get(int(query["n"]))
        return (404, {}, b"") if item is None or self.hudson else self._json(self._item_json(item))

    def _run(self, query: dict[str, str], _form: dict[str, str]) -> Reply:
        run = self.runs.get(int(query["n"]))
        return (404, {}, b"") if run is None else self._json(self._build_json(run))

    def _log(self, query: dict[str, str], _form: dict[str, str]) -> Reply:
        run = self.runs.get(int(query["n"]))
        if run is None:
            return 404, {}, b""
        start = int(query["start"])
        more = {"X-More-Data": "true"} if run.building else {}
        text = run.log[start if start <= len(run.log) else 0 :]
        headers = {"Content-Type": "text/plain;charset=UTF-8", "X-Text-Size": str(len(run.log)), **more}
        return 200, headers, text.replace(b"\n", b"\r\n")

    def _trigger(self, _query: dict[str, str], form: dict[str, str]) -> Reply:
        item = self.put(form)
        if not self.location:
            return 201, {}, b""
        if self.hudson:
            return 302, {"Location": f"/job/{JOB}/"}, b""
        return 201, {"Location": f"{URL}/queue/item/{item.id}/"}, b""

    def _stop(self, query: dict[str, str], _form: dict[str, str]) -> Reply:
        run = self.runs.get(int(query["n"]))
        if run is not None and run.building:
            self.on_stop(run)
        return 302, {"Location": f"/job/{JOB}/"}, b""

    def _cancel(self, query: dict[str, str], _form: dict[str, str]) -> Reply:
        item = self.items.get(int(query["n"]))
        if item is not None and item.number is None:
            item.cancelled = True
        return 302, {"Location": "/queue/"}, b""


def _given(given: Mapping[str, str]) -> dict[str, Any]:
    return {"parameters": [{"name": name, "value": value} for name, value in given.items()]}


def behind_responses(jenkins: FakeJenkins, http: responses.RequestsMock) -> None:
    """Answer this process's requests with a fake Jenkins."""

    def answer(request: requests.PreparedRequest) -> Any:
        return jenkins.answer(request.method or "", request.url or "", request.body)

    for method in (responses.GET, responses.POST):
        http.add_callback(method, re.compile(re.escape(URL)), callback=answer)


@contextmanager
def listening(jenkins: FakeJenkins) -> Iterator[str]:
    """Let a fake Jenkins listen while the block runs; yield its address."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with lock:
                reply = jenkins.answer(self.command, self.path, body)
            if isinstance(reply, Exception):
                self.close_connection = True
                return
            status, headers, content = reply
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
