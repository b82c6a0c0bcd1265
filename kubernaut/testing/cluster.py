"""A Kubernetes cluster in memory with the methods of :class:`kubernaut.adapters.kube.Cluster`.

It follows the API server for uids, resource versions, labels, merge patches, immutable and oversized objects, and garbage
collection by owner. It runs nothing: a test puts and removes objects, and sets logs and service responses.
"""

# ruff: noqa: ARG002 - the fake accepts every argument of the real class
from __future__ import annotations

import base64
import copy
import re
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernaut.adapters.kube_http import Labels, Page, Watch
from kubernaut.adapters.kube_resources import CHART_RESOURCES, EVENTS, LEASES, PODS, RESOURCES, SECRETS, Resource
from kubernaut.errors import BadInput, Conflict, NamespaceNotFound, NotFound
from kubernaut.testing.changes import Changes
from kubernaut.testing.objects import FakeObjects, merge_patch, with_manifest

_READS = ("get ", "list ", "watch ")
_LARGEST_SECRET = 1_048_576
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_Object = dict[str, Any]


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
        resources: The kinds that the API server serves; a test adds its own.
        pods: Pods by namespace, as API dictionaries, that lists show and watches do not; :meth:`put` makes pods for both.
        events: The same for events.
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
        self.resources: list[Resource] = [*RESOURCES.values(), *CHART_RESOURCES.values()]
        self._objects = FakeObjects(lambda: self.server_time)
        self._secrets, self._leases = self._objects.of(SECRETS), self._objects.of(LEASES)
        self._faults: list[_Fault] = []
        self._server_time: datetime | None = None
        self._passed = timedelta()
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
        return (self._server_time or datetime.now(UTC).replace(microsecond=0)) + self._passed

    @server_time.setter
    def server_time(self, time: datetime | None) -> None:
        self._server_time, self._passed = time, timedelta()

    def pass_seconds(self, seconds: float) -> None:
        """Put the API server's clock forward."""
        self._passed += timedelta(seconds=seconds)

    @property
    def writes(self) -> list[str]:
        """The write requests so far."""
        return [request for request in self.requests if not request.startswith(_READS)]

    def server(self) -> str:
        """Return the API server's address."""
        return "https://fake.invalid"

    def close(self) -> None:
        """Do nothing; a fake does not hold connections."""

    @property
    def changes(self) -> Changes:
        """The changes that watches receive; also injects watch faults."""
        return self._objects.changes

    def put(self, object: Mapping[str, Any], namespace: str = "default") -> dict[str, Any]:
        """Create or replace an object of any kind, as a controller would, and return it; it needs kind, apiVersion and a name.

        Args:
            object: The object; its uid and time of creation are made up unless it has them.
            namespace: The namespace, unless the object names one.
        """
        resource = self._resource(str(object["apiVersion"]), str(object["kind"]))
        place = str(object["metadata"].get("namespace") or namespace) if resource.namespaced else ""
        with self._lock:
            return self._objects.put(resource, place, object)

    def remove(self, object: Mapping[str, Any]) -> None:
        """Delete an object that :meth:`put` returned."""
        metadata = object["metadata"]
        with self._lock:
            resource = self._resource(str(object["apiVersion"]), str(object["kind"]))
            self._objects.remove(resource, str(metadata.get("namespace") or ""), str(metadata["name"]))

    def list_objects(
        self,
        resource: Resource,
        namespace: str | None,
        labels: Labels | None = None,
        *,
        metadata_only: bool = False,
        cached: bool = False,
        limit: int | None = None,
        continue_token: str = "",
        timeout: float | None = None,
    ) -> Page:
        """Return the objects with these labels: all, or a page of at most ``limit``. Raises: ResourceExpired."""
        with self._asked(f"list {resource.plural} {namespace or '*'}"):
            simple = {PODS: self.pods, EVENTS: self.events}.get(resource, {}).get(namespace or "", [])
            return self._objects.page(
                resource, namespace, labels or {}, metadata_only=metadata_only, limit=limit, token=continue_token, more=simple
            )

    def watch_objects(
        self,
        resource: Resource,
        namespace: str | None,
        labels: Labels | None = None,
        *,
        resource_version: str,
        seconds: int,
        metadata_only: bool = False,
        mentioning: Collection[str] = (),
    ) -> Watch:
        """Watch the objects with these labels from a resource version on, for a number of seconds."""
        with self._asked(f"watch {resource.plural} {namespace or '*'}"):
            return self._objects.watch(resource, namespace, labels or {}, resource_version, seconds, metadata_only=metadata_only)

    def get_object(
        self, resource: Resource, namespace: str | None, name: str, *, timeout: float | None = None
    ) -> dict[str, Any] | None:
        """Return an object, or ``None``."""
        place = namespace or "" if resource.namespaced else ""
        with self._asked(f"get {resource.kind.lower()} {f'{place}/' if place else ''}{name}"):
            return copy.deepcopy(self._objects.of(resource).get((place, name)))

    def delete_object(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str,
        foreground: bool = False,
    ) -> None:
        """Delete an object and the pods that it owns; a missing one is ignored. Raises: Conflict for another UID."""
        place = namespace or "" if resource.namespaced else ""
        with self._asked(f"delete {resource.kind.lower()} {f'{place}/' if place else ''}{name}"), suppress(NotFound):
            self._objects.found(resource, place, name, None, uid)
            self._objects.remove(resource, place, name)
            for pod in list(self._objects.of(PODS).values()):
                if any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ()):
                    self._objects.remove(PODS, place, pod["metadata"]["name"])

    def with_applied(
        self,
        resource: Resource,
        namespace: str | None,
        manifest: Mapping[str, Any],
        *,
        merges_lists: bool,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Return an object as it would be with a manifest applied to it. Raises: NotFound."""
        name, place = str(manifest["metadata"]["name"]), namespace or "" if resource.namespaced else ""
        with self._asked(f"get {resource.kind.lower()} {place}/{name} with its manifest"):
            return with_manifest(self._objects.found(resource, place, name), manifest, merges_lists=merges_lists)

    def find_resource(self, api_version: str, kind: str) -> Resource:
        """Return the resource of a kind, as the API server serves it. Raises: NotFound when it does not."""
        with self._asked(f"get resources {api_version}"):
            return self._resource(api_version, kind)

    def list_secrets(
        self, namespace: str | None, labels: Labels, *, metadata_only: bool = False, cached: bool = False
    ) -> Sequence[dict[str, Any]]:
        """Return the Secrets with these labels; the result is always current."""
        return self.list_objects(SECRETS, namespace, labels, metadata_only=metadata_only).items

    def forget(self) -> None:
        """Expire all list tokens and resource versions so far."""
        with self._lock:
            self._objects.forget()

    def get_secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Secret, or ``None``."""
        return self.get_object(SECRETS, namespace, name)

    def create_secret(self, namespace: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Secret. Raises: Conflict if it exists, NamespaceNotFound, BadInput if it is too large."""
        with self._asked(f"create secret {namespace}/{secret['metadata']['name']}"):
            wanted = {"type": "Opaque", **copy.deepcopy(dict(secret))}
            texts = wanted.pop("stringData", None) or {}
            encoded = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
            wanted["data"] = {**(wanted.get("data") or {}), **encoded}
            _check_secret(wanted)
            return self._create(SECRETS, namespace, wanted)

    def patch_secret(self, namespace: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch a Secret. Raises: Conflict for another resource version, NotFound, BadInput for immutable data."""
        with self._asked(f"patch secret {namespace}/{name}"):
            kept = self._objects.found(SECRETS, namespace, name, (patch.get("metadata") or {}).get("resourceVersion"))
            wanted = copy.deepcopy(kept)
            merge_patch(wanted, copy.deepcopy(dict(patch)))
            _check_secret(wanted, kept)
            return self._objects.update(SECRETS, kept, wanted)

    def delete_secret(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Secret and the objects that it alone owns; a missing one is ignored. Raises: Conflict for another version."""
        with self._asked(f"delete secret {namespace}/{name}"), suppress(NotFound):
            self._objects.found(SECRETS, namespace, name, resource_version)
            self._objects.remove(SECRETS, namespace, name)

    def get_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return a Lease, or ``None``."""
        return self.get_object(LEASES, namespace, name)

    def create_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Lease. Raises: Conflict if it exists, NamespaceNotFound."""
        with self._asked(f"create lease {namespace}/{lease['metadata']['name']}"):
            _check_lease(lease)
            return self._create(LEASES, namespace, copy.deepcopy(dict(lease)))

    def replace_lease(self, namespace: str, lease: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the Lease with the same name, uid and resourceVersion. Raises: Conflict for another version, NotFound."""
        wanted = copy.deepcopy(dict(lease))
        name, uid, version = (str(wanted["metadata"].get(key) or "") for key in ("name", "uid", "resourceVersion"))
        if not (uid and version):
            raise ValueError("a Lease is replaced by uid and resourceVersion")
        with self._asked(f"replace lease {namespace}/{name}"):
            kept = self._objects.found(LEASES, namespace, name, version, uid)
            server = {key: kept["metadata"][key] for key in ("namespace", "creationTimestamp", "managedFields")}
            wanted["metadata"] = {**wanted["metadata"], **server}
            _check_lease(wanted)
            return self._objects.update(LEASES, kept, wanted)

    def delete_lease(self, namespace: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete a Lease; a missing one is ignored. Raises: Conflict for another resource version."""
        with self._asked(f"delete lease {namespace}/{name}"), suppress(NotFound):
            self._objects.found(LEASES, namespace, name, resource_version)
            self._objects.remove(LEASES, namespace, name)

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
        return self.list_objects(PODS, namespace, labels).items

    def list_events(self, namespace: str) -> Sequence[dict[str, Any]]:
        """Return the namespace's events."""
        return self.list_objects(EVENTS, namespace).items

    def pod_log(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None,
        tail: int | None,
        follow: bool,
        previous: bool,
        since_seconds: int | None = None,
        limit_bytes: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[str]:
        """Yield the log lines of a container; ``follow`` ends after them; ``previous``, ``since_seconds`` change nothing."""
        with self._asked(f"get log {namespace}/{pod}"):
            lines = self.logs.get((namespace, pod, container))
        if lines is None:
            raise NotFound(f'pods "{pod}" not found.')
        lines = lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]
        left = limit_bytes
        for line in lines:
            yield line if left is None else line[:left]
            left = left if left is None else left - len(line) - 1
            if left is not None and left <= 0:
                return

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

    def _create(self, resource: Resource, namespace: str, wanted: _Object) -> dict[str, Any]:
        name = str(wanted["metadata"]["name"])
        if namespace not in self._namespaces:
            raise NamespaceNotFound(f'namespaces "{namespace}" not found.')
        if namespace in self.terminating:
            raise Conflict(
                f'{resource.full_name} "{name}" is forbidden: unable to create new content, the namespace is being terminated.'
            )
        return self._objects.create(resource, namespace, wanted)

    def _resource(self, api_version: str, kind: str) -> Resource:
        found = (one for one in self.resources if (one.api_version, one.kind) == (api_version, kind))
        resource = next(found, None)
        if resource is None:
            raise NotFound(f"The fake cluster does not serve the kind {kind} of {api_version}.")
        return resource


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
