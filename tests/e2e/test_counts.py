"""How much work a ship does, counted: programs started, HTTP requests sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import requests.adapters
from support.checkout import Checkout

pytestmark = pytest.mark.platform

WRITES = {"POST", "PUT", "PATCH", "DELETE"}


@dataclass
class Counted:
    """The programs started and the requests sent."""

    programs: list[list[str]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def helm(self, verb: str | None = None) -> list[list[str]]:
        """The starts of Helm, of one verb or all."""
        starts = [argv[index:] for argv in self.programs for index, word in enumerate(argv) if Path(word).name == "helm"]
        return [argv for argv in starts if verb is None or verb in argv[1:2]]


_open: list[Counted] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and _open:
        _open[-1].programs.append([str(word) for word in arguments[1]])


sys.addaudithook(_audit)


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """Count programs and requests while the block runs."""
    counted = Counted()
    over_requests, over_httpx = requests.adapters.HTTPAdapter.send, httpx2.HTTPTransport.handle_request

    def send(self: Any, request: Any, *arguments: Any, **named: Any) -> Any:
        counted.requests.append((request.method, request.url))
        return over_requests(self, request, *arguments, **named)

    def handle_request(self: Any, request: Any) -> Any:
        counted.requests.append((request.method, str(request.url)))
        return over_httpx(self, request)

    with monkeypatch.context() as patch:
        patch.setattr(requests.adapters.HTTPAdapter, "send", send)
        patch.setattr(httpx2.HTTPTransport, "handle_request", handle_request)
        _open.append(counted)
        try:
            yield counted
        finally:
            _open.remove(counted)


def test_unchanged_ship_starts_no_helm_and_writes_nothing(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.library().ship(checkout.app, namespace=checkout.namespace, create_namespace=True)
    with counting(monkeypatch) as counted:
        outcome = checkout.library().ship(checkout.app, namespace=checkout.namespace, create_namespace=True)
    assert not outcome.changed
    assert counted.helm() == []
    assert [request for request in counted.requests if request[0] in WRITES] == []
    assert 0 < len(counted.requests) <= 8, counted.requests


def test_changed_ship_builds_pushes_and_deploys_once(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.library().ship(checkout.app, namespace=checkout.namespace, create_namespace=True)
    checkout.greet("good evening")
    checkout.commit()
    with counting(monkeypatch) as counted:
        outcome = checkout.library().ship(checkout.app, namespace=checkout.namespace)
    assert outcome.changed
    assert len(counted.helm("package")) == 1
    assert len(counted.helm("push")) == 1
    assert len(counted.helm("upgrade")) == 1
    assert len(counted.helm("install")) == 0
    engine = [url for method, url in counted.requests if method == "POST" and url.startswith("http+docker://")]
    assert len([url for url in engine if "/build" in url]) == 1
    assert len([url for url in engine if "/push" in url]) == 1
