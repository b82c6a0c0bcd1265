"""A Kubernetes cluster in memory with the methods of :class:`kubernaut.adapters.kube.Cluster`: Secrets, Leases, pods, events.

It follows the API server for uids, resource versions, labels, merge patches, immutable and oversized objects, and garbage
collection by owner. It runs nothing: a test sets pods, events, logs and service responses.
"""

# ruff: noqa: ARG002 - the fake accepts every argument of the real class
from __future__ import annotations

import base64
import copy
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernaut.adapters.kube_http import Labels, NotEqual, ResourceExpired, SecretPage, Watch
from kubernaut.errors import BadInput, Conflict, NamespaceNotFound, NotFound
from kubernaut.testing.changes import Changes, FakeWatch

_READS = ("get ", "list ", "watch ")
_LEASES = "leases.coordination.k8s.io"
_LARGEST_SECRET = 1_048_576
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_Object = dict[str, Any]
_Objects = dict[tuple[str, str], _Object]


@dataclass
class _Fault:
    """Requests that fail before or after they take effect; ``times`` is how many are left."""

    request: str
    error: BaseException
    times: int | None
    after: bool


class FakeCluster:
    """A cluster for tests.

    Attributes:
        requests: The requests so far as verb and subject; writes are those that do not start with get, list or watch.
        changes: The changes to Secrets that watches receive; also injects watch faults.
        pods: The pods by namespace, as API dictionaries.
        events: The events by namespace.
        logs: The log lines by namespace, pod and container (or ``None``).
        answers: The services/proxy responses, status and body, by namespace, service and port.
        terminating: The namespaces that are being deleted; creating objects in them fails.
    """

    def __init__(self, *namespaces: str) -> None:
        self.requests: list[str] = []
        self.pods: dict[str, list[dict[str, Any]]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.logs: dict[tuple[str, str, str | None], list[str]] = {}
        self.answers: dict[tuple[str, str, int | str], tuple[int, str]] = {}
        self.terminating: set[str] = set()
        self._namespaces = {"default", *namespaces}
        self._secrets: _Objects = {}
        self._leases: _Objects = {}
        self._version = 0
        self.changes = Changes()
        self._pages: dict[str, SecretPage] = {}
        self._faults: list[_Fault] = []
        self._server_time: datetime | None = None
        self._lock = threading.RLock()

    def fail(self, request: str, error: BaseException, *, times: int | None = 1, after: bool = False) -> None:
        """Make the next requests that start with ``request`` fail; ``""`` matches every request.

        Args:
            request: The prefix, in the form of :attr:`requests`.
            error: The error that they raise.
            times: The number of requests; ``None`` for all until :meth:`heal`.
            after: Apply the request, then fail, as when the response is lost.
        """
        with self._lock:
            self._faults.append(_Fault(request, error, times, after))

    def heal(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    @property
    def server_time(self) -> datetime:
        """The API server's clock, also used for timestamps: the real time, unless a test sets another."""
        return self._server_time or datetime.now(UTC).replace(microsecond=0)

    @server_time.setter
    def server_time(self, time: datetime | None) -> None:
        self._server_time = time

    @property
    def writes(self) -> list[str]:
        """The write requests so far."""
        return [request for request in self.requests if not request.startswith(_READS)]

    def server(self) -> str:
        """Return the API server's address."""
        return "https://fake.invalid"

    def close(self) -> None:
        """Do nothing; a fake does not hold connections."""

    def list_secrets(
        self, namespace: str | None, labels: Labels, *, metadata_only: bool = False, cached: bool = False
    ) -> Sequence[dict[str, Any]]:
        """Return the Secrets with these labels; the result is always current."""
        with self._asked(f"list secrets {namespace or '*'}"):
            return self._selected(namespace, labels, metadata_only)

    def page_secrets(
        self,
        namespace: str | None,
        labels: Labels,
        *,
        metadata_only: bool = False,
        limit: int,
        continue_token: str = "",
        timeout: float | None = None,
    ) -> SecretPage:
        """Return a page of the Secrets with these labels, the first or the one at ``continue_token``. Raises: ResourceExpired."""
        with self._asked(f"list secrets {namespace or '*'}"):
            if continue_token and continue_token not in self._pages:
                raise ResourceExpired("The provided continue parameter is too old.")
            whole = SecretPage(self._selected(namespace, labels, metadata_only), str(self._version))
            whole = self._pages.pop(continue_token, whole)
            rest = SecretPage(whole.items[limit:], whole.resource_version)
            token = uuid.uuid4().hex if rest.items else ""
            if token:
                self._pages[token] = rest
            return SecretPage(whole.items[:limit], whole.resource_version, token)

    def watch_secrets(self, namespace: str | None, labels: Labels, *, resource_version: str, seconds: int) -> Watch:
        """Watch the metadata of the Secrets with these labels from a resource version on, for a number of seconds."""

        def selected(metadata: Mapping[str, Any]) -> bool:
            return namespace in (None, metadata["namespace"]) and _matches(metadata.get("labels") or {}, labels)

        with self._asked(f"watch secrets {namespace or '*'}"):
            return FakeWatch(self.changes, selected, int(resource_version), seconds)

    def forget(self) -> None:
        """Expire all list tokens and resource versions so far."""
        with self._lock:
            self._pages.clear()
            self.changes.forget()

    def get_secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Secret, or ``None``."""
        with self._asked(f"get secret {namespace}/{name}"):
            return copy.deepcopy(self._secrets.get((namespace, name)))

    def create_secret(self, namespace: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Secret. Raises: Conflict if it exists, NamespaceNotFound, BadInput if it is too large."""
        with self._asked(f"create secret {namespace}/{secret['metadata']['name']}"):
            wanted = {"type": "Opaque", **copy.deepcopy(dict(secret))}
            texts = wanted.pop("stringData", None) or {}
            encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
            wanted["data"] = {**(wanted.get("data") or {}), **encoded}
            _check_secret(wanted)
            return self._create("secrets", self._secrets, namespace, wanted)

    def patch_secret(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch a Secret. Raises: Conflict for another resource version, NotFound, BadInput for immutable data."""
        with self._asked(f"patch secret {namespace}/{name}"):
            kept = self._kept("secrets", self._secrets, namespace, name, (patch.get("metadata") or {}).get("resourceVersion"))
            wanted = copy.deepcopy(kept)
            _merge(wanted, copy.deepcopy(dict(patch)))
            _check_secret(wanted, kept)
            return self._update(self._secrets, namespace, kept, wanted)

    def delete_secret(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Secret and the objects that it alone owns; a missing one is ignored. Raises: Conflict for another version."""
        with self._asked(f"delete secret {namespace}/{name}"), suppress(NotFound):
            self._kept("Secret", self._secrets, namespace, name, resource_version)
            self._remove(namespace, name)

    def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Lease, or ``None``."""
        with self._asked(f"get lease {namespace}/{name}"):
            return copy.deepcopy(self._leases.get((namespace, name)))

    def create_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Lease. Raises: Conflict if it exists, NamespaceNotFound."""
        with self._asked(f"create lease {namespace}/{lease['metadata']['name']}"):
            _check_lease(lease)
            return self._create(_LEASES, self._leases, namespace, copy.deepcopy(dict(lease)))

    def replace_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the Lease with the same name, uid and resourceVersion. Raises: Conflict for another version, NotFound."""
        wanted = copy.deepcopy(dict(lease))
        name, uid, version = (str(wanted["metadata"].get(key) or "") for key in ("name", "uid", "resourceVersion"))
        if not (uid and version):
            raise ValueError("a Lease is replaced by uid and resourceVersion")
        with self._asked(f"replace lease {namespace}/{name}"):
            kept = self._kept(_LEASES, self._leases, namespace, name, version, uid)
            server = {key: kept["metadata"][key] for key in ("namespace", "creationTimestamp", "managedFields")}
            wanted["metadata"] = {**wanted["metadata"], **server}
            _check_lease(wanted)
            return self._update(self._leases, namespace, kept, wanted)

    def delete_lease(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Lease; a missing one is ignored. Raises: Conflict for another resource version."""
        with self._asked(f"delete lease {namespace}/{name}"), suppress(NotFound):
            self._kept("Lease.coordination.k8s.io", self._leases, namespace, name, resource_version)
            del self._leases[namespace, name]

    def namespace_exists(self, namespace: str) -> bool:
        """Return whether the namespace exists."""
        with self._asked(f"get namespace {namespace}"):
            return namespace in self._namespaces

    def create_namespace(self, namespace: str) -> None:
        """Create a namespace; an existing one is ignored."""
        with self._asked(f"create namespace {namespace}"):
            self._namespaces.add(namespace)

    def list_pods(self, namespace: str, labels: Labels) -> Sequence[dict[str, Any]]:
        """Return the pods with these labels."""
        with self._asked(f"list pods {namespace}"):
            found = self.pods.get(namespace, [])
            return [copy.deepcopy(pod) for pod in found if _matches(pod["metadata"].get("labels") or {}, labels)]

    def list_events(self, namespace: str) -> Sequence[dict[str, Any]]:
        """Return the namespace's events."""
        with self._asked(f"list events {namespace}"):
            return copy.deepcopy(self.events.get(namespace, []))

    def pod_log(
        self, namespace: str, pod: str, *, container: str | None, tail: int | None, follow: bool, previous: bool
    ) -> Iterator[str]:
        """Yield the log lines of a container; ``follow`` ends after them, ``previous`` returns the same log."""
        with self._asked(f"get log {namespace}/{pod}"):
            lines = self.logs.get((namespace, pod, container))
        if lines is None:
            raise NotFound(f'pods "{pod}" not found.')
        yield from lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]

    def get_through_service(self, namespace: str, service: str, port: int | str, path: str, *, timeout: float) -> tuple[int, str]:
        """GET ``path`` through the Service; a Service without a configured response returns 503."""
        with self._asked(f"get service {namespace}/{service}:{port}{path}"):
            return self.answers.get((namespace, service, port), (503, "no endpoints available"))

    @contextmanager
    def _asked(self, request: str) -> Iterator[None]:
        """Apply one request at a time, as the API server does per object, or fail as configured."""
        with self._lock:
            self.requests.append(request)
            fault = next((fault for fault in self._faults if request.startswith(fault.request)), None)
            if fault is not None:
                self._faults = [other for other in self._faults if other is not fault or fault.times != 1]
                fault.times = None if fault.times is None else fault.times - 1
                if not fault.after:
                    raise fault.error
            yield
            if fault is not None:
                raise fault.error

    def _create(self, kind: str, objects: _Objects, namespace: str, wanted: _Object) -> dict[str, Any]:
        name = str(wanted["metadata"]["name"])
        if namespace not in self._namespaces:
            raise NamespaceNotFound(f'namespaces "{namespace}" not found.')
        if namespace in self.terminating:
            raise Conflict(f'{kind} "{name}" is forbidden: unable to create new content, the namespace is being terminated.')
        if (namespace, name) in objects:
            raise Conflict(f'{kind} "{name}" already exists.')
        stamp = _stamp(self.server_time)
        server = {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": stamp, "resourceVersion": self._next()}
        wanted["metadata"] = {**wanted["metadata"], **server, "managedFields": _written(stamp)}
        objects[namespace, name] = wanted
        self._noted(objects, None, wanted)
        return copy.deepcopy(wanted)

    def _kept(
        self, kind: str, objects: _Objects, namespace: str, name: str, version: str | None, uid: str | None = None
    ) -> dict[str, Any]:
        """Return the object to change. Raises: NotFound, Conflict for another uid or resource version."""
        kept = objects.get((namespace, name))
        if kept is None:
            raise NotFound(f'{kind} "{name}" not found.')
        if version not in (None, kept["metadata"]["resourceVersion"]) or uid not in (None, kept["metadata"]["uid"]):
            raise Conflict(f'Operation cannot be fulfilled on {kind} "{name}": the object has been modified.')
        return kept

    def _update(self, objects: _Objects, namespace: str, kept: _Object, wanted: _Object) -> dict[str, Any]:
        """Store a changed object; an unchanged one keeps its version, as on a real API server."""
        if wanted != kept:
            fields = {"resourceVersion": self._next(), "managedFields": _written(_stamp(self.server_time))}
            wanted["metadata"] = {**wanted["metadata"], **fields}
            objects[namespace, str(wanted["metadata"]["name"])] = wanted
            self._noted(objects, kept, wanted)
        return copy.deepcopy(wanted)

    def _noted(self, objects: _Objects, before: _Object | None, after: _Object | None) -> None:
        """Report the last change to the watches."""
        if objects is self._secrets:
            changed = [None if thing is None else copy.deepcopy(thing["metadata"]) for thing in (before, after)]
            self.changes.note(self._version, *changed)

    def _selected(self, namespace: str | None, labels: Labels, metadata_only: bool) -> list[_Object]:
        found = [
            secret
            for (place, _), secret in sorted(self._secrets.items())
            if namespace in (None, place) and _matches(secret["metadata"].get("labels") or {}, labels)
        ]
        return [copy.deepcopy({"metadata": secret["metadata"]} if metadata_only else secret) for secret in found]

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _remove(self, namespace: str, name: str) -> None:
        gone = self._secrets.pop((namespace, name))
        self._next()
        self._noted(self._secrets, gone, None)
        uid = gone["metadata"]["uid"]
        uids = {secret["metadata"]["uid"] for secret in self._secrets.values()}
        for place, other in list(self._secrets):
            kept = self._secrets.get((place, other))
            owners = [owner["uid"] for owner in (kept["metadata"].get("ownerReferences") or [])] if kept else []
            if uid in owners and not uids.intersection(owners):
                self._remove(place, other)


def _matches(labels: Mapping[str, str], wanted: Labels) -> bool:
    def one(key: str, value: str | Sequence[str]) -> bool:
        if isinstance(value, NotEqual):
            return labels.get(key) != value
        return labels.get(key) in ((value,) if isinstance(value, str) else value)

    return all(one(key, value) for key, value in wanted.items())


def _check_secret(wanted: _Object, kept: _Object | None = None) -> None:
    """Raise BadInput for an oversized Secret or a change of an immutable one."""
    where = f'Secret "{wanted["metadata"]["name"]}" is invalid:'
    if sum(len(base64.b64decode(text)) for text in (wanted.get("data") or {}).values()) > _LARGEST_SECRET:
        raise BadInput(f"{where} data: Too long: may not be more than {_LARGEST_SECRET} bytes.")
    if kept is None:
        return
    if wanted.get("type") != kept.get("type"):
        raise BadInput(f"{where} type: Invalid value: {wanted.get('type')!r}: field is immutable.")
    for field in ("immutable", "data"):
        if kept.get("immutable") is True and (wanted.get(field) or {}) != (kept.get(field) or {}):
            raise BadInput(f"{where} {field}: Forbidden: field is immutable when `immutable` is set.")


def _check_lease(wanted: Mapping[str, Any]) -> None:
    """Raise BadInput for a Lease with a zero duration or a time without microseconds."""
    spec = wanted.get("spec") or {}
    if spec.get("leaseDurationSeconds", 1) < 1:
        raise BadInput("spec.leaseDurationSeconds: Invalid value: must be greater than 0.")
    for field in ("acquireTime", "renewTime"):
        if field in spec and not _MICRO_TIME.fullmatch(str(spec[field])):
            raise BadInput(f'Lease in version "v1" cannot be handled as a Lease: parsing time "{spec[field]}".')


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _written(stamp: str) -> list[dict[str, Any]]:
    return [{"manager": "kubernaut", "operation": "Update", "time": stamp}]


def _merge(kept: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        elif isinstance(value, Mapping):
            below = kept.setdefault(key, {})
            _merge(below, value)
        else:
            kept[key] = value
