"""Requests to the API server, as the fault proxy sees them, and the points at which it can hold them. Pure.

A point is named after a write that the subject is about to make, or has made without an answer: `before-record`, `after-record`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_PATH = re.compile(r"/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?")
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_NOT_APPLIED = frozenset({"secrets", "leases", "namespaces", "events"})
_RECORD = "sh.helm.release.v1."
# Helm writes its Secrets as protobuf: a name is a text like any other, a label a key and a value with its length before it.
_RECORD_NAME = re.compile(rb"sh\.helm\.release\.v1\.[a-z0-9.-]+\.v[0-9]+")
_STATUS_LABEL = re.compile(rb"\n\x06status\x12(.)", re.DOTALL)
_OURS = "kubernaut."
_ASIDE = "kubernaut.aside."


@dataclass(frozen=True)
class Request:
    """A request, with its verb and object."""

    method: str
    path: str
    query: str = ""
    body: bytes = field(default=b"", repr=False)
    agent: str = ""

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The body, where it is JSON."""
        try:
            content = json.loads(self.body)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def _parts(self) -> Mapping[str, str | None]:
        match = _PATH.match(self.path)
        return match.groupdict() if match else {}

    @property
    def namespace(self) -> str:
        return self._parts.get("namespace") or ""

    @property
    def resource(self) -> str:
        return self._parts.get("resource") or ""

    @property
    def name(self) -> str:
        """The object's name; of one that is created, from the body."""
        if self._parts.get("name") or self.content:
            return self._parts.get("name") or str(self._metadata.get("name") or "")
        match = _RECORD_NAME.search(self.body)
        return match[0].decode() if match else ""

    @property
    def label(self) -> str:
        """The status in the body's labels."""
        match = _STATUS_LABEL.search(self.body)
        if match:
            return self.body[match.end() : match.end() + match[1][0]].decode()
        return str((self._metadata.get("labels") or {}).get("status") or "")

    @property
    def writes(self) -> bool:
        return self.method in _WRITES and "dryRun" not in self.query

    @property
    def _metadata(self) -> Mapping[str, Any]:
        metadata = self.content.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    def __str__(self) -> str:
        return f"{self.method} {self.resource or self.path} {self.name} {self.label}".rstrip()


Matches = Callable[[Request], bool]


def secret(method: str, prefix: str) -> Matches:
    """Match requests with this method to Secrets whose names begin so."""
    return lambda request: request.method == method and request.resource == "secrets" and request.name.startswith(prefix)


def lease(method: str) -> Matches:
    """Match requests with this method to Leases."""
    return lambda request: request.method == method and request.resource == "leases"


def _begins_record(request: Request) -> bool:
    begins = request.label.startswith("pending-") or request.label == "uninstalling"
    return request.method in ("POST", "PUT") and request.name.startswith(_RECORD) and begins


def _ends_record(request: Request) -> bool:
    return request.method == "PUT" and request.name.startswith(_RECORD) and request.label in ("deployed", "failed", "uninstalled")


def _applies(request: Request) -> bool:
    return request.writes and bool(request.namespace) and request.resource not in _NOT_APPLIED


def _writes_operation(request: Request) -> bool:
    return secret("POST", _OURS)(request) and not request.name.startswith(_ASIDE)


def _ends_operation(request: Request) -> bool:
    return secret("PATCH", _OURS)(request) and "data" in request.content


@dataclass(frozen=True)
class Point:
    """Where a request is held: before the API server sees it, or once it has answered."""

    matches: Matches
    answered: bool = False


# Of Helm: the record is written as pending-* (or uninstalling), the chart's objects are applied, the record gets its end.
# Of kubernaut: the Lease, the operation's Secret and the end written into it.
POINTS: Mapping[str, Point] = {
    "before-record": Point(_begins_record),
    "after-record": Point(_begins_record, answered=True),
    "mid-apply": Point(_applies),
    "before-final-write": Point(_ends_record),
    "after-final-write": Point(_ends_record, answered=True),
    "before-lease": Point(lease("POST")),
    "after-lease": Point(lease("POST"), answered=True),
    "renewal": Point(lease("PUT")),
    "after-renewal": Point(lease("PUT"), answered=True),
    "before-unlock": Point(lease("DELETE")),
    "before-operation": Point(_writes_operation),
    "after-operation": Point(_writes_operation, answered=True),
    "before-end": Point(_ends_operation),
    "before-fence": Point(secret("PATCH", _RECORD)),
    "after-fence": Point(secret("PATCH", _RECORD), answered=True),
    "after-aside": Point(secret("POST", _ASIDE), answered=True),
    "before-recreate": Point(lambda request: secret("POST", _RECORD)(request) and not _begins_record(request)),
}
