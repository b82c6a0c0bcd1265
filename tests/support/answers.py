"""Made-up answers of the REST API, for tests of its client."""

from __future__ import annotations

import json
from typing import Any

import responses

from kubernaut.client import Client
from kubernaut.client.transport import PROBLEM_JSON

CANARY = "canary-5f3a-" + "x" * 32
URL = "https://kubernaut.example.com"
ID = "01kag0000000000000000000zz"
OPERATION = f"{URL}/api/operations/{ID}"
RELEASE: dict[str, Any] = {
    "id": "demo.hello.v1",
    "uid": "u1",
    "namespace": "demo",
    "name": "hello",
    "revision": 1,
    "status": "deployed",
    "active": True,
    "serving": 1,
    "managedBy": "kubernaut",
    "chart": {"name": "hello", "version": "1.0.0", "ref": None, "digest": None},
    "appVersion": None,
    "images": [],
    "source": {"commit": None, "repository": None},
    "build": {"url": None},
    "createdBy": "ada",
    "note": None,
    "createdAt": None,
    "updatedAt": None,
    "deletedAt": None,
    "description": "",
    "outcome": None,
    "operation": ID,
}
RUNNING: dict[str, Any] = {
    "id": ID,
    "state": "running",
    "verb": "deploy",
    "namespace": "demo",
    "name": "hello",
    "startedAt": "2026-05-04T03:02:01Z",
    "timeout": 60,
}
ENDED = {
    **RUNNING,
    "state": "succeeded",
    "finishedAt": "2026-05-04T03:02:09Z",
    "outcome": {"reason": "succeeded", "message": ""},
    "made": [{"id": "demo.hello.v1", "uid": "u1", "revision": 1, "secret": "s"}],
}


def client(**how: Any) -> Client:
    return Client(**{"url": URL, "token": CANARY, **how})


def problem(http: responses.RequestsMock, method: str, url: str, status: int, code: str, **more: Any) -> None:
    headers = more.pop("headers", {})
    content = {"type": "about:blank", "status": status, "code": code, "detail": f"It is {code}.", "hint": "Do so.", **more}
    http.add(method, url, json.dumps(content), status=status, content_type=PROBLEM_JSON, headers=headers)


def event_json(seq: int, kind: str, text: str, second: int = 2, step: str = "deploy") -> dict[str, Any]:
    return {"seq": seq, "at": f"2026-05-04T03:02:0{second}Z", "step": step, "kind": kind, "text": text}


def accepted(http: responses.RequestsMock, *events: dict[str, Any], ended: dict[str, Any] = ENDED) -> None:
    """Let a deploy be accepted, report events and end."""
    http.post(f"{URL}/api/releases", json=RUNNING, status=202, headers={"Location": f"/api/operations/{ID}"})
    http.get(OPERATION, json=RUNNING)
    http.get(OPERATION, json=ended)
    http.get(f"{OPERATION}/events", json={"items": list(events), "next": len(events), "finished": True})
    http.get(f"{URL}/api/releases/demo.hello.v1", json=RELEASE, headers={"ETag": '"u1-77"'})


def sent(http: responses.RequestsMock, at: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(http.calls[at].request.body or "{}")
    return body
