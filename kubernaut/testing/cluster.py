"""A Kubernetes cluster in memory, as :class:`kubernaut.adapters.kube.Cluster` has one: Secrets, Leases, pods and events.

It keeps what the API server keeps and refuses what it refuses: uids, resource versions, labels, merge patches, what is
immutable or too large, and the garbage collection of what has an owner. It runs nothing; pods, events, logs and answers are
whatever the test puts in.
"""

# ruff: noqa: ARG002 - a fake takes all that the real one takes
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
from kubernaut.testing.changes import Changes

_READS = ("get ", "list ", "watch ")
_LEASES = "leases.coordination.k8s.io"
_LARGEST_SECRET = 1_048_576
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_Object = dict[str, Any]
_Objects = dict[tuple[str, str], _Object]


@dataclass
class _Fault:
    """Requests that fail: before or after they are carried out; ``times`` is how often still."""

    request: str
    error: BaseException
    times: int | None
    after: bool


class FakeCluster:
    """A cluster for tests.

    Attributes:
        requests: What was asked: verb and subject, in order; the writes are those that do not begin with get, list or watch.
        changes: What happened to the Secrets, as watches hear it; the faults of watches are made there.
        pods: By namespace, the pods; dictionaries as the API has them.
        events: By namespace, the events.
        logs: By namespace, pod and container (or ``None``), the lines.
        answers: What services/proxy answers: by namespace, service and port, a status and a body.
        terminating: The namespaces that are being deleted: nothing can be created in them.
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
        """Let the next requests that begin with ``request`` fail; every request begins with ``""``.

        Args:
            request: How they begin, as in :attr:`requests`.
            error: What they raise.
            times: How many of them; ``None`` for all until :meth:`heal`.
            after: Carry them out, and lose the answer.
        """
        with self._lock:
            self._faults.append(_Fault(request, error, times, after))

    def heal(self) -> None:
        """Let every request succeed again."""
        with self._lock:
            self._faults.clear()

    @property
    def server_time(self) -> datetime:
        """The API server's clock, by which objects are stamped too: the real time, or what a test sets until it sets ``None``."""
        return self._server_time or datetime.now(UTC).replace(microsecond=0)

    @server_time.setter
    def server_time(self, time: datetime | None) -> None:
        self._server_time = time

    @property
    def writes(self) -> list[str]:
        """The requests that wrote."""
        return [request for request in self.requests if not request.startswith(_READS)]

    def server(self) -> str:
        """Return the API server's address."""
        return "https://fake.invalid"

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def list_secrets(
        self, namespace: str | None, labels: Labels, *, metadata_only: bool = False, cached: bool = False
    ) -> Sequence[dict[str, Any]]:
        """Return the Secrets with these labels; what is at hand is always current."""
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
        """Return a part of the Secrets with these labels: the first, or what ``continue_token``. Raises: ResourceExpired."""
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
        """Watch the metadata of the Secrets with these labels: what changes after a resource version, for so many seconds."""

        def selected(metadata: Mapping[str, Any]) -> bool:
            return namespace in (None, metadata["namespace"]) and _matches(metadata.get("labels") or {}, labels)

        with self._asked(f"watch secrets {namespace or '*'}"):
            return self.changes.watch(selected, int(resource_version), seconds)

    def forget(self) -> None:
        """Forget what has been: lists and watches that go on from there have expired."""
        with self._lock:
            self._pages.clear()
            self.changes.forget()

    def get_secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Secret, or ``None``."""
        with self._asked(f"get secret {namespace}/{name}"):
            return copy.deepcopy(self._secrets.get((namespace, name)))

    def create_secret(self, namespace: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Secret. Raises: Conflict when it exists, NamespaceNotFound, BadInput when it holds too much."""
        with self._asked(f"create secret {namespace}/{secret['metadata']['name']}"):
            wanted = {"type": "Opaque", **copy.deepcopy(dict(secret))}
            texts = wanted.pop("stringData", None) or {}
            wanted["data"] = {**(wanted.get("data") or {}), **{key: _base64(text) for key, text in texts.items()}}
            _check_secret(wanted)
            return self._create("secrets", self._secrets, namespace, wanted)

    def patch_secret(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch a Secret. Raises: Conflict for another resource version, NotFound, BadInput for what is immutable."""
        with self._asked(f"patch secret {namespace}/{name}"):
            kept = self._kept("secrets", self._secrets, namespace, name, (patch.get("metadata") or {}).get("resourceVersion"))
            wanted = copy.deepcopy(kept)
            _merge(wanted, copy.deepcopy(dict(patch)))
            _check_secret(wanted, kept)
            return self._update(self._secrets, namespace, kept, wanted)

    def delete_secret(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Secret and what it alone owns; one that is gone is no failure. Raises: Conflict for another resource version."""
        with self._asked(f"delete secret {namespace}/{name}"), suppress(NotFound):
            self._kept("Secret", self._secrets, namespace, name, resource_version)
            self._remove(namespace, name)

    def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Lease, or ``None``."""
        with self._asked(f"get lease {namespace}/{name}"):
            return copy.deepcopy(self._leases.get((namespace, name)))

    def create_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Lease. Raises: Conflict when it exists, NamespaceNotFound."""
        with self._asked(f"create lease {namespace}/{lease['metadata']['name']}"):
            _check_lease(lease)
            return self._create(_LEASES, self._leases, namespace, copy.deepcopy(dict(lease)))

    def replace_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Write a Lease over the one with this name, uid and resourceVersion. Raises: Conflict for another version, NotFound."""
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
        """Delete a Lease; one that is gone is no failure. Raises: Conflict for another resource version."""
        with self._asked(f"delete lease {namespace}/{name}"), suppress(NotFound):
            self._kept("Lease.coordination.k8s.io", self._leases, namespace, name, resource_version)
            del self._leases[namespace, name]

    def namespace_exists(self, namespace: str) -> bool:
        """Say whether the namespace exists."""
        with self._asked(f"get namespace {namespace}"):
            return namespace in self._namespaces

    def create_namespace(self, namespace: str) -> None:
        """Create a namespace; one that exists is no failure."""
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
        """Yield a container's log, line by line; ``follow`` ends with it, and ``previous`` is the same one."""
        with self._asked(f"get log {namespace}/{pod}"):
            lines = self.logs.get((namespace, pod, container))
        if lines is None:
            raise NotFound(f'pods "{pod}" not found.')
        yield from lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]

    def get_through_service(self, namespace: str, service: str, port: int | str, path: str, *, timeout: float) -> tuple[int, str]:
        """GET ``path`` through the Service; a Service that the test did not put in answers 503."""
        with self._asked(f"get service {namespace}/{service}:{port}{path}"):
            return self.answers.get((namespace, service, port), (503, "no endpoints available"))

    @contextmanager
    def _asked(self, request: str) -> Iterator[None]:
        """Carry a request out, one at a time, as the API server does with one object; or fail before or after, as told."""
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
        """Return an object that is to be changed. Raises: NotFound, Conflict when it is not this version of this one."""
        kept = objects.get((namespace, name))
        if kept is None:
            raise NotFound(f'{kind} "{name}" not found.')
        if version not in (None, kept["metadata"]["resourceVersion"]) or uid not in (None, kept["metadata"]["uid"]):
            raise Conflict(f'Operation cannot be fulfilled on {kind} "{name}": the object has been modified.')
        return kept

    def _update(self, objects: _Objects, namespace: str, kept: _Object, wanted: _Object) -> dict[str, Any]:
        """Keep what has changed; what has not keeps its version, as in the real one."""
        if wanted != kept:
            fields = {"resourceVersion": self._next(), "managedFields": _written(_stamp(self.server_time))}
            wanted["metadata"] = {**wanted["metadata"], **fields}
            objects[namespace, str(wanted["metadata"]["name"])] = wanted
            self._noted(objects, kept, wanted)
        return copy.deepcopy(wanted)

    def _noted(self, objects: _Objects, before: _Object | None, after: _Object | None) -> None:
        """Tell those who watch of the last change."""
        if objects is self._secrets:
            told = [None if thing is None else copy.deepcopy(thing["metadata"]) for thing in (before, after)]
            self.changes.note(self._version, *told)

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
        gone = self._secrets.pop((namespace, name), None)
        if gone is None:
            return
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
    """Raise BadInput for what the API server refuses of a Secret: too much, or a change of what is immutable."""
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
    """Raise BadInput for what the API server refuses of a Lease: a duration of nothing, a time without its six digits."""
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


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _merge(kept: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        elif isinstance(value, Mapping):
            below = kept.setdefault(key, {})
            _merge(below, value)
        else:
            kept[key] = value
